#include "support/once_handler.hpp"

#include <filexfer/detail/posix/sigpipe.hpp>
#include <filexfer/pipe_stream.hpp>

#include <asio/buffer.hpp>
#include <asio/connect_pipe.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/readable_pipe.hpp>
#include <asio/strand.hpp>
#include <asio/use_future.hpp>
#include <asio/writable_pipe.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

namespace pipe_stream_tests {

namespace {

using filexfer::pipe_stream;
using test::expected_transfer;
using cancel = asio::cancellation_type;

struct ends {
  int read;
  int write;
};

ends make_pipe(int flags) {
  std::array<int, 2> fds{};
  REQUIRE(::pipe(fds.data()) == 0);
  for (const int fd : fds) REQUIRE(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | flags) == 0);
  return {fds[0], fds[1]};
}

ends make_socket_pair() {
  std::array<int, 2> fds{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds.data()) == 0);
  return {fds[0], fds[1]};
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

int flags_of(int fd) { return ::fcntl(fd, F_GETFL); }

std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i % 251);
  return text;
}

// Two streams joined by two pipes of the given mode.
struct joined {
  explicit joined(int flags) : joined{make_pipe(flags), make_pipe(flags)} {}
  joined(ends forth, ends back)
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

// Two streams on the two ends of a socket.
joined joined_by_socket() {
  const ends pair = make_socket_pair();
  const auto copy = [](int fd) { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); };
  return {ends{pair.read, pair.write}, ends{copy(pair.write), copy(pair.read)}};
}

void start_read(expected_transfer& call, pipe_stream& stream, asio::mutable_buffer to) {
  call.start([&](auto handler) { stream.async_read_some(to, std::move(handler)); });
}

void start_write(expected_transfer& call, pipe_stream& stream, asio::const_buffer from) {
  call.start([&](auto handler) { stream.async_write_some(from, std::move(handler)); });
}

void check_result(expected_transfer& call, std::error_code ec, std::size_t bytes) {
  CHECK(call.result() == std::tuple{ec, bytes});
}

// Writes until the stream takes no more, and returns how much that was.
std::size_t fill(joined& pipe, pipe_stream& stream) {
  const auto bytes = pattern(65536);
  for (std::size_t all = 0;;) {
    auto call = std::make_unique<expected_transfer>();
    asio::cancellation_signal signal;
    call->cancelled_by(signal.slot());
    start_write(*call, stream, asio::buffer(bytes));
    pipe.context.restart();
    pipe.context.poll();
    signal.emit(cancel::total);
    pipe.run();
    const auto [ec, written] = call->result();
    all += written;
    if (ec == asio::error::operation_aborted) return all;
    REQUIRE_FALSE(ec);
  }
}

// Fails the test when a SIGPIPE gets out, and keeps the process alive then.
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

#define FOR_BOTH_MODES(flags) for (const int flags : {0, int{O_NONBLOCK}})

// ------------------------------------------------------------------------------------------- bytes

