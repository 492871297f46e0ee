#include "support/scratch_folder.hpp"
#include "support/store_use.hpp"

#include <filexfer/directory_store.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace directory_store_tests {

namespace {

namespace fs = std::filesystem;
using filexfer::errc;
using namespace tests;
using lines = std::vector<std::string>;
using store_type = filexfer::directory_store<>;

struct fixture {
  scratch_folder folder;
  fs::path root = folder / "store";
  store_type store{root};

  fs::path id_folder(std::string_view bytes) const { return root / id_of(bytes).to_string(); }
  fs::path incoming() const { return root / ".incoming"; }
};

struct stat status_of(const fs::path& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status;
}

std::optional<store_type::upload> begin(store_type& store, std::string_view name,
                                        std::uint64_t size) {
  std::error_code ec;
  auto upload = store.create(details_type{std::string{name}, size, {}}, ec);
  REQUIRE_FALSE(ec);
  return upload;
}

/// An upload that may be gone on with.
std::optional<store_type::upload> go_on(store_type& store, std::string_view bytes,
                                        const std::string& token, bool with_id = true) {
  details_type details{"name", bytes.size(), std::nullopt};
  if (with_id) details.id = id_of(bytes);
  details.resume = token;
  std::error_code ec;
  auto upload = store.resume(details, ec);
  REQUIRE_FALSE(ec);
  return upload;
}

void write(std::optional<store_type::upload>& to, std::string_view bytes) {
  std::error_code ec;
  to->write(as_bytes(bytes), ec);
  REQUIRE_FALSE(ec);
}

/// Changes a stored file behind the store's back, as a failing disk would.
void damage(const fs::path& file, std::string_view bytes) {
  REQUIRE(::chmod(file.c_str(), 0600) == 0);
  write_file(file, bytes);
  REQUIRE(::chmod(file.c_str(), 0444) == 0);
}

/// The files below a folder, by their paths in it.
lines files_below(const fs::path& folder) {
  lines found;
  for (const auto& entry : fs::recursive_directory_iterator{folder}) {
    if (entry.is_regular_file()) found.push_back(fs::relative(entry.path(), folder).string());
  }
  return sorted(found);
}

// -------------------------------------------------------------------------------------- the layout

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

TEST_CASE("the store's directory is made with those above it") {
  const scratch_folder folder;
  store_type store{folder / "a/b/c"};
  CHECK_FALSE(put(store, "x", "y"));
  store_type again{folder / "a/b/c/"};
  CHECK(entries(again) == lines{entry("x", "y")});
}

TEST_CASE("a store that can't be opened says why, as an exception and as a code") {
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

TEST_CASE_FIXTURE(fixture, "a file that is removed by hand is gone, and can come again") {
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

// ------------------------------------------------------------------------- what else lies around

TEST_CASE_FIXTURE(fixture, "what is no file of the store is neither listed nor opened") {
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
  write_file(id / std::string(200, 'l') / std::string(55, 'n'), "bytes");  // 256 bytes in all
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

TEST_CASE_FIXTURE(fixture, "no upload goes through a symbolic link, or over what is there") {
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

TEST_CASE_FIXTURE(fixture, "an empty folder that a crash left is not listed, and is used") {
  fs::create_directories(id_folder("x") / "a/b");
  CHECK(entries(store).empty());
  CHECK_FALSE(put(store, "a/b/c", "x"));
  CHECK(entries(store) == lines{entry("a/b/c", "x")});
}

TEST_CASE_FIXTURE(fixture, "an upload that fails removes the folders that it made, and no others") {
  REQUIRE_FALSE(put(store, "file", "x"));
  CHECK(put(store, "file/a/b", "x") == errc::bad_name);
  fs::create_directories(id_folder("x") / "there");
  fs::create_directory(id_folder("x") / "there/taken");
  CHECK(put(store, "there/taken", "x") == errc::bad_name);
  CHECK(fs::exists(id_folder("x") / "there/taken"));
  fs::create_directories(id_folder("y"));
  write_file(id_folder("y") / "a", "damaged");
  REQUIRE(::mkfifo((id_folder("y") / "b").c_str(), 0600) == 0);
  CHECK(put(store, "b/c", "y") == errc::bad_name);
  CHECK(files_below(root).size() == 2);  // "file", and what was damaged, set aside
  CHECK(fs::is_empty(incoming()));
}

// ------------------------------------------------------------------------------------ damaged files

TEST_CASE("a stored file that is damaged makes room for the good one, under all its names") {
  for (const std::string_view bad : {"damXged", "dam", "damaged and longer", ""}) {
    CAPTURE(bad);
    const scratch_folder folder;
    const auto root = folder / "store";
    std::vector<std::string> log;
    store_type store{root,
                     {.quota = {}, .log = [&](std::string_view text) { log.emplace_back(text); }}};
    const auto id = root / id_of("damaged").to_string();
    REQUIRE_FALSE(put(store, "a/b", "damaged"));
    REQUIRE_FALSE(put(store, "c", "damaged"));
    damage(id / "c", bad);
    CHECK_FALSE(fetch(store, id_of("damaged")) == "damaged");

    // Under a new name, which needs a folder where the damaged file stood.
    REQUIRE_FALSE(put(store, "c/d", "damaged"));
    CHECK(entries(store) == lines{entry("c/d", "damaged")});
    CHECK(fetch(store, id_of("damaged")) == "damaged");
    CHECK_FALSE(fs::exists(id / "a"));

    const auto aside = files_below(root / ".damaged");
    REQUIRE(aside.size() == 2);
    CHECK(aside[0].ends_with("/a/b"));
    CHECK(aside[1].ends_with("/c"));
    CHECK(contents(root / ".damaged" / aside[0]) == bad);
    REQUIRE(log.size() == 1);
    CHECK(log[0].find(id_of("damaged").to_string()) == 0);
  }
}

TEST_CASE_FIXTURE(fixture, "a damaged file does not keep a good one from being found") {
  REQUIRE_FALSE(put(store, "good", "bytes"));
  write_file(id_folder("bytes") / "bad", "0ytes");
  CHECK_FALSE(put(store, "bad", "bytes"));
  CHECK(entries(store) == sorted({entry("good", "bytes"), entry("bad", "bytes")}));
  CHECK(contents(id_folder("bytes") / "bad") == "bytes");
  CHECK(contents(id_folder("bytes") / "good") == "bytes");
  CHECK(files_below(root / ".damaged").size() == 1);
}

TEST_CASE_FIXTURE(fixture, "adding a name looks at sizes, not at bytes") {
  REQUIRE_FALSE(put(store, "good", "bytes"));
  write_file(id_folder("bytes") / "same size", "0ytes");
  write_file(id_folder("bytes") / "other size", "bad");
  std::error_code ec;
  for (const auto name : {"good", "same size"}) {
    CHECK(store.add_name(id_of("bytes"), 5, name, {}, ec));
    CHECK_FALSE(ec);
  }
  CHECK(contents(id_folder("bytes") / "good") == "bytes");
  CHECK(contents(id_folder("bytes") / "same size") == "0ytes");
  fs::remove(id_folder("bytes") / "same size");
  CHECK(store.add_name(id_of("bytes"), 5, "other size", {}, ec));
  CHECK_FALSE(ec);
  CHECK(contents(id_folder("bytes") / "other size") == "bytes");
}

TEST_CASE_FIXTURE(fixture, "a good file of the same digest stays whatever arrives") {
  const auto [first, second] = colliding();
  REQUIRE_FALSE(put(store, "a", first));
  CHECK(put(store, "a", second) == errc::collision);
  CHECK(put(store, "b", second) == errc::collision);
  CHECK_FALSE(fs::exists(root / ".damaged"));
  CHECK(contents(id_folder(first) / "a") == first);
  damage(id_folder(first) / "a", "damaged");
  CHECK_FALSE(put(store, "b", second));
  CHECK(contents(id_folder(first) / "b") == second);
}

TEST_CASE_FIXTURE(fixture,
                  "a name that another good file of the same digest has is not taken from it") {
  // As two servers leave them on a file system that does not lock across hosts.
  const auto files = colliding();
  const fs::path place = id_folder(files[0]);
  REQUIRE_FALSE(put(store, "a", files[0]));
  write_file(place / "b", files[1]);
  // Whichever is met first when the store looks for equal bytes, one of these finds them under the
  // other name.
  CHECK(put(store, "b", files[0]) == errc::collision);
  CHECK(put(store, "a", files[1]) == errc::collision);
  CHECK(files_below(place) == lines{"a", "b"});
  // Under a third name either may be refused, but neither is mistaken for the other.
  for (const std::string& bytes : files) {
    const auto refused = put(store, "c/d", bytes);
    CHECK((!refused || refused == errc::collision));
    if (!refused) CHECK(contents(place / "c/d") == bytes);
  }
  CHECK(contents(place / "a") == files[0]);
  CHECK(contents(place / "b") == files[1]);
  CHECK(files_below(incoming()).empty());
  CHECK_FALSE(fs::exists(root / ".damaged"));
}

// ---------------------------------------------------------------------------- what writers leave

TEST_CASE_FIXTURE(fixture, "a start removes what a killed writer left, and nothing that is alive") {
  auto upload = begin(store, "alive", 3);
  write_file(incoming() / "abandoned", "x");
  write_file(incoming() / "read-only", "x");
  REQUIRE(::chmod((incoming() / "read-only").c_str(), 0444) == 0);
  fs::create_directory(incoming() / "folder");
  fs::create_symlink(folder.path(), incoming() / "link");
  REQUIRE(::mkfifo((incoming() / "fifo").c_str(), 0600) == 0);
  write_file(incoming() / "locked", "x");
  const int locked = ::open((incoming() / "locked").c_str(), O_RDWR);
  REQUIRE(::flock(locked, LOCK_EX) == 0);

  store_type other{root};
  CHECK_FALSE(fs::exists(incoming() / "abandoned"));
  CHECK_FALSE(fs::exists(incoming() / "read-only"));
  CHECK(fs::exists(incoming() / "locked"));
  CHECK(fs::is_directory(incoming() / "folder"));
  CHECK(fs::is_symlink(incoming() / "link"));
  CHECK(fs::exists(incoming() / "fifo"));
  CHECK(files_below(incoming()).size() == 2);  // "locked", and the upload's

  std::error_code ec;
  upload->write(as_bytes("abc"), ec);
  upload->commit(id_of("abc"), ec);
  CHECK_FALSE(ec);
  CHECK(entries(other) == lines{entry("alive", "abc")});
  ::close(locked);
}

TEST_CASE_FIXTURE(fixture, "a temporary file that a killed writer had shown already stays shown") {
  REQUIRE_FALSE(put(store, "name", "bytes"));
  fs::create_hard_link(id_folder("bytes") / "name", incoming() / "left");
  store_type other{root};
  CHECK(fs::is_empty(incoming()));
  CHECK(entries(other) == lines{entry("name", "bytes")});
  CHECK(fetch(other, id_of("bytes")) == "bytes");
}

TEST_CASE_FIXTURE(fixture, "a temporary file that is gone is an error, and nothing is listed") {
  auto upload = begin(store, "x", 3);
  std::error_code ec;
  upload->write(as_bytes("abc"), ec);
  for (const auto& file : fs::directory_iterator{incoming()}) fs::remove(file);
  upload->commit(id_of("abc"), ec);
  CHECK(filexfer::to_refusal(ec) == errc::io);
  CHECK(entries(store).empty());
  CHECK_FALSE(fs::exists(id_folder("abc")));
  CHECK_FALSE(put(store, "x", "abc"));
}

// ------------------------------------------------------------------------------- several stores

TEST_CASE_FIXTURE(fixture, "two stores on one directory are one") {
  store_type other{root};
  const auto bytes = noise(100'000);
  REQUIRE_FALSE(put(store, "a", bytes));
  CHECK(entries(other) == lines{entry("a", bytes)});
  std::error_code ec;
  CHECK(other.add_name(id_of(bytes), bytes.size(), "b", {}, ec));
  CHECK_FALSE(put(other, "a", bytes));
  CHECK(entries(store) == sorted({entry("a", bytes), entry("b", bytes)}));
}

TEST_CASE_FIXTURE(fixture, "threads of several stores that publish under the same ids agree") {
  store_type others[] = {store_type{root}, store_type{root}};
  std::atomic<int> failures = 0;
  constexpr int rounds = 30;
  {
    std::vector<std::jthread> running;
    for (int t = 0; t < 6; ++t) {
      running.emplace_back([&, t] {
        auto& mine = t < 2 ? store : others[t % 2];
        for (int i = 0; i < rounds; ++i) {
          const auto bytes = std::to_string(i);
          // Half of them fail after having made folders, which they remove again.
          const auto name = t % 2 == 0 ? "file" : "file/below";
          const auto ec = put(mine, name, bytes);
          if (ec && ec != errc::bad_name) ++failures;
          if (!ec && fetch(mine, id_of(bytes)) != bytes) ++failures;
          if (put(mine, "z/" + std::to_string(t), bytes)) ++failures;
          if (i % 10 == t) store_type{root};  // A start, with its cleaning, in the midst of it.
        }
      });
    }
  }
  CHECK(failures == 0);
  CHECK(entries(store).size() == rounds * 7);
  CHECK(fs::is_empty(incoming()));
}

TEST_CASE_FIXTURE(fixture, "an id's folder that vanishes under a waiting writer is made again") {
  // Holds the lock of a folder that is removed meanwhile, as a peer whose upload failed does.
  fs::create_directories(id_folder("x"));
  const int held = ::open(id_folder("x").c_str(), O_RDONLY | O_DIRECTORY);
  REQUIRE(::flock(held, LOCK_EX) == 0);
  std::error_code ec;
  std::jthread writer{[&] { ec = put(store, "a/b", "x"); }};
  while (files_below(incoming()).empty()) std::this_thread::yield();  // It has begun,
  std::this_thread::sleep_for(std::chrono::milliseconds{30});         // and most likely waits.
  fs::remove(id_folder("x"));
  ::close(held);
  writer.join();
  CHECK_FALSE(ec);
  CHECK(entries(store) == lines{entry("a/b", "x")});
}

// ---------------------------------------------------------------------------------------- readers

TEST_CASE_FIXTURE(fixture,
                  "a reader notices that its file was changed, and not that it has a name more") {
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

TEST_CASE_FIXTURE(fixture, "a reader goes on with a file that is removed") {
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

// ------------------------------------------------------------------------------------------ quotas

TEST_CASE("the quota is counted anew before a refusal") {
  const scratch_folder folder;
  const auto root = folder / "store";
  const filexfer::directory_store_options options{.quota = 1000, .log = {}};
  store_type store{root, options};
  REQUIRE_FALSE(put(store, "a", noise(600, 1)));
  CHECK(put(store, "b", noise(600, 2)) == errc::no_space);
  CHECK(fs::is_empty(root / ".incoming"));
  store_type other{root, options};
  CHECK(put(other, "b", noise(600, 2)) == errc::no_space);
  REQUIRE_FALSE(put(other, "c", noise(400, 3)));
  fs::remove_all(root / id_of(noise(600, 1)).to_string());
  // Counting takes its time; how often it is done at most depends on that.
  std::error_code ec;
  for (int i = 0; i < 1000 && (ec = put(store, "b", noise(600, 2))); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  CHECK_FALSE(ec);
  CHECK(put(store, "d", "x") == errc::no_space);
}

TEST_CASE("a quota below what is stored refuses, and does not overflow") {
  const scratch_folder folder;
  {
    store_type store{folder / "store"};
    REQUIRE_FALSE(put(store, "a", noise(600)));
  }
  store_type store{folder / "store", {.quota = 500, .log = {}}};
  CHECK(put(store, "b", "x") == errc::no_space);
  CHECK(put(store, "empty", "") == errc::no_space);
  CHECK(fetch(store, id_of(noise(600))) == noise(600));
}

// ------------------------------------------------------------------------------ running out of things

TEST_CASE_FIXTURE(fixture, "running out of descriptors harms nothing") {
  const auto bytes = noise(1000);
  REQUIRE_FALSE(put(store, "there", bytes));
  const auto before = open_descriptors();
  rlimit normal{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &normal) == 0);
  const int next = ::dup(0);  // The limit is one of numbers, which may have gaps.
  ::close(next);
  bool succeeded = false;
  for (rlim_t limit = static_cast<rlim_t>(next); limit < 1000 && !succeeded; ++limit) {
    const rlimit low{limit, normal.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
    std::error_code ec;
    const auto failed = put(store, "a/b/c", "new");
    const bool added = store.add_name(id_of(bytes), bytes.size(), "d/e", {}, ec);
    const auto listed = entries(store);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &normal) == 0);
    succeeded = !failed && added && !ec;
    CHECK(open_descriptors() == before);
    CHECK(fs::is_empty(incoming()));
    if (failed) {
      CHECK(failed == std::errc::too_many_files_open);
      CHECK_FALSE(fs::exists(id_folder("new")));
    }
    if (!added) CHECK(ec == std::errc::too_many_files_open);
    if (!added) CHECK_FALSE(fs::exists(id_folder(bytes) / "d"));
    for (const auto& line : listed) {
      const bool known = line == entry("there", bytes) || line == entry("a/b/c", "new") ||
                         line == entry("d/e", bytes) || line.starts_with("error: ");
      CHECK(known);
    }
  }
  CHECK(succeeded);
  CHECK(entries(store) ==
        sorted({entry("there", bytes), entry("a/b/c", "new"), entry("d/e", bytes)}));
}

#if defined(__linux__)
/// A file system in memory, of its own; not there where it can't be mounted.
struct small_disk {
  scratch_folder folder;
  bool mounted;
  explicit small_disk(const char* options)
      : mounted{::mount("none", folder.path().c_str(), "tmpfs", 0, options) == 0} {
    if (!mounted) MESSAGE("skipped: mounting a small file system needs root");
  }
  ~small_disk() {
    if (mounted) ::umount(folder.path().c_str());
  }
};

TEST_CASE("a full disk is no-space, and gives room again") {
  const small_disk disk{"size=256k"};
  if (!disk.mounted) return;
  store_type store{disk.folder / "store"};
  REQUIRE_FALSE(put(store, "small", noise(1000)));
  const auto large = noise(600'000);
  const auto ec = put(store, "large", large, 4096);
  CHECK(filexfer::to_refusal(ec) == errc::no_space);
  CHECK(fs::is_empty(disk.folder / "store/.incoming"));
  CHECK(entries(store) == lines{entry("small", noise(1000))});
  std::error_code early;
  CHECK_FALSE(store.create(details_type{"large", 10'000'000, {}}, early));
  CHECK(early == errc::no_space);
  CHECK_FALSE(put(store, "medium", noise(100'000), 4096));
}

TEST_CASE("a disk without inodes is no-space, and leaves nothing behind") {
  for (int inodes = 3; inodes < 12; ++inodes) {
    CAPTURE(inodes);
    const auto options = "nr_inodes=" + std::to_string(inodes);
    const small_disk disk{options.c_str()};
    if (!disk.mounted) return;
    std::error_code ec;
    store_type store{disk.folder / "store", {}, ec};
    if (ec) {
      CHECK(filexfer::to_refusal(ec) == errc::no_space);
      continue;
    }
    ec = put(store, "a/b/c", "x");
    CHECK(fs::is_empty(disk.folder / "store/.incoming"));
    if (!ec) continue;
    CHECK(filexfer::to_refusal(ec) == errc::no_space);
    CHECK_FALSE(fs::exists(disk.folder / "store" / id_of("x").to_string()));
  }
}

TEST_CASE("a disk that becomes read-only refuses uploads and goes on serving") {
  const small_disk disk{"size=1m"};
  if (!disk.mounted) return;
  store_type store{disk.folder / "store"};
  REQUIRE_FALSE(put(store, "a", "x"));
  REQUIRE(::mount("none", disk.folder.path().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "") == 0);
  CHECK(put(store, "b", "y") == std::errc::read_only_file_system);
  CHECK(put(store, "c", "x") == std::errc::read_only_file_system);
  CHECK(fetch(store, id_of("x")) == "x");
  CHECK(entries(store) == lines{entry("a", "x")});
}
#endif

TEST_CASE_FIXTURE(fixture,
                  "a file with as many links as there can be gets a copy for its next name") {
  REQUIRE_FALSE(put(store, "first", "bytes"));
  const auto file = id_folder("bytes") / "first";
  const auto most = ::pathconf(file.c_str(), _PC_LINK_MAX);
  if (most <= 0 || most > 70'000) {
    MESSAGE("skipped: this file system has no small limit of links");
    return;
  }
  const auto links = folder / "links";
  fs::create_directory(links);
  for (long i = 1;; ++i) {
    if (i > 70'000) {  // tmpfs names a limit that it does not have.
      MESSAGE("skipped: this file system has no small limit of links");
      return;
    }
    if (::link(file.c_str(), (links / std::to_string(i)).c_str()) == 0) continue;
    REQUIRE(errno == EMLINK);
    break;
  }
  CHECK_FALSE(put(store, "second", "bytes"));
  std::error_code ec;
  CHECK(store.add_name(id_of("bytes"), 5, "third", {}, ec));
  CHECK_FALSE(ec);
  CHECK(entries(store) ==
        sorted({entry("first", "bytes"), entry("second", "bytes"), entry("third", "bytes")}));
  CHECK(contents(id_folder("bytes") / "second") == "bytes");
  CHECK(contents(id_folder("bytes") / "third") == "bytes");
  CHECK((status_of(id_folder("bytes") / "third").st_mode & 0222) == 0);
  CHECK(fs::is_empty(incoming()));
}

}  // namespace

// ------------------------------------------------------------------------------- uploads that broke

TEST_CASE("an upload goes on with what was kept under its token and size") {
  fixture f;
  const std::string token(16, 't');
  auto first = go_on(f.store, "0123456789", token, false);
  CHECK(first->held() == 0);
  write(first, "0123");
  first->keep();
  first.reset();
  CHECK(entries(f.store).empty());

  store_type other{f.root};  // as after a crash
  CHECK(go_on(other, "01234567890", token)->held() == 0);
  CHECK(go_on(other, "0123456789", token + 'T')->held() == 0);
  auto second = go_on(other, "0123456789", token);
  REQUIRE(second->held() == 4);
  std::array<std::byte, 10> held{};
  std::error_code ec;
  CHECK(second->read_held(held, 1, ec) == 3);
  CHECK(held[0] == std::byte{'1'});
  write(second, "456789");
  second->commit(id_of("0123456789"), ec);
  CHECK_FALSE(ec);
  second.reset();
  CHECK(fetch(other, id_of("0123456789")) == "0123456789");
  CHECK(files_below(f.root / ".partial").empty());
}

TEST_CASE("an upload that is not kept, or begun afresh, leaves nothing to go on with") {
  fixture f;
  const std::string token(64, '_');
  auto dropped = go_on(f.store, "abc", token);
  write(dropped, "ab");
  dropped.reset();
  CHECK(files_below(f.root / ".partial").empty());
  auto kept = go_on(f.store, "abc", token);
  CHECK(kept->held() == 0);
  write(kept, "ab");
  kept->keep();
  kept.reset();
  CHECK(go_on(f.store, "abc", token, false)->held() == 0);
  CHECK(go_on(f.store, "abc", token)->held() == 0);
}

TEST_CASE("a token that somebody has is revoked, and given to the next once it is free") {
  fixture f;
  const std::string token(16, '0');
  auto older = go_on(f.store, "abc", token);
  CHECK_FALSE(older->revoked());
  auto moved = std::move(older);
  older.reset();
  CHECK_FALSE(go_on(f.store, "abc", token));
  CHECK(moved->revoked());
  moved.reset();
  CHECK(go_on(f.store, "abc", token));
  // Another store on the directory, as another process has, can't tell them to give up.
  auto here = go_on(f.store, "abc", token);
  store_type other{f.root};
  auto there = go_on(other, "abc", token);
  REQUIRE(there);
  write(there, "ab");
  there->keep();
  there.reset();
  CHECK_FALSE(here->revoked());
  here.reset();
  CHECK(go_on(f.store, "abc", token)->held() == 0);
}

TEST_CASE("what was kept counts in the quota, and gives way") {
  scratch_folder folder;
  store_type store{folder / "store", {.quota = 10}};
  auto kept = go_on(store, "01234567", std::string(16, 'a'));
  write(kept, "012345");
  std::error_code ec;
  CHECK_FALSE(store.create(details_type{"n", 3, {}}, ec));  // eight are reserved
  CHECK(ec == errc::no_space);
  kept->keep();
  kept.reset();
  CHECK(store.create(details_type{"n", 4, {}}, ec));
  CHECK(files_below(folder / "store" / ".partial").size() == 1);
  store_type again{folder / "store", {.quota = 10}};
  CHECK(again.create(details_type{"n", 5, {}}, ec));
  CHECK(files_below(folder / "store" / ".partial").empty());
}

TEST_CASE("what was kept is dropped when it is old, or too much") {
  scratch_folder folder;
  const auto root = folder / "store";
  const auto keep = [&](char token, std::chrono::minutes age) {
    store_type store{root};
    auto upload = go_on(store, "abc", std::string(16, token));
    write(upload, "ab");
    upload->keep();
    upload.reset();
    const auto path =
        root / ".partial" / filexfer::detail::partials::key_of(std::string(16, token), 3);
    fs::last_write_time(path, fs::file_time_type::clock::now() - age);
  };
  const auto left = [&](const filexfer::directory_store_options& options) {
    const store_type store{root, options};
    return files_below(root / ".partial").size();
  };
  using std::chrono::minutes;
  keep('a', minutes{10});
  keep('b', minutes{20});
  keep('c', minutes{30});
  CHECK(left({}) == 3);
  CHECK(left({.partial_age = minutes{25}}) == 2);
  CHECK(left({.max_partial_size = 3}) == 1);
  CHECK(
      fs::exists(root / ".partial" / filexfer::detail::partials::key_of(std::string(16, 'a'), 3)));
}

}  // namespace directory_store_tests
