// Quotas, and running out of descriptors, space, inodes and links.

#include "support/directory_store_fixture.hpp"

#include <filexfer/directory_store.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>

#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace directory_store_exhaustion_tests {

using namespace directory_store_tests;

namespace {

// ------------------------------------------------------------------------------------------ quotas

TEST_CASE("the quota is recounted before an upload is refused") {
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
  // The store limits how often it recounts by the time that counting takes.
  std::error_code ec;
  for (int i = 0; i < 1000 && (ec = put(store, "b", noise(600, 2))); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  CHECK_FALSE(ec);
  CHECK(put(store, "d", "x") == errc::no_space);
}

TEST_CASE("a quota below the stored size refuses uploads, and does not overflow") {
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

TEST_CASE("names and damaged files that were there before are counted") {
  const scratch_folder folder;
  const auto root = folder / "store";
  {
    store_type store{root};
    REQUIRE_FALSE(put(store, "a", noise(600, 1)));
    REQUIRE_FALSE(put(store, "folder/b", noise(600, 1)));
    damage(root / id_of(noise(600, 1)).to_string() / "a", noise(600, 2));
    REQUIRE_FALSE(put(store, "a", noise(600, 1)));
    REQUIRE(files_below(root / ".damaged").size() == 2);
  }
  store_type names{root, {.max_names = 2}};
  CHECK_FALSE(put(names, "b", noise(600, 3)));
  CHECK(put(names, "c", noise(600, 4)) == errc::no_space);
  fs::remove_all(root / id_of(noise(600, 3)).to_string());
  // 600 bytes are listed, 600 damaged.
  std::error_code ec;
  store_type bytes{root, {.quota = 1800}};
  CHECK_FALSE(bytes.create(details_type{"c", 601, {}}, ec));
  CHECK(ec == errc::no_space);
  fs::remove_all(root / ".damaged");
  store_type again{root, {.quota = 1800}};
  const auto rest = again.create(details_type{"c", 1200, {}}, ec);
  CHECK(rest);
  CHECK_FALSE(again.create(details_type{"c", 1, {}}, ec));
}

TEST_CASE("a name that needs a copy of its file needs room for that") {
  const scratch_folder folder;
  store_type store{folder / "store", {.quota = 1000}};
  const auto bytes = noise(600);
  REQUIRE_FALSE(put(store, "a", bytes));
  std::error_code ec;
  const filexfer::file_attributes other_time{.modified = filexfer::file_time{1, 0}};
  CHECK_FALSE(store.add_name(id_of(bytes), bytes.size(), "b", other_time, ec));
  CHECK(ec == errc::no_space);
  CHECK(files_below(folder / "store" / ".incoming").empty());
  CHECK(store.add_name(id_of(bytes), bytes.size(), "b", {}, ec));
  CHECK(entries(store) == sorted({entry("a", bytes), entry("b", bytes)}));
}

TEST_CASE("while one thread recounts, another is told to try again instead of waiting") {
  filexfer::detail::quota quota{{.bytes = 10, .names = 10}};
  std::error_code ec;
  std::error_code other;
  const auto reserved = quota.reserve(
      {11, 0},
      [&](std::error_code&) {
        std::thread{[&] {
          const auto nothing = quota.reserve(
              {11, 0}, [](std::error_code&) { return filexfer::detail::stored_amount{}; }, other);
        }}.join();
        return filexfer::detail::stored_amount{};
      },
      ec);
  CHECK(ec == errc::no_space);
  CHECK(other == std::errc::operation_would_block);
}

TEST_CASE("what is stored while the quota is recounted is not missed") {
  using filexfer::detail::stored_amount;
  filexfer::detail::quota quota{{.bytes = 10, .names = 10}};
  std::error_code ec;
  const auto count = [](std::error_code&) { return stored_amount{}; };
  auto arriving = quota.reserve({6, 1}, count, ec);
  const auto refused = quota.reserve(
      {5, 1},
      [&](std::error_code&) {
        arriving.use({6, 1});  // behind where the count already is
        return stored_amount{};
      },
      ec);
  CHECK(ec == errc::no_space);
}

// --------------------------------------------------------------------------------- resource limits

TEST_CASE_FIXTURE(fixture, "running out of descriptors damages nothing") {
  const auto bytes = noise(1000);
  REQUIRE_FALSE(put(store, "existing", bytes));
  const auto before = open_descriptors();
  rlimit normal{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &normal) == 0);
  const int next = ::dup(0);  // The limit applies to descriptor numbers, which may have gaps.
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
      const bool known = line == entry("existing", bytes) || line == entry("a/b/c", "new") ||
                         line == entry("d/e", bytes) || line.starts_with("error: ");
      CHECK(known);
    }
  }
  CHECK(succeeded);
  CHECK(entries(store) ==
        sorted({entry("existing", bytes), entry("a/b/c", "new"), entry("d/e", bytes)}));
}

