#include "support/client_fixture.hpp"
#include "support/dialogues.hpp"
#include "support/once_handler.hpp"
#include "support/pipe_peer.hpp"
#include "support/script.hpp"

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

using namespace std::chrono_literals;
using namespace client_tests;
using filexfer::errc;
using filexfer::failure_origin;
using filexfer::memory_source;
using test::expected_call;
using test::hello;
using test::pass;
using test::pattern;
using test::recording_sink;
using test::settle;

namespace {

constexpr auto just_under = 1ns;

// A client on one end of a pipe; the test is the server, at the other.
struct client_on_a_pipe {
  explicit client_on_a_pipe(std::size_t capacity = 1024)
      : ends{filexfer::make_memory_pipe(context, capacity)} {}
  void send(std::string text) {
    peer.say(std::move(text));
    settle(context);
  }
  asio::cancellation_signal signal;
  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  test::pipe_peer peer{ends.second};
  client_type client{ends.first, small_chunks()};
};

}  // namespace

TEST_CASE("a client waits ten minutes for the reply to a request, and no longer") {
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
    t.send(hello.id + ";" + std::to_string(i) + ";5\n");
  }
  pass(t.context, 60s - just_under);
  CHECK_FALSE(call.called());
  pass(t.context, just_under);
  CHECK(std::get<0>(call.result()) == errc::timed_out);
}

TEST_CASE("a download that pauses for a minute, or is below the least rate, times out") {
  for (const bool trickles : {false, true}) {
    client_on_a_pipe t;
    t.peer.listen();
    recording_sink sink;
    expected_call<void(std::error_code, client_type::download_result)> call;
    call.start(
        [&](auto handler) { t.client.async_download(id_of(hello), sink, std::move(handler)); });
    settle(t.context);
    t.send("id?\n" + hello.id + ";a;10245\nfirst");
    // The other 10,240 bytes may take a minute plus 10 s.
    for (int i = 0; i < (trickles ? 69 : 0); ++i) {
      pass(t.context, 1s);
      t.send("x");
    }
    pass(t.context, (trickles ? 1s : 60s) - just_under);
    CHECK_FALSE(call.called());
    pass(t.context, just_under);
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
  pass(t.context, 60s - just_under);
  CHECK_FALSE(call.called());
  // The client waits for an ERROR that the server may have sent.
  pass(t.context, just_under);
  pass(t.context, 2s);
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
  pass(t.context, 60s);
  pass(t.context, 60s);
  CHECK(std::get<0>(call.result()) == errc::no_space);
  CHECK(t.client.last_reply() == "ERROR no-space full");
  CHECK_FALSE(t.client.usable());
}

}  // namespace client_deadline_tests
