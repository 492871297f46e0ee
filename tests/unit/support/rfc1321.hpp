#ifndef FILEXFER_TESTS_SUPPORT_RFC1321_HPP
#define FILEXFER_TESTS_SUPPORT_RFC1321_HPP

// MD5 written from RFC 1321, to check the library's digests against. It shares no code with the
// library, which uses Crypto++.

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace test {

class rfc1321 {
 public:
  void append(std::string_view bytes) {
    length_ += bytes.size();
    pending_ += bytes;
    std::size_t done = 0;
    for (; pending_.size() - done >= 64; done += 64) transform(pending_.data() + done);
    pending_.erase(0, done);
  }

  /// The digest in lower-case hex. Appends the padding: call it once, last.
  std::string hex() {
    const std::uint64_t bits = length_ * 8;
    std::string padding(1, '\x80');
    while ((pending_.size() + padding.size()) % 64 != 56) padding += '\0';
    for (unsigned i = 0; i < 8; ++i) padding += static_cast<char>((bits >> (8 * i)) & 0xFF);
    append(padding);
    std::string text;
    for (const std::uint32_t word : state_) {
      for (unsigned i = 0; i < 4; ++i) {
        const auto byte = (word >> (8 * i)) & 0xFF;
        text += "0123456789abcdef"[byte >> 4];
        text += "0123456789abcdef"[byte & 0xF];
      }
    }
    return text;
  }

 private:
  // Step 4: element i of the table is the integer part of 4294967296 times abs(sin(i)).
  static const std::array<std::uint32_t, 64>& sines() {
    static const auto table = [] {
      std::array<std::uint32_t, 64> t{};
      for (std::size_t i = 0; i < t.size(); ++i) {
        t[i] = static_cast<std::uint32_t>(4294967296.0 * std::abs(std::sin(double(i + 1))));
      }
      return t;
    }();
    return table;
  }

  void transform(const char* block) {
    static constexpr std::array<std::array<int, 4>, 4> shifts{
        {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}}};
    std::array<std::uint32_t, 16> x{};
    for (std::size_t i = 0; i < 64; ++i) {
      x[i / 4] |= std::uint32_t{static_cast<unsigned char>(block[i])} << (8 * (i % 4));
    }
    auto [a, b, c, d] = state_;
    for (std::size_t i = 0; i < 64; ++i) {
      const std::size_t round = i / 16;
      std::uint32_t mixed = 0;
      std::size_t word = 0;
      switch (round) {
        case 0: mixed = (b & c) | (~b & d), word = i; break;
        case 1: mixed = (b & d) | (c & ~d), word = (5 * i + 1) % 16; break;
        case 2: mixed = b ^ c ^ d, word = (3 * i + 5) % 16; break;
        default: mixed = c ^ (b | ~d), word = 7 * i % 16; break;
      }
      const std::uint32_t next =
          b + std::rotl(a + mixed + x[word] + sines()[i], shifts[round][i % 4]);
      a = d;
      d = c;
      c = b;
      b = next;
    }
    state_ = {state_[0] + a, state_[1] + b, state_[2] + c, state_[3] + d};
  }

  std::array<std::uint32_t, 4> state_{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
  std::uint64_t length_ = 0;
  std::string pending_;
};

inline std::string rfc1321_hex(std::string_view bytes) {
  rfc1321 hash;
  hash.append(bytes);
  return hash.hex();
}

}  // namespace test

#endif
