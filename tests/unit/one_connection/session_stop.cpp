#include "support/known_files.hpp"
#include "support/session_fixture.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <utility>

namespace session_stop_tests {

using namespace session_tests;

TEST_CASE("a session that waits for a command stops immediately, and without an error") {
  for (const cancel type : {cancel::total, cancel::partial}) {
    for (const std::string before : {"", "FEATURES\n"}) {
      session_on_a_pipe s;
      s.start_and_receive();
      s.send(before);
      s.emit(type);
      check_ends_with(s, before.empty() ? "" : features_reply, errc::shutting_down);
      CHECK_FALSE(s.result());
    }
  }
}

TEST_CASE("a session that is stopped before it starts sends shutting-down") {
  session_on_a_pipe s;
  s.peer.receive();
  s.call.cancelled_by(s.signal.slot());
  s.call.start([&](auto handler) { s.session.async_run(std::move(handler)); });
  s.emit(cancel::total);
  CHECK(s.peer.received == refusal(errc::shutting_down));
  CHECK_FALSE(s.result());
}

TEST_CASE("a session that is stopped during a command finishes that command first") {
  const std::string upload = "UPLOAD\nf;100000\n";
  const auto bytes = pattern(100'000);
  filexfer::md5 hash;
  hash.update(as_bytes(bytes));
  const auto id = hash.finish().to_string();
  const auto before = details_prompt + ready_words;
  // Stopped after this many bytes.
  for (const std::size_t sent : {1U, 6U, 7U, 9U, 15U, 16U, 1000U, 100'015U}) {
    CAPTURE(sent);
    const auto all = upload + bytes;
    session_on_a_pipe s;
    s.start_and_receive();
    s.send(all.substr(0, sent));
    s.emit(cancel::total);
    CHECK_FALSE(s.peer.ended);
    s.send(all.substr(sent));
    check_ends_with(s, before + id + "\n", errc::shutting_down);
    CHECK_FALSE(s.result());
    CHECK(entries_of(s.store.inner).size() == 1);
  }
}

TEST_CASE("a download is sent completely though its session is stopped") {
  session_on_a_pipe s{{}, 64};
  const auto bytes = pattern(3 * chunk);
  const std::string id = "7bdb1004b1d46218e255eaf082c14e64";
  put(s.store.inner, "a", {bytes, id});
  s.start();
  s.send("DOWNLOAD\n" + id + "\n");
  s.emit(cancel::total);
  s.peer.receive();
  run_until_idle(s.context);
  check_ends_with(s, id_prompt + id + ";a;196608\n" + bytes, errc::shutting_down);
}

TEST_CASE(
    "a session that is stopped while its client is silent in a command ends at the deadline") {
  session_on_a_pipe s;
  s.start_and_receive();
  s.send("UPLOAD\n");
  s.emit(cancel::total);
  s.wait(60s - epsilon);
  CHECK(s.peer.received == details_prompt);
  s.wait(epsilon);
  CHECK(s.peer.received == details_prompt + refusal(errc::timeout));
  CHECK(s.result() == errc::timeout);
}

TEST_CASE(
    "a session that is cancelled at any byte closes immediately, and keeps only whole files") {
  const std::string request = "FEATURES\nUPLOAD\nname;5\nhelloDOWNLOAD\n" + hello.id + "\nLIST_";
  for (std::size_t sent = 0; sent <= request.size(); ++sent) {
    CAPTURE(sent);
    session_on_a_pipe s;
    s.start_and_receive();
    s.send(request.substr(0, sent));
    CHECK_FALSE(s.call.called());
    s.emit(cancel::terminal);
    REQUIRE(s.call.called());
    CHECK(s.result() == aborted);
    CHECK_FALSE(s.ends.first.is_open());
    CHECK(s.store.alive == 0);
    const bool whole = s.peer.received.find(hello.id) != std::string::npos;
    CHECK(entries_of(s.store.inner).size() == (whole ? 1 : 0));
    CHECK(s.peer.received.find("ERROR") == std::string::npos);
  }
}

TEST_CASE("a session that is stopping can still be cancelled") {
  session_on_a_pipe s;
  s.start_and_receive();
  s.send("UPLOAD\nf;5\n");
  s.emit(cancel::total);
  CHECK_FALSE(s.call.called());
  s.emit(cancel::terminal);
  CHECK(s.call.called());
  CHECK(s.result() == aborted);
}

TEST_CASE("a session that is cancelled after its final ERROR completes immediately") {
  session_on_a_pipe s;
  s.start_and_receive();
  s.send("GET /\n");
  s.emit(cancel::terminal);
  CHECK(s.call.called());
  CHECK(s.result() == aborted);
  CHECK_FALSE(s.ends.first.is_open());
}

TEST_CASE("an observer can stop its session") {
  session_on_a_pipe s;
  s.session.observe([&](const session_event&) { s.signal.emit(cancel::total); });
  s.start_and_receive();
  s.send("FEATURES\n");
  CHECK(s.peer.received == features_reply + refusal(errc::shutting_down));
  CHECK_FALSE(s.result());
}

}  // namespace session_stop_tests
