#include "support/client_fixture.hpp"
#include "support/known_files.hpp"
#include "support/once_handler.hpp"
#include "support/pipe_peer.hpp"
#include "support/recording_sink.hpp"
#include "support/script.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>

#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace client_deadline_tests {

using namespace client_tests;
using namespace std::chrono_literals;

namespace {

// A client on one end of a pipe; the test is the server, at the other.
struct client_on_a_pipe {
  explicit client_on_a_pipe(std::size_t capacity = 1024)
      : ends{filexfer::make_memory_pipe(context, capacity)} {}
  void send(std::string text) {
    peer.send(std::move(text));
    run_until_idle(context);
  }
  asio::cancellation_signal signal;
  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  pipe_peer peer{ends.second};
  client_type client{ends.first, small_chunks()};
};

}  // namespace

TEST_CASE("a client waits ten minutes for the reply to a request, and no longer") {
  client_on_a_pipe t;
  t.peer.receive();
  expected_call<void(std::error_code, std::vector<client_type::file_info>)> call;
  call.start([&](auto handler) { t.client.async_list_files(std::move(handler)); });
  run_until_idle(t.context);
  CHECK(t.peer.received == "LIST_FILES\n");
  advance_clock(t.context, 600s - epsilon);
  CHECK_FALSE(call.called());
  advance_clock(t.context, epsilon);
  CHECK(std::get<0>(call.result()) == errc::timed_out);
  CHECK(t.client.last_failure() == failure_origin::stream);
  CHECK_FALSE(t.client.usable());
}

TEST_CASE("a client waits a minute for each further line of a list, however many there are") {
  client_on_a_pipe t;
  t.peer.receive();
  expected_call<void(std::error_code, std::vector<client_type::file_info>)> call;
  call.start([&](auto handler) { t.client.async_list_files(std::move(handler)); });
  run_until_idle(t.context);
  for (int i = 0; i < 100; ++i) {
    advance_clock(t.context, 60s - epsilon);
    t.send(hello.id + ";" + std::to_string(i) + ";5\n");
  }
  advance_clock(t.context, 60s - epsilon);
  CHECK_FALSE(call.called());
  advance_clock(t.context, epsilon);
  CHECK(std::get<0>(call.result()) == errc::timed_out);
}

TEST_CASE("a download that pauses for a minute, or is below the least rate, times out") {
  for (const bool trickles : {false, true}) {
    client_on_a_pipe t;
    t.peer.receive();
    recording_sink sink;
    expected_call<void(std::error_code, client_type::download_result)> call;
    call.start(
        [&](auto handler) { t.client.async_download(id_of(hello), sink, std::move(handler)); });
    run_until_idle(t.context);
    t.send("id?\n" + hello.id + ";a;10245\nfirst");
    // The other 10,240 bytes may take a minute plus 10 s.
    for (int i = 0; i < (trickles ? 69 : 0); ++i) {
      advance_clock(t.context, 1s);
      t.send("x");
    }
    advance_clock(t.context, (trickles ? 1s : 60s) - epsilon);
    CHECK_FALSE(call.called());
    advance_clock(t.context, epsilon);
    CHECK(std::get<0>(call.result()) == errc::timed_out);
    CHECK_FALSE(sink.committed);
  }
}

TEST_CASE("an upload to a server that does not read times out after a minute") {
  client_on_a_pipe t{64};
  memory_source source{pattern(1000)};
  expected_call<void(std::error_code, client_type::upload_result)> call;
  call.start([&](auto handler) { t.client.async_upload(source, "a", std::move(handler)); });
  t.send("details?\nready\n");
  advance_clock(t.context, 60s - epsilon);
  CHECK_FALSE(call.called());
  // The client waits for an ERROR that the server may have sent.
  advance_clock(t.context, epsilon);
  advance_clock(t.context, 2s);
  CHECK(std::get<0>(call.result()) == errc::timed_out);
  CHECK_FALSE(t.client.usable());
}

TEST_CASE("a client receives an early refusal of its upload from a server that reads no more") {
  client_on_a_pipe t{64};
  memory_source source{pattern(100'000)};
  expected_call<void(std::error_code, client_type::upload_result)> call;
  call.start([&](auto handler) { t.client.async_upload(source, "a", std::move(handler)); });
  t.send("details?\nready\n");
  t.send("ERROR no-space full\n");
  advance_clock(t.context, 60s);
  advance_clock(t.context, 60s);
  CHECK(std::get<0>(call.result()) == errc::no_space);
  CHECK(t.client.last_reply() == "ERROR no-space full");
  CHECK_FALSE(t.client.usable());
}

}  // namespace client_deadline_tests
