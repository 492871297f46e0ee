#ifndef FILEXFER_TESTS_SUPPORT_BATCH_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_BATCH_FIXTURE_HPP

// What the batch*.cpp share.

#include "support/known_files.hpp"
#include "support/recording_sink.hpp"
#include "support/script.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/batch.hpp>
#include <filexfer/client.hpp>
#include <filexfer/md5.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace batch_tests {

using namespace test;
using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::failure_origin;
using filexfer::md5;
using texts = std::vector<std::string>;

// A source that can fail at an offset, or report that its file has changed.
struct failing_source {
  std::string bytes;
  std::size_t fails_at = never;
  bool changes = false;
  std::size_t read_size = 0;

  std::uint64_t size() const noexcept { return bytes.size(); }
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    ec = read_size + to.size() > fails_at ? std::make_error_code(std::errc::io_error)
                                          : std::error_code{};
    if (ec) return 0;
    std::memcpy(to.data(), bytes.data() + read_size, to.size());
    read_size += to.size();
    return to.size();
  }
  void check_unchanged(std::error_code& ec) {
    ec = changes ? make_error_code(filexfer::errc::source_changed) : std::error_code{};
  }
};

using upload_item = filexfer::upload_item<failing_source, md5_digest>;
using download_item = filexfer::download_item<recording_sink, md5_digest>;
using name_request = filexfer::name_request<md5_digest>;

inline upload_item file_of(std::string name, std::string bytes) {
  return {{std::move(bytes)}, {std::move(name)}};
}

inline const dialogue features{C("FEATURES\n"),
                               S("version=1\ndigest=md5\nhave\nnowait\nmtime\n\n")};

// How a batch's results are written in these tests.
inline std::string result_text(const std::string& name, std::error_code ec) {
  return name + (ec ? ": " + ec.message() : "");
}

// A batch whose peer is a script.
struct batch_by_hand {
  explicit batch_by_hand(const dialogue& talk) : driver{scripted_peer{talk, role::client}} {
    state.connection.chunk_size = state.connection.small_file_size = 100'000;
  }

  template <class Files>
  std::error_code upload(Files& files) {
    const auto on_result = [this](const auto& request, std::error_code ec, const auto& result) {
      results.push_back(result_text(request.name, ec));
      if (!ec) CHECK(result.local_digest == result.remote_digest);
      origins.push_back(state.origin);
    };
    return run([&](std::error_code& ec) {
      return filexfer::detail::upload_all<md5>(state, files, on_result, ec);
    });
  }

  std::error_code add_names(std::vector<name_request>& files) {
    const auto on_result = [this](const auto& request, std::error_code ec, bool held) {
      results.push_back(result_text(request.name, ec) + (held ? " held" : ""));
    };
    return run([&](std::error_code& ec) {
      return filexfer::detail::add_names<md5>(state, files, on_result, ec);
    });
  }

  std::error_code download(std::vector<download_item>& files) {
    const auto on_result = [this](const auto& file, std::error_code ec, const auto& result) {
      results.push_back(result_text(file.sink.committed ? file.sink.bytes : result.file.name, ec));
    };
    return run([&](std::error_code& ec) {
      return filexfer::detail::download_all<md5>(state, files, on_result, ec);
    });
  }

  template <class MakeFlow>
  std::error_code run(MakeFlow make_flow) {
    std::error_code ec;
    driver.run(make_flow, ec);
    CHECK_FALSE(state.running);
    return ec;
  }

  filexfer::detail::client_state state;
  hand_driver driver;
  std::vector<std::string> results;
  std::vector<failure_origin> origins;
};

}  // namespace batch_tests

#endif
