#ifndef FILEXFER_DETAIL_STORE_STORED_BYTES_HPP
#define FILEXFER_DETAIL_STORE_STORED_BYTES_HPP

/// \file
/// Compares, verifies and copies the bytes of stored files.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/sparse.hpp>
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
  collision,  ///< Other bytes with the same digest.
  damaged     ///< No longer hashes to its id, or can't be read.
};

/// Passes the bytes of `fd` to `consume`, chunk by chunk.
template <class Consume>
void read_all(int fd, Consume consume, std::error_code& ec) {
  std::vector<std::byte> buffer(read_size);
  for (std::uint64_t offset = 0;;) {
    const auto got = read_at(fd, buffer, offset, ec);
    if (ec || got == 0) return;
    consume(std::span{buffer}.first(got));
    if (got < buffer.size()) return;
    offset += got;
  }
}

/// Whether two files hold the same bytes.
inline bool same_bytes(int a, int b, std::error_code& ec) {
  std::vector<std::byte> buffer_a(read_size);
  std::vector<std::byte> buffer_b(read_size);
  for (std::uint64_t offset = 0;;) {
    const auto size_a = read_at(a, buffer_a, offset, ec);
    if (ec) return false;
    const auto size_b = read_at(b, buffer_b, offset, ec);
    if (ec || size_a != size_b) return false;
    const auto end = buffer_a.begin() + static_cast<std::ptrdiff_t>(size_a);
    if (!std::equal(buffer_a.begin(), end, buffer_b.begin())) return false;
    if (size_a < buffer_a.size()) return true;
    offset += size_a;
  }
}

/// Compares the file that is stored under `id` with the one that arrived; both are open.
template <hasher Hasher>
comparison verify_stored(int stored, int arrived, const typename Hasher::digest_type& id,
                         std::error_code& ec) {
  std::error_code compare_error;
  if (same_bytes(stored, arrived, compare_error)) {
    ec.clear();
    return comparison::equal;
  }
  bool intact = false;
  constexpr int attempts = 2;  // an error that does not return is no damage
  for (int i = 0; i < attempts && (i == 0 || ec == std::errc::io_error); ++i) {
    Hasher hash;
    read_all(
        stored, [&](auto bytes) { hash.update(bytes); }, ec);
    intact = !ec && hash.finish() == id;
  }
  if (ec == std::errc::io_error || (!ec && !intact)) {
    ec.clear();
    return comparison::damaged;
  }
  if (!ec) ec = compare_error;  // The stored file is good, so it was the other that failed.
  return comparison::collision;
}

/// Copies `from` to the empty file `to`. The copy shares blocks if the file system supports that.
inline void copy_bytes(int from, int to, std::error_code& ec) {
#if defined(__linux__)
  constexpr unsigned long clone = _IOW(0x94, 9, int);  // FICLONE of <linux/fs.h>
  if (::ioctl(to, clone, from) == 0) {
    ec.clear();
    return;
  }
#endif
  std::error_code write_error;
  std::uint64_t size = 0;
  read_all(
      from,
      [&](auto bytes) {
        if (!write_error) append_sparse(to, bytes, size, write_error);
        size += bytes.size();
      },
      ec);
  if (!ec) ec = write_error;
}

}  // namespace filexfer::detail

#endif
