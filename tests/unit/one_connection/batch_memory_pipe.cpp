// Batches between a client and a session over a memory pipe, with faults and cancellation.

#include "support/batch_fixture.hpp"
#include "support/batch_pipe.hpp"
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
  files.reserve(sizes.size());
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
