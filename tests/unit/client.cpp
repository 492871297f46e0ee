#include "support/dialogues.hpp"
#include "support/manual_clock.hpp"
#include "support/once_handler.hpp"
#include "support/pipe_peer.hpp"
#include "support/script.hpp"

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>

#include <asio/awaitable.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/system_executor.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace client_tests {

namespace {

using namespace std::chrono_literals;
using filexfer::client_options;
using filexfer::errc;
using filexfer::failure_origin;
using filexfer::memory_pipe;
using filexfer::memory_source;
using test::all_whole;
using test::entries_of;
using test::expected_call;
using test::hello;
using test::pass;
using test::pattern;
using test::put;
using test::recording_sink;
using test::sample;
using test::settle;
using cancel = asio::cancellation_type;

constexpr auto just_under = 1ns;
const std::error_code aborted{asio::error::operation_aborted};

using store_type = filexfer::memory_store<>;
using client_type = filexfer::client<memory_pipe&, filexfer::md5, test::manual_timer>;
using session_type = filexfer::session<memory_pipe&, store_type, filexfer::md5, test::manual_timer>;

client_options small_chunks() {
  client_options options;
  options.chunk_size = 65536;
  return options;
}

// A client and a session at the two ends of a pipe, on one thread and virtual time.
struct client_and_session {
  explicit client_and_session(std::size_t capacity = 10'000)
      : ends{filexfer::make_memory_pipe(context, capacity)} {
    served.start([&](auto handler) { session.async_run(std::move(handler)); });
  }
  ~client_and_session() {
    ends.first.close();
    settle(context);
  }

  store_type store;
  asio::cancellation_signal signal;
  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  expected_call<void(std::error_code)> served;
  session_type session{ends.second, store};
  client_type client{ends.first, small_chunks()};
};

// A client at one end; the test is the server, at the other.
struct client_on_a_pipe {
  explicit client_on_a_pipe(std::size_t capacity = 1024)
      : ends{filexfer::make_memory_pipe(context, capacity)} {}
  void say(std::string text) {
    peer.say(std::move(text));
    settle(context);
  }
  asio::cancellation_signal signal;
  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  test::pipe_peer peer{ends.second};
  client_type client{ends.first, small_chunks()};
};

// A session that serves a blocking client, on a thread of its own.
class blocking_server {
 public:
  blocking_server()
      : ends_{filexfer::make_memory_pipe(asio::system_executor{}, 10'000)},
        session_{ends_.second, store},
        thread_{[this] { session_.run(error_); }} {}
  ~blocking_server() {
    if (thread_.joinable()) hang_up();
  }
  memory_pipe& connection() { return ends_.first; }
  std::error_code hang_up() {
    ends_.first.close();
    thread_.join();
    return error_;
  }
  store_type store;

 private:
  std::pair<memory_pipe, memory_pipe> ends_;
  filexfer::session<memory_pipe&, store_type> session_;
  std::error_code error_;
  std::thread thread_;
};

template <class Call>
std::error_code thrown_by(Call call) {
  try {
    call();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

}  // namespace

// -------------------------------------------------------------------------------------------- blocking

TEST_CASE("a blocking client gets back what it put, whatever its size, with codes or throwing") {
  blocking_server server;
  filexfer::client client{server.connection(), small_chunks()};
  static_assert(std::is_same_v<decltype(client), filexfer::client<memory_pipe&>>);
  for (const sample& s : test::samples()) {
    std::error_code ec = errc::io;
    memory_source source{s.bytes};
    const auto up = client.upload(source, "with code", ec);
    REQUIRE_FALSE(ec);
    CHECK(up.computed_there.to_string() == s.id);
    CHECK(up.sent);
    memory_source again{s.bytes};
    CHECK(client.upload(again, "thrown").computed_here.to_string() == s.id);

    recording_sink sink;
    ec = errc::io;
    const auto got = client.download(id_of(s), sink, ec);
    REQUIRE_FALSE(ec);
    CHECK(sink.committed);
    CHECK(sink.bytes == s.bytes);
    CHECK(got.file.size == s.bytes.size());
    recording_sink second;
    CHECK(client.download(id_of(s), second).computed_here == id_of(s));
    CHECK(second.bytes == s.bytes);
  }
  std::error_code ec = errc::io;
  CHECK(client.list_files(ec).size() == 2 * test::samples().size());
  CHECK_FALSE(ec);
  CHECK(client.list_files().size() == 2 * test::samples().size());
  CHECK(all_whole(server.store));
  CHECK(client.usable());
  CHECK_FALSE(server.hang_up());
}

TEST_CASE("a blocking client asks for features, parts, and entries one by one, in both ways") {
  blocking_server server;
  put(server.store, "a", hello);
  filexfer::client client{server.connection()};
  std::error_code ec = errc::io;
  CHECK(client.features(ec).digest == "md5");
  CHECK_FALSE(ec);
  CHECK(client.features().version == 1);

  recording_sink sink;
  ec = errc::io;
  CHECK(client.download_range({id_of(hello), 1, 3}, sink, ec).bytes() == 3);
  CHECK_FALSE(ec);
  client.download_range({id_of(hello), 4, std::nullopt}, sink);
  CHECK(sink.bytes == "ello");
  CHECK_FALSE(sink.committed);

  using entry = filexfer::client<memory_pipe&>::file_info;
  std::vector<std::string> names;
  ec = errc::io;
  client.list_files([&](const entry& file) { names.push_back(file.name); }, ec);
  CHECK_FALSE(ec);
  client.list_files([&](const entry& file, std::error_code&) { names.push_back(file.name); });
  CHECK(names == std::vector<std::string>{"a", "a"});
  memory_source source{hello.bytes};
  const auto held =
      client.upload(source, filexfer::upload_request<test::md5_digest>{"b", id_of(hello)});
  CHECK_FALSE(held.sent);
  CHECK(entries_of(server.store).size() == 2);
}

TEST_CASE("a refusal is the same in a code as thrown, and the client can go on") {
  blocking_server server;
  filexfer::client client{server.connection()};
  recording_sink sink;
  std::error_code ec;
  client.download(id_of(hello), sink, ec);
  CHECK(ec == errc::not_found);
  CHECK(thrown_by([&] { client.download(id_of(hello), sink); }) == errc::not_found);
  CHECK(client.last_failure() == failure_origin::peer);
  CHECK(client.last_reply().starts_with("ERROR not-found"));
  CHECK(client.usable());
  memory_source source{hello.bytes};
  CHECK(thrown_by([&] { client.upload(source, "../a"); }) == errc::bad_name);
  CHECK(client.last_failure() == failure_origin::local);
  using entry = filexfer::client<memory_pipe&>::file_info;
  const auto stop = [](const entry&, std::error_code& failed) { failed = errc::too_many_entries; };
  put(server.store, "a", hello);
  CHECK(thrown_by([&] { client.list_files(stop); }) == errc::too_many_entries);
  CHECK_FALSE(client.usable());
  CHECK(thrown_by([&] { client.list_files(); }) == errc::connection_unusable);
  CHECK(thrown_by([&] { client.features(); }) == errc::connection_unusable);
}

TEST_CASE("a client owns the stream that it is given, or refers to it") {
  asio::io_context unused;
  auto ends = filexfer::make_memory_pipe(unused);
  {
    filexfer::client owner{std::move(ends.first)};
    static_assert(std::is_same_v<decltype(owner), filexfer::client<memory_pipe>>);
    CHECK(owner.next_layer().is_open());
  }
  std::error_code ec;
  char byte = 0;
  ends.second.read_some(asio::buffer(&byte, 1), ec);
  CHECK(ec == asio::error::eof);
}

// ---------------------------------------------------------------------------------------- asynchronous

TEST_CASE("an asynchronous client gets back what it put, whatever its size and the pipe's") {
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{1000}, std::size_t{1'000'000}}) {
    client_and_session t{capacity};
    for (const sample& s : test::samples()) {
      if (capacity == 1 && s.bytes.size() > 100) continue;
      memory_source source{s.bytes};
      expected_call<void(std::error_code, client_type::upload_result)> up;
      up.start([&](auto handler) { t.client.async_upload(source, "a", std::move(handler)); });
      settle(t.context);
      REQUIRE_FALSE(std::get<0>(up.result()));
      CHECK(std::get<1>(up.result()).computed_there.to_string() == s.id);

      recording_sink sink;
      expected_call<void(std::error_code, client_type::download_result)> down;
      down.start(
          [&](auto handler) { t.client.async_download(id_of(s), sink, std::move(handler)); });
      settle(t.context);
      REQUIRE_FALSE(std::get<0>(down.result()));
      CHECK(sink.committed);
      CHECK(sink.bytes == s.bytes);
    }
    CHECK(t.client.usable());
  }
}

TEST_CASE("every operation takes a callback, a move-only one, and makes a future") {
  client_and_session t;
  put(t.store, "a", hello);
  using entry = client_type::file_info;
  std::size_t entries = 0;
  const auto count = [&](const entry&) { ++entries; };
  recording_sink sink;
  memory_source first{hello.bytes};
  memory_source second{hello.bytes};

  int calls = 0;
  const auto done = [&](std::error_code ec, auto&&...) { calls += ec ? 0 : 1; };
  t.client.async_features(done);
  settle(t.context);
  t.client.async_list_files(done);
  settle(t.context);
  t.client.async_list_files(count, done);
  settle(t.context);
  t.client.async_download(id_of(hello), sink, done);
  settle(t.context);
  t.client.async_download_range({id_of(hello), 1, 2}, sink, done);
  settle(t.context);
  t.client.async_upload(first, "b", done);
  settle(t.context);
  t.client.async_upload(second, filexfer::upload_request<test::md5_digest>{"c", id_of(hello)},
                        done);
  settle(t.context);
  CHECK(calls == 7);
  CHECK(entries == 1);
  CHECK(sink.bytes == "helloel");

  t.client.async_features([&, only = std::make_unique<int>(1)](std::error_code ec, auto&&) {
    calls += ec ? 0 : *only;
  });
  settle(t.context);
  CHECK(calls == 8);

  auto files = t.client.async_list_files(asio::use_future);
  settle(t.context);
  CHECK(files.get().size() == 3);
  auto refused = t.client.async_download(test::md5_digest{}, sink, asio::use_future);
  settle(t.context);
  CHECK(thrown_by([&] { refused.get(); }) == errc::not_found);
}

#ifdef ASIO_HAS_CO_AWAIT
TEST_CASE("a coroutine of Asio's awaits one operation after the other") {
  client_and_session t;
  recording_sink sink;
  const auto round_trip = [](client_type& client, recording_sink& into) -> asio::awaitable<void> {
    memory_source source{hello.bytes};
    const auto up = co_await client.async_upload(source, "a", asio::use_awaitable);
    co_await client.async_download(up.computed_there, into, asio::use_awaitable);
    co_await client.async_download(test::md5_digest{}, into, asio::use_awaitable);
  };
  std::exception_ptr thrown;
  asio::co_spawn(t.context, round_trip(t.client, sink), [&](std::exception_ptr e) { thrown = e; });
  settle(t.context);
  CHECK(sink.bytes == hello.bytes);
  REQUIRE(thrown);
  CHECK(thrown_by([&] { std::rethrow_exception(thrown); }) == errc::not_found);
}
#endif

TEST_CASE("a second operation is told that one is in progress, and does not disturb it") {
  client_and_session t;
  put(t.store, "a", hello);
  recording_sink sink;
  expected_call<void(std::error_code, client_type::download_result)> first;
  expected_call<void(std::error_code, filexfer::server_features)> second;
  first.start(
      [&](auto handler) { t.client.async_download(id_of(hello), sink, std::move(handler)); });
  second.start([&](auto handler) { t.client.async_features(std::move(handler)); });
  settle(t.context);
  CHECK(std::get<0>(second.result()) == errc::operation_in_progress);
  CHECK_FALSE(std::get<0>(first.result()));
  CHECK(sink.bytes == hello.bytes);
  CHECK(t.client.last_failure() == failure_origin::none);
  CHECK(t.client.usable());
}

TEST_CASE(
    "a client with an executor for its work, on a context of four threads, moves whole files") {
  const sample s = test::samples().back();
  asio::io_context context;
  asio::thread_pool pool{2};
  auto ends = filexfer::make_memory_pipe(context, 10'000);
  store_type store;
  filexfer::session_options options;
  options.chunk_size = 65536;
  filexfer::session session{ends.second, store, options};
  filexfer::client client{ends.first, small_chunks()};
  session.work_executor(pool.get_executor());
  client.work_executor(pool.get_executor());
  auto served = session.async_run(asio::use_future);
  memory_source source{s.bytes};
  auto up = client.async_upload(source, "a", asio::use_future);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { context.run(); });
  CHECK(up.get().computed_there.to_string() == s.id);
  recording_sink sink;
  CHECK(client.async_download(id_of(s), sink, asio::use_future).get().computed_here == id_of(s));
  CHECK(sink.bytes == s.bytes);
  ends.first.close();
  CHECK_NOTHROW(served.get());
  for (auto& thread : threads) thread.join();
}

// ------------------------------------------------------------------------------------------ cancelling

namespace {

// Starts `operate`, cancels it after so many handlers, and tells what it came to; nothing if it had
// completed before.
template <class Signature, class Operate>
std::optional<std::error_code> cancelled_after(std::size_t handlers, client_and_session& t,
                                               Operate operate) {
  expected_call<Signature> call;
  call.cancelled_by(t.signal.slot());
  call.start([&](auto handler) { operate(std::move(handler)); });
  for (std::size_t i = 0; i < handlers; ++i) {
    t.context.restart();
    t.context.poll_one();
  }
  const bool completed = call.called();
  t.signal.emit(cancel::terminal);
  settle(t.context);
  const std::error_code ec = std::get<0>(call.result());
  if (completed) return std::nullopt;
  return ec;
}

void check_unusable(client_and_session& t) {
  CHECK_FALSE(t.client.usable());
  CHECK(t.client.last_failure() == failure_origin::stream);
  expected_call<void(std::error_code, filexfer::server_features)> next;
  next.start([&](auto handler) { t.client.async_features(std::move(handler)); });
  settle(t.context);
  CHECK(std::get<0>(next.result()) == errc::connection_unusable);
}

}  // namespace

TEST_CASE("an upload cancelled at any step completes once; after that the client is unusable") {
  std::size_t steps = 0;
  for (const sample& s : {hello, test::samples().back()}) {
    for (std::size_t handlers = 0;; ++handlers) {
      CAPTURE(handlers);
      client_and_session t{300};
      memory_source source{s.bytes};
      const auto ec = cancelled_after<void(std::error_code, client_type::upload_result)>(
          handlers, t,
          [&](auto handler) { t.client.async_upload(source, "a", std::move(handler)); });
      if (!ec) break;
      ++steps;
      REQUIRE((!*ec || *ec == aborted));
      if (*ec) check_unusable(t);
      else CHECK(t.client.usable());
      CHECK(all_whole(t.store));
    }
  }
  CHECK(steps > 100);
}

TEST_CASE("a download cancelled at any step is not committed unless it succeeds") {
  std::size_t steps = 0;
  for (const sample& s : {hello, test::samples().back()}) {
    for (std::size_t handlers = 0;; ++handlers) {
      CAPTURE(handlers);
      client_and_session t{300};
      put(t.store, "a", s);
      recording_sink sink;
      const auto ec = cancelled_after<void(std::error_code, client_type::download_result)>(
          handlers, t,
          [&](auto handler) { t.client.async_download(id_of(s), sink, std::move(handler)); });
      if (!ec) break;
      ++steps;
      REQUIRE((!*ec || *ec == aborted));
      CHECK(sink.committed == !*ec);
      if (*ec && !t.client.usable()) check_unusable(t);
    }
  }
  CHECK(steps > 100);
}

TEST_CASE("a context destroyed after the client drops the client's operation") {
  bool called = false;
  asio::io_context context;
  auto ends = std::make_optional(filexfer::make_memory_pipe(context));
  {
    client_type client{ends->first};
    client.async_features([&](std::error_code, auto&&) { called = true; });
    settle(context);
  }
  ends.reset();
  CHECK_FALSE(called);
}

// ------------------------------------------------------------------------------------------- deadlines

TEST_CASE("a client waits ten minutes for the answer to a request, and not longer") {
  client_on_a_pipe t;
  t.peer.listen();
  expected_call<void(std::error_code, std::vector<client_type::file_info>)> call;
  call.start([&](auto handler) { t.client.async_list_files(std::move(handler)); });
  settle(t.context);
  CHECK(t.peer.heard == "LIST_FILES\n");
  pass(t.context, 600s - just_under);
  CHECK_FALSE(call.called());
  pass(t.context, just_under);
  CHECK(std::get<0>(call.result()) == errc::timed_out);
  CHECK(t.client.last_failure() == failure_origin::stream);
  CHECK_FALSE(t.client.usable());
}

TEST_CASE("a client waits a minute for each further line of a list, however many there are") {
  client_on_a_pipe t;
  t.peer.listen();
  expected_call<void(std::error_code, std::vector<client_type::file_info>)> call;
  call.start([&](auto handler) { t.client.async_list_files(std::move(handler)); });
  settle(t.context);
  for (int i = 0; i < 100; ++i) {
    pass(t.context, 60s - just_under);
    t.say(hello.id + ";" + std::to_string(i) + ";5\n");
  }
  pass(t.context, 60s - just_under);
  CHECK_FALSE(call.called());
  pass(t.context, just_under);
  CHECK(std::get<0>(call.result()) == errc::timed_out);
}

TEST_CASE("a download whose bytes pause for a minute, or trickle, is given up") {
  for (const bool trickles : {false, true}) {
    client_on_a_pipe t;
    t.peer.listen();
    recording_sink sink;
    expected_call<void(std::error_code, client_type::download_result)> call;
    call.start(
        [&](auto handler) { t.client.async_download(id_of(hello), sink, std::move(handler)); });
    settle(t.context);
    t.say("id?\n" + hello.id + ";a;10245\nfirst");
    // The other 10,240 bytes may take a minute and 10 s.
    for (int i = 0; i < (trickles ? 69 : 0); ++i) {
      pass(t.context, 1s);
      t.say("x");
    }
    pass(t.context, (trickles ? 1s : 60s) - just_under);
    CHECK_FALSE(call.called());
    pass(t.context, just_under);
    CHECK(std::get<0>(call.result()) == errc::timed_out);
    CHECK_FALSE(sink.committed);
  }
}

TEST_CASE("an upload to a server that does not read is given up after a minute") {
  client_on_a_pipe t{64};
  memory_source source{pattern(1000)};
  expected_call<void(std::error_code, client_type::upload_result)> call;
  call.start([&](auto handler) { t.client.async_upload(source, "a", std::move(handler)); });
  t.say("details?\nready\n");
  pass(t.context, 60s - just_under);
  CHECK_FALSE(call.called());
  // The server may have said why: that is waited for.
  pass(t.context, just_under);
  pass(t.context, 2s);
  CHECK(std::get<0>(call.result()) == errc::timed_out);
  CHECK_FALSE(t.client.usable());
}

TEST_CASE("a server that refuses an upload early, and reads no more, is heard") {
  client_on_a_pipe t{64};
  memory_source source{pattern(100'000)};
  expected_call<void(std::error_code, client_type::upload_result)> call;
  call.start([&](auto handler) { t.client.async_upload(source, "a", std::move(handler)); });
  t.say("details?\nready\n");
  t.say("ERROR no-space full\n");
  pass(t.context, 60s);
  pass(t.context, 60s);
  CHECK(std::get<0>(call.result()) == errc::no_space);
  CHECK(t.client.last_reply() == "ERROR no-space full");
  CHECK_FALSE(t.client.usable());
}

}  // namespace client_tests
