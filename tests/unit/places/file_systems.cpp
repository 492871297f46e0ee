// How the directory store publishes on file systems without hard links, without locks on folders,
// or that fold names. These are simulated.

#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/detail/posix/file_system.hpp>
#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/detail/store/publishing.hpp>
#include <filexfer/detail/store/store_folder.hpp>
#include <filexfer/detail/store/store_walk.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/publication.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>

namespace file_systems_tests {

namespace detail = filexfer::detail;
namespace fs = std::filesystem;
using namespace test;
using filexfer::errc;
using lines = std::vector<std::string>;
using publishing = detail::publishing<filexfer::md5>;

namespace {

struct simulated {
  scratch_folder folder;
  fs::path root = folder / "store";
  std::error_code ec;
  detail::store_folder store{root, filexfer::flush_mode::on, {}, ec};

  explicit simulated(detail::file_system_traits traits) {
    REQUIRE_FALSE(ec);
    store.pretend(traits, ec);
    REQUIRE_FALSE(ec);
  }

  static void publish(publishing& target, detail::temporary& file, const std::string& name,
                      std::error_code& failed) {
    target.put(file, name, {}, failed);
    publishing* const one = &target;
    detail::publish_in_phases<publishing>({&one, 1}, {&failed, 1});
  }

  std::error_code put(std::string_view name, std::string_view bytes) {
    std::error_code failure;
    detail::temporary file{store.incoming(), failure};
    if (!failure) detail::write_all(file.handle(), as_bytes(bytes), failure);
    if (failure) return failure;
    return when_unlocked([&](std::error_code& failed) {
      const std::string target_name{name};
      publishing target{store, store.root(), id_of(bytes), detail::if_missing::make, failed};
      if (failed) return;
      publish(target, file, target_name, failed);
    });
  }

  /// What a named temporary file becomes if somebody removes it before it is published.
  std::error_code put_removed(std::string_view name, std::string_view bytes) {
    std::error_code failed;
    detail::temporary file{store.incoming(), failed};
    if (!failed) detail::write_all(file.handle(), as_bytes(bytes), failed);
    REQUIRE_FALSE(failed);
    fs::remove(root / ".incoming" / file.name());
    const std::string target_name{name};
    publishing target{store, store.root(), id_of(bytes), detail::if_missing::make, failed};
    REQUIRE_FALSE(failed);
    publish(target, file, target_name, failed);
    return failed;
  }

  bool add_name(std::string_view bytes, std::string_view name, std::error_code& failed,
                std::error_code reservation = {}) {
    publishing target{store, store.root(), id_of(bytes), detail::if_missing::leave, failed};
    struct no_reservation {
      void keep(detail::stored_amount) {}
    };
    const auto reserve = [&](std::uint64_t, std::error_code& refused) {
      refused = reservation;
      return no_reservation{};
    };
    return !failed && target.add_name(bytes.size(), name, {}, reserve, failed);
  }

  lines listed() {
    lines all;
    detail::store_walk<md5_digest> walk{store.root(), ec};
    while (walk.next(ec)) all.push_back(walk.id().to_string() + ' ' + walk.file().name());
    return sorted(all);
  }

  static std::string line(std::string_view name, std::string_view bytes) {
    return id_of(bytes).to_string() + ' ' + std::string{name};
  }

