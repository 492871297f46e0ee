#ifndef FILEXFER_TESTS_SUPPORT_RECORDING_SINK_HPP
#define FILEXFER_TESTS_SUPPORT_RECORDING_SINK_HPP

// A sink that records its calls, and fails on request.

#include "support/bytes.hpp"
#include "support/script.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/entry.hpp>
#include <filexfer/md5.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <system_error>

namespace test {

struct recording_sink {
  using file_info = filexfer::file_info<md5_digest>;

  void announce(const file_info& file, std::error_code& ec) {
    announced = file;
    ec = announce_error;
  }
  void write(std::span<const std::byte> part, std::error_code& ec) {
    ec.clear();
    if (writes++ == failing_write) ec = write_error;
    else bytes += text_of(part);
  }
  void commit(std::error_code& ec) {
    ec = commit_error;
    committed = !ec;
  }

  std::optional<file_info> announced;
  std::string bytes;
  bool committed = false;
  std::size_t writes = 0;

  std::error_code announce_error;
  std::error_code write_error;
  std::size_t failing_write = never;
  std::error_code commit_error;
};

}  // namespace test

#endif
