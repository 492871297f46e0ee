#include "support/scratch_folder.hpp"

#include <filexfer/transfer_types.hpp>
#include <filexfer/tree_source.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

namespace tree_source_tests {

static_assert(filexfer::upload_elements<filexfer::tree_source>);

namespace {

namespace fs = std::filesystem;
using filexfer::errc;
using filexfer::on_symlink;
using filexfer::tree_file;
using filexfer::tree_source;
using namespace test;

/// The entries below a folder: `name` for a file, `name: message` for an error.
std::vector<std::string> entries_of(tree_source&& source) {
  std::vector<std::string> entries;
  for (const tree_file& file : source) {
    entries.push_back(file.name());
    if (file.error()) entries.back() += ": " + file.error().message();
  }
  return entries;
}

std::string error_entry(const char* name, std::error_code ec) {
  return std::string{name} + ": " + ec.message();
}

std::string read_all(const tree_file& file) {
  std::error_code ec;
  auto source = file.open(ec);
  REQUIRE(!ec);
  std::string text(source.size(), '\0');
  REQUIRE(source.read(std::as_writable_bytes(std::span{text}), ec) == text.size());
  REQUIRE(!ec);
  return text;
}

TEST_CASE("a tree source lists the files of its folder and subfolders, sorted by name") {
  const scratch_folder folder;
  for (const char* name : {"b", "a/2", "a/1/x", "c/d/e", "a.txt"}) {
    write_file(folder / name, std::string{"text of "} + name);
  }
  fs::create_directory(folder / "empty");
  tree_source source{folder.path()};
  std::vector<std::string> names;
  for (const tree_file& file : source) {
    names.push_back(file.name());
    CHECK(file.path() == folder / file.name());
    CHECK(read_all(file) == "text of " + file.name());
  }
  CHECK(names == std::vector<std::string>{"a/1/x", "a/2", "a.txt", "b", "c/d/e"});
  CHECK(source.begin() == source.end());
}

TEST_CASE("an entry that can't be uploaded is reported in order, and the walk continues") {
  const scratch_folder folder;
  for (const char* name : {"a", "m", "z"}) write_file(folder / name, name);
  fs::create_symlink("a", folder / "b");
  fs::create_directory_symlink(".", folder / "c");
  REQUIRE(::mkfifo((folder / "d").c_str(), 0600) == 0);
  write_file(folder / "\xff", "no UTF-8");
  fs::create_directory(folder / "\xfe");
  CHECK(entries_of(tree_source{folder.path()}) ==
        std::vector<std::string>{
            "a", error_entry("b", errc::symbolic_link), error_entry("c", errc::symbolic_link),
            error_entry("d", errc::special_file), "m", "z", error_entry("\xfe", errc::bad_name),
            error_entry("\xff", errc::bad_name)});
}

TEST_CASE("followed links lead to files and folders, and a cycle is reported") {
  const scratch_folder folder;
  const scratch_folder elsewhere;
  write_file(elsewhere / "file", "elsewhere");
  write_file(folder / "sub/file", "here");
  fs::create_symlink(elsewhere / "file", folder / "a");
  fs::create_directory_symlink(elsewhere.path(), folder / "b");
  fs::create_directory_symlink("..", folder / "sub/up");
  fs::create_symlink("nothing", folder / "c");
  const auto enoent = std::make_error_code(std::errc::no_such_file_or_directory);
  CHECK(entries_of(tree_source{folder.path(), on_symlink::follow}) ==
        std::vector<std::string>{"a", "b/file", error_entry("c", enoent), "sub/file",
                                 error_entry("sub/up", errc::folder_cycle)});
  tree_source source{folder.path(), on_symlink::follow};
  CHECK(read_all(*source.begin()) == "elsewhere");
}

TEST_CASE("a folder with more names than are read at once loses and repeats none") {
  const scratch_folder folder;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < tree_source::max_names + 500; ++i) {
    names.push_back("file " + std::to_string(i));
    write_file(folder / names.back(), {});
  }
  auto found = entries_of(tree_source{folder.path()});
  CHECK(std::is_sorted(found.begin(), found.begin() + tree_source::max_names));
  std::sort(names.begin(), names.end());
  std::sort(found.begin(), found.end());
  CHECK(found == names);
}

TEST_CASE("a folder that can't be opened is reported") {
  const scratch_folder folder;
  write_file(folder / "file", "text");
  std::error_code ec;
  tree_source absent{folder / "none", on_symlink::skip, ec};
  CHECK(ec == std::errc::no_such_file_or_directory);
  CHECK(absent.begin() == absent.end());
  tree_source file{folder / "file", on_symlink::skip, ec};
  CHECK(ec == std::errc::not_a_directory);
  CHECK(file.begin() == file.end());
  CHECK_THROWS_AS(tree_source{folder / "none"}, std::system_error);
}

TEST_CASE("an unreadable subfolder is reported as an element" * doctest::skip(::geteuid() == 0)) {
  const scratch_folder folder;
  write_file(folder / "a", {});
  write_file(folder / "locked/file", {});
  write_file(folder / "z", {});
  fs::permissions(folder / "locked", fs::perms::none);
  const auto eacces = std::make_error_code(std::errc::permission_denied);
  const auto entries = entries_of(tree_source{folder.path()});
  fs::permissions(folder / "locked", fs::perms::owner_all);
  CHECK(entries == std::vector<std::string>{"a", error_entry("locked", eacces), "z"});
}

TEST_CASE(
    "a file outlives its tree source, and is opened below its folder without following links") {
  const scratch_folder folder;
  const scratch_folder elsewhere;
  write_file(folder / "tree/sub/file", "right");
  write_file(elsewhere / "sub/file", "wrong");
  std::optional<tree_file> file;
  {
    tree_source source{folder / "tree"};
    file = std::move(*source.begin());
  }
  fs::rename(folder / "tree", folder / "moved");
  fs::create_directory_symlink(elsewhere.path(), folder / "tree");
  CHECK(read_all(*file) == "right");

  fs::remove_all(folder / "moved/sub");
  fs::create_directory_symlink(elsewhere / "sub", folder / "moved/sub");
  std::error_code ec;
  file->open(ec);
  CHECK(ec == std::errc::not_a_directory);
  fs::remove(folder / "moved/sub");
  write_file(folder / "moved/sub/other", {});
  fs::create_symlink("other", folder / "moved/sub/file");
  file->open(ec);
  CHECK(ec == std::errc::too_many_symbolic_link_levels);
}

TEST_CASE("what is removed after its folder was read can't be opened") {
  const scratch_folder folder;
  write_file(folder / "a", {});
  write_file(folder / "b", {});
  write_file(folder / "c/file", {});
  tree_source source{folder.path()};
  auto i = source.begin();
  CHECK((*i).name() == "a");
  fs::remove(folder / "b");
  fs::remove_all(folder / "c");
  ++i;
  CHECK((*i).name() == "b");
  std::error_code ec;
  (*i).open(ec);
  CHECK(ec == std::errc::no_such_file_or_directory);
  ++i;
  CHECK((*i).error() == std::errc::no_such_file_or_directory);
  ++i;
  CHECK(i == source.end());
}

TEST_CASE("a walk leaves no descriptor behind") {
  const scratch_folder folder;
  write_file(folder / "a/b/c", {});
  const auto before = open_descriptors();
  entries_of(tree_source{folder.path()});
  {
    tree_source unfinished{folder.path()};
    unfinished.begin();
  }
  CHECK(open_descriptors() == before);
}

}  // namespace

}  // namespace tree_source_tests
