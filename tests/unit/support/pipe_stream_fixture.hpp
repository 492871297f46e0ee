#ifndef FILEXFER_TESTS_SUPPORT_PIPE_STREAM_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_PIPE_STREAM_FIXTURE_HPP

// Pairs of pipe_streams over pipes and socket pairs.

#include "support/transfers.hpp"

#include <filexfer/pipe_stream.hpp>

#include <asio/cancellation_type.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <array>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace pipe_stream_tests {

using namespace test;
using filexfer::pipe_stream;
using cancel = asio::cancellation_type;

/// Flags of pipes in blocking and in non-blocking mode.
inline constexpr std::array both_modes{0, int{O_NONBLOCK}};

/// The two ends of a pipe or a socket pair.
struct ends {
  int read;
  int write;
};

inline ends make_pipe(int flags) {
  std::array<int, 2> fds{};
  REQUIRE(::pipe(fds.data()) == 0);
  for (const int fd : fds) REQUIRE(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | flags) == 0);
  return {fds[0], fds[1]};
}

inline ends make_socket_pair() {
  std::array<int, 2> fds{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds.data()) == 0);
  return {fds[0], fds[1]};
}

inline bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

inline int flags_of(int fd) { return ::fcntl(fd, F_GETFL); }

/// Two streams connected by two pipes in the given mode.
struct connected {
  explicit connected(int flags) : connected{make_pipe(flags), make_pipe(flags)} {}
  connected(ends forth, ends back)
      : a{context.get_executor(), back.read, forth.write},
        b{context.get_executor(), forth.read, back.write} {}

  void run() {
    context.restart();
    context.run();
  }

  asio::io_context context;
  pipe_stream a;
  pipe_stream b;
};

/// Two streams on the two ends of a socket pair.
inline connected connected_by_socket() {
  const ends pair = make_socket_pair();
  const auto copy = [](int fd) { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); };
  return {ends{pair.read, pair.write}, ends{copy(pair.write), copy(pair.read)}};
}

}  // namespace pipe_stream_tests

#endif
