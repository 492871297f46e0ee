// Several uploads of a directory_store that are committed together.

#include "support/directory_store_fixture.hpp"
#include "support/flush_with_threads.hpp"
#include "support/known_files.hpp"
#include "support/spare_descriptors.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/storage.hpp>

#include <doctest/doctest.h>

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace directory_store_group_commit_tests {

using namespace directory_store_tests;
using upload = store_type::upload;
using commit = filexfer::upload_commit<upload, store_type::digest_type>;

namespace {

/// Uploads that are to be committed together.
struct group {
  explicit group(store_type& its_store) : store{its_store} {}

  store_type& store;
  std::deque<upload> uploads;
  std::vector<commit> commits;

  void add(std::string_view name, std::string_view bytes) { add(name, bytes, bytes.size()); }

  void add(std::string_view name, std::string_view bytes, std::uint64_t size) {
    std::error_code ec;
    auto created = store.create({std::string{name}, size, {}}, ec);
    REQUIRE(created);
    created->write(as_bytes(bytes), ec);
    REQUIRE_FALSE(ec);
    uploads.push_back(std::move(*created));
    commits.push_back({&uploads.back(), id_of(bytes)});
  }
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "uploads that are committed together succeed or fail each by itself") {
  const auto [first, second] = md5_collision();
  REQUIRE_FALSE(put(store, "stored", first));
  group all{store};
  all.add("a", "1");
  all.add("b", "2", 2);  // a byte is missing
  all.add("c/d", "3");
  all.add("collides", second);
  all.add("same bytes", first);
  all.add("stored/below", first);
  store.commit_all(all.commits);
  CHECK_FALSE(all.commits[0].error);
  CHECK(all.commits[1].error == errc::bad_size);
  CHECK_FALSE(all.commits[2].error);
  CHECK(all.commits[3].error == errc::collision);
  // Those of one id wait for each other.
  CHECK(all.commits[4].error == std::errc::operation_would_block);
  CHECK(all.commits[5].error == std::errc::operation_would_block);
  CHECK(entries(store) == sorted({entry("a", "1"), entry("c/d", "3"), entry("stored", first)}));

  std::vector<commit> rest{all.commits[4]};
  store.commit_all(rest);
  CHECK_FALSE(rest[0].error);
  rest = {all.commits[5]};
  store.commit_all(rest);
  CHECK(rest[0].error == errc::bad_name);
  CHECK(entries(store) == sorted({entry("a", "1"), entry("c/d", "3"), entry("stored", first),
                                  entry("same bytes", first)}));
  all.uploads.clear();
  CHECK(files_below(incoming()).empty());
}

TEST_CASE_FIXTURE(fixture,
                  "an upload that meets a lock is left as it was, and the others are "
                  "stored") {
  REQUIRE_FALSE(put(store, "first", "x"));
  const int held = ::open(id_folder("x").c_str(), O_RDONLY | O_DIRECTORY);
  REQUIRE(::flock(held, LOCK_EX) == 0);
  group all{store};
  all.add("second", "x");
  all.add("other", "y");
  store.commit_all(all.commits);
  CHECK(all.commits[0].error == std::errc::operation_would_block);
  CHECK_FALSE(all.commits[1].error);
  CHECK(entries(store) == sorted({entry("first", "x"), entry("other", "y")}));
  ::close(held);
  all.commits.pop_back();
  store.commit_all(all.commits);
  CHECK_FALSE(all.commits[0].error);
  CHECK(fetch(store, id_of("x")) == "x");
  CHECK(entries(store).size() == 3);
}

TEST_CASE_FIXTURE(fixture, "uploads are committed in smaller groups if descriptors run out") {
  flush_with_threads();
  group all{store};
  for (int i = 0; i < 40; ++i) all.add("file", std::to_string(i));
  {
    const spare_descriptors few{8};
    store.commit_all(all.commits);
  }
  for (const auto& one : all.commits) CHECK_FALSE(one.error);
  CHECK(entries(store).size() == 40);
}

TEST_CASE_FIXTURE(fixture, "of several damaged and good files of a group each is healed or kept") {
  REQUIRE_FALSE(put(store, "a", "good"));
  REQUIRE_FALSE(put(store, "b", "bad"));
  damage(id_folder("bad") / "b", "dab");
  group all{store};
  all.add("a", "good");
  all.add("b", "bad");
  store.commit_all(all.commits);
  for (const auto& one : all.commits) CHECK_FALSE(one.error);
  CHECK(fetch(store, id_of("good")) == "good");
  CHECK(fetch(store, id_of("bad")) == "bad");
  CHECK(files_below(root / ".damaged").size() == 1);
}

TEST_CASE_FIXTURE(fixture, "an arriving file has no name where the file system can do without") {
  group all{store};
  all.add("a", "bytes");
  filexfer::detail::file_system_traits traits;
  std::error_code ec;
  const int opened = ::open(incoming().c_str(), O_RDONLY | O_DIRECTORY);
  traits = filexfer::detail::try_file_system(opened, filexfer::flush_mode::on, ec);
  ::close(opened);
  CHECK(files_below(incoming()).empty() == traits.nameless_files);
  store.commit_all(all.commits);
  CHECK(entries(store) == lines{entry("a", "bytes")});
  CHECK(files_below(incoming()).empty());
}

}  // namespace directory_store_group_commit_tests
