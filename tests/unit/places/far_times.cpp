// Times before 1677 and after 2262: in stores, in sources and sinks, and of interrupted uploads. In
// memory they are kept, on a disk as the file system keeps them.

#include "support/directory_store_fixture.hpp"

#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/detail/store/partials.hpp>
#include <filexfer/file.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/tree_sink.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace far_times_tests {

namespace detail = filexfer::detail;
namespace fs = std::filesystem;
using namespace test;
using filexfer::file_time;

namespace {

const std::vector<file_time> far_times{
    file_time::min(),   {-20'000'000'000, 250'000'000}, {-9'223'372'038, 0},
    {9'223'372'037, 0}, {20'000'000'000, 123'456'789},  file_time::max()};

/// Folders in temporary files' place, and in memory where that is possible: tmpfs keeps any second.
std::vector<fs::path> all_places() {
  std::vector<fs::path> places{fs::temp_directory_path()};
  const fs::path in_memory{"/dev/shm"};
  if (::access(in_memory.c_str(), W_OK) == 0) places.push_back(in_memory);
  return places;
}

file_time time_of(const fs::path& file) {
  return detail::modified_time(directory_store_tests::status_of(file));
}

/// Sets a file's time, and returns what the file system keeps of it.
file_time set_time(const fs::path& file, file_time time) {
  const timespec times[] = {{0, UTIME_OMIT}, {time.seconds(), time.nanoseconds()}};
  REQUIRE(::utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
  return time_of(file);
}

file_time kept_of(const scratch_folder& folder, file_time time) {
  write_file(folder / "reference", "");
  return set_time(folder / "reference", time);
}

/// The times in the store's list, by name.
template <class Store>
std::map<std::string, file_time> times_in(Store& store) {
  std::map<std::string, file_time> times;
  std::error_code ec;
  auto cursor = store.list(ec);
  while (auto file = cursor.next(ec)) times[file->name] = file->modified.value();
  REQUIRE_FALSE(ec);
  return times;
}

TEST_CASE("a store in memory keeps any time") {
  for (const file_time time : far_times) {
    CAPTURE(format_time(time));
    filexfer::memory_store<> store;
    REQUIRE_FALSE(put(store, "put", "bytes", 100, time));
    REQUIRE_FALSE(put(store, "put later", "bytes", 100, file_time{5, 0}));
    std::error_code ec;
    REQUIRE(store.add_name(id_of("bytes"), 5, "added", {.modified = time}, ec));
    CHECK(times_in(store) == std::map<std::string, file_time>{
                                 {"added", time}, {"put", time}, {"put later", file_time{5, 0}}});
  }
}

TEST_CASE("a store on a disk keeps the nearest time that the file system keeps") {
  for (const fs::path& place : all_places()) {
    for (const file_time time : far_times) {
      CAPTURE(place);
      CAPTURE(format_time(time));
      const scratch_folder folder{place};
      const file_time kept = kept_of(folder, time);
      filexfer::directory_store<> store{folder / "store"};
      REQUIRE_FALSE(put(store, "put", "bytes", 100, time));
      REQUIRE_FALSE(put(store, "put later", "bytes", 100, file_time{5, 0}));
      std::error_code ec;
      REQUIRE(store.add_name(id_of("bytes"), 5, "added", {.modified = time}, ec));
      const std::map<std::string, file_time> expected{
          {"added", kept}, {"put", kept}, {"put later", file_time{5, 0}}};
      CHECK(times_in(store) == expected);
      REQUIRE_FALSE(put(store, "put", "bytes", 100, time));  // nothing changes
      CHECK(times_in(store) == expected);
    }
  }
}

TEST_CASE("a source has the time of its file, a sink sets it, and says if it is not kept") {
  for (const fs::path& place : all_places()) {
    for (const file_time time : far_times) {
      CAPTURE(place);
      CAPTURE(format_time(time));
      const scratch_folder folder{place};
      const file_time kept = kept_of(folder, time);
      const bool is_kept = detail::keeps_time(kept, time);
      CHECK(filexfer::file_source{folder / "reference"}.modified() == kept);

      std::error_code ec;
      filexfer::file_sink file{folder / "file"};
      CHECK(file.keeps_time());
      file.modified(time);
      filexfer::file_sink moved = std::move(file);
      moved.commit(ec);
      REQUIRE_FALSE(ec);
      CHECK(time_of(folder / "file") == kept);
      CHECK(moved.keeps_time() == is_kept);
      CHECK(filexfer::file_sink{std::move(moved)}.keeps_time() == is_kept);

      filexfer::tree_sink tree{folder.path()};
      tree.open("sub/file", ec);
      REQUIRE_FALSE(ec);
      tree.modified(time);
      tree.commit(ec);
      REQUIRE_FALSE(ec);
      CHECK(time_of(folder / "sub/file") == kept);
      CHECK(tree.keeps_time() == is_kept);
      tree.open("other", ec);
      tree.commit(ec);
      REQUIRE_FALSE(ec);
      CHECK(tree.keeps_time());
    }
  }
}

TEST_CASE("a time is kept if it is rounded down, to even seconds at most") {
  const file_time wanted{5, 999'999'999};
  CHECK(detail::keeps_time(wanted, wanted));
  CHECK(detail::keeps_time({5, 0}, wanted));
  CHECK(detail::keeps_time({4, 0}, wanted));
  CHECK_FALSE(detail::keeps_time({3, 999'999'999}, wanted));
  CHECK_FALSE(detail::keeps_time({6, 0}, wanted));
  CHECK(detail::keeps_time({-2, 0}, {-1, 0}));
  CHECK_FALSE(detail::keeps_time({0, 0}, {-1, 0}));
  CHECK_FALSE(detail::keeps_time(file_time::min(), file_time::max()));
}

TEST_CASE("an interrupted upload is as old as its time says, however far that is") {
  for (const fs::path& place : all_places()) {
    const scratch_folder folder{place};
    { const filexfer::directory_store<> made{folder / "store"}; }
    for (std::size_t i = 0; i < far_times.size(); ++i) {
      const fs::path partial = folder / "store/.partial" / std::to_string(i);
      write_file(partial, "bytes");
      set_time(partial, far_times[i]);
    }
    const filexfer::directory_store<> store{folder / "store"};
    std::set<std::string> left;
    for (const auto& entry : fs::directory_iterator{folder / "store/.partial"}) {
      left.insert(entry.path().filename().string());
    }
    CAPTURE(place);
    CHECK(left == std::set<std::string>{"3", "4", "5"});
  }
}

}  // namespace

}  // namespace far_times_tests
