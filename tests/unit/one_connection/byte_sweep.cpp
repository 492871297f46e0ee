// Sessions over a memory pipe that ends, resets, breaks, stalls, flips a bit or is delayed at each
// byte, on either side; in reads and writes of every size; cancelled between any two handlers.
// After each session the invariants of `support/session_runner.hpp` must hold. One thread, no wall
// clock.

#include "support/byte_sweep_fixture.hpp"
#include "support/scenario_text.hpp"
#include "support/session_runner.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace byte_sweep_tests {

using namespace std::chrono_literals;

namespace {

/// Calls `call(task, body)` for each pair.
template <class Call>
void for_each_command(Call call) {
  for (const task operation : all_tasks) {
    for (const sample& file : bodies()) call(operation, file);
  }
}

/// A tally that reports itself when it is destroyed, after the sessions. (`bodies()` is called
/// first so that its allocations do not count as leaked.)
struct reporting_tally : tally {
  explicit reporting_tally(std::string l) : label{std::move(l)} { bodies(); }
  reporting_tally(const reporting_tally&) = delete;
  reporting_tally& operator=(const reporting_tally&) = delete;
  ~reporting_tally() { report(label, *this); }
  std::string label;
};

}  // namespace

TEST_CASE(
    "a session that ends, breaks or stalls at any byte, on either side, keeps the invariants") {
  report("faults at every byte", sweep_faults<memory_stores>(1, all_tasks, bodies()));
}

TEST_CASE("a session with reads and writes of any size succeeds") {
  reporting_tally counts{"every chunking"};
  session_runner<memory_stores> sessions{counts};
  every_nth every;
  for_each_command([&](task operation, const sample& file) {
    const session_result whole = sessions.run(operation, file, {}, expect::success);
    const auto most = std::max(whole.client_read, whole.client_written);
    every(most, [&](std::uint64_t bytes) {
      const auto size = static_cast<std::size_t>(bytes) + 1;
      scenario c;
      c.bystander_after = size;
      c.client.max_read = c.server.max_read = size;
      sessions.run(operation, file, c, expect::success);
      c.client.max_write = c.server.max_write = size;
      sessions.run(operation, file, c, expect::success);
      c.capacity = size;
      c.offload_work = true;
      sessions.run(operation, file, c, expect::success);
      scenario narrow;
      narrow.capacity = size;
      narrow.chunk = size;
      sessions.run(operation, file, narrow, expect::success);
    });
  });
}

TEST_CASE("a session in which any bit is flipped keeps the invariants") {
  reporting_tally counts{"every bit"};
  session_runner<memory_stores> sessions{counts};
  every_nth every;
  for_each_command([&](task operation, const sample& file) {
    const session_result whole = sessions.run(operation, file, {});
    for (const bool towards_client : {true, false}) {
      const auto bytes = towards_client ? whole.client_read : whole.client_written;
      if (bytes == 0) continue;
      every(8 * bytes - 1, [&](std::uint64_t bit) {
        scenario c;
        c.bystander_after = (bit * 5) % (whole.handlers + 1);
        const filexfer::bit_position flipped{bit / 8, static_cast<unsigned>(bit % 8)};
        (towards_client ? c.client.flip_read : c.server.flip_read) = flipped;
        sessions.run(operation, file, c);
      });
    }
  });
}

TEST_CASE(
    "a session that is cancelled between any two handlers, on either side, keeps the invariants") {
  reporting_tally counts{"every cancellation"};
  session_runner<memory_stores> sessions{counts};
  for (const auto& pattern : io_patterns()) {
    // With single bytes there are very many handlers, most of which do the same.
    every_nth every{pattern.capacity == 1 ? std::size_t{5} : 1};
    for_each_command([&](task operation, const sample& file) {
      const session_result whole = sessions.run(operation, file, pattern);
      for (const auto target :
           {cancel_target::client, cancel_target::server, cancel_target::server_gracefully}) {
        every(whole.handlers, [&](std::uint64_t handler) {
          scenario c = pattern;
          c.cancelled = target;
          c.cancel_after = static_cast<std::size_t>(handler);
          c.bystander_after = (c.cancel_after * 5) % (whole.handlers + 1);
          const session_result result = sessions.run(operation, file, c);
          // A session stopped before it had read the command reports why to the client. (If a line
          // exceeds the pipe's capacity, each side waits for the other to read, until a deadline.)
          const bool is_reported = result.error == filexfer::errc::shutting_down ||
                                   (c.capacity < 100 && result.error == filexfer::errc::timed_out);
          if (target == cancel_target::server_gracefully && result.error && !is_reported) {
            counts.add_violation("error",
                                 result.error.message() + "; " + describe(operation, file, c));
          }
        });
      }
    });
  }
}

