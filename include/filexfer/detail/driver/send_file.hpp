#ifndef FILEXFER_DETAIL_DRIVER_SEND_FILE_HPP
#define FILEXFER_DETAIL_DRIVER_SEND_FILE_HPP

// Sends a file over a socket, on Linux by `sendfile`.

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/posix/sigpipe.hpp>
#include <filexfer/error.hpp>

#include <asio/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>

#if defined(__linux__)
#include <sys/sendfile.h>
#else
#include <array>

#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>
#endif

namespace filexfer::detail {

/// Sends some bytes of `range` over `socket` without blocking. Returns how many. Errors:
/// `std::errc::operation_would_block` if the socket accepts none now, `errc::short_source` if the
/// file ends before the range.
inline std::size_t send_file_some(int socket, const file_segment& range, std::error_code& ec) {
  // Bounded, so that one fast peer does not keep a thread from the others.
  constexpr std::uint64_t max_bytes = std::uint64_t{1} << 20;
  const auto wanted = static_cast<std::size_t>(std::min(range.bytes, max_bytes));
  const sigpipe_guard no_signal;
  ec.clear();
#if defined(__linux__)
  auto offset = static_cast<off_t>(range.offset);
  const ssize_t sent = ::sendfile(socket, range.descriptor, &offset, wanted);
#else
  std::array<char, 65536> copy;
  const ssize_t count = ::pread(range.descriptor, copy.data(), std::min(copy.size(), wanted),
                                static_cast<off_t>(range.offset));
  const ssize_t sent =
      count > 0 ? ::send(socket, copy.data(), static_cast<std::size_t>(count), MSG_DONTWAIT)
                : count;
#endif
  if (sent > 0) return static_cast<std::size_t>(sent);
  if (sent == 0) {
    ec = errc::short_source;
  } else if (errno == EAGAIN || errno == EINTR) {
    ec = make_error_code(std::errc::operation_would_block);
  } else {
    ec = {errno, asio::error::get_system_category()};  // as the stream's other functions
  }
  return 0;
}

}  // namespace filexfer::detail

#endif
