#ifndef FILEXFER_TESTS_SUPPORT_MEMORY_PIPE_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_MEMORY_PIPE_FIXTURE_HPP

// The two ends of a memory_pipe.

#include "support/transfers.hpp"

#include <filexfer/memory_pipe.hpp>

#include <asio/cancellation_type.hpp>
#include <asio/io_context.hpp>

#include <cstddef>
#include <utility>

namespace memory_pipe_tests {

using namespace test;
using filexfer::make_memory_pipe;
using filexfer::memory_pipe;
using cancel = asio::cancellation_type;

struct two_ends {
  explicit two_ends(std::size_t capacity = 16) : ends{make_memory_pipe(context, capacity)} {}

  void run() {
    context.restart();
    context.run();
  }

  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  memory_pipe& a = ends.first;
  memory_pipe& b = ends.second;
};

}  // namespace memory_pipe_tests

#endif
