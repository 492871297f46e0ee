#ifndef FILEXFER_DETAIL_POSIX_SIGPIPE_HPP
#define FILEXFER_DETAIL_POSIX_SIGPIPE_HPP

#include <cerrno>
#include <csignal>
#include <ctime>

#include <pthread.h>
#include <signal.h>

namespace filexfer::detail {

/// Suppresses the SIGPIPE of a write to a broken pipe or socket: blocks it on this thread, and at
/// the end consumes the one that was raised meanwhile. The process's action for SIGPIPE, one that
/// was pending before, and `errno` are left alone.
class sigpipe_guard {
 public:
  sigpipe_guard() noexcept {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &old_mask_);
    // One can be pending only if it was blocked before.
    was_pending_ = sigismember(&old_mask_, SIGPIPE) == 1 && is_pending();
  }

  sigpipe_guard(const sigpipe_guard&) = delete;
  sigpipe_guard& operator=(const sigpipe_guard&) = delete;

  ~sigpipe_guard() {
    const int error = errno;
    if (!was_pending_) consume();
    ::pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
    errno = error;
  }

 private:
  static bool is_pending() noexcept {
    sigset_t pending;
    sigemptyset(&pending);
    ::sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
  }

  void consume() const noexcept {
#if defined(__APPLE__) || defined(__OpenBSD__)  // have no sigtimedwait
    int signal = 0;
    if (is_pending()) ::sigwait(&sigpipe_, &signal);
#else
    const timespec no_wait{0, 0};
    while (::sigtimedwait(&sigpipe_, nullptr, &no_wait) == -1 && errno == EINTR) {
    }
#endif
  }

  sigset_t sigpipe_;
  sigset_t old_mask_;
  bool was_pending_ = false;
};

}  // namespace filexfer::detail

#endif
