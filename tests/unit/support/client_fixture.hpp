#ifndef FILEXFER_TESTS_SUPPORT_CLIENT_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_CLIENT_FIXTURE_HPP

// Clients on memory pipes.

#include "support/manual_clock.hpp"

#include <filexfer/client.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>

#include <system_error>

namespace client_tests {

using namespace test;
using filexfer::client_options;
using filexfer::errc;
using filexfer::failure_origin;
using filexfer::memory_pipe;
using filexfer::memory_source;
using store_type = filexfer::memory_store<>;
using client_type = filexfer::client<memory_pipe&, filexfer::md5, manual_timer>;

inline client_options small_chunks() {
  client_options options;
  options.chunk_size = 65536;
  return options;
}

template <class Call>
std::error_code thrown_by(Call call) {
  try {
    call();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

}  // namespace client_tests

#endif
