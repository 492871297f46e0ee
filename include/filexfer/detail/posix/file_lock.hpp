#ifndef FILEXFER_DETAIL_POSIX_FILE_LOCK_HPP
#define FILEXFER_DETAIL_POSIX_FILE_LOCK_HPP

#include <filexfer/detail/posix/descriptor.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

namespace filexfer::detail {

/// Locks `fd` against all other open file descriptions, until it is closed. Does not wait:
/// `EWOULDBLOCK` if another one holds the lock.
inline void try_lock(int fd, std::error_code& ec) noexcept {
  if (retry_on_eintr([&] { return ::flock(fd, LOCK_EX | LOCK_NB); }) == 0) ec.clear();
  else ec = last_error();
}

/// As `try_lock`, but waits; `ETIMEDOUT` after `timeout`, since the holder may have been stopped.
inline void lock(int fd, std::error_code& ec, std::chrono::milliseconds timeout) {
  using namespace std::chrono_literals;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  auto pause = std::chrono::milliseconds{1};
  for (;;) {
    try_lock(fd, ec);
    if (ec != std::errc::operation_would_block) return;
    if (std::chrono::steady_clock::now() >= deadline) {
      ec = system_code(ETIMEDOUT);
      return;
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, 20ms);
  }
}

}  // namespace filexfer::detail

#endif
