#include "support/known_files.hpp"
#include "support/session_dialogues.hpp"
#include "support/session_fixture.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>
#include <filexfer/stream.hpp>

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/socket_base.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace session_tests {

TEST_CASE("an observer is notified how long a command took") {
  session_on_a_pipe s;
  std::vector<session_event> events;
  s.session.observe([&](const session_event& event) { events.push_back(event); });
  s.start_and_receive();
  s.wait(30s);
  s.send("UPLOAD\n");
  s.wait(5s);
  s.send("f;5\n");
  s.wait(7s);
  s.send("hello");
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

TEST_CASE("a session without an observer serves its client") {
  session_on_a_pipe s;
  s.start_and_receive();
  s.send("FEATURES\nNONSENSE\n");
  s.peer.close();
  run_until_idle(s.context);
  CHECK_FALSE(s.result());
}

TEST_CASE("a session with a work executor replies like one without") {
  for (const auto& d : good_session_dialogues()) {
    CAPTURE(d.name);
    session_options options;
    options.max_size = 1'000'000;
    options.chunk_size = options.small_file_size = chunk_size;
    asio::thread_pool pool{2};
    session_on_a_pipe s{options, 100'000};
    s.session.work_executor(pool.get_executor());
    int name = 0;
    for (const auto& file : d.before) put(s.store.inner, std::to_string(name++), file);
    s.peer.receive();
    s.call.start([&](auto handler) { s.session.async_run(std::move(handler)); });
    s.peer.send(bytes_sent_by(role::client, d.talk));
    // All that the client sends, then the end of its stream; in real time, as the pool has threads.
    run_until_idle(s.context);
    const auto end = std::chrono::steady_clock::now() + 30s;
    const auto expected = bytes_sent_by(role::server, d.talk);
    while (s.peer.received.size() < expected.size() && std::chrono::steady_clock::now() < end) {
      s.context.restart();
      s.context.run_one_for(10ms);
    }
    s.peer.stop_sending();
    while (!s.call.called() && std::chrono::steady_clock::now() < end) {
      s.context.restart();
      s.context.run_one_for(10ms);
    }
    pool.join();  // a thread may still be returning from the post() of the handler
    CHECK(s.result() == d.ec);
    CHECK(s.peer.received == expected);
    CHECK(entries_of(s.store.inner) == d.after);
  }
}

TEST_CASE("a blocking session serves, ends when its client ends, and throws its error") {
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
    std::string received(100'000, '\0');
    std::error_code end;
    received.resize(ends.second.read_some(asio::buffer(received), end));
    return std::pair{ec, received};
  };
  CHECK(serve("FEATURES\nUPLOAD\na;5\nhello") ==
        std::pair{std::error_code{},
                  features_reply + details_prompt + ready_words + hello.id + "\n"});
  CHECK(serve("GET /\n") ==
        std::pair{make_error_code(errc::bad_request), refusal(errc::bad_request)});
  CHECK(serve("UPLOAD\na;5\nhell") ==
        std::pair{make_error_code(errc::truncated), details_prompt + ready_words});
}

namespace {

// A stream with the required operations only.
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

TEST_CASE("a session leaves open a stream that it can't close") {
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
