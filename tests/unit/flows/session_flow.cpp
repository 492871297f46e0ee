// The session's flow in whole dialogues, with timeouts and stops, and the events that it reports.

#include "support/failing_store.hpp"
#include "support/known_files.hpp"
#include "support/script.hpp"
#include "support/session_dialogues.hpp"
#include "support/session_flow_fixture.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/detail/flow/session_flow.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace session_flow_tests {

using filexfer::detail::deadline;

// ------------------------------------------------------------------------------------ whole dialogues

TEST_CASE(
    "a session sends the same replies however the requests are split, in turn or sent ahead") {
  for (const session_dialogue& d : good_session_dialogues()) {
    CAPTURE(d.name);
    for (const send_order order : {send_order::in_turn, send_order::ahead}) {
      for (const std::size_t chunk : chunkings(bytes_sent_by(role::client, d.talk).size())) {
        CAPTURE(chunk);
        session s{d.talk, order};
        store_files_before(s, d);
        s.driver.chunk = chunk;
        const auto ec = s.run();
        REQUIRE(ec == d.ec);
        REQUIRE(s.sent() == bytes_sent_by(role::server, d.talk));
        REQUIRE(s.driver.closed);
        REQUIRE(s.driver.peer.has_ended());
        REQUIRE_FALSE(s.driver.stalled);
        REQUIRE(entries_of(s.store.inner) == d.after);
      }
    }
  }
}

TEST_CASE("a session can serve many dialogues one after the other") {
  dialogue talk;
  session s{{}};
  for (const session_dialogue& d : good_session_dialogues()) {
    if (d.ec || !d.before.empty() || !d.after.empty()) continue;
    talk.insert(talk.end(), d.talk.begin(), d.talk.end());
  }
  s.driver.peer = scripted_peer{talk, role::server};
  CHECK_FALSE(s.run());
  CHECK(s.sent() == bytes_sent_by(role::server, talk));
}

namespace {

auto count_writes(const session& s) {
  return std::count_if(s.driver.steps.begin(), s.driver.steps.end(),
                       [](const auto& step) { return step.io == io_kind::write; });
}

}  // namespace

TEST_CASE("a long list is sent in batches, with each entry once") {
  session s{{C("LIST_FILES\n")}};
  std::string expected;
  for (int i = 0; i < 8000; ++i) put(s.store.inner, std::to_string(i), hello);
  for (const auto& entry : entries_of(s.store.inner)) expected += entry + '\n';
  CHECK_FALSE(s.run());
  CHECK(s.sent() == expected + "\n");
  CHECK(count_writes(s) > 3);
  CHECK(count_writes(s) < 10);
}

TEST_CASE(
    "the entry line of a download is written together with the first bytes and earlier replies") {
  for (const bool ahead : {true, false}) {
    session s{ahead ? dialogue{C("DOWNLOAD\n" + hello.id + "\n")}
                    : dialogue{C("DOWNLOAD\n"), S(id_prompt), C(hello.id + "\n")}};
    put(s.store.inner, "a", hello);
    CHECK_FALSE(s.run());
    CHECK(s.sent() == id_prompt + hello.id + ";a;5\nhello");
    CHECK(count_writes(s) == (ahead ? 1 : 2));
  }
}

TEST_CASE("a download and a list have the attributes that were asked for") {
  for (const bool mtime : {false, true}) {
    for (const bool exec : {false, true}) {
      CAPTURE(mtime);
      CAPTURE(exec);
      std::string asked = mtime ? ";mtime" : "";
      if (exec) asked += ";exec";
      std::string entry = hello.id + ";a;5";
      if (mtime) entry += ";mtime=77";
      if (exec) entry += ";exec=1";
      entry += "\n";
      std::string requests = "UPLOAD\na;5;nowait;mtime=77;exec=1\nhelloLIST_FILES";
      requests.append(asked).append("\nDOWNLOAD\n").append(hello.id).append(asked) += '\n';
      std::string replies = details_prompt + ready_words;
      replies.append(hello.id).append("\n").append(entry).append("\n");
      replies.append(id_prompt).append(entry) += "hello";
      session s{{C(requests)}};
      CHECK_FALSE(s.run());
      CHECK(s.sent() == replies);
    }
  }
}

TEST_CASE("replies to commands sent ahead take few writes, and are sent before the session waits") {
  std::string commands;
  std::string replies;
  for (int n = 0; n < 1000; ++n) {
    commands += "UPLOAD\n" + std::to_string(n) + ";5;nowait\nhello";
    replies += details_prompt + ready_words + hello.id + "\n";
  }
  session s{{C(commands), S(replies), C("FEATURES\n")}};
  CHECK_FALSE(s.run());
  CHECK(s.sent().starts_with(replies));
  CHECK(count_writes(s) < 20);
}

