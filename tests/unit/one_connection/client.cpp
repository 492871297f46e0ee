#include "support/client_fixture.hpp"
#include "support/known_files.hpp"
#include "support/once_handler.hpp"
#include "support/recording_sink.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/session.hpp>

#include <asio/awaitable.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace client_tests {

using cancel = asio::cancellation_type;

namespace {

const std::error_code aborted{asio::error::operation_aborted};

using session_type = filexfer::session<memory_pipe&, store_type, filexfer::md5, manual_timer>;

// A client and a session on the ends of a pipe, on one thread and in virtual time.
struct client_and_session {
  explicit client_and_session(std::size_t capacity = 10'000)
      : ends{filexfer::make_memory_pipe(context, capacity)} {
    served.start([&](auto handler) { session.async_run(std::move(handler)); });
  }
  ~client_and_session() {
    ends.first.close();
    run_until_idle(context);
  }

  store_type store;
  asio::cancellation_signal signal;
  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  expected_call<void(std::error_code)> served;
  session_type session{ends.second, store};
  client_type client{ends.first, small_chunks()};
};

}  // namespace

// ------------------------------------------------------------------------------------ asynchronous

TEST_CASE(
    "an asynchronous client downloads what it uploaded, of any size and with any pipe capacity") {
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{1000}, std::size_t{1'000'000}}) {
    client_and_session t{capacity};
    for (const known_file& s : known_files()) {
      if (capacity == 1 && s.bytes.size() > 100) continue;
      memory_source source{s.bytes};
      expected_call<void(std::error_code, client_type::upload_result)> up;
      up.start([&](auto handler) { t.client.async_upload(source, "a", std::move(handler)); });
      run_until_idle(t.context);
      REQUIRE_FALSE(std::get<0>(up.result()));
      CHECK(std::get<1>(up.result()).remote_digest.to_string() == s.id);

      recording_sink sink;
      expected_call<void(std::error_code, client_type::download_result)> down;
      down.start(
          [&](auto handler) { t.client.async_download(id_of(s), sink, std::move(handler)); });
      run_until_idle(t.context);
      REQUIRE_FALSE(std::get<0>(down.result()));
      CHECK(sink.committed);
      CHECK(sink.bytes == s.bytes);
    }
    CHECK(t.client.usable());
  }
}

TEST_CASE("every operation takes a callback, even a move-only one, or returns a future") {
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
  run_until_idle(t.context);
  t.client.async_list_files(done);
  run_until_idle(t.context);
  t.client.async_list_files(count, done);
  run_until_idle(t.context);
  t.client.async_download(id_of(hello), sink, done);
  run_until_idle(t.context);
  t.client.async_download_range({id_of(hello), 1, 2}, sink, done);
  run_until_idle(t.context);
  t.client.async_upload(first, "b", done);
  run_until_idle(t.context);
  t.client.async_upload(second, filexfer::upload_request<md5_digest>{"c", id_of(hello)}, done);
  run_until_idle(t.context);
  CHECK(calls == 7);
  CHECK(entries == 1);
  CHECK(sink.bytes == "helloel");

  t.client.async_features([&, only = std::make_unique<int>(1)](std::error_code ec, auto&&) {
    calls += ec ? 0 : *only;
  });
  run_until_idle(t.context);
  CHECK(calls == 8);

  auto files = t.client.async_list_files(asio::use_future);
  run_until_idle(t.context);
  CHECK(files.get().size() == 3);
  auto refused = t.client.async_download(md5_digest{}, sink, asio::use_future);
  run_until_idle(t.context);
  CHECK(thrown_by([&] { refused.get(); }) == errc::not_found);
}

#ifdef ASIO_HAS_CO_AWAIT
TEST_CASE("an Asio coroutine awaits one operation after another") {
  client_and_session t;
  recording_sink sink;
  const auto round_trip = [](client_type& client, recording_sink& into) -> asio::awaitable<void> {
    memory_source source{hello.bytes};
    const auto uploaded = co_await client.async_upload(source, "a", asio::use_awaitable);
    co_await client.async_download(uploaded.remote_digest, into, asio::use_awaitable);
    co_await client.async_download(md5_digest{}, into, asio::use_awaitable);
  };
  std::exception_ptr thrown;
  asio::co_spawn(t.context, round_trip(t.client, sink), [&](std::exception_ptr e) { thrown = e; });
  run_until_idle(t.context);
  CHECK(sink.bytes == hello.bytes);
  REQUIRE(thrown);
  CHECK(thrown_by([&] { std::rethrow_exception(thrown); }) == errc::not_found);
}
#endif

TEST_CASE("a second operation fails with operation_in_progress, and does not disturb the first") {
  client_and_session t;
  put(t.store, "a", hello);
  recording_sink sink;
  expected_call<void(std::error_code, client_type::download_result)> first;
  expected_call<void(std::error_code, filexfer::server_features)> second;
  first.start(
      [&](auto handler) { t.client.async_download(id_of(hello), sink, std::move(handler)); });
  second.start([&](auto handler) { t.client.async_features(std::move(handler)); });
  run_until_idle(t.context);
  CHECK(std::get<0>(second.result()) == errc::operation_in_progress);
  CHECK_FALSE(std::get<0>(first.result()));
  CHECK(sink.bytes == hello.bytes);
  CHECK(t.client.last_failure() == failure_origin::none);
  CHECK(t.client.usable());
}

TEST_CASE("a client with a work executor, on a context with four threads, transfers whole files") {
  const known_file s = known_files().back();
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
  CHECK(up.get().remote_digest.to_string() == s.id);
  recording_sink sink;
  CHECK(client.async_download(id_of(s), sink, asio::use_future).get().local_digest == id_of(s));
  CHECK(sink.bytes == s.bytes);
  ends.first.close();
  CHECK_NOTHROW(served.get());
  for (auto& thread : threads) thread.join();
}

// ------------------------------------------------------------------------------------ cancellation

namespace {

// Starts `operate` and cancels it after so many handlers. Returns its error, or nothing if it had
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
  run_until_idle(t.context);
  const std::error_code ec = std::get<0>(call.result());
  if (completed) return std::nullopt;
  return ec;
}

void check_unusable(client_and_session& t) {
  CHECK_FALSE(t.client.usable());
  CHECK(t.client.last_failure() == failure_origin::stream);
  expected_call<void(std::error_code, filexfer::server_features)> next;
  next.start([&](auto handler) { t.client.async_features(std::move(handler)); });
  run_until_idle(t.context);
  CHECK(std::get<0>(next.result()) == errc::connection_unusable);
}

}  // namespace

TEST_CASE(
    "an upload cancelled at any step completes once, and makes the client unusable if it fails") {
  std::size_t steps = 0;
  for (const known_file& s : {hello, known_files().back()}) {
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
  for (const known_file& s : {hello, known_files().back()}) {
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

TEST_CASE("destroying a client and then its context drops the client's pending operation") {
  bool called = false;
  asio::io_context context;
  auto ends = std::make_optional(filexfer::make_memory_pipe(context));
  {
    client_type client{ends->first};
    client.async_features([&](std::error_code, auto&&) { called = true; });
    run_until_idle(context);
  }
  ends.reset();
  CHECK_FALSE(called);
}

}  // namespace client_tests
