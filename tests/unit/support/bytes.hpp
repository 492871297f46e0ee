#ifndef FILEXFER_TESTS_SUPPORT_BYTES_HPP
#define FILEXFER_TESTS_SUPPORT_BYTES_HPP

// Texts as bytes and back, and bytes to send.

#include <cstddef>
#include <random>
#include <span>
#include <string>
#include <string_view>

namespace test {

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A string of the one byte `value`, which is below 256.
inline std::string single_byte(int value) { return {static_cast<char>(value)}; }

/// Bytes whose period is no power of two, so that a misplaced chunk is detected, and a ring buffer
/// that wraps wrongly.
inline std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i % 251);
  return text;
}

/// Pseudo-random bytes, the same for the same seed.
inline std::string noise(std::size_t size, unsigned seed = 1) {
  std::mt19937 random{seed};
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

}  // namespace test

#endif