TEST_CASE("blocking reads and writes on two pipes carry bytes both ways, in either mode") {
  FOR_BOTH_MODES(flags) {
    joined pipe{flags};
    const auto sent = pattern(300'000);
    std::string got(sent.size(), '\0');
    std::thread echo{[&] {
      std::string all(sent.size(), '\0');
      asio::read(pipe.b, asio::buffer(all));
      asio::write(pipe.b, asio::buffer(all));
    }};
    CHECK(asio::write(pipe.a, asio::buffer(sent)) == sent.size());
    CHECK(asio::read(pipe.a, asio::buffer(got)) == sent.size());
    echo.join();
    CHECK(got == sent);
  }
}

TEST_CASE("asynchronous reads and writes carry bytes both ways at once, over anything") {
  for (const int kind : {0, int{O_NONBLOCK}, -1}) {
    joined pipe = kind == -1 ? joined_by_socket() : joined{kind};
    const auto sent = pattern(300'000);
    std::string at_a(sent.size(), '\0'), at_b(sent.size(), '\0');
    std::array<expected_transfer, 4> calls;
    calls[0].start([&](auto h) { asio::async_write(pipe.a, asio::buffer(sent), std::move(h)); });
    calls[1].start([&](auto h) { asio::async_write(pipe.b, asio::buffer(sent), std::move(h)); });
    calls[2].start([&](auto h) { asio::async_read(pipe.a, asio::buffer(at_a), std::move(h)); });
    calls[3].start([&](auto h) { asio::async_read(pipe.b, asio::buffer(at_b), std::move(h)); });
    pipe.run();
    for (auto& call : calls) check_result(call, {}, sent.size());
    CHECK(at_a == sent);
    CHECK(at_b == sent);
  }
}

TEST_CASE("a pipe stream gathers from several buffers and scatters into several") {
  FOR_BOTH_MODES(flags) {
    joined pipe{flags};
    const std::string first = "ab", second, third = "cdef";
    const std::array from{asio::buffer(first), asio::buffer(second), asio::buffer(third)};
    std::array<char, 1> head{};
    std::array<char, 9> tail{};
    const std::array to{asio::buffer(head), asio::buffer(tail)};
    expected_transfer write, read;
    write.start([&](auto handler) { pipe.a.async_write_some(from, std::move(handler)); });
    read.start([&](auto handler) { pipe.b.async_read_some(to, std::move(handler)); });
    pipe.run();
    check_result(write, {}, 6);
    check_result(read, {}, 6);
    CHECK(head[0] == 'a');
    CHECK(std::string(tail.data(), 5) == "bcdef");
  }
}

TEST_CASE("a transfer without room or bytes completes at once with 0") {
  FOR_BOTH_MODES(flags) {
    joined pipe{flags};
    expected_transfer read, write;
    start_read(read, pipe.a, {});
    start_write(write, pipe.a, {});
    pipe.run();
    check_result(read, {}, 0);
    check_result(write, {}, 0);
    CHECK(pipe.a.read_some(asio::mutable_buffer{}) == 0);
    CHECK(pipe.a.write_some(asio::const_buffer{}) == 0);
  }
}

TEST_CASE("an asynchronous write to a pipe in blocking mode never blocks, however full it is") {
  // Were it to block, this test would hang: nobody reads until the pipe is full.
  joined pipe{0};
  const std::size_t held = fill(pipe, pipe.a);
  CHECK(held > 0);
  std::string got(held, '\0');
  CHECK(asio::read(pipe.b, asio::buffer(got)) == held);
  expected_transfer write;
  start_write(write, pipe.a, asio::buffer(got.data(), PIPE_BUF + 1));
  pipe.run();
  check_result(write, {}, PIPE_BUF);
}

TEST_CASE("a pipe in non-blocking mode takes a large write in one piece") {
  joined pipe{O_NONBLOCK};
  const auto bytes = pattern(PIPE_BUF * 4);
  expected_transfer write;
  start_write(write, pipe.a, asio::buffer(bytes));
  pipe.run();
  check_result(write, {}, bytes.size());
}

// --------------------------------------------------------------------------------- the descriptors

TEST_CASE("a pipe stream leaves the descriptors' modes as they are") {
  for (const int kind : {0, int{O_NONBLOCK}, -1}) {
    const ends forth = kind == -1 ? make_socket_pair() : make_pipe(kind);
    const ends back = kind == -1 ? make_socket_pair() : make_pipe(kind);
    const int read_flags = flags_of(back.read);
    const int write_flags = flags_of(forth.write);
    // Of the same open files, as a shell would hold them.
    const int read_copy = ::dup(back.read);
    const int write_copy = ::dup(forth.write);
    {
      joined pipe{forth, back};
      CHECK(flags_of(read_copy) == read_flags);
      std::array<char, 4> to{};
      expected_transfer read, write;
      start_read(read, pipe.a, asio::buffer(to));
      start_write(write, pipe.a, asio::buffer("abc", 3));
      pipe.context.poll();
      CHECK(flags_of(read_copy) == read_flags);
      CHECK(flags_of(write_copy) == write_flags);
      pipe.b.write_some(asio::buffer("abc", 3));
      pipe.run();
      check_result(read, {}, 3);
      check_result(write, {}, 3);
    }
    CHECK(flags_of(read_copy) == read_flags);
    CHECK(flags_of(write_copy) == write_flags);
    ::close(read_copy);
    ::close(write_copy);
  }
}

TEST_CASE("a pipe stream owns its descriptors, also when it can't be made") {
  asio::io_context context;
  const ends pipe = make_pipe(0);
  {
    const pipe_stream stream{context.get_executor(), pipe.read, pipe.write};
    CHECK(stream.is_open());
  }
  CHECK_FALSE(is_open(pipe.read));
  CHECK_FALSE(is_open(pipe.write));
  const ends other = make_pipe(0);
  CHECK_THROWS_AS((pipe_stream{context.get_executor(), other.read, -1}), std::system_error);
  CHECK_THROWS_AS((pipe_stream{context.get_executor(), -1, other.write}), std::system_error);
  CHECK_FALSE(is_open(other.read));
  CHECK_FALSE(is_open(other.write));
}

TEST_CASE("a pipe stream reads and writes one and the same descriptor") {
  asio::io_context context;
  const ends pair = make_socket_pair();
  pipe_stream stream{context.get_executor(), pair.read, pair.read};
  std::array<char, 4> to{};
  expected_transfer read, write;
  start_read(read, stream, asio::buffer(to));
  start_write(write, stream, asio::buffer("abc", 3));
  std::array<char, 4> there{};
  CHECK(::write(pair.write, "wxyz", 4) == 4);
  context.run();
  check_result(read, {}, 4);
  check_result(write, {}, 3);
  CHECK(::read(pair.write, there.data(), there.size()) == 3);
  stream.close();
  CHECK_FALSE(is_open(pair.read));
  CHECK(::read(pair.write, there.data(), there.size()) == 0);
  ::close(pair.write);
}

TEST_CASE("a pipe stream takes over a pair of Asio's pipes") {
  asio::io_context context;
  asio::readable_pipe from_a{context}, from_b{context};
  asio::writable_pipe to_a{context}, to_b{context};
  asio::connect_pipe(from_a, to_b);
  asio::connect_pipe(from_b, to_a);
  pipe_stream a{std::move(from_b), std::move(to_b)};
  CHECK_FALSE(from_b.is_open());
  CHECK_FALSE(to_b.is_open());
  CHECK(asio::write(to_a, asio::buffer("abc", 3)) == 3);
  std::array<char, 3> to{};
  CHECK(asio::read(a, asio::buffer(to)) == 3);
  expected_transfer write;
  const auto bytes = pattern(PIPE_BUF * 4);
  start_write(write, a, asio::buffer(bytes));
  context.run();
  check_result(write, {}, bytes.size());
  a.close();
  std::string got(bytes.size(), '\0');
  CHECK(asio::read(from_a, asio::buffer(got)) == got.size());
  std::error_code ec;
  CHECK(from_a.read_some(asio::buffer(got), ec) == 0);
  CHECK(ec == asio::error::eof);
}

TEST_CASE("a closed pair of Asio's pipes makes no pipe stream, and leaves no descriptor") {
  asio::io_context context;
  asio::readable_pipe from{context};
  asio::writable_pipe to{context}, closed{context};
  asio::connect_pipe(from, to);
  CHECK_THROWS_AS((pipe_stream{std::move(from), std::move(closed)}), std::system_error);
}

TEST_CASE("a regular file can be read and written, for standard input may be one") {
  std::string name = "/tmp/filexfer-test-XXXXXX";
  const int file = ::mkstemp(name.data());
  REQUIRE(file != -1);
  ::unlink(name.c_str());
  const ends pipe = make_pipe(0);
  asio::io_context context;
  {
    pipe_stream writer{context.get_executor(), pipe.read, ::dup(file)};
    expected_transfer write;
    start_write(write, writer, asio::buffer("abc", 3));
    context.run();
    check_result(write, {}, 3);
  }
  REQUIRE(::lseek(file, 0, SEEK_SET) == 0);
  pipe_stream reader{context.get_executor(), file, pipe.write};
  std::array<char, 9> to{};
  expected_transfer read, end;
  start_read(read, reader, asio::buffer(to));
  context.restart();
  context.run();
  check_result(read, {}, 3);
  start_read(end, reader, asio::buffer(to));
  context.restart();
  context.run();
  check_result(end, asio::error::eof, 0);
}

// ------------------------------------------------------------------------------------ the contract

TEST_CASE("a transfer that can be done at once is not completed inside the initiating function") {
  FOR_BOTH_MODES(flags) {
    joined pipe{flags};
    std::array<char, 4> to{};
    expected_transfer write, read;
    asio::post(pipe.context, [&] {  // where an executor could run the handler at once
      start_write(write, pipe.a, asio::buffer("x", 1));
      CHECK_FALSE(write.called());
    });
    pipe.run();
    asio::post(pipe.context, [&] {
      start_read(read, pipe.b, asio::buffer(to));
      CHECK_FALSE(read.called());
    });
    pipe.run();
    check_result(write, {}, 1);
    check_result(read, {}, 1);
  }
}

TEST_CASE("a pipe stream uses the handler's executor and allocator, and keeps contexts running") {
  FOR_BOTH_MODES(flags) {
    joined pipe{flags};
    asio::io_context handlers;
    std::array<char, 4> to{};
    expected_transfer read;
    read.start_on(asio::make_strand(handlers), [&](auto handler) {
      pipe.a.async_read_some(asio::buffer(to), std::move(handler));
    });
    std::thread streams{[&] { pipe.context.run(); }};
    std::thread peer{[&] { pipe.b.write_some(asio::buffer("abc", 3)); }};
    handlers.run();
    peer.join();
    streams.join();
    check_result(read, {}, 3);
    CHECK(read.allocations() > 0);
  }
}

TEST_CASE("a pipe stream serves futures") {
  joined pipe{0};
  std::array<char, 4> to{};
  auto read = pipe.a.async_read_some(asio::buffer(to), asio::use_future);
  auto write = pipe.b.async_write_some(asio::buffer("abc", 3), asio::use_future);
  pipe.run();
  CHECK(write.get() == 3);
  CHECK(read.get() == 3);
}

TEST_CASE("a cancelled read completes with operation_aborted and reads nothing") {
  FOR_BOTH_MODES(flags) {
    for (const auto kind : {cancel::terminal, cancel::partial, cancel::total}) {
      for (const std::string_view sent_before : {"", "abc"}) {
        CAPTURE(sent_before);
        joined pipe{flags};
        std::array<char, 9> to{};
        asio::cancellation_signal signal;
        expected_transfer read;
        read.cancelled_by(signal.slot());
        start_read(read, pipe.a, asio::buffer(to));
        pipe.b.write_some(asio::buffer(sent_before));
        signal.emit(kind);
        CHECK_FALSE(read.called());
        pipe.run();
        check_result(read, asio::error::operation_aborted, 0);
        pipe.b.write_some(asio::buffer("def", 3));
        CHECK(pipe.a.read_some(asio::buffer(to)) == sent_before.size() + 3);
      }
    }
  }
}

TEST_CASE("a cancelled write completes with operation_aborted and writes nothing") {
  FOR_BOTH_MODES(flags) {
    for (const auto kind : {cancel::terminal, cancel::partial, cancel::total}) {
      joined pipe{flags};
      const std::size_t held = fill(pipe, pipe.a);
      asio::cancellation_signal signal;
      expected_transfer write;
      write.cancelled_by(signal.slot());
      start_write(write, pipe.a, asio::buffer("x", 1));
      pipe.context.restart();
      pipe.context.poll();
      CHECK_FALSE(write.called());
      signal.emit(kind);
      pipe.run();
      check_result(write, asio::error::operation_aborted, 0);
      pipe.a.close();
      std::string got(held + 1, '\0');
      std::error_code ec;
      CHECK(asio::read(pipe.b, asio::buffer(got), ec) == held);
      CHECK(ec == asio::error::eof);
    }
  }
}

TEST_CASE("a read and a write are cancelled independently of each other") {
  joined pipe{0};
  fill(pipe, pipe.a);
  std::array<char, 4> to{};
  asio::cancellation_signal signal;
  expected_transfer read, write;
  read.cancelled_by(signal.slot());
  start_read(read, pipe.a, asio::buffer(to));
  start_write(write, pipe.a, asio::buffer("x", 1));
  signal.emit(cancel::terminal);
  pipe.context.restart();
  pipe.context.poll();
  check_result(read, asio::error::operation_aborted, 0);
  CHECK_FALSE(write.called());
  std::string drained(PIPE_BUF * 2, '\0');
  pipe.b.read_some(asio::buffer(drained));
  pipe.run();
  check_result(write, {}, 1);
}

TEST_CASE("a pending transfer is dropped with its context, though its handler owns the stream") {
  expected_transfer read;
  read.may_be_dropped();
  const ends pipe = make_pipe(0);
  {
    asio::io_context context;
    auto owned = std::make_shared<pipe_stream>(context.get_executor(), pipe.read, pipe.write);
    auto to = std::make_shared<std::array<char, 4>>();
    read.start([&](auto handler) {
      owned->async_read_some(asio::buffer(*to),
                             [owned, to, h = std::move(handler)](
                                 std::error_code ec, std::size_t n) mutable { h(ec, n); });
    });
  }
  CHECK(read.dropped());
  CHECK_FALSE(is_open(pipe.read));
  CHECK_FALSE(is_open(pipe.write));
}

// ------------------------------------------------------------------------------------------ the end

TEST_CASE("closing a pipe stream ends what its peer has pending") {
  FOR_BOTH_MODES(flags) {
    joined pipe{flags};
    std::array<char, 4> to{};
    expected_transfer read;
    start_read(read, pipe.b, asio::buffer(to));
    pipe.a.close();
    pipe.run();
    check_result(read, asio::error::eof, 0);
  }
}

TEST_CASE("what is pending completes with operation_aborted when the stream goes") {
  joined pipe{0};
  fill(pipe, pipe.a);
  std::array<char, 4> to{};
  expected_transfer read, write;
  start_read(read, pipe.a, asio::buffer(to));
  start_write(write, pipe.a, asio::buffer("x", 1));
  SUBCASE("closed") { pipe.a.close(); }
  SUBCASE("closed twice") {
    pipe.a.close();
    pipe.a.close();
  }
  SUBCASE("destroyed") { const pipe_stream gone{std::move(pipe.a)}; }
  SUBCASE("assigned to") {
    const ends other = make_pipe(0);
    pipe.a = pipe_stream{pipe.context.get_executor(), other.read, other.write};
    CHECK(pipe.a.is_open());
    pipe.a.close();
  }
  SUBCASE("though the bytes that it waited for have come") {
    std::string drained(PIPE_BUF * 2, '\0');
    pipe.b.read_some(asio::buffer(drained));
    pipe.b.write_some(asio::buffer("y", 1));
    pipe.a.close();
  }
  CHECK_FALSE(pipe.a.is_open());
  pipe.run();
  check_result(read, asio::error::operation_aborted, 0);
  check_result(write, asio::error::operation_aborted, 0);
}

TEST_CASE(
    "a read that was found ready reads nothing if it is cancelled or closed before its turn") {
  joined pipe{0};
  asio::io_context handlers;
  std::array<char, 4> to{};
  asio::cancellation_signal signal;
  expected_transfer read;
  read.cancelled_by(signal.slot());
  read.start_on(handlers.get_executor(), [&](auto handler) {
    pipe.a.async_read_some(asio::buffer(to), std::move(handler));
  });
  pipe.b.write_some(asio::buffer("abc", 3));
  pipe.context.poll();  // finds it ready, and hands over to the handler's context
  SUBCASE("cancelled") {
    signal.emit(cancel::total);
    handlers.run();
    CHECK(pipe.a.read_some(asio::buffer(to)) == 3);
  }
  SUBCASE("closed") {
    pipe.a.close();
    handlers.run();
  }
  SUBCASE("destroyed") {
    { const pipe_stream gone{std::move(pipe.a)}; }
    handlers.run();
  }
  check_result(read, asio::error::operation_aborted, 0);
}

TEST_CASE("a closed or moved-from pipe stream fails every transfer with bad_descriptor") {
  joined pipe{0};
  const pipe_stream moved_to{std::move(pipe.b)};
  pipe.a.close();
  std::array<char, 4> to{};
  for (pipe_stream* stream : {&pipe.a, &pipe.b}) {
    std::error_code ec;
    CHECK_FALSE(stream->is_open());
    CHECK(stream->read_some(asio::buffer(to), ec) == 0);
    CHECK(ec == asio::error::bad_descriptor);
    CHECK(stream->write_some(asio::buffer("x", 1), ec) == 0);
    CHECK(ec == asio::error::bad_descriptor);
    stream->shutdown(asio::socket_base::shutdown_both, ec);
    CHECK(ec == asio::error::not_connected);
    CHECK_THROWS_AS(stream->read_some(asio::buffer(to)), std::system_error);
    CHECK_THROWS_AS(stream->write_some(asio::buffer("x", 1)), std::system_error);
    CHECK_THROWS_AS(stream->shutdown(asio::socket_base::shutdown_send), std::system_error);
    expected_transfer read, write;
    start_read(read, *stream, asio::buffer(to));
    start_write(write, *stream, asio::buffer("x", 1));
    pipe.run();
    check_result(read, asio::error::bad_descriptor, 0);
    check_result(write, asio::error::bad_descriptor, 0);
  }
}

TEST_CASE("after shutdown_send the peer reads what was sent, then eof, and can still answer") {
  for (const bool socket : {false, true}) {
    joined pipe = socket ? joined_by_socket() : joined{0};
    std::array<char, 9> to{};
    std::error_code ec = asio::error::eof;
    pipe.a.write_some(asio::buffer("last", 4));
    pipe.a.shutdown(asio::socket_base::shutdown_send, ec);
    CHECK_FALSE(ec);
    CHECK(pipe.a.is_open());
    CHECK(pipe.b.read_some(asio::buffer(to)) == 4);
    expected_transfer end;
    start_read(end, pipe.b, asio::buffer(to));
    pipe.run();
    check_result(end, asio::error::eof, 0);
    CHECK(pipe.b.write_some(asio::buffer("yes", 3)) == 3);
    CHECK(pipe.a.read_some(asio::buffer(to)) == 3);
    CHECK(pipe.a.write_some(asio::buffer("x", 1), ec) == 0);
    CHECK(ec == asio::error::bad_descriptor);
    pipe.a.shutdown(asio::socket_base::shutdown_receive);
    CHECK_FALSE(pipe.a.is_open());
  }
}

// -------------------------------------------------------------------------------------- the signal

TEST_CASE("no SIGPIPE comes out of a write to a pipe or a socket that nobody reads") {
  const no_sigpipe watch;
  for (const int kind : {0, int{O_NONBLOCK}, -1}) {
    joined pipe = kind == -1 ? joined_by_socket() : joined{kind};
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

TEST_CASE("a pending write ends with broken_pipe when the reader goes") {
  const no_sigpipe watch;
  FOR_BOTH_MODES(flags) {
    joined pipe{flags};
    fill(pipe, pipe.a);
    expected_transfer write;
    start_write(write, pipe.a, asio::buffer("x", 1));
    pipe.b.close();
    pipe.run();
    check_result(write, asio::error::broken_pipe, 0);
  }
}

TEST_CASE("the guard takes the SIGPIPE that came under it, and keeps errno") {
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

TEST_CASE("the guard keeps errno where no SIGPIPE came") {
  {
    const filexfer::detail::sigpipe_guard guard;
    errno = ENOTTY;
  }
  CHECK(errno == ENOTTY);
}

TEST_CASE("the guard leaves a thread that blocks SIGPIPE itself as it was") {
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
  ::pthread_kill(::pthread_self(), SIGPIPE);  // the program's own, not yet dealt with
  {
    const filexfer::detail::sigpipe_guard guard;
    write_to_broken_pipe();
  }
  CHECK(sigpipe_is_pending());
  int signal = 0;
  ::sigwait(&sigpipe, &signal);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

#undef FOR_BOTH_MODES

}  // namespace pipe_stream_tests
