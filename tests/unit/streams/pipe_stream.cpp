#include "support/once_handler.hpp"
#include "support/pipe_stream_fixture.hpp"

#include <filexfer/pipe_stream.hpp>

#include <asio/buffer.hpp>
#include <asio/connect_pipe.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/readable_pipe.hpp>
#include <asio/writable_pipe.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

namespace pipe_stream_tests {

// ------------------------------------------------------------------------------------------- bytes

TEST_CASE("blocking reads and writes on two pipes carry bytes both ways, in either mode") {
  for (const int flags : both_modes) {
    connected pipe{flags};
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

TEST_CASE("asynchronous reads and writes carry bytes both ways at once, over pipes and sockets") {
  for (const int kind : {0, int{O_NONBLOCK}, -1}) {
    connected pipe = kind == -1 ? connected_by_socket() : connected{kind};
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
  for (const int flags : both_modes) {
    connected pipe{flags};
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

TEST_CASE("a transfer of an empty buffer completes at once with 0") {
  for (const int flags : both_modes) {
    connected pipe{flags};
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
  // If it blocked, this test would hang: nothing is read until the pipe is full.
  connected pipe{0};
  const std::size_t filled = fill(pipe.context, pipe.a).size();
  CHECK(filled > 0);
  std::string got(filled, '\0');
  CHECK(asio::read(pipe.b, asio::buffer(got)) == filled);
  expected_transfer write;
  start_write(write, pipe.a, asio::buffer(got.data(), PIPE_BUF + 1));
  pipe.run();
  check_result(write, {}, PIPE_BUF);
}

TEST_CASE("a pipe in non-blocking mode takes a large write in one piece") {
  connected pipe{O_NONBLOCK};
  const auto bytes = pattern(PIPE_BUF * 4);
  expected_transfer write;
  start_write(write, pipe.a, asio::buffer(bytes));
  pipe.run();
  check_result(write, {}, bytes.size());
}

// ------------------------------------------------------------------------------------- descriptors

TEST_CASE("a pipe stream leaves the descriptors' modes as they are") {
  for (const int kind : {0, int{O_NONBLOCK}, -1}) {
    const ends forth = kind == -1 ? make_socket_pair() : make_pipe(kind);
    const ends back = kind == -1 ? make_socket_pair() : make_pipe(kind);
    const int read_flags = flags_of(back.read);
    const int write_flags = flags_of(forth.write);
    // Of the same open file descriptions, as a shell would hold them.
    const int read_copy = ::dup(back.read);
    const int write_copy = ::dup(forth.write);
    {
      connected pipe{forth, back};
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

TEST_CASE("a pipe stream closes its descriptors, also when its constructor fails") {
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

TEST_CASE("a pipe stream can read and write the same descriptor") {
  asio::io_context context;
  const ends pair = make_socket_pair();
  pipe_stream stream{context.get_executor(), pair.read, pair.read};
  std::array<char, 4> to{};
  expected_transfer read, write;
  start_read(read, stream, asio::buffer(to));
  start_write(write, stream, asio::buffer("abc", 3));
  std::array<char, 4> sent{};
  CHECK(::write(pair.write, "wxyz", 4) == 4);
  context.run();
  check_result(read, {}, 4);
  check_result(write, {}, 3);
  CHECK(::read(pair.write, sent.data(), sent.size()) == 3);
  stream.close();
  CHECK_FALSE(is_open(pair.read));
  CHECK(::read(pair.write, sent.data(), sent.size()) == 0);
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

TEST_CASE("a closed pipe of Asio's makes no pipe stream") {
  asio::io_context context;
  asio::readable_pipe from{context};
  asio::writable_pipe to{context}, closed{context};
  asio::connect_pipe(from, to);
  CHECK_THROWS_AS((pipe_stream{std::move(from), std::move(closed)}), std::system_error);
}

TEST_CASE("a pipe stream reads and writes regular files, as standard input may be one") {
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

}  // namespace pipe_stream_tests
