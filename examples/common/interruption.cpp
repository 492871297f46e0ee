#include "common/interruption.hpp"

#include "common/failure.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace programs {
namespace {

// Global, because a signal handler has no other state.
std::atomic<int> interruptible_count{0};
int pipe_ends[2] = {-1, -1};

static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void on_signal(int) {
  if (interruptible_count.load() == 0) ::_exit(interrupted);
  const int saved_errno = errno;
  [[maybe_unused]] const auto written = ::write(pipe_ends[1], "!", 1);
  errno = saved_errno;
}

}  // namespace

void interruption::watch() {
  if (::pipe(pipe_ends) != 0) throw std::system_error{errno, std::system_category(), "pipe"};
  for (const int end : pipe_ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
}

bool interruption::received() noexcept {
  struct pollfd end = {pipe_ends[0], POLLIN, 0};
  return ::poll(&end, 1, 0) == 1;
}

int interruption::descriptor() noexcept { return pipe_ends[0]; }

interruption::interruptible::interruptible() noexcept { ++interruptible_count; }
interruption::interruptible::~interruptible() { --interruptible_count; }

}  // namespace programs
