#include <filexfer/name_filter.hpp>

#include <doctest/doctest.h>

#include <string_view>

namespace name_filter_tests {

using filexfer::name_filter;

TEST_CASE("a filter without patterns includes every name") {
  CHECK(name_filter{}.includes("a/b"));
  CHECK(name_filter{}.includes_entry("a", name_filter::entry::folder));
}

TEST_CASE("the first pattern that matches decides") {
  name_filter filter;
  filter.include("keep.tmp").exclude("*.tmp").include("b.tmp");
  CHECK(filter.includes("keep.tmp"));
  CHECK(filter.includes("a/keep.tmp"));
  CHECK(!filter.includes("a.tmp"));
  CHECK(!filter.includes("b.tmp"));
  CHECK(filter.includes("tmp"));
}

TEST_CASE("a pattern without a slash matches in all folders, one with a slash from the root") {
  struct filter_case {
    std::string_view excluded;
    std::string_view name;
    bool includes;
  };
  const filter_case cases[] = {
      {"*.o", "a.o", false},
      {"*.o", "x/y/a.o", false},
      {"/*.o", "a.o", false},
      {"/*.o", "x/a.o", true},
      {"x/*.o", "x/a.o", false},
      {"x/*.o", "y/x/a.o", true},
      {"**/x/*.o", "y/x/a.o", false},
      {"x**", "x/a", false},
      {"x**", "y/x", true},
      {"x", "x/a/b", false},
      {"x", "y/x/a", false},
      {"x/", "x/a", false},
      {"x/", "y/x/a", false},
      {"x/", "x", true},
      {"/x/", "y/x/a", true},
      {"/x/", "x/y/a", false},
      {"a/x/", "a/x/b", false},
      {"a/x/", "b/a/x/b", true},
      {"**", "a/b", false},
      {"*", "a/b", false},
      {"/", "a", true},
      {"", "a", true},
  };
  for (const filter_case& c : cases) {
    CAPTURE(c.excluded);
    CAPTURE(c.name);
    name_filter filter;
    filter.exclude(c.excluded);
    CHECK(filter.includes(c.name) == c.includes);
  }
}

TEST_CASE("what is below an excluded folder can't be included, as it is not entered") {
  name_filter filter;
  filter.include("x/keep").exclude("x/");
  CHECK(!filter.includes("x/keep"));
  name_filter all_but_one;
  all_but_one.include("/x/").include("/x/keep").exclude("*");
  CHECK(all_but_one.includes("x/keep"));
  CHECK(!all_but_one.includes("x/other"));
  CHECK(!all_but_one.includes("keep"));
  CHECK(!all_but_one.includes_entry("y", name_filter::entry::folder));
}

}  // namespace name_filter_tests
