#include "support/dialogues.hpp"
#include "support/failing_store.hpp"
#include "support/manual_clock.hpp"
#include "support/once_handler.hpp"
#include "support/pipe_peer.hpp"
#include "support/script.hpp"

#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>

#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace session_tests {

namespace {

using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::memory_pipe;
using filexfer::session_event;
using filexfer::session_options;
using test::abc;
using test::entries_of;
using test::failing_store;
using test::hello;
using test::pass;
using test::pattern;
using test::put;
using test::refusal;
using test::settle;
using cancel = asio::cancellation_type;

constexpr auto just_under = 1ns;
constexpr std::size_t chunk = 65536;
const std::error_code aborted{asio::error::operation_aborted};
const std::string features_answer = test::all_features + "\n";

// A session on one end of a pipe; the test is the client, at the other.
struct session_on_a_pipe {
  using session_type =
      filexfer::session<memory_pipe&, failing_store, filexfer::md5, test::manual_timer>;

  explicit session_on_a_pipe(const session_options& options = {}, std::size_t capacity = 1024)
      : ends{filexfer::make_memory_pipe(context, capacity)}, session{ends.first, store, options} {}

  void start() {
    call.cancelled_by(signal.slot());
    call.start([&](auto handler) { session.async_run(std::move(handler)); });
    settle(context);
  }
  void start_and_listen() {
    peer.listen();
    start();
  }
  void say(std::string text) {
    peer.say(std::move(text));
    settle(context);
  }
  void wait(std::chrono::nanoseconds time) { pass(context, time); }
  void emit(cancel type) {
    signal.emit(type);
    settle(context);
  }

  // The client leaves, if the session has not ended yet.
  std::error_code result() {
    peer.close();
    settle(context);
    return std::get<0>(call.result());
  }

  failing_store store;
  asio::cancellation_signal signal;
  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  test::pipe_peer peer{ends.second};
  session_type session;
  test::expected_call<void(std::error_code)> call;
};

// The session has said its last words; once the client ends too, or after 2 s, it closes.
void check_ends_with(session_on_a_pipe& s, const std::string& said, errc code) {
  CHECK(s.peer.heard == said + refusal(code));
  CHECK(s.peer.ended);  // the sending side
  CHECK_FALSE(s.call.called());
  s.wait(2s - just_under);
  CHECK_FALSE(s.call.called());
  s.wait(just_under);
  CHECK(s.call.called());
  CHECK_FALSE(s.ends.first.is_open());
}

void check_closed_silently(session_on_a_pipe& s, const std::string& said) {
  CHECK(s.peer.heard == said);
  CHECK(s.call.called());
  CHECK_FALSE(s.ends.first.is_open());
}

}  // namespace

// ------------------------------------------------------------------------------------------- deadlines

TEST_CASE("a client that says nothing is told so after a minute, and not before") {
  session_on_a_pipe s;
  s.start_and_listen();
  s.wait(60s - just_under);
  CHECK(s.peer.heard.empty());
  s.wait(just_under);
  check_ends_with(s, "", errc::timeout);
  CHECK(s.result() == errc::timeout);
}

TEST_CASE("a client that drips a line, a byte a second, is closed after a minute without a word") {
  session_on_a_pipe s;
  s.start_and_listen();
  for (int i = 0; i < 59; ++i) {
    s.wait(1s);
    s.say("L");
  }
  s.wait(1s - just_under);
  CHECK_FALSE(s.call.called());
  s.wait(just_under);
  check_closed_silently(s, "");
  CHECK(s.result() == errc::timed_out);
}

TEST_CASE("a line's minute begins before its first byte") {
  session_on_a_pipe s;
  s.start_and_listen();
  s.wait(59s);
  s.say("FEAT");
  s.wait(1s - just_under);
  CHECK_FALSE(s.call.called());
  s.wait(just_under);
  check_closed_silently(s, "");
}

TEST_CASE("a client that talks once in a while is served for as long as it likes") {
  session_on_a_pipe s;
  s.start_and_listen();
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    s.wait(60s - just_under);
    s.say("FEATURES\n");
    expected += features_answer;
    CHECK(s.peer.heard == expected);
  }
  s.peer.close();
  settle(s.context);
  CHECK_FALSE(s.result());
}