namespace {

/// The number of file bytes that a client sends.
std::size_t bytes_sent(task operation, const sample& file) {
  const bool sends = operation == task::upload || operation == task::upload_declared;
  return sends ? file.bytes.size() : 0;
}

}  // namespace

TEST_CASE("a peer delayed at any byte succeeds just within a deadline, and fails just past it") {
  reporting_tally counts{"delays around deadlines"};
  session_runner<memory_stores> sessions{counts};
  every_nth every;
  constexpr auto limit = 10s;
  const filexfer::time_limits short_limits{.line = limit, .idle = limit, .reply = limit};
  const filexfer::time_limits long_limits{.line = 1h, .idle = 1h, .reply = 1h};
  for (const std::size_t piece : {std::size_t{1}, std::size_t{1000}}) {
    for_each_command([&](task operation, const sample& file) {
      const session_result whole = sessions.run(operation, file, {});
      for (const bool late_client : {true, false}) {
        const auto bytes = late_client ? whole.client_written : whole.client_read;
        if (bytes == 0) continue;
        every(bytes - 1, [&](std::uint64_t byte) {
          scenario c;
          c.client.max_write = c.server.max_write = piece;
          c.bystander_after = (byte * 5) % (whole.handlers + 1);
          c.client_limits = late_client ? long_limits : short_limits;
          c.server_limits = late_client ? short_limits : long_limits;
          auto& delay = late_client ? c.client_delay : c.server_delay;
          delay = {byte, limit - 1ms};
          sessions.run(operation, file, c, expect::success);
          delay = {byte, limit + 1ms};
          const session_result result = sessions.run(operation, file, c, expect::failure);
          // The client times out itself, or receives the server's ERROR line, which is not sent in
          // the middle of a line.
          const std::size_t body_offset = whole.client_written - bytes_sent(operation, file);
          const bool in_line =
              byte > 0 && byte < body_offset && whole.client_sent[byte - 1] != '\n';
          const std::error_code expected = late_client ? make_error_code(filexfer::errc::timeout)
                                                       : make_error_code(filexfer::errc::timed_out);
          if (result.error != expected && !(late_client && in_line)) {
            counts.add_violation("error",
                                 result.error.message() + "; " + describe(operation, file, c));
          }
        });
      }
    });
  }
}

namespace {

/// Any mix of the faults above.
scenario random_scenario(std::mt19937_64& random, std::uint64_t bytes, std::size_t handlers) {
  const auto up_to = [&](std::uint64_t most) { return random() % (most + 1); };
  const auto one_in = [&](std::uint64_t n) { return random() % n == 0; };
  scenario c;
  c.variant = up_to(1000);
  c.chunk = std::size_t{1} << up_to(6);
  c.capacity = std::size_t{1} << up_to(12);
  c.offload_work = one_in(2);
  c.bystander_after = up_to(handlers);
  for (const auto side : sides) {
    fault_plan& plan = c.*side;
    if (one_in(2)) plan.max_read = 1 + up_to(40);
    if (one_in(2)) plan.max_write = 1 + up_to(40);
    for (const auto& kind : fault_kinds) {
      if (one_in(12)) plan.*kind.offset = up_to(bytes);
    }
    const filexfer::bit_position bit{up_to(bytes), static_cast<unsigned>(up_to(7))};
    if (one_in(12)) plan.flip_read = bit;
    if (one_in(12)) plan.flip_written = bit;
  }
  if (one_in(8)) c.client_delay = {up_to(bytes), 1s * up_to(90)};
  if (one_in(8)) c.server_delay = {up_to(bytes), 1s * up_to(90)};
  if (one_in(6)) {
    c.cancelled = std::array{cancel_target::client, cancel_target::server,
                             cancel_target::server_gracefully}[up_to(2)];
    c.cancel_after = up_to(handlers);
  }
  return c;
}

std::uint64_t first_seed() {
  const char* const value = std::getenv("FILEXFER_TEST_SEED");
  return value != nullptr ? std::strtoull(value, nullptr, 0) : std::random_device{}();
}

}  // namespace

