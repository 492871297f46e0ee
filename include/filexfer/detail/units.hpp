#ifndef FILEXFER_DETAIL_UNITS_HPP
#define FILEXFER_DETAIL_UNITS_HPP

/// \file
/// Quantities formatted for people.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace filexfer::detail {

inline double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

/// A number with `decimals` digits after the point: `fixed(0.375, 1)` is `0.4`.
inline std::string fixed(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

inline std::string megabytes(std::uint64_t bytes) {
  return fixed(static_cast<double>(bytes) / 1e6, 1) + " MB";
}

/// `rate` is in bytes per second.
inline std::string rate_text(double rate) {
  return fixed(rate / 1e6, rate < 1e7 ? 1 : 0) + " MB/s";
}

inline std::string rate(std::uint64_t bytes, std::chrono::nanoseconds time) {
  return rate_text(time.count() > 0 ? static_cast<double>(bytes) / seconds(time) : 0);
}

/// `0:05`, `12:00`, `3:00:00`.
inline std::string clock_time(std::uint64_t total_seconds) {
  char text[64];
  const auto part = [](std::uint64_t n) { return static_cast<unsigned>(n % 60); };
  const auto hours = static_cast<unsigned long long>(total_seconds / 3600);
  if (hours == 0) {
    std::snprintf(text, sizeof text, "%u:%02u", part(total_seconds / 60), part(total_seconds));
  } else {
    std::snprintf(text, sizeof text, "%llu:%02u:%02u", hours, part(total_seconds / 60),
                  part(total_seconds));
  }
  return text;
}

}  // namespace filexfer::detail

#endif
