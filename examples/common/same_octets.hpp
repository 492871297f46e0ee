#ifndef PROGRAMS_SAME_OCTETS_HPP
#define PROGRAMS_SAME_OCTETS_HPP

/// \file
/// Compares two files.

#include <filexfer/file.hpp>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <system_error>
#include <vector>

namespace programs {

/// Whether the two files hold the same octets, as `cmp` would find.
inline bool same_octets(const std::filesystem::path& a, const std::filesystem::path& b,
                        std::error_code& ec) {
  filexfer::file_source one{a, ec};
  if (ec) return false;
  filexfer::file_source other{b, ec};
  if (ec || one.size() != other.size()) return false;
  std::vector<std::byte> left(std::size_t{256} * 1024);
  std::vector<std::byte> right(left.size());
  for (;;) {
    const std::size_t octets = one.read(left, ec);
    if (!ec) other.read(std::span{right}.first(octets), ec);
    if (ec || !std::equal(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(octets),
                          right.begin())) {
      return false;
    }
    if (octets < left.size()) return true;
  }
}

}  // namespace programs

#endif
