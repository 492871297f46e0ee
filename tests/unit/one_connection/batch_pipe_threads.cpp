// Batches between a client and a session over a memory pipe, with work on other threads.

#include "support/batch_pipe.hpp"
#include "support/store_helpers.hpp"

#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace batch_pipe_threads_tests {

using namespace batch_tests;

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

}  // namespace batch_pipe_threads_tests
