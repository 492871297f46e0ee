// Reading a folder's entries.

#include "support/scratch_folder.hpp"

#include <filexfer/detail/posix/folder.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

namespace folder_reader_tests {

using filexfer::detail::entry_kind;
using filexfer::detail::folder_reader;

namespace {

folder_reader reader_of(const std::filesystem::path& folder, std::error_code& ec) {
  return {filexfer::detail::open_folder(AT_FDCWD, folder.c_str(), ec), ec};
}

}  // namespace

TEST_CASE("a folder's entries are read once each, however many, and however long their names") {
  for (const std::size_t count : {0U, 1U, 2U, 40U, 3000U}) {
    for (const std::size_t length : {1U, 250U}) {
      CAPTURE(count);
      CAPTURE(length);
      const test::scratch_folder folder;
      std::multiset<std::string> names;
      for (std::size_t n = 0; n < count; ++n) {
        const auto name = std::to_string(n) + std::string(length - 1, '-');
        test::write_file(folder / name, "");
        names.insert(name);
      }
      std::error_code ec;
      auto reader = reader_of(folder.path(), ec);
      REQUIRE_FALSE(ec);
      std::multiset<std::string> read;
      while (const char* const name = reader.next(ec).name) read.insert(name);
      CHECK_FALSE(ec);
      CHECK(read == names);
      CHECK(reader.next(ec).name == nullptr);
      CHECK_FALSE(ec);
    }
  }
}

TEST_CASE("a reader that was moved goes on where it was") {
  const test::scratch_folder folder;
  for (const char name : {'a', 'b', 'c'}) test::write_file(folder / std::string{name}, "");
  std::error_code ec;
  auto first = reader_of(folder.path(), ec);
  REQUIRE_FALSE(ec);
  std::set<std::string> read{first.next(ec).name};
  auto second = std::move(first);
  while (const char* const name = second.next(ec).name) CHECK(read.insert(name).second);
  CHECK_FALSE(ec);
  CHECK(read == std::set<std::string>{"a", "b", "c"});
}

TEST_CASE("an entry's kind is known, unless its file system does not tell") {
  const test::scratch_folder folder;
  test::write_file(folder / "file", "bytes");
  std::filesystem::create_directory(folder / "folder");
  std::filesystem::create_symlink("file", folder / "link");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  const std::map<std::string, entry_kind> kinds{{"file", entry_kind::file},
                                                {"folder", entry_kind::folder},
                                                {"link", entry_kind::other},
                                                {"pipe", entry_kind::other}};
  std::error_code ec;
  auto reader = reader_of(folder.path(), ec);
  for (auto entry = reader.next(ec); entry.name != nullptr; entry = reader.next(ec)) {
    CAPTURE(std::string{entry.name});
    CHECK((entry.kind == kinds.at(entry.name) || entry.kind == entry_kind::unknown));
  }
}

TEST_CASE("a folder that is removed while it is read has no more entries") {
  const test::scratch_folder parent;
  std::filesystem::create_directory(parent / "removed");
  std::error_code ec;
  auto reader = reader_of(parent / "removed", ec);
  REQUIRE_FALSE(ec);
  std::filesystem::remove(parent / "removed");
  CHECK(reader.next(ec).name == nullptr);
  CHECK_FALSE(ec);
}

TEST_CASE("what can't be opened is not read, and the error says why") {
  const test::scratch_folder folder;
  std::error_code ec;
  const auto reader = reader_of(folder / "absent", ec);
  CHECK_FALSE(reader);
  CHECK(ec == std::errc::no_such_file_or_directory);
}

}  // namespace folder_reader_tests
