#ifndef FILEXFER_DETAIL_STORE_STORED_BYTES_HPP
#define FILEXFER_DETAIL_STORE_STORED_BYTES_HPP

/// \file
/// What the bytes of stored files are: equal to others, true to their digest, copied.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/digest.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <vector>

#if defined(__linux__)
#include <sys/ioctl.h>
#endif

namespace filexfer::detail {

inline constexpr std::size_t read_size = std::size_t{128} * 1024;

/// How a stored file compares with arrived bytes of the same id.
enum class comparison {
  equal,
  collision,  ///< Other bytes with the same digest: a collision.
  damaged     ///< Not the bytes of that digest any more, or unreadable.
};

/// Shows the bytes of `fd` to `see`, chunk by chunk.
template <class See>
void read_all(int fd, See see, std::error_code& ec) {
  std::vector<std::byte> buffer(read_size);
  for (std::uint64_t offset = 0;;) {
    const auto got = read_at(fd, buffer, offset, ec);
    if (ec || got == 0) return;
    see(std::span{buffer}.first(got));
    if (got < buffer.size()) return;
    offset += got;
  }
}

/// Whether two files hold the same bytes.
inline bool same_bytes(int a, int b, std::error_code& ec) {
  std::vector<std::byte> of_a(read_size);
  std::vector<std::byte> of_b(read_size);
  for (std::uint64_t offset = 0;;) {
    const auto from_a = read_at(a, of_a, offset, ec);
    if (ec) return false;
    const auto from_b = read_at(b, of_b, offset, ec);
    if (ec || from_a != from_b) return false;
    const auto end = of_a.begin() + static_cast<std::ptrdiff_t>(from_a);
    if (!std::equal(of_a.begin(), end, of_b.begin())) return false;
    if (from_a < of_a.size()) return true;
    offset += from_a;
  }
}

/// Compares the file that is stored under `id` with the bytes that have arrived under it.
template <hasher Hasher>
comparison verify_stored(int stored, int arrived, const typename Hasher::digest_type& id,
                         std::error_code& ec) {
  std::error_code uncompared;
  if (same_bytes(stored, arrived, uncompared)) {
    ec.clear();
    return comparison::equal;
  }
  Hasher hash;
  read_all(
      stored, [&](auto bytes) { hash.update(bytes); }, ec);
  if (ec == std::errc::io_error || (!ec && hash.finish() != id)) {
    ec.clear();
    return comparison::damaged;
  }
  if (!ec) ec = uncompared;  // The stored file is good, so it was the other that can't be read.
  return comparison::collision;
}

/// Makes `to`, which is empty, a copy of `from`: one that shares its space, where the file system
/// can do that.
inline void copy_bytes(int from, int to, std::error_code& ec) {
#if defined(__linux__)
  constexpr unsigned long clone = _IOW(0x94, 9, int);  // FICLONE of <linux/fs.h>
  if (::ioctl(to, clone, from) == 0) {
    ec.clear();
    return;
  }
#endif
  std::error_code unwritten;
  read_all(
      from,
      [&](auto bytes) {
        if (!unwritten) write_all(to, bytes, unwritten);
      },
      ec);
  if (!ec) ec = unwritten;
}

}  // namespace filexfer::detail

#endif