TEST_CASE("a prompt is to be answered within a minute") {
  for (const bool upload : {true, false}) {
    const std::string prompt = upload ? test::details_prompt : test::id_prompt;
    for (const bool partly : {true, false}) {
      session_on_a_pipe s;
      s.start_and_listen();
      s.wait(50s);
      s.say(upload ? "UPLOAD\n" : "DOWNLOAD\n");
      s.wait(59s);
      if (partly) s.say("a;");
      s.wait(1s - just_under);
      CHECK_FALSE(s.call.called());
      s.wait(just_under);
      if (partly) check_closed_silently(s, prompt);
      else check_ends_with(s, prompt, errc::timeout);
      CHECK(s.result() == filexfer::condition::timeout);
    }
  }
}

TEST_CASE("an upload whose bytes pause for a minute is told so, and leaves nothing") {
  session_options options;
  options.limits.least_rate = 0;
  for (const std::size_t size : {std::size_t{10}, std::size_t{100'000}}) {
    session_on_a_pipe s{options};
    s.start_and_listen();
    s.say("UPLOAD\nf;" + std::to_string(size) + "\n");
    s.wait(59s);
    s.say("xxx");
    s.wait(59s);
    s.say("xxx");
    s.wait(60s - just_under);
    CHECK(s.store.alive == 1);
    s.wait(just_under);
    check_ends_with(s, test::details_prompt + test::ready_words, errc::timeout);
    CHECK(s.result() == errc::timeout);
    CHECK(s.store.alive == 0);
    CHECK(entries_of(s.store.held).empty());
  }
}

TEST_CASE("an upload that trickles under the least rate is cut off though it never pauses") {
  session_options options;
  options.limits.least_rate = 100;
  session_on_a_pipe s{options};
  s.start_and_listen();
  s.say("UPLOAD\nf;10000\n");
  // 10,000 bytes may take a minute and 100 s.
  for (int i = 0; i < 159; ++i) {
    s.wait(1s);
    s.say(std::string(50, 'x'));
  }
  s.wait(1s - just_under);
  CHECK(s.peer.heard == test::details_prompt + test::ready_words);
  s.wait(just_under);
  check_ends_with(s, test::details_prompt + test::ready_words, errc::timeout);
}

TEST_CASE("an upload at the least rate is taken, however long it is") {
  session_options options;
  options.limits.least_rate = 1000;
  options.chunk_size = options.small_file_size = 1000;
  session_on_a_pipe s{options};
  s.start_and_listen();
  const auto bytes = pattern(100'000);
  s.say("UPLOAD\nf;100000\n");
  for (std::size_t sent = 0; sent < bytes.size(); sent += 1000) {
    s.wait(1s);
    s.say(bytes.substr(sent, 1000));
  }
  filexfer::md5 hash;
  hash.update(filexfer::detail::as_bytes(bytes));
  CHECK(s.peer.heard ==
        test::details_prompt + test::ready_words + hash.finish().to_string() + "\n");
  CHECK_FALSE(s.result());
}

TEST_CASE("a client that does not read what it asked for is closed after a minute without a word") {
  session_options options;
  options.limits.least_rate = 0;
  for (const std::string request : {"LIST_FILES\n", "DOWNLOAD\n"}) {
    session_on_a_pipe s{options, 32};
    put(s.store.held, "a", {pattern(3 * chunk), "7bdb1004b1d46218e255eaf082c14e64"});
    for (int i = 0; i < 100; ++i) put(s.store.held, std::to_string(i), hello);
    s.start();
    s.say(request + "7bdb1004b1d46218e255eaf082c14e64\n");
    s.wait(30s);
    s.peer.listen(20);  // that much it takes
    settle(s.context);
    s.wait(60s - just_under);
    CHECK_FALSE(s.call.called());
    s.wait(just_under);
    CHECK(s.call.called());
    CHECK_FALSE(s.ends.first.is_open());
    CHECK(s.result() == errc::timed_out);
    s.peer.listen();
    settle(s.context);
    CHECK(s.peer.heard.size() <= 20 + 32);
    CHECK(s.peer.heard.find("ERROR") == std::string::npos);
    CHECK(s.store.alive == 0);
  }
}

TEST_CASE("a client that takes a download too slowly is cut off though it never pauses") {
  session_options options;
  options.limits.least_rate = 1000;
  session_on_a_pipe s{options, 32};
  put(s.store.held, "a", {pattern(chunk), "9cc60713923528a1dd94e1c1ab0ebc9e"});
  s.start();
  s.say("DOWNLOAD\n9cc60713923528a1dd94e1c1ab0ebc9e\n");
  std::size_t taken = 0;
  int seconds = 0;
  while (!s.call.called() && seconds < 1000) {
    s.wait(1s);
    ++seconds;
    s.peer.listen(taken += 16);
    settle(s.context);
  }
  CHECK(seconds >= 120);  // a minute, and 65,536 bytes at 1000 a second
  CHECK(seconds <= 130);
  CHECK(s.result() == errc::timed_out);
}

TEST_CASE("whatever a client does not do, its session ends within a published time") {
  // Stopped at any byte of these, and silent from there on.
  const std::string requests[] = {"LIST_FILES\nFEATURES;x=1\n",
                                  "UPLOAD\nname;5\nhelloDOWNLOAD\n" + hello.id + "\n",
                                  "DOWNLOAD\n" + hello.id + ";offset=1\nGET / HTTP/1.1\n"};
  for (const std::string& request : requests) {
    for (const bool listens : {true, false}) {
      for (std::size_t said = 0; said <= request.size(); ++said) {
        CAPTURE(request);
        CAPTURE(said);
        session_on_a_pipe s{{}, 64};
        if (listens) s.peer.listen();
        s.start();
        s.say(request.substr(0, said));
        s.wait(60s);
        s.wait(2s);
        s.wait(60s);  // its own last words may find no reader
        REQUIRE(s.call.called());
        REQUIRE_FALSE(s.ends.first.is_open());
        REQUIRE(s.store.alive == 0);
      }
    }
  }
}

TEST_CASE("a client that closes after the session's last words does not keep it waiting") {
  session_on_a_pipe s;
  s.start_and_listen();
  s.say("GET / HTTP/1.1\n");
  CHECK(s.peer.heard == refusal(errc::bad_request));
  CHECK_FALSE(s.call.called());
  s.peer.close();
  settle(s.context);
  CHECK(s.result() == errc::bad_request);
}

TEST_CASE("a client that goes on talking after the session's last words is closed after 2 s") {
  session_on_a_pipe s;
  s.start_and_listen();
  s.say("GET / HTTP/1.1\n");
  for (int i = 0; i < 19; ++i) {
    s.wait(100ms);
    s.say("Host: example.org\n");
    CHECK_FALSE(s.call.called());
  }
  s.wait(100ms);
  CHECK(s.call.called());
  CHECK(s.result() == errc::bad_request);
  CHECK(s.peer.heard == refusal(errc::bad_request));
}

// -------------------------------------------------------------------------------------------- stopping

TEST_CASE("a session that waits for a command is stopped at once, and that is no error") {
  for (const cancel type : {cancel::total, cancel::partial}) {
    for (const std::string before : {"", "FEATURES\n"}) {
      session_on_a_pipe s;
      s.start_and_listen();
      s.say(before);
      s.emit(type);
      check_ends_with(s, before.empty() ? "" : features_answer, errc::shutting_down);
      CHECK_FALSE(s.result());
    }
  }
}

TEST_CASE("a session that is stopped before it starts says so") {
  session_on_a_pipe s;
  s.peer.listen();
  s.call.cancelled_by(s.signal.slot());
  s.call.start([&](auto handler) { s.session.async_run(std::move(handler)); });
  s.emit(cancel::total);
  CHECK(s.peer.heard == refusal(errc::shutting_down));
  CHECK_FALSE(s.result());
}

TEST_CASE("a session that is stopped in a command ends that command first") {
  const std::string upload = "UPLOAD\nf;100000\n";
  const auto bytes = pattern(100'000);
  filexfer::md5 hash;
  hash.update(filexfer::detail::as_bytes(bytes));
  const auto id = hash.finish().to_string();
  const auto before = test::details_prompt + test::ready_words;
  // Stopped after so many of its bytes.
  for (const std::size_t said : {1U, 6U, 7U, 9U, 15U, 16U, 1000U, 100'015U}) {
    CAPTURE(said);
    const auto all = upload + bytes;
    session_on_a_pipe s;
    s.start_and_listen();
    s.say(all.substr(0, said));
    s.emit(cancel::total);
    CHECK_FALSE(s.peer.ended);
    s.say(all.substr(said));
    check_ends_with(s, before + id + "\n", errc::shutting_down);
    CHECK_FALSE(s.result());
    CHECK(entries_of(s.store.held).size() == 1);
  }
}

TEST_CASE("a download is sent to its end though its session is stopped") {
  session_on_a_pipe s{{}, 64};
  const auto bytes = pattern(3 * chunk);
  const std::string id = "7bdb1004b1d46218e255eaf082c14e64";
  put(s.store.held, "a", {bytes, id});
  s.start();
  s.say("DOWNLOAD\n" + id + "\n");
  s.emit(cancel::total);
  s.peer.listen();
  settle(s.context);
  check_ends_with(s, test::id_prompt + id + ";a;196608\n" + bytes, errc::shutting_down);
}

TEST_CASE(
    "a session that is stopped while a client is silent in a command ends with its deadline") {
  session_on_a_pipe s;
  s.start_and_listen();
  s.say("UPLOAD\n");
  s.emit(cancel::total);
  s.wait(60s - just_under);
  CHECK(s.peer.heard == test::details_prompt);
  s.wait(just_under);
  CHECK(s.peer.heard == test::details_prompt + refusal(errc::timeout));
  CHECK(s.result() == errc::timeout);
}

TEST_CASE("a session that is broken off closes at once, at any byte, and leaves nothing torn") {
  const std::string request = "FEATURES\nUPLOAD\nname;5\nhelloDOWNLOAD\n" + hello.id + "\nLIST_";
  for (std::size_t said = 0; said <= request.size(); ++said) {
    CAPTURE(said);
    session_on_a_pipe s;
    s.start_and_listen();
    s.say(request.substr(0, said));
    CHECK_FALSE(s.call.called());
    s.emit(cancel::terminal);
    REQUIRE(s.call.called());
    CHECK(s.result() == aborted);
    CHECK_FALSE(s.ends.first.is_open());
    CHECK(s.store.alive == 0);
    const bool whole = s.peer.heard.find(hello.id) != std::string::npos;
    CHECK(entries_of(s.store.held).size() == (whole ? 1 : 0));
    CHECK(s.peer.heard.find("ERROR") == std::string::npos);
  }
}

TEST_CASE("a session that was told to stop can still be broken off") {
  session_on_a_pipe s;
  s.start_and_listen();
  s.say("UPLOAD\nf;5\n");
  s.emit(cancel::total);
  CHECK_FALSE(s.call.called());
  s.emit(cancel::terminal);
  CHECK(s.call.called());
  CHECK(s.result() == aborted);
}

TEST_CASE("a session that is broken off in its last words completes at once") {
  session_on_a_pipe s;
  s.start_and_listen();
  s.say("GET /\n");
  s.emit(cancel::terminal);
  CHECK(s.call.called());
  CHECK(s.result() == aborted);
  CHECK_FALSE(s.ends.first.is_open());
}

TEST_CASE("an observer may stop its session") {
  session_on_a_pipe s;
  s.session.observe([&](const session_event&) { s.signal.emit(cancel::total); });
  s.start_and_listen();
  s.say("FEATURES\n");
  CHECK(s.peer.heard == features_answer + refusal(errc::shutting_down));
  CHECK_FALSE(s.result());
}

// ---------------------------------------------------------------------------------------- as a whole

TEST_CASE("an observer is told how long a command took") {
  session_on_a_pipe s;
  std::vector<session_event> events;
  s.session.observe([&](const session_event& event) { events.push_back(event); });
  s.start_and_listen();
  s.wait(30s);
  s.say("UPLOAD\n");
  s.wait(5s);
  s.say("f;5\n");
  s.wait(7s);
  s.say("hello");
  REQUIRE(events.size() == 1);
  CHECK(events[0].elapsed == 12s);
  CHECK(events[0].name == "f");
  CHECK(events[0].id == hello.id);
  s.wait(60s);
  s.wait(2s);
  REQUIRE(events.size() == 2);
  CHECK(events[1].error == errc::timeout);
  CHECK_FALSE(events[1].verb);
}

TEST_CASE("a session that was never observed says nothing to nobody") {
  session_on_a_pipe s;
  s.start_and_listen();
  s.say("FEATURES\nNONSENSE\n");
  s.peer.close();
  settle(s.context);
  CHECK_FALSE(s.result());
}

TEST_CASE("a session with an executor for its work answers as one without") {
  for (const auto& d : test::good_session_dialogues()) {
    CAPTURE(d.name);
    session_options options;
    options.max_size = 1'000'000;
    options.chunk_size = options.small_file_size = test::chunk_size;
    asio::thread_pool pool{2};
    session_on_a_pipe s{options, 100'000};
    s.session.work_executor(pool.get_executor());
    int name = 0;
    for (const auto& file : d.before) put(s.store.held, std::to_string(name++), file);
    s.peer.listen();
    s.call.start([&](auto handler) { s.session.async_run(std::move(handler)); });
    s.peer.say(said_by(test::who::client, d.talk));
    // All that the client says, and then its end; on the wall clock, for the pool is real.
    settle(s.context);
    const auto end = std::chrono::steady_clock::now() + 30s;
    const auto expected = said_by(test::who::server, d.talk);
    while (s.peer.heard.size() < expected.size() && std::chrono::steady_clock::now() < end) {
      s.context.restart();
      s.context.run_one_for(10ms);
    }
    s.peer.stop_sending();
    while (!s.call.called() && std::chrono::steady_clock::now() < end) {
      s.context.restart();
      s.context.run_one_for(10ms);
    }
    pool.join();  // a thread may still be leaving the post that called the handler
    CHECK(s.result() == d.ec);
    CHECK(s.peer.heard == expected);
    CHECK(entries_of(s.store.held) == d.after);
  }
}

TEST_CASE("a blocking session serves, ends with its client, and throws what went wrong") {
  const auto serve = [](const std::string& requests) {
    asio::io_context unused;
    auto ends = filexfer::make_memory_pipe(unused, 100'000);
    failing_store store;
    filexfer::session<memory_pipe, failing_store> session{std::move(ends.first), store};
    ends.second.write_some(asio::buffer(requests));
    ends.second.shutdown(asio::socket_base::shutdown_send);
    std::error_code ec;
    try {
      session.run();
    } catch (const std::system_error& e) {
      ec = e.code();
    }
    CHECK_FALSE(session.next_layer().is_open());
    std::string heard(100'000, '\0');
    std::error_code end;
    heard.resize(ends.second.read_some(asio::buffer(heard), end));
    return std::pair{ec, heard};
  };
  CHECK(serve("FEATURES\nUPLOAD\na;5\nhello") ==
        std::pair{std::error_code{},
                  features_answer + test::details_prompt + test::ready_words + hello.id + "\n"});
  CHECK(serve("GET /\n") ==
        std::pair{make_error_code(errc::bad_request), refusal(errc::bad_request)});
  CHECK(serve("UPLOAD\na;5\nhell") ==
        std::pair{make_error_code(errc::truncated), test::details_prompt + test::ready_words});
}

namespace {

// A stream that can do no more than a stream must.
class plain_stream {
 public:
  explicit plain_stream(memory_pipe& pipe) : pipe_{pipe} {}
  template <class Buffers>
  std::size_t read_some(const Buffers& to, std::error_code& ec) {
    return pipe_.read_some(to, ec);
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& from, std::error_code& ec) {
    return pipe_.write_some(from, ec);
  }

 private:
  memory_pipe& pipe_;
};

static_assert(filexfer::sync_stream<plain_stream>);
static_assert(!filexfer::async_stream<plain_stream>);
static_assert(!filexfer::closable_stream<plain_stream>);

}  // namespace

TEST_CASE("a stream that can't be closed is left to its owner") {
  asio::io_context unused;
  auto ends = filexfer::make_memory_pipe(unused, 1000);
  plain_stream stream{ends.first};
  filexfer::memory_store<> store;
  filexfer::session session{stream, store};
  static_assert(std::is_same_v<decltype(session),
                               filexfer::session<plain_stream&, filexfer::memory_store<>>>);
  ends.second.write_some(asio::buffer("FEATURES\nGET /\nmore\n", 20));
  ends.second.shutdown(asio::socket_base::shutdown_send);
  std::error_code ec;
  session.run(ec);
  CHECK(ec == errc::bad_request);
  CHECK(ends.first.is_open());
}

}  // namespace session_tests
