#include "support/scratch_folder.hpp"

#include <filexfer/name_filter.hpp>
#include <filexfer/tree_source.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <sys/stat.h>

namespace tree_source_filter_tests {

namespace fs = std::filesystem;
using filexfer::tree_file;
using filexfer::tree_options;
using filexfer::tree_source;
using strings = std::vector<std::string>;

namespace {

strings entries_of(tree_source&& source) {
  strings entries;
  for (const tree_file& file : source) entries.push_back(file.name() + (file.error() ? "!" : ""));
  return entries;
}

}  // namespace

TEST_CASE("a tree source leaves out what its filter excludes") {
  const test::scratch_folder folder;
  for (const char* name :
       {"a.tmp", "a.txt", "sub/b.tmp", "sub/b.txt", "sub/.git/x", "z/keep.tmp"}) {
    test::write_file(folder / name, name);
  }
  tree_options options;
  options.filter.include("keep.*").exclude("*.tmp").exclude(".git/");
  CHECK(entries_of(tree_source{folder.path(), options}) ==
        strings{"a.txt", "sub/b.txt", "z/keep.tmp"});
  std::error_code ec;
  CHECK(entries_of(tree_source{folder.path(), options, ec}).size() == 3);
  CHECK(!ec);
  CHECK(entries_of(tree_source{folder.path()}).size() == 6);
}

TEST_CASE("an excluded folder is not entered, and what is excluded is not reported") {
  const test::scratch_folder folder;
  test::write_file(folder / "a", "a");
  fs::create_directory(folder / "shut");
  REQUIRE(::mkfifo((folder / "shut/pipe").c_str(), 0600) == 0);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  fs::create_symlink("nowhere", folder / "link");
  fs::create_directory_symlink(".", folder / "cycle");
  test::write_file(folder / "bad\xFFname", "");
  CHECK(entries_of(tree_source{folder.path(), tree_options{}}).size() == 6);
  tree_options options;
  options.filter.exclude("shut/").exclude("pipe").exclude("link").exclude("bad*");
  CHECK(entries_of(tree_source{folder.path(), options}) == strings{"a", "cycle!"});
  options.links = filexfer::on_symlink::follow;
  options.filter.exclude("cycle/");
  CHECK(entries_of(tree_source{folder.path(), options}) == strings{"a"});
}

}  // namespace tree_source_filter_tests
