// Files of writers that were killed, and bytes kept of interrupted uploads.

#include "support/directory_store_fixture.hpp"

#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/directory_store.hpp>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace directory_store_leftovers_tests {

using namespace directory_store_tests;

namespace {

std::optional<store_type::upload> create_upload(store_type& store, std::string_view name,
                                                std::uint64_t size) {
  std::error_code ec;
  auto upload = store.create(details_type{std::string{name}, size, {}}, ec);
  REQUIRE_FALSE(ec);
  return upload;
}

/// Creates or resumes a resumable upload.
std::optional<store_type::upload> resume_upload(store_type& store, std::string_view bytes,
                                                const std::string& token, bool with_id = true) {
  details_type details{"name", bytes.size(), std::nullopt};
  if (with_id) details.id = id_of(bytes);
  details.resume = token;
  std::error_code ec;
  auto upload = store.resume(details, ec);
  REQUIRE_FALSE(ec);
  return upload;
}

void write(std::optional<store_type::upload>& upload, std::string_view bytes) {
  std::error_code ec;
  upload->write(as_bytes(bytes), ec);
  REQUIRE_FALSE(ec);
}

// ---------------------------------------------------------------------------------- killed writers

TEST_CASE_FIXTURE(fixture, "opening a store removes a killed writer's files, and nothing in use") {
  auto upload = create_upload(store, "alive", 3);
  std::error_code ec;
  const auto folder_of_others =
      filexfer::detail::open_at(AT_FDCWD, incoming().c_str(), O_RDONLY, ec);
  const filexfer::detail::temporary in_use{folder_of_others.get(), ec};
  REQUIRE_FALSE(ec);
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
  CHECK(files_below(incoming()).size() == 2);  // "locked" and `in_use`
  CHECK(fs::exists(incoming() / in_use.name()));

  upload->write(as_bytes("abc"), ec);
  upload->commit(id_of("abc"), ec);
  CHECK_FALSE(ec);
  CHECK(entries(other) == lines{entry("alive", "abc")});
  ::close(locked);
}

TEST_CASE_FIXTURE(fixture, "a file that a killed writer had already published stays listed") {
  REQUIRE_FALSE(put(store, "name", "bytes"));
  fs::create_hard_link(id_folder("bytes") / "name", incoming() / "left");
  store_type other{root};
  CHECK(fs::is_empty(incoming()));
  CHECK(entries(other) == lines{entry("name", "bytes")});
  CHECK(fetch(other, id_of("bytes")) == "bytes");
}

// ----------------------------------------------------------------------------- interrupted uploads

TEST_CASE("an upload resumes from the bytes kept under its token and size") {
  fixture f;
  const std::string token(16, 't');
  auto first = resume_upload(f.store, "0123456789", token, false);
  CHECK(first->held() == 0);
  write(first, "0123");
  first->keep();
  first.reset();
  CHECK(entries(f.store).empty());

  store_type other{f.root};  // as after a crash
  CHECK(resume_upload(other, "01234567890", token)->held() == 0);
  CHECK(resume_upload(other, "0123456789", token + 'T')->held() == 0);
  auto second = resume_upload(other, "0123456789", token);
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

TEST_CASE("an upload that is not kept, or is restarted without an id, leaves nothing to resume") {
  fixture f;
  const std::string token(64, '_');
  auto dropped = resume_upload(f.store, "abc", token);
  write(dropped, "ab");
  dropped.reset();
  CHECK(files_below(f.root / ".partial").empty());
  auto kept = resume_upload(f.store, "abc", token);
  CHECK(kept->held() == 0);
  write(kept, "ab");
  kept->keep();
  kept.reset();
  CHECK(resume_upload(f.store, "abc", token, false)->held() == 0);
  CHECK(resume_upload(f.store, "abc", token)->held() == 0);
}

TEST_CASE("a token in use is revoked, and is available again once it is released") {
  fixture f;
  const std::string token(16, '0');
  auto older = resume_upload(f.store, "abc", token);
  CHECK_FALSE(older->revoked());
  auto moved = std::move(older);
  older.reset();
  std::error_code ec;
  details_type taken_over{"name", 3, std::nullopt};
  taken_over.resume = token;
  CHECK_FALSE(f.store.resume(taken_over, ec));
  CHECK(ec == std::errc::operation_would_block);
  CHECK(moved->revoked());
  moved.reset();
  CHECK(resume_upload(f.store, "abc", token));
  // A second store on the directory, like another process, can't revoke the token.
  auto first = resume_upload(f.store, "abc", token);
  store_type other{f.root};
  auto second = resume_upload(other, "abc", token);
  REQUIRE(second);
  write(second, "ab");
  second->keep();
  second.reset();
  CHECK_FALSE(first->revoked());
  first.reset();
  CHECK(resume_upload(f.store, "abc", token)->held() == 0);
}

TEST_CASE("a kept upload whose writer was killed after it had published it is removed") {
  fixture f;
  const std::string token(16, '0');
  auto upload = resume_upload(f.store, "abc", token);
  write(upload, "abc");
  upload->keep();
  upload.reset();
  const fs::path kept = fs::directory_iterator { f.root / ".partial" } -> path();
  fs::create_directory(f.id_folder("abc"));
  fs::create_hard_link(kept, f.id_folder("abc") / "name");
  const store_type restarted{f.root};
  CHECK(fs::is_empty(f.root / ".partial"));
  CHECK(contents(f.id_folder("abc") / "name") == "abc");
}

TEST_CASE("kept bytes count in the quota, and are discarded to make room") {
  scratch_folder folder;
  store_type store{folder / "store", {.quota = 10}};
  auto kept = resume_upload(store, "01234567", std::string(16, 'a'));
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

TEST_CASE("kept bytes are discarded when they are too old or too many") {
  scratch_folder folder;
  const auto root = folder / "store";
  const auto keep = [&](char token, std::chrono::minutes age) {
    store_type store{root};
    auto upload = resume_upload(store, "abc", std::string(16, token));
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

}  // namespace

}  // namespace directory_store_leftovers_tests
