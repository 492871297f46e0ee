#ifndef FILEXFER_DETAIL_POSIX_SIGPIPE_HPP
#define FILEXFER_DETAIL_POSIX_SIGPIPE_HPP

#include <cerrno>
#include <csignal>
#include <ctime>

#include <pthread.h>
#include <signal.h>

namespace filexfer::detail {

/// Keeps the SIGPIPE of a write to a broken pipe or socket from the process: blocks it on this
/// thread, and takes away the one that came meanwhile. What the process does with SIGPIPE, and one
/// that was pending before, stay as they are; so does `errno`.
class sigpipe_guard {
 public:
  sigpipe_guard() noexcept {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
    // Only where it was blocked before can one be pending.
    theirs_ = sigismember(&before_, SIGPIPE) == 1 && is_pending();
  }

  sigpipe_guard(const sigpipe_guard&) = delete;
  sigpipe_guard& operator=(const sigpipe_guard&) = delete;

  ~sigpipe_guard() {
    const int error = errno;
    if (!theirs_) take();
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }

 private:
  static bool is_pending() noexcept {
    sigset_t pending;
    sigemptyset(&pending);
    ::sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
  }

  void take() const noexcept {
#if defined(__APPLE__) || defined(__OpenBSD__)  // have no sigtimedwait
    int signal = 0;
    if (is_pending()) ::sigwait(&sigpipe_, &signal);
#else
    const timespec at_once{0, 0};
    while (::sigtimedwait(&sigpipe_, nullptr, &at_once) == -1 && errno == EINTR) {
    }
#endif
  }

  sigset_t sigpipe_;
  sigset_t before_;
  bool theirs_ = false;
};

}  // namespace filexfer::detail

#endif