#if defined(__linux__)
/// A small tmpfs; `mounted` is false where mounting is not permitted.
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

TEST_CASE("a full disk is reported as no-space, and the upload's space is released") {
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

TEST_CASE("uploads that arrive at the same time leave the disk what is to be kept free") {
  const small_disk disk{"size=10m,nr_inodes=1000"};
  if (!disk.mounted) return;
  store_type store{disk.folder / "store", {.min_free = {.bytes = 2 << 20}}};
  std::error_code ec;
  const auto create = [&](std::uint64_t size) {
    return store.create(details_type{"large", size, {}}, ec);
  };
  constexpr std::uint64_t mib = 1 << 20;
  auto first = create(5 * mib);
  REQUIRE(first);
  CHECK_FALSE(create(3 * mib));  // Only 2 MiB are used, but 5 are promised.
  CHECK(ec == errc::no_space);
  const auto written = noise(3 * mib);
  first->write(as_bytes(written), ec);
  REQUIRE_FALSE(ec);
  CHECK_FALSE(create(3 * mib));
  CHECK(create(2 * mib));  // What was written is not counted twice.
  first.reset();
  CHECK(create(7 * mib));
  CHECK_FALSE(create(8 * mib));
  write_file(disk.folder / "others", noise(5 * mib));
  CHECK_FALSE(create(4 * mib));
  CHECK(create(2 * mib));
}

TEST_CASE("a share of the disk's bytes and inodes is kept free, for names, too") {
  const small_disk disk{"size=10m,nr_inodes=200"};
  if (!disk.mounted) return;
  store_type store{disk.folder / "store", {.min_free = {.percent = 50}}};
  std::error_code ec;
  CHECK_FALSE(store.create(details_type{"large", 6 << 20, {}}, ec));
  CHECK(ec == errc::no_space);
  int stored = 0;
  while (!(ec = put(store, "a", std::to_string(stored)))) ++stored;
  CHECK(ec == errc::no_space);
  CHECK(stored > 20);
  CHECK(stored < 50);  // two inodes each, of 100
  CHECK_FALSE(store.add_name(id_of("0"), 1, "a/folder/of/its/own", {}, ec));
  CHECK_FALSE(store.add_name(id_of("0"), 1, "b/c/d/e", {}, ec));
  CHECK(ec == errc::no_space);
  CHECK(store.add_name(id_of("0"), 1, "takes no inode", {}, ec));
  CHECK(store.add_name(id_of("0"), 1, "a", {}, ec));
  store_type without{disk.folder / "store", {.min_free = {}}};
  CHECK_FALSE(put(without, "b", "more"));
}

TEST_CASE("an upload that is resumed needs only the rest of the disk") {
  const small_disk disk{"size=10m"};
  if (!disk.mounted) return;
  store_type store{disk.folder / "store", {.quota = 9 << 20, .min_free = {}}};
  const auto bytes = noise(8 << 20);
  details_type details{"large", bytes.size(), {}};
  details.id = id_of(bytes);
  details.resume = std::string(16, 't');
  std::error_code ec;
  auto interrupted = store.resume(details, ec);
  REQUIRE(interrupted);
  interrupted->write(as_bytes(bytes).first(7 << 20), ec);
  interrupted->keep();
  interrupted.reset();
  const auto resumed = store.resume(details, ec);
  REQUIRE_FALSE(ec);
  CHECK(resumed->held() == 7 << 20);
  // It counts once, in whole.
  CHECK(store.create(details_type{"small", 1 << 20, {}}, ec));
  CHECK_FALSE(store.create(details_type{"small", (1 << 20) + 1, {}}, ec));
}

TEST_CASE("a disk without inodes is reported as no-space, and nothing is left behind") {
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

TEST_CASE("a store on a disk that becomes read-only refuses uploads and stays readable") {
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

TEST_CASE_FIXTURE(fixture, "a file with the maximum number of links is copied for its next name") {
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
    if (i > 70'000) {  // tmpfs reports a limit that it does not enforce.
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

}  // namespace directory_store_exhaustion_tests
