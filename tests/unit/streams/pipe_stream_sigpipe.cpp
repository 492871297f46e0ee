// No SIGPIPE is raised by a pipe_stream, and the guard that ensures it.

#include "support/once_handler.hpp"
#include "support/pipe_stream_fixture.hpp"

#include <filexfer/detail/posix/sigpipe.hpp>
#include <filexfer/pipe_stream.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <system_error>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace pipe_stream_sigpipe_tests {

using namespace pipe_stream_tests;

namespace {

/// Fails the test if a SIGPIPE is delivered, without ending the process.
class no_sigpipe {
 public:
  no_sigpipe() {
    count = 0;
    struct sigaction counting {};
    counting.sa_handler = [](int) { ++count; };
    ::sigaction(SIGPIPE, &counting, &before_);
  }
  no_sigpipe(const no_sigpipe&) = delete;
  ~no_sigpipe() {
    CHECK(count == 0);
    ::sigaction(SIGPIPE, &before_, nullptr);
  }

 private:
  static inline std::atomic<int> count = 0;
  struct sigaction before_ {};
};

bool sigpipe_is_pending() {
  sigset_t pending;
  sigemptyset(&pending);
  ::sigpending(&pending);
  return sigismember(&pending, SIGPIPE) == 1;
}

bool sigpipe_is_blocked() {
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, SIGPIPE) == 1;
}

void write_to_broken_pipe() {
  const ends pipe = make_pipe(0);
  ::close(pipe.read);
  CHECK(::write(pipe.write, "x", 1) == -1);
  CHECK(errno == EPIPE);
  ::close(pipe.write);
}

}  // namespace

TEST_CASE("a write to a pipe or a socket without a reader raises no SIGPIPE") {
  const no_sigpipe watch;
  for (const int kind : {0, int{O_NONBLOCK}, -1}) {
    connected pipe = kind == -1 ? connected_by_socket() : connected{kind};
    pipe.b.close();
    std::error_code ec;
    CHECK(pipe.a.write_some(asio::buffer("x", 1), ec) == 0);
    CHECK(ec == asio::error::broken_pipe);
    CHECK_FALSE(sigpipe_is_pending());
    CHECK_FALSE(sigpipe_is_blocked());
    expected_transfer write;
    start_write(write, pipe.a, asio::buffer("x", 1));
    pipe.run();
    check_result(write, asio::error::broken_pipe, 0);
    CHECK_FALSE(sigpipe_is_pending());
    CHECK_FALSE(sigpipe_is_blocked());
  }
}

TEST_CASE("a pending write completes with broken_pipe when the reader closes") {
  const no_sigpipe watch;
  for (const int flags : both_modes) {
    connected pipe{flags};
    fill(pipe.context, pipe.a);
    expected_transfer write;
    start_write(write, pipe.a, asio::buffer("x", 1));
    pipe.b.close();
    pipe.run();
    check_result(write, asio::error::broken_pipe, 0);
  }
}

TEST_CASE("the guard discards a SIGPIPE raised under it, and preserves errno") {
  const no_sigpipe watch;
  {
    const filexfer::detail::sigpipe_guard guard;
    CHECK(sigpipe_is_blocked());
    write_to_broken_pipe();
    CHECK(sigpipe_is_pending());
    errno = ENOTTY;
  }
  CHECK(errno == ENOTTY);
  CHECK_FALSE(sigpipe_is_pending());
  CHECK_FALSE(sigpipe_is_blocked());
}

TEST_CASE("the guard preserves errno without a SIGPIPE") {
  {
    const filexfer::detail::sigpipe_guard guard;
    errno = ENOTTY;
  }
  CHECK(errno == ENOTTY);
}

TEST_CASE("the guard preserves a thread's own blocked and pending SIGPIPE") {
  const no_sigpipe watch;
  sigset_t sigpipe, before;
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
  {
    const filexfer::detail::sigpipe_guard guard;
    write_to_broken_pipe();
  }
  CHECK(sigpipe_is_blocked());
  CHECK_FALSE(sigpipe_is_pending());
  ::pthread_kill(::pthread_self(), SIGPIPE);  // the program's own, still pending
  {
    const filexfer::detail::sigpipe_guard guard;
    write_to_broken_pipe();
  }
  CHECK(sigpipe_is_pending());
  int signal = 0;
  ::sigwait(&sigpipe, &signal);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace pipe_stream_sigpipe_tests
