#ifndef FILEXFER_TESTS_SUPPORT_BYTE_SWEEP_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_BYTE_SWEEP_FIXTURE_HPP

// What the byte_sweep*.cpp share: the bodies, commands and faults of a sweep.

#include "support/session_runner.hpp"
#include "support/tally.hpp"

#include <filexfer/fault_stream.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory_store.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace byte_sweep_tests {

using namespace test;
using namespace std::string_view_literals;
using filexfer::fault_plan;

// With a sanitizer, or without optimisation, there is time for every n-th position only. The first
// one differs from call to call, so that together the calls cover all positions.
inline std::size_t stride() {
#if defined(FILEXFER_SANITIZE) && defined(FILEXFER_BUILD_TYPE)
  const std::string_view sanitizers = FILEXFER_SANITIZE;
  if (!sanitizers.empty()) return 13;
  if (std::string_view{FILEXFER_BUILD_TYPE} == "Debug") return 5;
#endif
  return 1;
}

/// The first `size` bytes of a text made of words of the protocol and of other confusing bytes.
inline sample body(std::size_t size) {
  constexpr std::string_view words =
      "DONE\nLIST_FILES\r\nEOF\n;%00\0\xFF"
      "ERROR busy\n\nUPLOAD\n"sv;
  std::string bytes;
  while (bytes.size() < size) bytes += words;
  bytes.resize(size);
  return sample{std::move(bytes)};
}

inline constexpr std::size_t chunk = 16;

inline const std::vector<sample>& bodies() {
  static const std::vector<sample> all{
      body(0), body(1), body(5), body(chunk - 1), body(chunk), body(chunk + 1), body(3 * chunk)};
  return all;
}

inline constexpr std::array all_tasks{task::list, task::upload, task::upload_declared,
                                      task::upload_held, task::download};

/// Every n-th number from 0 to `last`; the first one differs from call to call.
class every_nth {
 public:
  explicit every_nth(std::size_t n = 1) : step_{stride() * n} {}

  template <class Call>
  void operator()(std::uint64_t last, Call call) {
    for (std::uint64_t i = (offset_ += 7) % step_; i <= last; i += step_) call(i);
  }

 private:
  std::size_t step_;
  std::size_t offset_ = 0;
};

struct memory_stores {
  using store_type = filexfer::memory_store<>;
  static constexpr std::uint64_t quota = 1 << 20;

  store_type& fresh() { return store.emplace(filexfer::memory_store_options{.quota = quota}); }

  /// Checks that exactly the quota without the listed files can be reserved.
  template <class Store>
  static std::string find_leftovers(Store& s, std::uint64_t listed_size) {
    std::error_code ec;
    const auto rest = s.create({"probe", quota - listed_size, {}}, ec);
    if (ec) return "bytes are still reserved";
    const auto one_more = s.create({"probe", 1, {}}, ec);
    return ec == filexfer::errc::no_space ? "" : "bytes are not counted";
  }
  std::string find_leftovers(std::uint64_t listed_size) {
    return find_leftovers(*store, listed_size);
  }

  std::optional<store_type> store;
};

/// Reads and writes of any size, of single bytes, and of a few bytes; the last with a work
/// executor.
inline std::vector<scenario> io_patterns() {
  scenario whole;
  scenario single_bytes;
  single_bytes.client.max_read = single_bytes.client.max_write = 1;
  single_bytes.server = single_bytes.client;
  single_bytes.capacity = 1;
  scenario pieces;
  pieces.client.max_read = pieces.server.max_write = 7;
  pieces.capacity = 5;
  pieces.offload_work = true;
  return {whole, single_bytes, pieces};
}

struct fault_kind {
  std::optional<std::uint64_t> fault_plan::*offset;
  bool counts_reads;
};

inline constexpr std::array fault_kinds{fault_kind{&fault_plan::end_after_read, true},
                                        fault_kind{&fault_plan::reset_after_read, true},
                                        fault_kind{&fault_plan::stall_after_read, true},
                                        fault_kind{&fault_plan::break_after_written, false},
                                        fault_kind{&fault_plan::reset_after_written, false},
                                        fault_kind{&fault_plan::stall_after_written, false}};

inline constexpr std::array sides{&scenario::client, &scenario::server};

/// The bytes that `side` reads or writes in a session without faults.
inline std::uint64_t transferred(const session_result& whole, fault_plan scenario::*side,
                                 bool reads) {
  return (side == &scenario::client) == reads ? whole.client_read : whole.client_written;
}

inline void report(const std::string& label, const tally& counts) {
  MESSAGE(label << ": " << counts.sessions << " sessions");
  CHECK_MESSAGE(counts.violations == 0, counts.violations << " violations\n" << counts.summary());
  CHECK(counts.sessions > 0);
}

/// Ends, resets, breaks and stalls at every n-th byte, on either side. For single bytes and pieces
/// at half as many.
template <class Stores, class Hasher = filexfer::md5, class... Args>
tally sweep_faults(std::size_t n, std::span<const task> tasks, std::span<const sample> files,
                   Args&&... args) {
  tally counts;
  session_runner<Stores, Hasher> sessions{counts, std::forward<Args>(args)...};
  for (const auto& pattern : io_patterns()) {
    every_nth every{pattern.capacity < 100 ? 2 * n : n};
    for (const task operation : tasks) {
      for (const sample& file : files) {
        const session_result whole = sessions.run(operation, file, pattern);
        for (const auto side : sides) {
          for (const auto& kind : fault_kinds) {
            every(transferred(whole, side, kind.counts_reads), [&](std::uint64_t byte) {
              scenario c = pattern;
              c.*side.*kind.offset = byte;
              c.bystander_after = (byte * 5) % (whole.handlers + 1);
              sessions.run(operation, file, c);
            });
          }
        }
      }
    }
  }
  return counts;
}

}  // namespace byte_sweep_tests

#endif