TEST_CASE("a refused upload with nowait that exceeds max_drain_size closes the connection") {
  session s{{C("UPLOAD\n../f;500000;nowait\n" + pattern(500'000))}};
  s.state.options.max_drain_size = 400'000;
  CHECK(s.run() == errc::bad_name);
  check_closed_with(s, errc::bad_name, details_prompt);
}

TEST_CASE("a session reads lines under the line deadline, and bytes under the idle deadline") {
  session s{{C("UPLOAD\n"), S(details_prompt), C("f;5\n"), S(ready_words), C("hello")}};
  CHECK_FALSE(s.run());
  std::vector<std::pair<deadline, bool>> limits;
  for (const auto& step : s.driver.steps) limits.emplace_back(step.limit, step.interruptible);
  using limit = std::pair<deadline, bool>;
  CHECK(limits == std::vector<limit>{limit{deadline::line, true}, limit{deadline::idle, false},
                                     limit{deadline::line, false}, limit{deadline::idle, false},
                                     limit{deadline::idle, false}, limit{deadline::idle, false},
                                     limit{deadline::line, true}, limit{deadline::idle, false}});
}

// --------------------------------------------------------------------------------- timeouts, stopping

TEST_CASE("a timeout between lines gets an ERROR line, and one within a line does not") {
  using lasts = injected_failure::lasts;
  for (const std::string before : {"", "FEATURES\n", "UPLOAD\n", "DOWNLOAD\n"}) {
    const std::string answer = before == "FEATURES\n"   ? all_features + "max-size=1000000\n\n"
                               : before == "UPLOAD\n"   ? details_prompt
                               : before == "DOWNLOAD\n" ? id_prompt
                                                        : "";
    CAPTURE(before);
    const std::size_t read = before.empty() ? 0 : 2;
    session silent{{C(before), S(answer)}};
    silent.driver.failure = {read, errc::timed_out, 0, lasts::once};
    CHECK(silent.run() == errc::timeout);
    check_closed_with(silent, errc::timeout, answer);

    session slow{{C(before), S(answer), C("LIS")}};
    slow.driver.failure = {read + 1, errc::timed_out, 0, lasts::once};
    CHECK(slow.run() == errc::timed_out);
    check_closed_silently(slow, answer);
    REQUIRE_FALSE(slow.events.empty());
    CHECK(slow.events.back().error == errc::timed_out);
  }
}

TEST_CASE("a timeout within the bytes of an upload gets an ERROR line, and no file is kept") {
  for (const std::size_t size : {std::size_t{5}, std::size_t{200'000}}) {
    session s{{C("UPLOAD\n"), S(details_prompt), C("f;" + std::to_string(size) + "\n"),
               S(ready_words), C(pattern(size - 1))}};
    s.driver.failure = {4, errc::timed_out, 3, injected_failure::lasts::once};
    CHECK(s.run() == errc::timeout);
    check_closed_with(s, errc::timeout, details_prompt + ready_words);
    CHECK(entries_of(s.store.inner).empty());
  }
}

TEST_CASE("a server that stops sends an ERROR line to an idle client, and its session succeeds") {
  for (const std::string before : {"", "FEATURES\n"}) {
    const std::string answer = before.empty() ? "" : all_features + "max-size=1000000\n\n";
    session s{{C(before), S(answer)}};
    s.driver.failure = {before.empty() ? 0U : 2U, errc::shutting_down, 0,
                        injected_failure::lasts::once};
    CHECK_FALSE(s.run());
    check_closed_with(s, errc::shutting_down, answer);
  }
}

TEST_CASE("after the final ERROR line a session reads until the client ends") {
  session s{{C("GET /\n" + std::string(100'000, 'x'))}};
  s.driver.chunk = 1000;
  CHECK(s.run() == errc::bad_request);
  CHECK(s.driver.peer.has_ended());
  const auto lingering =
      std::count_if(s.driver.steps.begin(), s.driver.steps.end(),
                    [](const auto& step) { return step.limit == deadline::linger; });
  CHECK(lingering > 90);
}

TEST_CASE("a rejected client gets an ERROR line with the reason") {
  for (const errc reason : {errc::busy, errc::shutting_down}) {
    hand_driver driver{scripted_peer{{C("LIST_FILES\n")}, role::server, send_order::ahead}};
    filexfer::detail::connection connection;
    std::error_code ec;
    driver.run([&](std::error_code& e) { return filexfer::detail::reject(connection, reason, e); },
               ec);
    CHECK_FALSE(ec);
    CHECK(driver.peer.received() == refusal(reason));
    CHECK(driver.sending_ended);
    CHECK(driver.closed);
  }
}

// ------------------------------------------------------------------------------------------- events

TEST_CASE("on_start and on_end are called once for each command, on_end with its details") {
  session s{{C("UPLOAD\na b;5\n"), C("helloDOWNLOAD\n" + hello.id + ";offset=2\nLIST_FILES\n"),
             C("UPLOAD\nc;5;id=" + hello.id + "\nUPLOAD\nd;3;id=" + hello.id + "\nabc")},
            send_order::ahead};
  std::size_t started = 0;
  s.state.on_start = [&] {
    CHECK(s.events.size() <= started);  // fewer, if requests are answered together
    ++started;
  };
  CHECK_FALSE(s.run());
  REQUIRE(s.events.size() == 5);
  CHECK(started == 5);
  const auto& up = s.events[0];
  CHECK(up.verb == command::upload);
  CHECK(up.name == "a b");
  CHECK(up.size == 5);
  CHECK(up.bytes == 5);
  CHECK(up.id == hello.id);
  CHECK_FALSE(up.error);
  const auto& down = s.events[1];
  CHECK(down.verb == command::download);
  CHECK(down.name == "a b");
  CHECK(down.size == 5);
  CHECK(down.bytes == 3);
  CHECK(down.id == hello.id);
  const auto& listed = s.events[2];
  CHECK(listed.verb == command::list_files);
  CHECK(listed.size == 1);
  const auto& held = s.events[3];
  CHECK(held.name == "c");
  CHECK(held.bytes == 0);
  CHECK(held.id == hello.id);
  const auto& mismatched = s.events[4];
  CHECK(mismatched.error == errc::mismatch);
  CHECK(mismatched.id == abc.id);
  CHECK(mismatched.bytes == 3);
}

}  // namespace session_flow_tests
