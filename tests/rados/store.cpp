#include "pool_fixture.hpp"
#include "support/bytes.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/detail/rados/leftovers.hpp>
#include <filexfer/error.hpp>
#include <filexfer/sha256.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace test;
using filexfer::errc;
using namespace std::chrono_literals;

// ------------------------------------------------------------------------------------ the namespace

TEST_CASE("stores on one namespace share its files, and those on another have none of them") {
  pool_fixture f;
  REQUIRE_FALSE(put(f.store, "a", noise(250'000)));
  auto options = f.place.options();
  options.index_objects = 7;    // is not asked for any more
  options.chunk_size = 33'333;  // may differ from file to file
  rados_store other{options};
  CHECK(entries(other) == entries(f.store));
  CHECK(fetch(other, id_of(noise(250'000))) == noise(250'000));
  REQUIRE_FALSE(put(other, "b", noise(100'001)));
  CHECK(fetch(f.store, id_of(noise(100'001))) == noise(100'001));
  CHECK(entries(f.store).size() == 2);
  pool_fixture elsewhere;
  CHECK(entries(elsewhere.store).empty());
}

TEST_CASE("a namespace whose ids are another digest is refused") {
  pool_fixture f;
  std::error_code ec;
  const filexfer::rados_store<filexfer::sha256> other{f.place.options(), ec};
  CHECK(ec == errc::wrong_digest_kind);
  CHECK_THROWS_AS(filexfer::rados_store<filexfer::sha256>{f.place.options()}, std::system_error);
}

TEST_CASE("a pool that does not exist is refused") {
  std::error_code ec;
  auto options = rados_namespace{}.options();
  options.pool = "no-such-pool";
  const rados_store store{options, ec};
  CHECK(ec == std::errc::no_such_file_or_directory);
}

TEST_CASE("a store makes no index if it is not to") {
  const rados_namespace place;
  auto options = place.options();
  options.make_index = false;
  std::error_code ec;
  { const rados_store store{options, ec}; }
  CHECK(ec == std::errc::no_such_file_or_directory);
  options.make_index = true;
  options.index_objects = 5;
  const rados_store store{options, ec};
  CHECK_FALSE(ec);
}

TEST_CASE("stores that make an index at the same time agree on it") {
  const rados_namespace place;
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> threads;
    threads.reserve(8);
    for (std::size_t i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        auto options = place.options();
        options.index_objects = 4 + i;
        std::error_code ec;
        rados_store store{options, ec};
        if (ec || put(store, std::to_string(i), noise(i))) ++failures;
      });
    }
  }
  CHECK(failures == 0);
  rados_store store{place.options()};
  CHECK(entries(store).size() == 8);
  for (std::size_t i = 0; i < 8; ++i) CHECK(fetch(store, id_of(noise(i))) == noise(i));
}

TEST_CASE("a list reads on where one object of the index has many names") {
  const rados_namespace place;
  auto options = place.options();
  options.index_objects = 1;
  rados_store store{options};
  REQUIRE_FALSE(put(store, "first", "shared"));
  std::vector<std::string> expected{entry("first", "shared")};
  expected.reserve(2101);
  std::error_code ec;
  for (int i = 0; i < 2100; ++i) {
    const auto name = "name " + std::to_string(i);
    REQUIRE(store.add_name(id_of("shared"), 6, name, {}, ec));
    expected.push_back(entry(name, "shared"));
  }
  CHECK(entries(store) == sorted(expected));
}

// ---------------------------------------------------------------------------------------- publishing

TEST_CASE_FIXTURE(pool_fixture, "uploads of one id are committed in their order") {
  std::vector<rados_store::upload> uploads;
  std::vector<filexfer::upload_commit<rados_store::upload, md5_digest>> commits;
  uploads.reserve(20);
  commits.reserve(20);
  const auto time_of = [](int i) { return filexfer::file_time{std::chrono::sys_seconds{1s * i}}; };
  for (int i = 0; i < 20; ++i) {
    std::error_code ec;
    filexfer::upload_details<md5_digest> details{"name", 3, {}};
    details.modified = time_of(i);
    uploads.push_back(std::move(*store.create(details, ec)));
    uploads.back().write(as_bytes("abc"), ec);
    REQUIRE_FALSE(ec);
  }
  for (auto& upload : uploads) commits.push_back({&upload, id_of("abc")});
  store.commit_all(commits);
  for (const auto& one : commits) CHECK_FALSE(one.error);
  std::error_code ec;
  auto cursor = store.list(ec);
  const auto file = cursor.next(ec);
  REQUIRE(file);
  CHECK(file->modified == time_of(19));
  CHECK_FALSE(cursor.next(ec));
  uploads.clear();
  CHECK(place.chunks().size() == 1);
}

TEST_CASE_FIXTURE(pool_fixture, "an upload leaves no objects but those of the file") {
  REQUIRE_FALSE(put(store, "once", noise(250'000)));
  CHECK(place.chunks().size() == 3);
  REQUIRE_FALSE(put(store, "again", noise(250'000)));
  CHECK(place.chunks().size() == 3);
  CHECK(put(store, "again/name", noise(250'000)) == errc::bad_name);
  CHECK(place.chunks().size() == 3);
  std::error_code ec;
  auto unfinished = store.create(details_type{"unfinished", 250'000, {}}, ec);
  unfinished->write(as_bytes(noise(230'000)), ec);
  unfinished.reset();
  CHECK(place.chunks().size() == 3);
}

TEST_CASE_FIXTURE(pool_fixture, "files that are published, named and removed at once stay whole") {
  rados_store other{place.options()};
  const auto bytes = noise(150'000);
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> threads;
    threads.reserve(8);
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        rados_store& mine = t % 2 == 0 ? store : other;
        for (int i = 0; i < 15; ++i) {
          std::error_code ec;
          if (t < 4 && put(mine, t < 2 ? "same" : std::to_string(t), bytes)) ++failures;
          if (t == 4 || t == 5) mine.remove(id_of(bytes), "same", ec);
          if (t == 6) mine.add_name(id_of(bytes), bytes.size(), "added", {}, ec);
          if (t == 7) mine.remove(id_of(bytes), "2", ec);
          if (ec) ++failures;
        }
      });
    }
  }
  CHECK(failures == 0);
  REQUIRE_FALSE(put(store, "last", bytes));
  CHECK(fetch(other, id_of(bytes)) == bytes);
  std::error_code ec;
  filexfer::detail::rados_context context{place.open().handle(), 16, test_chunk_size};
  const auto pool = place.open();
  context.pool = pool.handle();
  filexfer::detail::remove_garbage(context, 0s, {}, ec);
  CHECK_FALSE(ec);
  CHECK(place.chunks().size() == 2);
  CHECK(fetch(other, id_of(bytes)) == bytes);
}

TEST_CASE_FIXTURE(pool_fixture, "bytes that are published stay if a change is sent twice") {
  const auto bytes = noise(250'000);
  std::error_code ec;
  const auto pool = place.open();
  const filexfer::detail::rados_context context{pool.handle(), 16, test_chunk_size};
  filexfer::detail::chunk_writer writer{pool.handle(), filexfer::detail::random_name(),
                                        bytes.size(), test_chunk_size, 0};
  writer.write(as_bytes(bytes), ec);
  for (int i = 0; i < 2; ++i) {
    filexfer::detail::rados_publishing<filexfer::md5> change{context, id_of(bytes), bytes.size(),
                                                             "name",  {},           &writer};
    change.start();
    while (change.advance()) continue;
    CHECK_FALSE(change.error());
    CHECK(writer.may_be_published());
    writer.remove();
    CHECK(fetch(store, id_of(bytes)) == bytes);
  }
}

TEST_CASE("what is published stays if another upload of its group throws") {
  rados_namespace place;
  auto options = place.options();
  options.log = [](std::string_view) { throw std::bad_alloc{}; };
  rados_store store{options};
  REQUIRE_FALSE(put(store, "damaged", noise(1000)));
  place.overwrite(place.chunks().front(), "damaged");
  std::error_code ec;
  std::vector<rados_store::upload> uploads;
  std::vector<filexfer::upload_commit<rados_store::upload, md5_digest>> commits;
  uploads.reserve(3);
  commits.reserve(3);
  for (const std::size_t size : {2000u, 1000u, 3000u}) {
    uploads.push_back(std::move(*store.create(details_type{"name", size, {}}, ec)));
    uploads.back().write(as_bytes(noise(size)), ec);
  }
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t sizes[] = {2000, 1000, 3000};
    commits.push_back({&uploads[i], id_of(noise(sizes[i]))});
  }
  store.commit_all(commits);
  CHECK_FALSE(commits[0].error);
  CHECK(commits[1].error == std::errc::not_enough_memory);
  CHECK_FALSE(commits[2].error);
  uploads.clear();
  CHECK(entries(store).size() == 2);
  CHECK(all_whole(store));
}

// ------------------------------------------------------------------------------------------- resuming

TEST_CASE_FIXTURE(pool_fixture, "an upload is resumed by another store, at whole objects") {
  rados_store other{place.options()};
  const auto bytes = noise(550'000);
  std::error_code ec;
  {
    auto first = store.resume(resumable("name", bytes, true), ec);
    REQUIRE(first);
    CHECK(first->held() == 0);
    first->write(as_bytes(bytes.substr(0, 330'000)), ec);
    first->keep();
  }
  auto second = other.resume(resumable("name", bytes, true), ec);
  REQUIRE(second);
  CHECK(second->held() == 300'000);
  std::string held(500'000, '\0');
  CHECK(second->read_held(std::as_writable_bytes(std::span{held}), 50'000, ec) == 250'000);
  CHECK(held.substr(0, 250'000) == bytes.substr(50'000, 250'000));
  second->write(as_bytes(bytes.substr(300'000)), ec);
  second->commit(id_of(bytes), ec);
  REQUIRE_FALSE(ec);
  CHECK(fetch(store, id_of(bytes)) == bytes);
  CHECK(place.chunks().size() == 6);
  CHECK(place.notes() == 0);
  second.reset();
  // The token refers to nothing any more.
  auto third = store.resume(resumable("name", bytes, true), ec);
  REQUIRE(third);
  CHECK(third->held() == 0);
}

TEST_CASE_FIXTURE(pool_fixture, "an upload whose store was killed is resumed") {
  const auto bytes = noise(550'000);
  std::error_code ec;
  auto& killed = never_destroyed(std::make_unique<rados_store>(place.options()));
  auto& first = never_destroyed(std::make_unique<rados_store::upload>(
      std::move(*killed.resume(resumable("a", bytes, true), ec))));
  first.write(as_bytes(bytes.substr(0, 450'000)), ec);
  std::this_thread::sleep_for(1s);
  auto second = store.resume(resumable("a", bytes, true), ec);
  REQUIRE(second);
  CHECK(second->held() == 400'000);
}

TEST_CASE_FIXTURE(pool_fixture, "without an id, what an interrupted upload left is discarded") {
  const auto bytes = noise(550'000);
  std::error_code ec;
  leave_interrupted(store, bytes, bytes.size());
  CHECK(place.chunks().size() == 5);
  auto second = store.resume(resumable("name", bytes, false), ec);
  REQUIRE(second);
  CHECK(second->held() == 0);
  CHECK(place.chunks().empty());
}

TEST_CASE_FIXTURE(pool_fixture,
                  "an upload is revoked if another one of the store wants its token") {
  const auto bytes = noise(550'000);
  std::error_code ec;
  auto first = store.resume(resumable("name", bytes, true), ec);
  REQUIRE(first);
  CHECK_FALSE(first->revoked());
  CHECK_FALSE(store.resume(resumable("name", bytes, true), ec));
  CHECK(ec == std::errc::operation_would_block);
  CHECK(first->revoked());
  first->keep();
  first.reset();
  CHECK(store.resume(resumable("name", bytes, true), ec));
}

TEST_CASE_FIXTURE(pool_fixture, "of two stores that continue one upload one at most publishes it") {
  rados_store other{place.options()};
  const auto bytes = noise(550'000);
  std::error_code ec;
  auto first = store.resume(resumable("name", bytes, true), ec);
  first->write(as_bytes(bytes.substr(0, 200'000)), ec);
  std::this_thread::sleep_for(500ms);
  auto second = other.resume(resumable("name", bytes, true), ec);
  REQUIRE(second);
  REQUIRE(second->held() == 200'000);
  second->write(as_bytes(bytes.substr(200'000)), ec);
  first->write(as_bytes(bytes.substr(200'000)), ec);
  std::error_code first_failed;
  second->commit(id_of(bytes), ec);
  first->commit(id_of(bytes), first_failed);
  CHECK((ec || first_failed));
  CHECK(entries(store).size() == (ec && first_failed ? 0 : 1));
  first.reset();
  second.reset();
  CHECK(entries(store).size() == (ec && first_failed ? 0 : 1));
  CHECK(all_whole(store));
  auto third = store.resume(resumable("name", bytes, true), ec);
  REQUIRE(third);
  third->write(as_bytes(bytes.substr(third->held())), ec);
  third->commit(id_of(bytes), ec);
  CHECK_FALSE(ec);
  CHECK(fetch(store, id_of(bytes)) == bytes);
}

TEST_CASE_FIXTURE(pool_fixture,
                  "objects behind a hole are used again if they have the same bytes") {
  const auto bytes = noise(550'000);
  std::error_code ec;
  leave_interrupted(store, bytes, 500'000);
  const auto objects = place.chunks();
  REQUIRE(objects.size() == 5);
  place.remove(objects[2]);
  std::string wanted = bytes;
  SUBCASE("the same") {}
  SUBCASE("others") { wanted[350'000] ^= 1; }
  auto second = store.resume(resumable("name", bytes, true), ec);
  REQUIRE(second);
  CHECK(second->held() == 200'000);
  second->write(as_bytes(wanted.substr(200'000)), ec);
  if (!ec) second->commit(id_of(bytes), ec);
  CHECK(ec == (wanted == bytes ? std::error_code{} : make_error_code(std::errc::file_exists)));
  second.reset();
  CHECK(all_whole(store));
  CHECK(entries(store).size() == (ec ? 0 : 1));
}

TEST_CASE_FIXTURE(pool_fixture, "if the first object is missing, the others may be somebody's") {
  const auto bytes = noise(550'000);
  std::error_code ec;
  leave_interrupted(store, bytes, bytes.size());
  place.remove(place.chunks().front());
  CHECK(store.resume(resumable("name", bytes, false), ec));
  CHECK_FALSE(ec);
  CHECK(place.chunks().size() == 4);
}

TEST_CASE_FIXTURE(pool_fixture, "an upload that takes another one over reads what that one holds") {
  const auto bytes = noise(550'000);
  std::error_code ec;
  leave_interrupted(store, bytes, 330'000);
  auto upload = std::move(*store.create(details_type{"a", 5, {}}, ec));
  std::byte held[1000];
  CHECK(upload.read_held(held, 0, ec) == 0);
  upload = std::move(*store.resume(resumable("name", bytes, true), ec));
  CHECK(upload.held() == 300'000);
  CHECK(upload.read_held(held, 0, ec) == 1000);
}

// ------------------------------------------------------------------------------ removal and leftovers

TEST_CASE_FIXTURE(pool_fixture, "a removed file can be read by those that have it open") {
  const auto bytes = noise(550'000);
  REQUIRE_FALSE(put(store, "name", bytes));
  std::error_code ec;
  auto file = store.open(id_of(bytes), ec);
  REQUIRE(file);
  rados_store other{place.options()};
  CHECK(other.remove(id_of(bytes), "name", ec));
  CHECK_FALSE(other.remove(id_of(bytes), "name", ec));
  CHECK(entries(store).empty());
  CHECK_FALSE(store.open(id_of(bytes), ec));
  CHECK(store.remove_garbage(ec) == 0);  // not yet
  CHECK(read_all(file->reader, ec) == bytes);
  CHECK_FALSE(ec);

  const auto pool = place.open();
  const filexfer::detail::rados_context context{pool.handle(), 16, test_chunk_size};
  CHECK(filexfer::detail::remove_garbage(context, 0s, {}, ec) == 1);
  CHECK(place.chunks().empty());
  CHECK(filexfer::detail::remove_garbage(context, 0s, {}, ec) == 0);
}

TEST_CASE_FIXTURE(pool_fixture, "what a killed store left is removed, and nothing else") {
  const auto kept = noise(250'000);
  REQUIRE_FALSE(put(store, "kept", kept));
  REQUIRE_FALSE(put(store, "removed", noise(120'000)));
  std::error_code ec;
  auto& killed = never_destroyed(std::make_unique<rados_store>(place.options()));
  auto& upload = never_destroyed(std::make_unique<rados_store::upload>(
      std::move(*killed.create(details_type{"unfinished", 550'000, {}}, ec))));
  upload.write(as_bytes(noise(500'000)), ec);
  std::this_thread::sleep_for(2s);
  REQUIRE(place.chunks().size() == 10);
  CHECK(store.remove_leftovers(0s, ec) == 0);  // it is not a day old
  CHECK_FALSE(ec);
  REQUIRE(store.remove(id_of(noise(120'000)), "removed", ec));

  const auto pool = place.open();
  const filexfer::detail::rados_context context{pool.handle(), 16, test_chunk_size};
  for (int i = 0; i < 2; ++i) {  // an object may be found before its first one is removed
    filexfer::detail::rados_leftovers<md5_digest>{context, 0s, {}}.remove(ec);
    CHECK_FALSE(ec);
  }
  CHECK(place.chunks().size() == 5);  // also of the removed file, which may be open
  CHECK(fetch(store, id_of(kept)) == kept);

  SUBCASE("an upload that was taken for a leftover is not published") {
    upload.write(as_bytes(noise(50'000)), ec);
    upload.commit(id_of(noise(1)), ec);
    CHECK(ec);
    CHECK(entries(store).size() == 1);
  }
}

TEST_CASE_FIXTURE(pool_fixture, "bytes are not published once they were fenced off") {
  const auto bytes = noise(5'000);
  std::error_code ec;
  const auto pool = place.open();
  const filexfer::detail::rados_context context{pool.handle(), 16, test_chunk_size};
  const std::string name = filexfer::detail::random_name();
  filexfer::detail::chunk_writer writer{pool.handle(), name, bytes.size(), test_chunk_size, 0};
  writer.write(as_bytes(bytes), ec);
  writer.start_claim(id_of(bytes).to_string());
  REQUIRE_FALSE(writer.finish_claim());
  std::this_thread::sleep_for(2s);
  CHECK(filexfer::detail::rados_leftovers<md5_digest>{context, 0s, {}}.remove(ec) == 1);
  CHECK(place.chunks().size() == 1);  // somebody may read them
  CHECK(filexfer::detail::rados_leftovers<md5_digest>{context, 0s, {}}.remove(ec) == 0);
  CHECK(filexfer::detail::remove_garbage(context, 0s, {}, ec) == 1);
  CHECK(place.chunks().empty());

  filexfer::detail::rados_publishing<filexfer::md5> late{context, id_of(bytes), bytes.size(),
                                                         "late",  {},           &writer};
  late.start();
  while (late.advance()) continue;
  CHECK(late.error() == std::errc::file_exists);
  CHECK(entries(store).empty());
}

TEST_CASE_FIXTURE(pool_fixture, "of several stores one looks for leftovers within an interval") {
  rados_store other{place.options()};
  std::error_code ec;
  const auto pool = place.open();
  place.overwrite(std::string(32, 'a') + ".5", "orphan");
  std::this_thread::sleep_for(2s);
  CHECK(store.remove_leftovers(24h, ec) == 0);  // it is not old
  CHECK(other.remove_leftovers(24h, ec) == 0);
  const filexfer::detail::rados_context context{pool.handle(), 16, test_chunk_size};
  CHECK(filexfer::detail::rados_leftovers<md5_digest>{context, 0s, [] { return true; }}.remove(
            ec) == 0);
  CHECK(filexfer::detail::rados_leftovers<md5_digest>{context, 0s, {}}.remove(ec) == 1);
  CHECK_FALSE(ec);
  for (const auto* foreign : {"0123456789abcdef0123456789abcdef.jpg", "format.0", "a.0"}) {
    place.overwrite(foreign, "somebody's");
  }
  std::this_thread::sleep_for(2s);
  CHECK(filexfer::detail::rados_leftovers<md5_digest>{context, 0s, {}}.remove(ec) == 0);
}

TEST_CASE_FIXTURE(pool_fixture, "the note of an interrupted upload goes with its bytes") {
  const auto bytes = noise(550'000);
  std::error_code ec;
  leave_interrupted(store, bytes, 330'000);
  CHECK(place.notes() == 1);
  CHECK(entries(store).empty());
  std::this_thread::sleep_for(2s);
  const auto pool = place.open();
  const filexfer::detail::rados_context context{pool.handle(), 16, test_chunk_size};
  for (int i = 0; i < 2; ++i) {
    filexfer::detail::rados_leftovers<md5_digest>{context, 0s, {}}.remove(ec);
    CHECK_FALSE(ec);
  }
  CHECK(place.chunks().empty());
  CHECK(place.notes() == 0);
}

// --------------------------------------------------------------------------------------------- damage

TEST_CASE_FIXTURE(pool_fixture, "a damaged file is replaced by an upload of its bytes") {
  const auto bytes = noise(250'000);
  const auto damage = [&](int way) {
    const auto objects = place.chunks();
    if (way == 0) place.overwrite(objects[1], noise(test_chunk_size, 5));
    if (way == 1) place.overwrite(objects[2], "short");
    if (way == 2) place.remove(objects[0]);
  };
  for (int way = 0; way < 3; ++way) {
    CAPTURE(way);
    pool_fixture f;
    place = f.place;
    std::error_code ec;
    REQUIRE_FALSE(put(f.store, "a", bytes));
    REQUIRE(f.store.add_name(id_of(bytes), bytes.size(), "b", {}, ec));
    damage(way);
    CHECK(fetch(f.store, id_of(bytes)) != bytes);
    SUBCASE("by an upload") {}
    SUBCASE("after it was verified") {
      std::vector<filexfer::stored_state> states;
      const auto totals = f.store.verify(
          {}, [&](const auto& file) { states.push_back(file.state); }, ec);
      CHECK_FALSE(ec);
      CHECK(totals.damaged == 1);
      CHECK(states == std::vector{filexfer::stored_state::damaged});
      CHECK(entries(f.store).empty());
    }
    CHECK_FALSE(put(f.store, "c", bytes));
    CHECK(fetch(f.store, id_of(bytes)) == bytes);
    CHECK(entries(f.store) == std::vector{entry("c", bytes)});
  }
}

TEST_CASE_FIXTURE(pool_fixture, "a damaged file is set aside with any number of names") {
  const auto bytes = noise(5'000);
  REQUIRE_FALSE(put(store, "a", bytes));
  const std::string id = id_of(bytes).to_string();
  std::vector<std::pair<std::string, std::string>> names;
  names.reserve(40'000);
  for (int i = 0; i < 40'000; ++i) names.emplace_back(id + "/name " + std::to_string(i), ";exec=0");
  const auto pool = place.open();
  REQUIRE(filexfer::detail::rados_write{}.move_all({}, names).perform(
              pool.handle(), filexfer::detail::index_object(id_of(bytes), 16)) == 0);
  CHECK(entries(store).size() == 40'001);
  place.overwrite(place.chunks().front(), "damaged");
  std::error_code ec;
  CHECK(store
            .verify(
                {}, [](const auto&) {}, ec)
            .damaged == 1);
  CHECK_FALSE(ec);
  CHECK(entries(store).empty());
}

TEST_CASE_FIXTURE(pool_fixture, "what is set aside is not taken for a leftover") {
  const auto bytes = noise(250'000);
  REQUIRE_FALSE(put(store, "a", bytes));
  const auto objects = place.chunks();
  place.overwrite(objects[1], "damaged");
  std::error_code ec;
  store.verify(
      {}, [](const auto&) {}, ec);
  CHECK(entries(store).empty());
  std::this_thread::sleep_for(2s);
  const auto pool = place.open();
  const filexfer::detail::rados_context context{pool.handle(), 16, test_chunk_size};
  CHECK(filexfer::detail::rados_leftovers<md5_digest>{context, 0s, {}}.remove(ec) == 0);
  CHECK(place.chunks() == objects);
}

TEST_CASE_FIXTURE(pool_fixture, "files are verified in parts, each once, and until it is stopped") {
  std::error_code ec;
  for (std::size_t i = 0; i < 20; ++i) REQUIRE_FALSE(put(store, "a", noise(1000 + i)));
  REQUIRE(store.add_name(id_of(noise(1000)), 1000, "b", {}, ec));
  std::uint64_t files = 0;
  for (std::size_t part = 0; part < 3; ++part) {
    filexfer::verify_options options;
    options.parts = 3;
    options.part = part;
    files += store
                 .verify(
                     options, [](const auto&) {}, ec)
                 .files;
    CHECK_FALSE(ec);
  }
  CHECK(files == 20);
  filexfer::verify_options options;
  options.should_stop = [] { return true; };
  store.verify(
      options, [](const auto&) {}, ec);
  CHECK(ec == std::errc::operation_canceled);
}
