// Stores and streams that fail at any call, and sessions that are cancelled or destroyed.

#include "support/failing_store.hpp"
#include "support/known_files.hpp"
#include "support/script.hpp"
#include "support/session_dialogues.hpp"
#include "support/session_flow_fixture.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/error.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace session_flow_failures_tests {

using namespace session_flow_tests;

// ----------------------------------------------------------------------------------- failing stores

namespace {

struct store_failure {
  std::error_code error;
  errc answer;
};

std::vector<store_failure> store_failures() {
  const auto system = [](int value) { return std::error_code{value, std::system_category()}; };
  return {{errc::collision, errc::collision},
          {errc::bad_name, errc::bad_name},
          {errc::no_space, errc::no_space},
          {errc::io, errc::io},
          {errc::store_failed, errc::io},
          {errc::source_changed, errc::io},
          {system(ENOSPC), errc::no_space},
          {system(EDQUOT), errc::no_space},
          {system(EFBIG), errc::no_space},
          {system(ENAMETOOLONG), errc::bad_name},
          {system(EIO), errc::io},
          {system(EMFILE), errc::io},
          {std::make_error_code(std::errc::not_enough_memory), errc::io}};
}

// A store call that fails, and a dialogue that makes it.
struct failing_call {
  store_call call;
  dialogue talk;  // up to the ERROR line
};

std::vector<failing_call> failing_calls() {
  const dialogue upload{C("UPLOAD\n"), S(details_prompt), C("f;5\n")};
  const dialogue upload_with_id{C("UPLOAD\n"), S(details_prompt), C("f;5;id=" + hello.id + "\n")};
  const dialogue bytes{C("UPLOAD\n"), S(details_prompt), C("f;5\n"), S(ready_words), C("hello")};
  const auto big = pattern(200'000);
  const dialogue big_bytes{C("UPLOAD\n"), S(details_prompt), C("f;200000\n"), S(ready_words),
                           C(big)};
  const dialogue download{C("DOWNLOAD\n"), S(id_prompt), C(abc.id + "\n")};
  const dialogue part{C("DOWNLOAD\n"), S(id_prompt), C(abc.id + ";offset=1\n")};
  return {{store_call::list, {C("LIST_FILES\n")}},
          {store_call::next, {C("LIST_FILES\n")}},
          {store_call::create, upload},
          {store_call::add_name, upload_with_id},
          {store_call::write, bytes},
          {store_call::write, big_bytes},
          {store_call::commit, bytes},
          {store_call::commit, big_bytes},
          {store_call::open, download},
          {store_call::seek, part}};
}

}  // namespace

TEST_CASE(
    "a store error gets one reply, with its code of the protocol, and the session continues") {
  for (const failing_call& f : failing_calls()) {
    for (const store_failure& failure : store_failures()) {
      for (const std::size_t chunk : {std::size_t{1000}, no_limit}) {
        CAPTURE(static_cast<int>(f.call));
        CAPTURE(failure.error);
        auto talk = f.talk;
        talk.push_back(S(refusal(failure.answer)));
        talk.push_back(C("FEATURES\n"));
        talk.push_back(S(all_features + "max-size=1000000\n\n"));
        session s{talk};
        put(s.store.inner, "a", abc);
        s.store.fail(f.call, failure.error);
        s.driver.chunk = chunk;
        CHECK_FALSE(s.run());
        CHECK(s.sent() == bytes_sent_by(role::server, talk));
        CHECK(entries_of(s.store.inner).size() == 1);
        REQUIRE(s.events.size() == 2);
        CHECK(s.events[0].error == failure.answer);
        CHECK(s.events[0].cause == failure.error);
      }
    }
  }
}

TEST_CASE("a store exception gets the same reply as a store error") {
  const auto throwing = [](const failing_call& f, std::function<void()> throws) {
    session s{f.talk};
    put(s.store.inner, "a", abc);
    s.store.fail(f.call, {});
    s.store.throws = std::move(throws);
    CHECK_FALSE(s.run());
    CHECK(entries_of(s.store.inner).size() == 1);
    return s.sent().substr(bytes_sent_by(role::server, f.talk).size());
  };
  for (const failing_call& f : failing_calls()) {
    CAPTURE(static_cast<int>(f.call));
    CHECK(throwing(f, [] { throw std::bad_alloc{}; }) == refusal(errc::io));
    CHECK(throwing(f, [] { throw std::runtime_error{"no"}; }) == refusal(errc::io));
    CHECK(throwing(f, [] { throw std::system_error{make_error_code(errc::no_space)}; }) ==
          refusal(errc::no_space));
  }
}

TEST_CASE("a list that fails in its middle ends with an ERROR line") {
  session s{{C("LIST_FILES\nFEATURES\n")}};
  for (int i = 0; i < 1000; ++i) put(s.store.inner, std::to_string(i), hello);
  const auto entries = entries_of(s.store.inner);
  s.store.fail(store_call::next, errc::io, 700);
  CHECK_FALSE(s.run());
  std::string expected;
  for (std::size_t i = 0; i < 700; ++i) expected += entries[i] + '\n';
  CHECK(s.sent() == expected + refusal(errc::io) + all_features + "max-size=1000000\n\n");
}

TEST_CASE("a store error at any chunk of an upload gets its reply after the last byte") {
  const auto bytes = pattern(4 * chunk_size + 1);
  for (std::size_t nth = 0; nth < 5; ++nth) {
    CAPTURE(nth);
    session s{{C("UPLOAD\n"), S(details_prompt), C("f;16385\n"), S(ready_words), C(bytes),
               S(refusal(errc::no_space)), C("LIST_FILES\n"), S(no_files)}};
    s.store.fail(store_call::write, errc::no_space, nth);
    CHECK_FALSE(s.run());
    CHECK(s.sent() == details_prompt + ready_words + refusal(errc::no_space) + no_files);
    CHECK_FALSE(s.driver.stalled);
  }
}

TEST_CASE("a store error with more bytes left than max_drain_size closes the connection") {
  const auto bytes = pattern(500'000);
  session s{{C("UPLOAD\n"), S(details_prompt), C("f;500000\n"), S(ready_words), C(bytes)}};
  s.state.options.max_drain_size = 100'000;
  s.store.fail(store_call::write, errc::no_space);
  CHECK(s.run() == errc::no_space);
  check_closed_with(s, errc::no_space, details_prompt + ready_words);
  REQUIRE(s.events.size() == 1);
  CHECK(s.events[0].error == errc::no_space);
  CHECK(s.events[0].cause == errc::no_space);
}

TEST_CASE("a stream that fails while bytes are drained is closed without an ERROR line") {
  for (const std::error_code error :
       {make_error_code(errc::end_of_stream), std::make_error_code(std::errc::connection_reset)}) {
    session s{
        {C("UPLOAD\n"), S(details_prompt), C("f;500000\n"), S(ready_words), C(pattern(400'000))}};
    s.store.fail(store_call::write, errc::no_space);
    s.driver.failure = {8, error, 100};
    const auto ec = s.run();
    CHECK(ec == (error == errc::end_of_stream ? make_error_code(errc::truncated) : error));
    check_closed_silently(s, details_prompt + ready_words);
  }
}

TEST_CASE("a store error during the download of a large file closes without an ERROR line") {
  const known_file large{pattern(3 * chunk_size + 1), "ab25117206a17330103ecaf2192363ce"};
  for (std::size_t nth = 0; nth < 4; ++nth) {
    CAPTURE(nth);
    session s{{C("DOWNLOAD\n"), S(id_prompt), C(large.id + "\nLIST_FILES\n")}};
    put(s.store.inner, "a", large);
    s.store.fail(store_call::read, std::make_error_code(std::errc::io_error), nth);
    CHECK(s.run() == std::errc::io_error);
    CHECK(s.driver.closed);
    CHECK_FALSE(s.driver.sending_ended);
    const auto whole =
        id_prompt + large.id + ";a;" + std::to_string(large.bytes.size()) + "\n" + large.bytes;
    CHECK(whole.starts_with(s.sent()));
    CHECK(s.sent().size() < whole.size());
    REQUIRE(s.events.size() == 2);
    CHECK(s.events[0].verb == command::download);
    CHECK(s.events[0].cause == std::errc::io_error);
    CHECK(s.events[1].verb == command::list_files);  // it had been read, and can't be answered
    CHECK(s.events[1].error == std::errc::io_error);
  }
}

TEST_CASE("a small file that the store can't read is refused, and the session continues") {
  session s{{C("DOWNLOAD\n"), S(id_prompt), C(hello.id + "\nLIST_FILES\n")}};
  put(s.store.inner, "a", hello);
  s.store.fail(store_call::read, std::make_error_code(std::errc::io_error), 0);
  CHECK_FALSE(s.run());
  CHECK(s.sent() == id_prompt + refusal(errc::io) + hello.id + ";a;5\n\n");
  REQUIRE(s.events.size() == 2);
  CHECK(s.events[0].error == errc::io);
  CHECK(s.events[0].cause == std::errc::io_error);
  CHECK_FALSE(s.events[1].error);
}

// ---------------------------------------------------------------------------------- failing streams

namespace {

// Whether `sent` is a prefix of `expected`, followed by a prefix of `last_line`.
bool is_cut_reply(const std::string& sent, const std::string& expected,
                  const std::string& last_line) {
  const auto common = static_cast<std::size_t>(
      std::mismatch(sent.begin(), sent.end(), expected.begin(), expected.end()).first -
      sent.begin());
  for (std::size_t end = common + 1; end-- > 0;) {
    if (last_line.starts_with(std::string_view{sent}.substr(end))) return true;
    if (common - end > last_line.size()) break;
  }
  return false;
}

}  // namespace

TEST_CASE("a stream that fails at any action closes the session, and no partial file is listed") {
  const auto reset = std::make_error_code(std::errc::connection_reset);
  using lasts = injected_failure::lasts;
  std::size_t replays = 0;
  for (const session_dialogue& d : good_session_dialogues()) {
    if (d.ec) continue;  // fails without an injected failure
    CAPTURE(d.name);
    session whole{d.talk};
    store_files_before(whole, d);
    whole.run();
    const auto expected = bytes_sent_by(role::server, d.talk);
    for (std::size_t action = 0; action < whole.driver.steps.size(); ++action) {
      const bool writes = whole.driver.steps[action].io == io_kind::write;
      const bool reads_line = whole.driver.steps[action].io == io_kind::read_some;
      if (!writes && !reads_line && whole.driver.steps[action].io != io_kind::read_full) continue;
      for (const std::error_code error : {reset, make_error_code(errc::timed_out)}) {
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, no_limit}) {
          for (const lasts duration : {lasts::once, lasts::permanently}) {
            CAPTURE(action);
            CAPTURE(error);
            CAPTURE(bytes);
            session s{d.talk};
            store_files_before(s, d);
            s.driver.failure = {action, error, bytes, duration};
            const auto ec = s.run();
            ++replays;
            REQUIRE(s.driver.closed);
            REQUIRE_FALSE(s.driver.stalled);
            // A read that timed out is reported to the peer, except inside a line or if no write
            // succeeds.
            const bool reported = ec == errc::timeout && duration == lasts::once;
            REQUIRE(is_cut_reply(s.sent(), expected, refusal(errc::timeout)));
            REQUIRE(reported == s.driver.sending_ended);
            if (reported) REQUIRE(s.sent().ends_with(refusal(errc::timeout)));
            if (reported) REQUIRE_FALSE(writes);
            else if (writes || error == reset) REQUIRE(ec == error);
            REQUIRE(ec);
            // A file whose id was sent is listed. (`run` checks that listed files are whole.)
            for (const auto& entry : d.after) {
              const auto id = entry.substr(0, 32) + "\n";
              if (!d.before.empty() || s.sent().find(id) == std::string::npos) continue;
              const auto listed = entries_of(s.store.inner);
              REQUIRE(std::find(listed.begin(), listed.end(), entry) != listed.end());
            }
            REQUIRE(s.events.back().error);
          }
        }
      }
    }
  }
  MESSAGE(replays, " sessions failed");
}

TEST_CASE("a client that disconnects at any byte leaves no file that it did not send whole") {
  std::size_t replays = 0;
  for (const session_dialogue& d : good_session_dialogues()) {
    CAPTURE(d.name);
    const auto requests = bytes_sent_by(role::client, d.talk);
    const std::size_t stride = requests.size() < 1000 ? 1 : 997;
    for (std::size_t end = 0; end <= requests.size(); end += stride) {
      CAPTURE(end);
      session s{{C(requests.substr(0, end))}, send_order::ahead};
      store_files_before(s, d);
      const auto ec = s.run();
      ++replays;
      REQUIRE(s.driver.closed);
      REQUIRE(bytes_sent_by(role::server, d.talk).starts_with(s.sent()));
      REQUIRE((!ec || ec == errc::truncated || ec == d.ec));
      for (const auto& entry : entries_of(s.store.inner)) {
        const bool listed = std::find(d.after.begin(), d.after.end(), entry) != d.after.end();
        REQUIRE((listed || entry.find(";0;") != std::string::npos));
      }
    }
  }
  MESSAGE(replays, " sessions cut");
}

TEST_CASE("a session cancelled before any action closes, and every listed file is whole") {
  for (const session_dialogue& d : good_session_dialogues()) {
    CAPTURE(d.name);
    session whole{d.talk};
    store_files_before(whole, d);
    whole.run();
    for (std::size_t action = 0; action < whole.driver.steps.size(); ++action) {
      CAPTURE(action);
      session s{d.talk};
      store_files_before(s, d);
      s.driver.cancelled_from = action;
      const auto ec = s.run();
      CHECK(s.driver.closed);
      if (whole.driver.steps[action].io != io_kind::close) CHECK(ec);
      CHECK(bytes_sent_by(role::server, d.talk).starts_with(s.sent()));
    }
  }
}

TEST_CASE("a session destroyed before any action releases its store objects") {
  for (const session_dialogue& d : good_session_dialogues()) {
    session whole{d.talk};
    store_files_before(whole, d);
    whole.run();
    for (std::size_t action = 0; action < whole.driver.steps.size(); ++action) {
      session s{d.talk};
      store_files_before(s, d);
      s.driver.dropped_at = action;
      CHECK_THROWS_AS(s.run(), flow_dropped);
      CHECK(s.store.alive == 0);
    }
  }
}

}  // namespace session_flow_failures_tests
