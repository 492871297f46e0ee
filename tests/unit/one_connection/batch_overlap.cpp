// A batch of downloads goes on while files that have arrived are committed.

#include "support/batch_fixture.hpp"
#include "support/known_files.hpp"
#include "support/manual_clock.hpp"
#include "support/pipe_peer.hpp"
#include "support/session_replies.hpp"

#include <filexfer/detail/flow/download_batch.hpp>
#include <filexfer/batch.hpp>
#include <filexfer/client.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace batch_overlap_tests {

using namespace batch_tests;
using filexfer::memory_pipe;

namespace {

std::string bytes_of(std::size_t n) { return "file " + std::to_string(n); }

std::string reply_of(const std::string& bytes) {
  return "Please send a file ID\n" + id_of(bytes).to_string() + ";name;" +
         std::to_string(bytes.size()) + "\n" + bytes;
}

// A client whose work runs in a context of its own, when the test says so, and its server.
struct download_in_steps {
  explicit download_in_steps(const std::vector<std::string>& contents) {
    for (const std::string& bytes : contents) wanted.push_back({id_of(bytes), {}});
    client.work_executor(disk.get_executor());
    peer.receive();
    peer.send("version=1\ndigest=md5\n\n");
    client.async_download_all(
        wanted,
        [this](download_item& file, std::error_code ec, const auto&) {
          results.push_back(ec);
          CHECK(file.sink.committed == !ec);
          CHECK(&file == &wanted[results.size() - 1]);
        },
        asio::bind_cancellation_slot(cancel.slot(), [this](std::error_code ec) { ended = ec; }));
    run_until_idle(network);
    run_disk();  // the requests are prepared there
  }

  void run_disk() {
    disk.restart();
    disk.poll();
    run_until_idle(network);
  }

  void send(std::string text) {
    peer.send(std::move(text));
    run_until_idle(network);
  }

  bool has_arrived(std::size_t n) const { return wanted[n].sink.bytes == bytes_of(n); }

