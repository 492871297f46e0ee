#include "support/known_files.hpp"
#include "support/session_fixture.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <string>

namespace session_deadline_tests {

using namespace session_tests;

TEST_CASE("a silent client receives timeout after a minute, and not before") {
  session_on_a_pipe s;
  s.start_and_receive();
  s.wait(60s - epsilon);
  CHECK(s.peer.received.empty());
  s.wait(epsilon);
  check_ends_with(s, "", errc::timeout);
  CHECK(s.result() == errc::timeout);
}

TEST_CASE("a line sent at a byte a second ends the session after a minute, without an ERROR") {
  session_on_a_pipe s;
  s.start_and_receive();
  for (int i = 0; i < 59; ++i) {
    s.wait(1s);
    s.send("L");
  }
  s.wait(1s - epsilon);
  CHECK_FALSE(s.call.called());
  s.wait(epsilon);
  check_closed_silently(s, "");
  CHECK(s.result() == errc::timed_out);
}

TEST_CASE("the minute for a line starts before its first byte") {
  session_on_a_pipe s;
  s.start_and_receive();
  s.wait(59s);
  s.send("FEAT");
  s.wait(1s - epsilon);
  CHECK_FALSE(s.call.called());
  s.wait(epsilon);
  check_closed_silently(s, "");
}

TEST_CASE("a client that sends a command within every minute is served indefinitely") {
  session_on_a_pipe s;
  s.start_and_receive();
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    s.wait(60s - epsilon);
    s.send("FEATURES\n");
    expected += features_reply;
    CHECK(s.peer.received == expected);
  }
  s.peer.close();
  run_until_idle(s.context);
  CHECK_FALSE(s.result());
}

TEST_CASE("a client must answer a prompt within a minute") {
  for (const bool upload : {true, false}) {
    const std::string prompt = upload ? details_prompt : id_prompt;
    for (const bool partly : {true, false}) {
      session_on_a_pipe s;
      s.start_and_receive();
      s.wait(50s);
      s.send(upload ? "UPLOAD\n" : "DOWNLOAD\n");
      s.wait(59s);
      if (partly) s.send("a;");
      s.wait(1s - epsilon);
      CHECK_FALSE(s.call.called());
      s.wait(epsilon);
      if (partly) check_closed_silently(s, prompt);
      else check_ends_with(s, prompt, errc::timeout);
      CHECK(s.result() == filexfer::condition::timeout);
    }
  }
}