  bool incoming_is_empty() const { return fs::is_empty(root / ".incoming"); }
};

/// Checks what publishing guarantees on any file system.
void check_publishing(detail::file_system_traits traits) {
  simulated p{traits};
  const auto [first, second] = md5_collision();
  CHECK_FALSE(p.put("a", first));
  CHECK_FALSE(p.put("a", first));
  CHECK_FALSE(p.put("b/c", first));
  CHECK(p.put("d", second) == errc::collision);
  CHECK(p.put("a", second) == errc::collision);
  CHECK(p.put("a/x", first) == errc::bad_name);
  CHECK(p.put("b", first) == errc::bad_name);
  std::error_code ec;
  CHECK(p.add_name(first, "e/f", ec));
  CHECK(p.add_name(first, "e/f", ec));
  CHECK_FALSE(ec);
  CHECK_FALSE(p.add_name(first, "e", ec));
  CHECK(ec == errc::bad_name);
  CHECK_FALSE(p.add_name("unknown", "e", ec));
  CHECK_FALSE(ec);
  CHECK(p.listed() == sorted({p.line("a", first), p.line("b/c", first), p.line("e/f", first)}));
  for (const auto name : {"a", "b/c", "e/f"}) {
    const auto file = p.root / id_of(first).to_string() / name;
    CHECK(contents(file) == first);
    CHECK((fs::status(file).permissions() & fs::perms{0222}) == fs::perms::none);
  }
  CHECK(p.incoming_is_empty());

  for (const auto name : {"a", "b/c", "e/f"}) {
    const auto file = p.root / id_of(first).to_string() / name;
    fs::remove(file);
    write_file(file, "damaged");
  }
  CHECK_FALSE(p.put("a/x", first));
  CHECK(p.listed() == lines{p.line("a/x", first)});
  CHECK(p.incoming_is_empty());

  std::atomic<int> failures = 0;
  {
    constexpr std::size_t count = 4;
    std::vector<std::jthread> threads;
    threads.reserve(count);
    while (threads.size() < count) {
      threads.emplace_back([&] {
        for (int i = 0; i < 20; ++i) {
          const auto failed = p.put(i % 2 == 0 ? "x" : "x/y", std::to_string(i / 2));
          if (failed && failed != errc::bad_name) ++failures;
        }
      });
    }
  }
  CHECK(failures == 0);
  CHECK(p.listed().size() == 11);
  CHECK(p.incoming_is_empty());
}

TEST_CASE("files are published without hard links") { check_publishing({.links = false}); }

TEST_CASE("files are published without locks on folders") {
  check_publishing({.locks_folders = false});
}

TEST_CASE("files are published where names are folded") { check_publishing({.folds_names = true}); }

TEST_CASE("files are published without flushing folders") {
  check_publishing({.flushes_folders = false});
}

TEST_CASE("files are published with all of these limits at once") {
  check_publishing(
      {.links = false, .locks_folders = false, .flushes_folders = false, .folds_names = true});
}

TEST_CASE("a name that needs a copy is refused without space for it") {
  simulated p{{.links = false}};
  REQUIRE_FALSE(p.put("a", "bytes"));
  std::error_code ec;
  CHECK_FALSE(p.add_name("bytes", "b/c", ec, make_error_code(errc::no_space)));
  CHECK(ec == errc::no_space);
  CHECK(p.listed() == lines{p.line("a", "bytes")});
  CHECK_FALSE(fs::exists(p.root / id_of("bytes").to_string() / "b"));
  CHECK(p.add_name("bytes", "a", ec, make_error_code(errc::no_space)));
  CHECK_FALSE(ec);
  CHECK(p.incoming_is_empty());
}

TEST_CASE("the file system's abilities are detected, and no test file is left") {
  const scratch_folder folder;
  std::error_code ec;
  const auto handle = detail::open_at(AT_FDCWD, folder.path().c_str(), O_RDONLY | O_DIRECTORY, ec);
  const auto mask = ::umask(027);
  const auto traits = detail::try_file_system(handle.get(), filexfer::flush_mode::on, ec);
  ::umask(mask);
  CHECK_FALSE(ec);
  CHECK(traits.can_publish());
  CHECK(traits.file_mode == 0440);
  CHECK(traits.max_component_length >= 143);
  CHECK(fs::is_empty(folder.path()));
}

}  // namespace

TEST_CASE("a file whose temporary name is gone is not published, and leaves no folder") {
  for (const bool links : {true, false}) {
    detail::file_system_traits traits;
    traits.links = links;
    simulated p{traits};
    CHECK(filexfer::to_refusal(p.put_removed("x", "abc")) == errc::io);
    CHECK(p.listed().empty());
    CHECK_FALSE(fs::exists(p.root / id_of("abc").to_string()));
    CHECK_FALSE(p.put("x", "abc"));
  }
}

TEST_CASE("a file without a name gets one that replaces nothing") {
  const scratch_folder folder;
  std::error_code ec;
  const auto opened = detail::open_at(AT_FDCWD, folder.path().c_str(), O_RDONLY, ec);
  auto file = detail::temporary::nameless(opened.get(), ec);
  if (ec) {
    MESSAGE("skipped: " << ec.message());
    return;
  }
  detail::write_all(file.handle(), as_bytes("bytes"), ec);
  CHECK(fs::is_empty(folder.path()));
  write_file(folder / "taken", "others");
  CHECK(detail::link_descriptor(file.handle(), opened.get(), "taken") == -1);
  CHECK(errno == EEXIST);
  CHECK(contents(folder / "taken") == "others");
  CHECK(detail::link_descriptor(file.handle(), opened.get(), "name") == 0);
  CHECK(contents(folder / "name") == "bytes");

  file.make_name(ec);
  CHECK_FALSE(ec);
  CHECK(contents(folder / file.name()) == "bytes");
  const auto own = std::string{file.name()};
  std::error_code lock_error;
  const auto other = detail::open_at(opened.get(), own.c_str(), O_RDWR, ec);
  detail::try_lock(other.get(), lock_error);
  CHECK(lock_error == std::errc::operation_would_block);
  file.remove();
  CHECK_FALSE(fs::exists(folder / own));
  CHECK(contents(folder / "name") == "bytes");
}

}  // namespace file_systems_tests
