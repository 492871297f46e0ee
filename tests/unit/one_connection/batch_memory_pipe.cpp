// Batches between a client and a session over a memory pipe, with faults and cancellation.

#include "support/batch_fixture.hpp"
#include "support/known_files.hpp"
#include "support/manual_clock.hpp"
#include "support/pipe_peer.hpp"
#include "support/script.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/batch.hpp>
#include <filexfer/client.hpp>
#include <filexfer/fault_stream.hpp>
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
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace batch_memory_pipe_tests {

using namespace batch_tests;
using filexfer::fault_plan;
using filexfer::fault_stream;
using filexfer::memory_pipe;
using filexfer::memory_store;

namespace {

// A client and a session on a memory pipe, with faults on the client's side.
struct pipe_session {
  using faulty = fault_stream<memory_pipe>;

  pipe_session(memory_store<>& store, std::size_t capacity, const fault_plan& plan = {})
      : ends{filexfer::make_memory_pipe(context, capacity)},
        session{std::move(ends.second), store},
        client{faulty{std::move(ends.first), plan}, options()} {
    session.async_run([this](std::error_code) { session_ended = true; });
  }

  static filexfer::client_options options() {
    filexfer::client_options small;
    small.chunk_size = small.small_file_size = 1000;
    return small;
  }

  // Returns the names reported as stored.
  texts upload(std::vector<upload_item>& files) {
    texts stored;
    client.async_upload_all(
        files,
        [&](const auto& request, std::error_code ec, const auto&) {
          if (!ec) stored.push_back(request.name);
        },
        asio::bind_cancellation_slot(cancel.slot(), [this](std::error_code e) { ended = e; }));
    run_until_idle(context);
    return stored;
  }

  void end() {
    std::error_code ignored;
    client.next_layer().close(ignored);
    run_until_idle(context);
    CHECK(session_ended);
  }

  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  filexfer::session<memory_pipe, memory_store<>, md5, manual_timer> session;
  filexfer::client<faulty, md5, manual_timer> client;
  asio::cancellation_signal cancel;
  std::optional<std::error_code> ended;
  bool session_ended = false;
};

std::vector<upload_item> some_files() {
  std::vector<upload_item> files;
  for (const std::size_t size : {5U, 0U, 900U, 1000U, 1001U, 2500U, 3U, 40U}) {
    files.push_back(file_of("f" + std::to_string(size), pattern(size)));
  }
  return files;
}

}  // namespace

TEST_CASE("a batch uploads files of every size, also of more than max_nowait_size") {
  const std::vector<std::size_t> sizes{0, 1, 99'999, 100'000, 100'001, 300'000, 300'001, 7};
  asio::io_context context;
  auto ends = filexfer::make_memory_pipe(context, 10'000);
  memory_store<> store;
  filexfer::session<memory_pipe, memory_store<>> session{std::move(ends.second), store};
  session.async_run([](std::error_code) {});
  filexfer::client_options options;
  options.chunk_size = options.small_file_size = 100'000;
  options.max_nowait_size = 300'000;
  filexfer::client<memory_pipe> client{std::move(ends.first), options};
  std::vector<upload_item> files;
  for (const std::size_t size : sizes) {
    files.push_back(file_of("file of " + std::to_string(size), pattern(size)));
  }
  texts names;
  std::optional<std::error_code> ended;
  client.async_upload_all(
      files,
      [&](const auto& request, std::error_code ec, const auto& result) {
        CHECK_FALSE(ec);
        CHECK(result.bytes == sizes[names.size()]);
        names.push_back(request.name);
      },
      [&](std::error_code ec) { ended = ec; });
  run_until_idle(context);
  REQUIRE(ended);
  CHECK_FALSE(*ended);
  CHECK(names.size() == sizes.size());
  CHECK(entries_of(store).size() == sizes.size());
  CHECK(all_whole(store));
  CHECK(client.usable());
  client.next_layer().close();
  run_until_idle(context);
}

TEST_CASE("client and session never deadlock, whatever the capacity of the pipe") {
  for (const std::size_t capacity : {1U, 2U, 7U, 64U, 1000U, 100'000U}) {
    CAPTURE(capacity);
    for (const bool offload_work : {true, false}) {
      memory_store<> store;
      asio::thread_pool pool{2};
      pipe_session pair{store, capacity};
      if (offload_work) pair.client.work_executor(pool.get_executor());
      std::vector<upload_item> files = some_files();
      const int more = capacity < 64 ? 100 : 1500;  // than are pipelined at once
      for (int n = 0; n < more; ++n) files.push_back(file_of("g" + std::to_string(n), "x"));
      std::vector<download_item> wanted;
      std::vector<name_request> names;
      std::size_t held = 0;
      std::optional<std::error_code> ended;
      const auto last = [&](std::error_code ec) { ended = ec; };
      const auto fetch = [&](std::error_code ec) {
        REQUIRE_FALSE(ec);
        pair.client.async_download_all(
            wanted,
            [&](auto& file, std::error_code failed, const auto&) {
              CHECK_FALSE(failed);
              CHECK(file.sink.committed);
            },
            last);
      };
      const auto ask = [&](std::error_code ec) {
        REQUIRE_FALSE(ec);
        const auto count = [&](const auto&, std::error_code failed, bool is_held) {
          held += !failed && is_held ? 1U : 0U;
        };
        pair.client.async_add_names(names, count, fetch);
      };
      pair.client.async_upload_all(
          files,
          [&](const auto& request, std::error_code ec, const auto& result) {
            CHECK_FALSE(ec);
            wanted.push_back({result.remote_digest, {}});
            names.push_back({"again/" + request.name, result.bytes, result.remote_digest});
          },
          ask);
      while (!ended) pair.context.run_one();
      CHECK_FALSE(*ended);
      CHECK(held == files.size());
      CHECK(wanted.size() == files.size());
      CHECK(all_whole(store));
      CHECK(pair.client.usable());
      pair.end();
      pool.join();
    }
  }
}

TEST_CASE(
    "a batch that is cut at any byte reports stored files only, and the rest can be sent again") {
  std::size_t cuts = 0;
  std::size_t max_bytes = 20'000;
  for (const bool reading : {true, false}) {
    for (std::uint64_t cut = 0; cut < max_bytes; cut += reading ? 1 : 37) {
      CAPTURE(cut);
      CAPTURE(reading);
      memory_store<> store;
      texts stored;
      {
        fault_plan plan;
        (reading ? plan.reset_after_read : plan.reset_after_written) = cut;
        pipe_session pair{store, 300, plan};
        auto files = some_files();
        stored = pair.upload(files);
        REQUIRE(pair.ended);
        pair.end();
        if (!*pair.ended) break;  // past the last byte
        REQUIRE_FALSE(pair.client.usable());
        ++cuts;
      }
      REQUIRE(all_whole(store));
      const auto entries = entries_of(store);
      for (const std::string& name : stored) {
        const auto has_name = [&](const auto& entry) {
          return entry.find(';' + name + ';') != std::string::npos;
        };
        REQUIRE(std::any_of(entries.begin(), entries.end(), has_name));
      }
      auto rest = some_files();
      rest.erase(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(stored.size()));
      pipe_session again{store, 300};
      REQUIRE(again.upload(rest).size() == rest.size());
      REQUIRE(entries_of(store).size() == some_files().size());
      again.end();
    }
  }
  CHECK(cuts > 800);
}

TEST_CASE("a batch that is cancelled at any point leaves only whole files") {
  std::size_t cancels = 0;
  for (std::size_t handlers = 0;; ++handlers) {
    memory_store<> store;
    pipe_session pair{store, 300};
    auto files = some_files();
    std::size_t reported = 0;
    pair.client.async_upload_all(
        files, [&](auto&&...) { ++reported; },
        asio::bind_cancellation_slot(pair.cancel.slot(),
                                     [&](std::error_code e) { pair.ended = e; }));
    for (std::size_t n = 0; n < handlers; ++n) pair.context.poll_one();
    if (pair.ended) {
      pair.end();
      break;
    }
    pair.cancel.emit(asio::cancellation_type::terminal);
    run_until_idle(pair.context);
    REQUIRE(pair.ended);
    // It may have completed anyway.
    if (*pair.ended) {
      REQUIRE(*pair.ended == asio::error::operation_aborted);
      REQUIRE_FALSE(pair.client.usable());
    } else {
      REQUIRE(reported == files.size());
    }
    pair.end();
    REQUIRE(all_whole(store));
    ++cancels;
  }
  CHECK(cancels > 20);
}

TEST_CASE(
    "a server that does not read or does not reply is timed out at the limits, and not before") {
  for (const bool reads : {true, false}) {
    asio::io_context context;
    auto ends = filexfer::make_memory_pipe(context, 1000);
    pipe_peer peer{ends.second};
    filexfer::client<memory_pipe, md5, manual_timer> client{std::move(ends.first)};
    std::optional<std::error_code> ended;
    std::vector<upload_item> files{file_of("f", pattern(50'000))};
    peer.receive(9);
    client.async_upload_all(
        files, [](auto&&...) {}, [&](std::error_code ec) { ended = ec; });
    run_until_idle(context);
    peer.send("version=1\ndigest=md5\nnowait\n\n");
    run_until_idle(context);
    if (reads) peer.receive();
    run_until_idle(context);
    REQUIRE_FALSE(ended);
    advance_clock(context, (reads ? 600s : 60s) - 1ns);
    CHECK_FALSE(ended);
    advance_clock(context, 1ns);
    advance_clock(context, 2s);  // during which the client still reads, for an ERROR line
    REQUIRE(ended);
    CHECK(*ended == errc::timed_out);
    CHECK_FALSE(client.usable());
  }
}

TEST_CASE("a batch fails while another operation runs, with an error code or an exception") {
  asio::io_context context;
  auto ends = filexfer::make_memory_pipe(context, 1000);
  filexfer::client<memory_pipe> client{std::move(ends.first)};
  std::vector<upload_item> files{file_of("f", "x")};
  client.async_features([](std::error_code, const auto&) {});
  run_until_idle(context);
  std::error_code ec;
  client.upload_all(
      files, [](auto&&...) {}, ec);
  CHECK(ec == errc::operation_in_progress);
  std::vector<name_request> names{{"f", 1, id_of(hello)}};
  CHECK_THROWS_AS(client.add_names(names, [](auto&&...) {}), std::system_error);
  std::vector<download_item> wanted{{id_of(hello), {}}};
  CHECK_THROWS_AS(client.download_all(wanted, [](auto&&...) {}), std::system_error);
  CHECK_THROWS_AS(client.upload_all(files, [](auto&&...) {}), std::system_error);
}

}  // namespace batch_memory_pipe_tests
