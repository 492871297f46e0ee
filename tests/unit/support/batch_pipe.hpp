#ifndef FILEXFER_TESTS_SUPPORT_BATCH_PIPE_HPP
#define FILEXFER_TESTS_SUPPORT_BATCH_PIPE_HPP

// Batches over a memory pipe.

#include "support/batch_fixture.hpp"
#include "support/manual_clock.hpp"
#include "support/script.hpp"

#include <filexfer/client.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace batch_tests {

using filexfer::fault_plan;
using filexfer::fault_stream;
using filexfer::memory_pipe;
using filexfer::memory_store;

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

inline std::vector<upload_item> some_files() {
  std::vector<upload_item> files;
  for (const std::size_t size : {5U, 0U, 900U, 1000U, 1001U, 2500U, 3U, 40U}) {
    files.push_back(file_of("f" + std::to_string(size), pattern(size)));
  }
  return files;
}

}  // namespace batch_tests

#endif
