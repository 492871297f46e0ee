#include <filexfer/glob.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace glob_tests {

using filexfer::glob_match;
using filexfer::glob_prefix;
using filexfer::has_glob_characters;

namespace {

struct match_case {
  std::string_view pattern;
  std::string_view name;
  bool matches;
};

template <class Cases>
void check_all(const Cases& cases) {
  for (const match_case& c : cases) {
    CAPTURE(c.pattern);
    CAPTURE(c.name);
    CHECK(glob_match(c.pattern, c.name) == c.matches);
  }
}

}  // namespace

TEST_CASE("a pattern without special characters matches only itself") {
  const match_case cases[] = {
      {"", "", true},
      {"", "a", false},
      {"a", "", false},
      {"a", "a", true},
      {"a", "A", false},
      {"ab", "a", false},
      {"a", "ab", false},
      {"a/b", "a/b", true},
      {"a/b", "a.b", false},
      {"a-b]", "a-b]", true},
      {"\xC3\xA9", "\xC3\xA9", true},
      {"\xC3\xA9", "\xC3\xA8", false},
  };
  check_all(cases);
}

TEST_CASE("a star matches within a component, two stars match across them") {
  const match_case cases[] = {
      {"*", "", true},
      {"*", "abc", true},
      {"*", ".hidden", true},
      {"*", "a/b", false},
      {"*", "/", false},
      {"*.jpg", "cat.jpg", true},
      {"*.jpg", ".jpg", true},
      {"*.jpg", "cat.jpg.txt", false},
      {"*.jpg", "a/cat.jpg", false},
      {"a*b*c", "abc", true},
      {"a*b*c", "aXbYbZc", true},
      {"a*b*c", "aXcYb", false},
      {"*a*b/c", "xaab/c", true},
      {"*/b*c", "x/bac", true},
      {"*/b*c", "x/y/bac", false},
      {"photos/*.jpg", "photos/cat.jpg", true},
      {"photos/*.jpg", "photos/2021/cat.jpg", false},
      {"**", "", true},
      {"**", "a/b/c", true},
      {"**.jpg", "a/b/cat.jpg", true},
      {"***", "a/b", true},
      {"a**z", "a/b/z", true},
      {"a**z", "az", true},
      {"photos/**", "photos/2021/cat.jpg", true},
      {"photos/**", "photos/", true},
      {"photos/**", "photos", false},
  };
  check_all(cases);
}

TEST_CASE("two stars and a slash match whole folders, or none") {
  const match_case cases[] = {
      {"**/x", "x", true},       {"**/x", "a/x", true},        {"**/x", "a/b/x", true},
      {"**/x", "ax", false},     {"**/x", "a/bx", false},      {"**/x", "x/a", false},
      {"a/**/b", "a/b", true},   {"a/**/b", "a/x/b", true},    {"a/**/b", "a/x/y/b", true},
      {"a/**/b", "a/xb", false}, {"a/**/b", "ab", false},      {"a/**/b", "a/x/yb", false},
      {"a**/b", "ab", false},    {"a**/b", "a/b", true},       {"a**/b", "axx/y/b", true},
      {"**/**/b", "b", true},    {"**/**/b", "x/b", true},     {"**/*.c", "src/a/b.c", true},
      {"**/*.c", "b.c", true},   {"**/a*/**", "x/ab/c", true}, {"**/a*/**", "x/b/c", false},
      {"\\**/b", "*x/b", true},  {"\\**/b", "b", false},       {"**/", "", true},
      {"**/", "a/", true},       {"**/", "a", false},
  };
  check_all(cases);
}

TEST_CASE("a question mark and a set match one character of UTF-8, but no slash") {
  const match_case cases[] = {
      {"?", "a", true},
      {"?", "", false},
      {"?", "ab", false},
      {"?", "/", false},
      {"?", "\xC3\xA9", true},
      {"??", "\xC3\xA9", false},
      {"?", "\xFF", true},
      {"?", "\xC3", true},
      {"[a-c]", "b", true},
      {"[a-c]", "d", false},
      {"[a-c]x", "bx", true},
      {"[a-cx-z]", "y", true},
      {"[a-c]", "", false},
      {"[abc]", "c", true},
      {"[!x]", "y", true},
      {"[!x]", "x", false},
      {"[!x]", "/", false},
      {"[^x]", "y", true},
      {"[^x]", "x", false},
      {"a[!x]b", "a/b", false},
      {"a[.-0]b", "a/b", false},
      {"[]]", "]", true},
      {"[]a]", "a", true},
      {"[!]]", "]", false},
      {"[!]]", "a", true},
      {"[-a]", "-", true},
      {"[a-]", "-", true},
      {"[a-]", "b", false},
      {"[*?]", "*", true},
      {"[*?]", "x", false},
      {"[\\]x]", "]", true},
      {"[\\]x]", "x", true},
      {"[a\\-c]", "b", false},
      {"[a\\-c]", "-", true},
      {"[\xC3\xA0-\xC3\xAF]", "\xC3\xA9", true},
      {"[\xC3\xA9]", "\xC3", false},
      {"[x!]", "!", true},
      {"[[]", "[", true},
  };
  check_all(cases);
}

TEST_CASE("a backslash makes the next character ordinary") {
  const match_case cases[] = {
      {"\\*", "*", true},        {"\\*", "a", false},    {"\\?", "?", true},
      {"\\?", "a", false},       {"\\[a]", "[a]", true}, {"\\[a]", "a", false},
      {"\\\\", "\\", true},      {"\\a", "a", true},     {"a\\*b*", "a*bc", true},
      {"a\\*b*", "axbc", false},
  };
  check_all(cases);
}

TEST_CASE("what is malformed in a pattern matches itself, or nothing") {
  const match_case cases[] = {
      {"[", "[", true},      {"[abc", "[abc", true}, {"[abc", "a", false},   {"a[", "a[", true},
      {"[]", "[]", true},    {"[!]", "[!]", true},   {"[a\\]", "[a]", true}, {"[]", "", false},
      {"\\", "\\", true},    {"a\\", "a\\", true},   {"a\\", "a", false},    {"[z-a]", "m", false},
      {"[z-a]", "z", false}, {"[*", "[abc", true},   {"[a-", "[a-", true},
  };
  check_all(cases);
}

TEST_CASE("many stars cost no exponential time") {
  std::string pattern;
  for (int n = 0; n < 60; ++n) pattern += n % 2 == 0 ? "*a" : "**a";
  const std::string name(255, 'a');
  CHECK(glob_match(pattern, name));
  CHECK(!glob_match(pattern + "b", name));
}

TEST_CASE("a pattern's prefix is what all matching names begin with") {
  CHECK(glob_prefix("photos/*.jpg") == "photos/");
  CHECK(glob_prefix("plain") == "plain");
  CHECK(glob_prefix("**").empty());
  CHECK(glob_prefix("a?").compare("a") == 0);
  CHECK(glob_prefix("a[b]") == "a");
  CHECK(glob_prefix("a[b") == "a[b");
  CHECK(glob_prefix("a\\*b*") == "a*b");
  CHECK(glob_prefix("a\\") == "a\\");
  CHECK(glob_prefix("\xC3\xA9\xFF*") == "\xC3\xA9\xFF");
}

TEST_CASE("only a star, a question mark or a bracket make a pattern of a text") {
  for (const char* text : {"*", "a?b", "[", "a/**"}) CHECK(has_glob_characters(text));
  for (const char* text : {"", "a]b", "a\\b", "!{a,b}^"}) CHECK(!has_glob_characters(text));
}

}  // namespace glob_tests
