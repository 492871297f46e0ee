#ifndef FILEXFER_DETAIL_POSIX_SPARSE_HPP
#define FILEXFER_DETAIL_POSIX_SPARSE_HPP

/// \file
/// Holes in files: ranges of zeros that take no space. They are not read, and not written.

#include <filexfer/detail/posix/descriptor.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <system_error>

#include <sys/stat.h>
#include <unistd.h>

namespace filexfer::detail {

/// Reads a file, and fills in its holes without reading them. Moves the descriptor's file offset.
class sparse_reader {
 public:
  sparse_reader() noexcept = default;

  /// \param opened  The file's status.
  explicit sparse_reader(const struct stat& opened) noexcept
      : may_have_holes_{opened.st_blocks < opened.st_size / stat_block_size} {}

  /// As `detail::read_at`.
  std::size_t read_at(int fd, std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    if (!may_have_holes_) return detail::read_at(fd, to, offset, ec);
    ec.clear();
    std::size_t filled = 0;
    while (filled < to.size()) {
      if (offset < begin_ || offset >= end_) find_extent(fd, offset);
      const auto part = to.subspan(filled, std::min(to.size() - filled, bytes_left(offset)));
      const auto got = is_hole_ ? part.size() : detail::read_at(fd, part, offset, ec);
      if (is_hole_) std::fill(part.begin(), part.end(), std::byte{0});
      filled += got;
      offset += got;
      if (ec || got < part.size()) break;
    }
    return filled;
  }

 private:
  static constexpr off_t stat_block_size = 512;  // the unit of `st_blocks`
  static constexpr auto no_end = std::numeric_limits<std::uint64_t>::max();

  std::size_t bytes_left(std::uint64_t offset) const noexcept {
    constexpr std::uint64_t most = std::numeric_limits<std::size_t>::max();
    return static_cast<std::size_t>(std::min(end_ - offset, most));
  }

  /// Finds out how far the hole or the data at `offset` extends. Where the system can't tell, the
  /// rest of the file is taken for data; so is what is behind its end, where there is none to read.
  void find_extent(int fd, std::uint64_t offset) noexcept {
    begin_ = offset;
    end_ = no_end;
    is_hole_ = false;
#if defined(SEEK_DATA) && defined(SEEK_HOLE)
    const auto here = static_cast<off_t>(offset);
    off_t end = ::lseek(fd, here, SEEK_DATA);
    if (end == here) {
      end = ::lseek(fd, here, SEEK_HOLE);
    } else if (end > here) {
      is_hole_ = true;
    } else if (errno == ENXIO) {  // no more data
      std::error_code ec;
      end = status_of(fd, ec).st_size;
      is_hole_ = !ec && end > here;
    }
    if (end > here) end_ = static_cast<std::uint64_t>(end);
#endif
  }

  bool may_have_holes_ = false;
  std::uint64_t begin_ = 0;  ///< Of the hole or the data last found.
  std::uint64_t end_ = 0;
  bool is_hole_ = false;
};

/// Most often looks at one word only, if not all are zeros. `bytes` must not be empty.
inline bool is_zero(std::span<const std::byte> bytes) noexcept {
  std::uint64_t first = 0;
  const auto size = std::min(bytes.size(), sizeof first);
  std::memcpy(&first, bytes.data(), size);
  return first == 0 && std::memcmp(bytes.data(), bytes.data() + size, bytes.size() - size) == 0;
}

/// Appends all of `bytes` to a file of `size` bytes, and leaves a hole for each aligned block of
/// zeros.
///
/// The descriptor's file offset must be the end of the file, since behind that a skipped block has
/// no old bytes. Zeros at the end of `bytes` count in the file's size when this returns, so that it
/// can be resumed there; until then the file is shorter than what was written, never longer.
inline void append_sparse(int fd, std::span<const std::byte> bytes, std::uint64_t size,
                          std::error_code& ec) {
  constexpr std::size_t block_size = 4096;  // most file systems' blocks, and a page
  ec.clear();
  std::size_t begin = 0;    // of the bytes to be written next
  std::size_t skipped = 0;  // zeros before them
  const auto skip = [&] {
    if (::lseek(fd, static_cast<off_t>(skipped), SEEK_CUR) < 0) ec = last_error();
    skipped = 0;
  };
  const auto write_until = [&](std::size_t end) {
    if (begin == end) return;
    if (skipped > 0) skip();
    if (!ec) write_all(fd, bytes.subspan(begin, end - begin), ec);
  };
  for (std::size_t i = 0; i < bytes.size() && !ec;) {
    const auto to_boundary = block_size - static_cast<std::size_t>((size + i) % block_size);
    const auto part = bytes.subspan(i, std::min(bytes.size() - i, to_boundary));
    if (is_zero(part)) {  // a block, or perhaps the part of one that these bytes have
      write_until(i);
      skipped += part.size();
      begin = i + part.size();
    }
    i += part.size();
  }
  if (!ec) write_until(bytes.size());
  if (ec || skipped == 0) return;
  const auto end = static_cast<off_t>(size + bytes.size());
  if (retry_on_eintr([&] { return ::ftruncate(fd, end); }) != 0) ec = last_error();
  else skip();
}

}  // namespace filexfer::detail

#endif
