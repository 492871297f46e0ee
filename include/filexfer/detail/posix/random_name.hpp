#ifndef FILEXFER_DETAIL_POSIX_RANDOM_NAME_HPP
#define FILEXFER_DETAIL_POSIX_RANDOM_NAME_HPP

#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

namespace filexfer::detail {

/// 32 hexadecimal digits that no other call, process or host uses: a random half and a counter.
/// (After a fork both processes return the same names. A file of such a name is created with
/// `O_EXCL`, and under another name if that exists.)
inline std::string random_name() {
  static const std::uint64_t random = [] {
    std::random_device device;
    return (std::uint64_t{device()} << 32) ^ device();
  }();
  static std::atomic<std::uint64_t> counter{std::random_device{}()};
  constexpr std::string_view digits = "0123456789abcdef";
  std::string name(32, '0');
  auto value = random;
  for (std::size_t i = 0; i < 16; ++i, value >>= 4) name[i] = digits[value & 0xFu];
  value = counter.fetch_add(1, std::memory_order_relaxed);
  for (std::size_t i = 31; i >= 16; --i, value >>= 4) name[i] = digits[value & 0xFu];
  return name;
}

}  // namespace filexfer::detail

#endif