TEST_CASE("a session with a random mix of faults keeps the invariants") {
  const std::uint64_t seed = first_seed();
  MESSAGE("FILEXFER_TEST_SEED=" << seed << " begins with the same session");
  reporting_tally counts{"random mixes"};
  session_runner<memory_stores> sessions{counts};
  for (std::size_t i = 0; i < 12'000 / stride(); ++i) {
    std::mt19937_64 random{seed + i};
    const task operation = all_tasks[random() % all_tasks.size()];
    const sample& file = bodies()[random() % bodies().size()];
    const std::size_t before = counts.violations;
    sessions.run(operation, file, random_scenario(random, file.bytes.size() + 150, 400));
    if (counts.violations != before) {
      MESSAGE("FILEXFER_TEST_SEED=" << seed + i << " begins with the one that failed");
      break;
    }
  }
}

TEST_CASE("a seed reproduces its session, whichever sessions ran before") {
  reporting_tally counts{"replays"};
  session_runner<memory_stores> sessions{counts};
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const sample& file = bodies()[seed % bodies().size()];
    const task operation = all_tasks[seed % all_tasks.size()];
    std::array<session_result, 2> runs;
    for (session_result& run : runs) {
      std::mt19937_64 random{seed};
      run = sessions.run(operation, file, random_scenario(random, file.bytes.size() + 150, 400));
    }
    CAPTURE(seed);
    CHECK((runs[0] == runs[1]));
    CHECK(counts.violations == 0);
  }
}

TEST_CASE("a session with the default chunk size keeps the invariants wherever it is cut") {
  constexpr std::size_t chunk_size = filexfer::default_small_file_size;
  tally counts;
  session_runner<memory_stores> sessions{counts};
  std::mt19937_64 random{20};
  for (const std::size_t size : {chunk_size - 1, chunk_size, chunk_size + 1, 3 * chunk_size}) {
    const sample file = body(size);
    for (const task operation : {task::upload, task::upload_declared, task::download}) {
      scenario pattern;
      pattern.chunk = chunk_size;
      pattern.capacity = 40'000;
      pattern.offload_work = size % 2 == 1;
      const session_result whole = sessions.run(operation, file, pattern, expect::success);
      for (const auto side : sides) {
        for (const auto& kind : fault_kinds) {
          const auto bytes = transferred(whole, side, kind.counts_reads);
          // Near the boundaries of chunks, counted from either end, and at some random offsets.
          std::vector<std::uint64_t> cuts;
          for (std::uint64_t n = 0; n <= 3; ++n) {
            for (const std::int64_t distance : {-33, -1, 0, 1}) {
              const auto offset = static_cast<std::int64_t>(n * chunk_size) + distance;
              if (offset < 0 || static_cast<std::uint64_t>(offset) > bytes) continue;
              cuts.push_back(static_cast<std::uint64_t>(offset));
              cuts.push_back(bytes - static_cast<std::uint64_t>(offset));
            }
          }
          for (int i = 0; i < 4; ++i) cuts.push_back(random() % (bytes + 1));
          for (std::size_t i = random() % stride(); i < cuts.size(); i += stride()) {
            scenario c = pattern;
            c.*side.*kind.offset = cuts[i];
            sessions.run(operation, file, c);
          }
        }
      }
    }
  }
  report("chunks of the real size", counts);
}

}  // namespace byte_sweep_tests