  asio::io_context network;
  asio::io_context disk;
  std::pair<memory_pipe, memory_pipe> ends = filexfer::make_memory_pipe(network, 100'000);
  pipe_peer peer{ends.second};
  filexfer::client<memory_pipe, md5, manual_timer> client{std::move(ends.first)};
  asio::cancellation_signal cancel;
  std::vector<download_item> wanted;
  std::vector<std::error_code> results;
  std::optional<std::error_code> ended;
};

std::vector<std::string> some_bytes(std::size_t count) {
  std::vector<std::string> all;
  for (std::size_t n = 0; n < count; ++n) all.push_back(bytes_of(n));
  return all;
}

}  // namespace

TEST_CASE("files arrive while earlier ones are committed") {
  download_in_steps op{some_bytes(3)};
  op.send(reply_of(bytes_of(0)));
  CHECK(op.has_arrived(0));
  op.send(reply_of(bytes_of(1)) + reply_of(bytes_of(2)));
  CHECK(op.has_arrived(1));
  CHECK(op.has_arrived(2));
  CHECK(op.results.empty());
  while (!op.ended) op.run_disk();
  CHECK_FALSE(*op.ended);
  CHECK(op.results.size() == 3);
  CHECK(op.client.usable());
}

TEST_CASE("a file is reported once it is committed, though the server sends nothing more") {
  const std::size_t large = 2 * filexfer::detail::max_buffered_size;
  for (const std::size_t next_size : {std::size_t{100}, large}) {
    for (const bool begins_next : {false, true}) {
      CAPTURE(next_size);
      CAPTURE(begins_next);
      const std::string next(next_size, 'n');
      download_in_steps op{{bytes_of(0), next}};
      const auto following = reply_of(next);
      const std::size_t part = begins_next ? following.size() - next_size + 10 : 0;
      op.send(reply_of(bytes_of(0)) + following.substr(0, part));
      CHECK(op.results.empty());
      op.run_disk();
      CHECK(op.results.size() == 1);
      CHECK_FALSE(op.ended);
      op.send(following.substr(part));
      while (!op.ended) op.run_disk();
      CHECK_FALSE(*op.ended);
      CHECK(op.results.size() == 2);
    }
  }
}

TEST_CASE("no more files wait for their commit than a batch, besides those being committed") {
  using filexfer::detail::max_commit_batch;
  const std::size_t count = 4 * max_commit_batch;
  download_in_steps op{some_bytes(count)};
  std::string replies;
  for (std::size_t n = 0; n < count; ++n) replies += reply_of(bytes_of(n));
  op.send(replies);
  const auto arrived =
      std::count_if(op.wanted.begin(), op.wanted.end(),
                    [](const download_item& file) { return !file.sink.bytes.empty(); });
  CHECK(static_cast<std::size_t>(arrived) == 2 * max_commit_batch);
  while (!op.ended) op.run_disk();
  CHECK_FALSE(*op.ended);
  CHECK(op.results.size() == count);
}

TEST_CASE("a file that can't be committed does not stop those that arrive meanwhile") {
  download_in_steps op{some_bytes(3)};
  op.wanted[0].sink.commit_error = make_error_code(std::errc::no_space_on_device);
  for (std::size_t n = 0; n < 3; ++n) op.send(reply_of(bytes_of(n)));
  while (!op.ended) op.run_disk();
  CHECK_FALSE(*op.ended);
  REQUIRE(op.results.size() == 3);
  CHECK(op.results[0] == std::errc::no_space_on_device);
  CHECK_FALSE(op.results[1]);
  CHECK(op.client.usable());
}

TEST_CASE("a batch whose requests take long to write gets each file once") {
  asio::io_context context;
  asio::thread_pool disk{1};
  filexfer::memory_store<> store;
  std::vector<download_item> wanted;
  for (std::size_t n = 0; n < 300; ++n) {
    const auto bytes = pattern(4000) + std::to_string(n);
    REQUIRE_FALSE(put(store, "f" + std::to_string(n), bytes));
    wanted.push_back({id_of(bytes), {}});
  }
  auto ends = filexfer::make_memory_pipe(context, 1000);
  filexfer::session<memory_pipe, filexfer::memory_store<>> session{std::move(ends.second), store};
  session.async_run([](std::error_code) {});
  filexfer::client<memory_pipe, md5> client{std::move(ends.first)};
  client.work_executor(disk.get_executor());
  std::size_t reported = 0;
  std::optional<std::error_code> ended;
  client.async_download_all(
      wanted,
      [&](download_item& file, std::error_code ec, const auto&) {
        CHECK_FALSE(ec);
        CHECK(&file == &wanted[reported]);
        ++reported;
      },
      [&](std::error_code ec) { ended = ec; });
  while (!ended) context.run_one();
  CHECK_FALSE(*ended);
  CHECK(reported == wanted.size());
  CHECK(client.usable());
  ended.reset();
  client.async_features([&](std::error_code ec, const auto&) { ended = ec; });
  while (!ended) context.run_one();
  CHECK_FALSE(*ended);
  client.next_layer().close();
  run_until_idle(context);
}

TEST_CASE("a slow server can't hold a client with a small file for longer than its rate allows") {
  download_in_steps op{{std::string(10'000, 'x')}};
  const auto reply = reply_of(std::string(10'000, 'x'));
  op.send(reply.substr(0, reply.size() - 10'000));
  std::size_t minutes = 0;
  for (; !op.ended && minutes < 100; ++minutes) {
    op.send("x");
    advance_clock(op.network, 50s);
  }
  CHECK(minutes < 5);
  REQUIRE(op.ended);
  CHECK(*op.ended == errc::timed_out);
}

TEST_CASE("if the stream ends, the files that have arrived are committed and reported") {
  for (const std::size_t part :
       {std::size_t{0}, std::size_t{1}, reply_of(bytes_of(2)).size() - 1}) {
    CAPTURE(part);
    download_in_steps op{some_bytes(3)};
    op.send(reply_of(bytes_of(0)));
    op.send(reply_of(bytes_of(1)) + reply_of(bytes_of(2)).substr(0, part));
    op.peer.stop_sending();
    run_until_idle(op.network);
    while (!op.ended) op.run_disk();
    CHECK(*op.ended == errc::truncated);
    CHECK(op.client.last_failure() == failure_origin::peer);
    CHECK(op.results == std::vector<std::error_code>(2));
  }
}

TEST_CASE(
    "a server that falls silent in a small file is timed out, and the files before it are kept") {
  download_in_steps op{some_bytes(2)};
  const auto second = reply_of(bytes_of(1));
  op.send(reply_of(bytes_of(0)) + second.substr(0, second.size() - 1));
  op.run_disk();
  CHECK(op.results.size() == 1);
  advance_clock(op.network, 59s);
  CHECK_FALSE(op.ended);
  advance_clock(op.network, 2s);
  REQUIRE(op.ended);
  CHECK(*op.ended == errc::timed_out);
}

TEST_CASE("a batch cancelled at any point reports what is committed, and nothing else") {
  for (std::size_t point = 0; point < 8; ++point) {
    CAPTURE(point);
    download_in_steps op{some_bytes(4)};
    std::size_t step = 0;
    const auto cancel_at_point = [&] {
      if (step++ == point) op.cancel.emit(asio::cancellation_type::terminal);
    };
    cancel_at_point();
    for (std::size_t n = 0; n < 4 && !op.ended; ++n) {
      op.send(reply_of(bytes_of(n)));
      cancel_at_point();
      if (n % 2 == 1) op.run_disk();
      cancel_at_point();
    }
    for (int n = 0; n < 100 && !op.ended; ++n) op.run_disk();
    REQUIRE(op.ended);
    if (*op.ended) CHECK(*op.ended == asio::error::operation_aborted);
    else CHECK(op.results.size() == 4);
    const auto committed = std::count_if(op.wanted.begin(), op.wanted.end(),
                                         [](const auto& file) { return file.sink.committed; });
    CHECK(op.results.size() == static_cast<std::size_t>(committed));
    CHECK(op.client.usable() == !*op.ended);
  }
}

}  // namespace batch_overlap_tests
