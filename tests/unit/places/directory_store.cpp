#include "support/directory_store_fixture.hpp"

#include <filexfer/directory_store.hpp>

#include <doctest/doctest.h>

#include <cctype>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <sys/stat.h>

namespace directory_store_tests {

namespace {

// ------------------------------------------------------------------------------------------ layout

TEST_CASE_FIXTURE(fixture, "files are plain and read-only, under their own names") {
  REQUIRE_FALSE(put(store, "photos/2021/cat.jpg", "meow"));
  const auto file = id_folder("meow") / "photos/2021/cat.jpg";
  CHECK(contents(file) == "meow");
  CHECK((status_of(file).st_mode & 0333) == 0);
  CHECK((status_of(file).st_mode & 0400) != 0);
  CHECK(status_of(file).st_nlink == 1);
  CHECK(fs::is_empty(incoming()));
  REQUIRE_FALSE(put(store, "cat.jpg", "meow"));
  CHECK(status_of(id_folder("meow") / "cat.jpg").st_ino == status_of(file).st_ino);
}

TEST_CASE("a store creates its directory and those above it") {
  const scratch_folder folder;
  store_type store{folder / "a/b/c"};
  CHECK_FALSE(put(store, "x", "y"));
  store_type again{folder / "a/b/c/"};
  CHECK(entries(again) == lines{entry("x", "y")});
}

TEST_CASE("a store that can't be opened reports the reason, as an exception and as a code") {
  const scratch_folder folder;
  write_file(folder / "file", "x");
  std::error_code ec;
  const store_type store{folder / "file", {}, ec};
  CHECK(ec == std::errc::not_a_directory);
  CHECK_THROWS_AS(store_type{folder / "file"}, std::system_error);
  fs::create_directory(folder / "link");
  fs::create_directory_symlink(folder.path(), folder / "link/.incoming");
  const store_type other{folder / "link", {}, ec};
  CHECK(ec);
}

TEST_CASE_FIXTURE(fixture, "a file removed by hand is not found, and can be uploaded again") {
  REQUIRE_FALSE(put(store, "x", "y"));
  fs::remove_all(id_folder("y"));
  CHECK(entries(store).empty());
  CHECK_FALSE(fetch(store, id_of("y")));
  std::error_code ec;
  CHECK_FALSE(store.add_name(id_of("y"), 1, "z", {}, ec));
  CHECK_FALSE(ec);
  CHECK_FALSE(put(store, "x", "y"));
  CHECK(entries(store) == lines{entry("x", "y")});
}

// --------------------------------------------------------------------------------- foreign entries

TEST_CASE_FIXTURE(fixture,
                  "entries that are not the store's own files are neither listed nor opened") {
  REQUIRE_FALSE(put(store, "real", "bytes"));
  const auto id = id_folder("bytes");
  const auto hex = id_of("other").to_string();
  write_file(folder / "outside", "other");
  fs::create_directories(folder / "elsewhere");
  write_file(folder / "elsewhere/x", "other");

  fs::create_symlink(folder / "outside", id / "link");
  fs::create_directory_symlink(folder / "elsewhere", id / "linked");
  REQUIRE(::mkfifo((id / "fifo").c_str(), 0600) == 0);
  fs::create_directories(id / "empty/folders");
  write_file(id / "bad\xFFname", "bytes");
  const auto deep = std::filesystem::path{std::string(255, 'l')} / std::string(255, 'l') /
                    std::string(255, 'l') / std::string(255, 'l') / "n";
  write_file(id / deep, "bytes");  // 1025 bytes in all
  fs::create_directory_symlink(folder / "elsewhere", root / hex);
  write_file(root / "notes.txt", "bytes");
  write_file(root / "abc/x", "bytes");
  write_file(root / (hex + "0") / "x", "bytes");
  write_file(root / id_of("file").to_string(), "bytes");
  auto upper = id_of("bytes").to_string();
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  write_file(root / upper / "x", "bytes");

  CHECK(entries(store) == lines{entry("real", "bytes")});
  CHECK(fetch(store, id_of("bytes")) == "bytes");
  CHECK_FALSE(fetch(store, id_of("other")));
  CHECK_FALSE(fetch(store, id_of("file")));
}

TEST_CASE_FIXTURE(fixture, "an id with nothing but a FIFO or a link is not found") {
  fs::create_directories(id_folder("a"));
  REQUIRE(::mkfifo((id_folder("a") / "x").c_str(), 0600) == 0);
  write_file(folder / "outside", "b");
  fs::create_directories(id_folder("b"));
  fs::create_symlink(folder / "outside", id_folder("b") / "x");
  std::error_code ec;
  for (const auto bytes : {"a", "b"}) {
    CHECK_FALSE(store.open(id_of(bytes), ec));
    CHECK_FALSE(ec);
    CHECK_FALSE(store.add_name(id_of(bytes), 1, "y", {}, ec));
    CHECK_FALSE(ec);
  }
  CHECK(entries(store).empty());
}

TEST_CASE_FIXTURE(fixture, "no upload follows a symbolic link or overwrites an existing entry") {
  fs::create_directories(folder / "elsewhere");
  REQUIRE_FALSE(put(store, "real", "bytes"));
  const auto id = id_folder("bytes");
  fs::create_directory_symlink(folder / "elsewhere", id / "linked");
  fs::create_symlink(folder / "elsewhere/x", id / "dangling");
  REQUIRE(::mkfifo((id / "fifo").c_str(), 0600) == 0);
  fs::create_directory(id / "folder");
  std::error_code ec;
  for (const auto name :
       {"linked", "linked/x", "dangling", "dangling/x", "fifo", "fifo/x", "folder"}) {
    CAPTURE(name);
    CHECK(put(store, name, "bytes") == errc::bad_name);
    CHECK_FALSE(store.add_name(id_of("bytes"), 5, name, {}, ec));
    CHECK(ec == errc::bad_name);
  }
  CHECK(fs::is_empty(folder / "elsewhere"));
  CHECK(fs::is_symlink(id / "dangling"));
  CHECK(fs::is_empty(incoming()));

  fs::create_directory_symlink(folder / "elsewhere", id_folder("other"));
  write_file(id_folder("another"), "a file");
  CHECK(filexfer::to_refusal(put(store, "x", "other")) == errc::io);
  CHECK(filexfer::to_refusal(put(store, "x", "another")) == errc::io);
  CHECK(fs::is_empty(folder / "elsewhere"));
  CHECK(contents(id_folder("another")) == "a file");
}

TEST_CASE_FIXTURE(fixture, "an empty folder left by a crash is not listed, and is reused") {
  fs::create_directories(id_folder("x") / "a/b");
  CHECK(entries(store).empty());
  CHECK_FALSE(put(store, "a/b/c", "x"));
  CHECK(entries(store) == lines{entry("a/b/c", "x")});
}

TEST_CASE_FIXTURE(fixture, "a failed upload removes the folders that it created, and no others") {
  REQUIRE_FALSE(put(store, "file", "x"));
  CHECK(put(store, "file/a/b", "x") == errc::bad_name);
  fs::create_directories(id_folder("x") / "existing");
  fs::create_directory(id_folder("x") / "existing/taken");
  CHECK(put(store, "existing/taken", "x") == errc::bad_name);
  CHECK(fs::exists(id_folder("x") / "existing/taken"));
  fs::create_directories(id_folder("y"));
  write_file(id_folder("y") / "a", "damaged");
  REQUIRE(::mkfifo((id_folder("y") / "b").c_str(), 0600) == 0);
  CHECK(put(store, "b/c", "y") == errc::bad_name);
  CHECK(files_below(root).size() == 2);  // "file", and the quarantined one
  CHECK(fs::is_empty(incoming()));
}

// ----------------------------------------------------------------------------------------- readers

TEST_CASE_FIXTURE(fixture,
                  "a reader notices that its file was changed, and ignores an added name") {
  const auto bytes = noise(10'000);
  REQUIRE_FALSE(put(store, "a", bytes));
  std::error_code ec;
  auto file = store.open(id_of(bytes), ec);
  REQUIRE(file);
  auto& reader = file->reader;
  REQUIRE(store.add_name(id_of(bytes), bytes.size(), "b", {}, ec));
  reader.check_unchanged(ec);
  CHECK_FALSE(ec);
  damage(id_folder(bytes) / "a", "short");
  reader.check_unchanged(ec);
  CHECK(ec == errc::source_changed);
  CHECK(read_all(reader, ec) == "short");
  CHECK(ec == errc::source_changed);
}

TEST_CASE_FIXTURE(fixture, "a reader can still read a file that was removed") {
  const auto bytes = noise(10'000);
  REQUIRE_FALSE(put(store, "a", bytes));
  std::error_code ec;
  auto file = store.open(id_of(bytes), ec);
  REQUIRE(file);
  fs::remove_all(id_folder(bytes));
  CHECK(read_all(file->reader, ec) == bytes);
  file->reader.check_unchanged(ec);
  CHECK_FALSE(ec);
}

}  // namespace

}  // namespace directory_store_tests
