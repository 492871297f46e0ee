// Partial files are resumed only if nobody else can change them; see `file_sink` and
// `directory_store::resume`.

#include "support/directory_store_fixture.hpp"
#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/detail/store/partials.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/error.hpp>
#include <filexfer/file.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include <sys/stat.h>
#include <unistd.h>

namespace private_parts_tests {

namespace {

namespace fs = std::filesystem;
using filexfer::errc;
using filexfer::file_sink;
using filexfer::on_existing;
using namespace test;

constexpr std::string_view token = "token-of-this-upload";

/// Puts something at `part` that must not be resumed, beside the file `victim`.
struct trap {
  std::string name;
  void (*set)(const fs::path& part, const fs::path& victim);
};

const trap traps[] = {
    {"a hard link",
     [](const auto& part, const auto& victim) { fs::create_hard_link(victim, part); }},
    {"a symbolic link",
     [](const auto& part, const auto& victim) { fs::create_symlink(victim, part); }},
    {"a link to nothing",
     [](const auto& part, const auto&) { fs::create_symlink("nowhere", part); }},
    {"a FIFO", [](const auto& part, const auto&) { REQUIRE(::mkfifo(part.c_str(), 0600) == 0); }},
    {"a file that a group can write",
     [](const auto& part, const auto&) {
       write_file(part, "theirs");
       REQUIRE(::chmod(part.c_str(), 0620) == 0);
     }},
    {"a file that all can write",
     [](const auto& part, const auto&) {
       write_file(part, "theirs");
       REQUIRE(::chmod(part.c_str(), 0602) == 0);
     }},
    {"another user's file",
     [](const auto& part, const auto&) {
       write_file(part, "theirs");
       REQUIRE(::chown(part.c_str(), ::geteuid() + 1, static_cast<gid_t>(-1)) == 0);
     }},
};

/// Whether this process may set it: only root may give a file away.
bool can_set(const trap& t) { return ::geteuid() == 0 || t.name != "another user's file"; }

void check_private(const fs::path& file) {
  struct stat status {};
  REQUIRE(::lstat(file.c_str(), &status) == 0);
  CHECK(S_ISREG(status.st_mode));
  CHECK(status.st_nlink == 1);
  CHECK(status.st_uid == ::geteuid());
}

TEST_CASE("a download replaces a part that others can change, and leaves what it is a link to") {
  for (const auto& t : traps) {
    CAPTURE(t.name);
    if (!can_set(t)) continue;
    const scratch_folder folder;
    write_file(folder / "victim", "mine");
    t.set(folder / "part", folder / "victim");
    std::error_code ec;
    {
      file_sink sink{folder / "target", on_existing::keep, "part", ec};
      REQUIRE_FALSE(ec);
      CHECK(sink.held() == 0);
      check_private(folder / "part");
      sink.write(as_bytes("bytes"), ec);
      sink.commit(ec);
      REQUIRE_FALSE(ec);
    }
    CHECK(contents(folder / "target") == "bytes");
    check_private(folder / "target");
    CHECK(contents(folder / "victim") == "mine");
    CHECK_FALSE(fs::exists(folder / "nowhere"));
    CHECK_FALSE(fs::exists(fs::symlink_status(folder / "part")));
  }
}

TEST_CASE("a part that can't be removed is an error of its own, and stays") {
  const scratch_folder folder;
  fs::create_directory(folder / "part");
  std::error_code ec;
  for (int i = 0; i < 2; ++i) {
    const file_sink sink{folder / "target", on_existing::keep, "part", ec};
    CHECK(ec == errc::not_private);
  }
  CHECK(fs::is_directory(folder / "part"));
  CHECK_FALSE(fs::exists(folder / "target"));
}

TEST_CASE("a store replaces an interrupted upload that others can change") {
  const std::string bytes = "bytes of the upload";
  for (const auto& t : traps) {
    CAPTURE(t.name);
    if (!can_set(t)) continue;
    directory_store_tests::fixture f;
    details_type details{"name", bytes.size(), {}};
    details.resume = token;
    details.id = id_of(bytes);
    write_file(f.folder / "victim", "mine");
    const auto part = f.root / ".partial" / filexfer::detail::partials::key_of(token, bytes.size());
    t.set(part, f.folder / "victim");
    std::error_code ec;
    auto upload = f.store.resume(details, ec);
    REQUIRE_FALSE(ec);
    REQUIRE(upload);
    CHECK(upload->held() == 0);
    upload->write(as_bytes(bytes), ec);
    upload->commit(id_of(bytes), ec);
    CHECK_FALSE(ec);
    CHECK(contents(f.id_folder(bytes) / "name") == bytes);
    CHECK(contents(f.folder / "victim") == "mine");
    CHECK_FALSE(fs::exists(fs::symlink_status(part)));
  }
}

// A server that is killed between linking an upload and removing its partial name leaves this.
TEST_CASE("an upload that starts over does not touch a stored file that has its partial name") {
  directory_store_tests::fixture f;
  const std::string bytes = "bytes of the upload";
  REQUIRE_FALSE(put(f.store, "name", bytes));
  const auto part = f.root / ".partial" / filexfer::detail::partials::key_of(token, bytes.size());
  fs::create_hard_link(f.id_folder(bytes) / "name", part);
  details_type details{"name", bytes.size(), {}};
  details.resume = token;
  std::error_code ec;
  auto upload = f.store.resume(details, ec);
  REQUIRE_FALSE(ec);
  REQUIRE(upload);
  CHECK(contents(f.id_folder(bytes) / "name") == bytes);
  upload->write(as_bytes("other"), ec);
  CHECK(contents(f.id_folder(bytes) / "name") == bytes);
}

TEST_CASE(
    "an upload whose partial name is taken by a folder is stored, and the log names the folder") {
  const scratch_folder folder;
  std::string log;
  filexfer::directory_store_options options;
  options.log = [&](std::string_view text) { log += text; };
  filexfer::directory_store<> store{folder / "store", options};
  const std::string bytes = "bytes of the upload";
  const auto key = filexfer::detail::partials::key_of(token, bytes.size());
  fs::create_directory(folder.path() / "store" / ".partial" / key);
  details_type details{"name", bytes.size(), {}};
  details.resume = token;
  std::error_code ec;
  auto upload = store.resume(details, ec);
  REQUIRE_FALSE(ec);
  REQUIRE(upload);
  upload->write(as_bytes(bytes), ec);
  upload->commit(id_of(bytes), ec);
  CHECK_FALSE(ec);
  CHECK(fetch(store, id_of(bytes)) == bytes);
  CHECK(log.find(".partial/" + key) != log.npos);
}

}  // namespace

}  // namespace private_parts_tests
