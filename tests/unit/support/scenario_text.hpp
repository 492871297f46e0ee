#ifndef FILEXFER_TESTS_SUPPORT_SCENARIO_TEXT_HPP
#define FILEXFER_TESTS_SUPPORT_SCENARIO_TEXT_HPP

// Describes a session and its faults.

#include "support/end_to_end.hpp"

#include <filexfer/fault_stream.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

namespace test {

inline const char* name_of(task t) {
  constexpr std::array names{"LIST_FILES", "UPLOAD", "UPLOAD;id=", "UPLOAD;id= of a file held",
                             "DOWNLOAD"};
  return names[static_cast<std::size_t>(t)];
}

/// Describes a session completely, so that a reader can reproduce it.
inline std::string describe(task t, const sample& file, const scenario& c) {
  std::ostringstream out;
  out << name_of(t) << " of " << file.bytes.size() << " bytes, pipe of " << c.capacity
      << ", chunks of " << c.chunk << (c.offload_work ? ", work elsewhere" : "")
      << ", bystander at " << c.bystander_after;
  if (c.variant) out << ", turn " << *c.variant;
  const auto add_plan = [&](const char* side, const filexfer::fault_plan& plan) {
    const auto add_offset = [&](const char* fault, const std::optional<std::uint64_t>& offset) {
      if (offset) out << ", " << side << ' ' << fault << ' ' << *offset;
    };
    add_offset("end after reading", plan.end_after_read);
    add_offset("break after writing", plan.break_after_written);
    add_offset("reset after reading", plan.reset_after_read);
    add_offset("reset after writing", plan.reset_after_written);
    add_offset("stall after reading", plan.stall_after_read);
    add_offset("stall after writing", plan.stall_after_written);
    const auto add_flip = [&](const char* fault, const std::optional<filexfer::bit_position>& bit) {
      if (bit) out << ", " << side << ' ' << fault << ' ' << bit->byte << '.' << bit->bit;
    };
    add_flip("flip reading", plan.flip_read);
    add_flip("flip writing", plan.flip_written);
    constexpr auto unlimited = std::numeric_limits<std::size_t>::max();
    if (plan.max_read != unlimited) out << ", " << side << " reads " << plan.max_read;
    if (plan.max_write != unlimited) out << ", " << side << " writes " << plan.max_write;
  };
  add_plan("client", c.client);
  add_plan("server", c.server);
  const auto add_delay = [&](const char* side, const std::optional<write_delay>& delay) {
    if (!delay) return;
    out << ", " << side << " late at " << delay->offset << " by " << delay->duration.count()
        << " ns";
  };
  add_delay("client", c.client_delay);
  add_delay("server", c.server_delay);
  if (c.cancelled != cancel_target::none) {
    constexpr std::array targets{"", "client", "server", "server gently"};
    out << ", " << targets[static_cast<std::size_t>(c.cancelled)] << " cancelled at "
        << c.cancel_after;
  }
  return out.str();
}

/// Whether bits are flipped in transit, so that lines may have another meaning.
inline bool corrupts(const scenario& c) {
  return c.client.flip_read || c.client.flip_written || c.server.flip_read || c.server.flip_written;
}

}  // namespace test

#endif