TEST_CASE("an upload that pauses for a minute receives timeout, and leaves nothing") {
  session_options options;
  options.limits.least_rate = 0;
  for (const std::size_t size : {std::size_t{10}, std::size_t{100'000}}) {
    session_on_a_pipe s{options};
    s.start_and_receive();
    s.send("UPLOAD\nf;" + std::to_string(size) + "\n");
    s.wait(59s);
    s.send("xxx");
    s.wait(59s);
    s.send("xxx");
    s.wait(60s - epsilon);
    CHECK(s.store.alive == 1);
    s.wait(epsilon);
    check_ends_with(s, details_prompt + ready_words, errc::timeout);
    CHECK(s.result() == errc::timeout);
    CHECK(s.store.alive == 0);
    CHECK(entries_of(s.store.inner).empty());
  }
}

TEST_CASE("an upload below the least rate receives timeout though it never pauses") {
  session_options options;
  options.limits.least_rate = 100;
  session_on_a_pipe s{options};
  s.start_and_receive();
  s.send("UPLOAD\nf;10000\n");
  // 10,000 bytes may take a minute plus 100 s.
  for (int i = 0; i < 159; ++i) {
    s.wait(1s);
    s.send(std::string(50, 'x'));
  }
  s.wait(1s - epsilon);
  CHECK(s.peer.received == details_prompt + ready_words);
  s.wait(epsilon);
  check_ends_with(s, details_prompt + ready_words, errc::timeout);
}

TEST_CASE("an upload at the least rate is accepted, however long it takes") {
  session_options options;
  options.limits.least_rate = 1000;
  options.chunk_size = options.small_file_size = 1000;
  session_on_a_pipe s{options};
  s.start_and_receive();
  const auto bytes = pattern(100'000);
  s.send("UPLOAD\nf;100000\n");
  for (std::size_t sent = 0; sent < bytes.size(); sent += 1000) {
    s.wait(1s);
    s.send(bytes.substr(sent, 1000));
  }
  filexfer::md5 hash;
  hash.update(as_bytes(bytes));
  CHECK(s.peer.received == details_prompt + ready_words + hash.finish().to_string() + "\n");
  CHECK_FALSE(s.result());
}

TEST_CASE(
    "a client that does not read its reply is disconnected after a minute, without an ERROR") {
  session_options options;
  options.limits.least_rate = 0;
  for (const std::string request : {"LIST_FILES\n", "DOWNLOAD\n"}) {
    session_on_a_pipe s{options, 32};
    put(s.store.inner, "a", {pattern(3 * chunk), "7bdb1004b1d46218e255eaf082c14e64"});
    for (int i = 0; i < 100; ++i) put(s.store.inner, std::to_string(i), hello);
    s.start();
    s.send(request + "7bdb1004b1d46218e255eaf082c14e64\n");
    s.wait(30s);
    s.peer.receive(20);  // it reads only that much
    run_until_idle(s.context);
    s.wait(60s - epsilon);
    CHECK_FALSE(s.call.called());
    s.wait(epsilon);
    CHECK(s.call.called());
    CHECK_FALSE(s.ends.first.is_open());
    CHECK(s.result() == errc::timed_out);
    s.peer.receive();
    run_until_idle(s.context);
    CHECK(s.peer.received.size() <= 20 + 32);
    CHECK(s.peer.received.find("ERROR") == std::string::npos);
    CHECK(s.store.alive == 0);
  }
}

TEST_CASE(
    "a client that reads a download below the least rate is disconnected though it never pauses") {
  session_options options;
  options.limits.least_rate = 1000;
  session_on_a_pipe s{options, 32};
  put(s.store.inner, "a", {pattern(chunk), "9cc60713923528a1dd94e1c1ab0ebc9e"});
  s.start();
  s.send("DOWNLOAD\n9cc60713923528a1dd94e1c1ab0ebc9e\n");
  std::size_t taken = 0;
  int seconds = 0;
  while (!s.call.called() && seconds < 1000) {
    s.wait(1s);
    ++seconds;
    s.peer.receive(taken += 16);
    run_until_idle(s.context);
  }
  CHECK(seconds >= 120);  // a minute, plus 65,536 bytes at 1000 a second
  CHECK(seconds <= 130);
  CHECK(s.result() == errc::timed_out);
}

TEST_CASE("a session ends within its time limits at whatever byte its client stops") {
  // The client stops at any byte of these, and is silent from then on.
  const std::string requests[] = {"LIST_FILES\nFEATURES;x=1\n",
                                  "UPLOAD\nname;5\nhelloDOWNLOAD\n" + hello.id + "\n",
                                  "DOWNLOAD\n" + hello.id + ";offset=1\nGET / HTTP/1.1\n"};
  for (const std::string& request : requests) {
    for (const bool reads : {true, false}) {
      for (std::size_t sent = 0; sent <= request.size(); ++sent) {
        CAPTURE(request);
        CAPTURE(sent);
        session_on_a_pipe s{{}, 64};
        if (reads) s.peer.receive();
        s.start();
        s.send(request.substr(0, sent));
        s.wait(60s);
        s.wait(2s);
        s.wait(60s);  // its final ERROR may not be read
        REQUIRE(s.call.called());
        REQUIRE_FALSE(s.ends.first.is_open());
        REQUIRE(s.store.alive == 0);
      }
    }
  }
}

TEST_CASE("a client that closes after the final ERROR ends its session without delay") {
  session_on_a_pipe s;
  s.start_and_receive();
  s.send("GET / HTTP/1.1\n");
  CHECK(s.peer.received == refusal(errc::bad_request));
  CHECK_FALSE(s.call.called());
  s.peer.close();
  run_until_idle(s.context);
  CHECK(s.result() == errc::bad_request);
}

TEST_CASE("a client that keeps sending after the final ERROR is disconnected after 2 s") {
  session_on_a_pipe s;
  s.start_and_receive();
  s.send("GET / HTTP/1.1\n");
  for (int i = 0; i < 19; ++i) {
    s.wait(100ms);
    s.send("Host: example.org\n");
    CHECK_FALSE(s.call.called());
  }
  s.wait(100ms);
  CHECK(s.call.called());
  CHECK(s.result() == errc::bad_request);
  CHECK(s.peer.received == refusal(errc::bad_request));
}

}  // namespace session_deadline_tests
