#include "support/memory_pipe_fixture.hpp"
#include "support/once_handler.hpp"

#include <filexfer/memory_pipe.hpp>

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/system_executor.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace memory_pipe_tests {

TEST_CASE("bytes written to one end of a memory pipe are read from the other, both ways") {
  two_ends pipe;
  std::string got(16, '\0');
  CHECK(pipe.a.write_some(asio::buffer(std::string_view{"to b"})) == 4);
  CHECK(pipe.b.write_some(asio::buffer(std::string_view{"and to a"})) == 8);
  CHECK(pipe.b.read_some(asio::buffer(got)) == 4);
  CHECK(got.substr(0, 4) == "to b");
  CHECK(pipe.a.read_some(asio::buffer(got)) == 8);
  CHECK(got.substr(0, 8) == "and to a");
}

TEST_CASE("a memory pipe takes no more bytes than its capacity") {
  for (const std::size_t capacity : {1u, 2u, 7u, 4096u}) {
    two_ends pipe{capacity};
    const auto sent = pattern(capacity + 1);
    CHECK(pipe.a.write_some(asio::buffer(sent)) == capacity);
    expected_transfer write;
    start_write(write, pipe.a, asio::buffer(sent));
    pipe.context.poll();
    CHECK_FALSE(write.called());
    std::string got(capacity, '\0');
    CHECK(pipe.b.read_some(asio::buffer(got)) == capacity);
    CHECK(got == sent.substr(0, capacity));
    pipe.run();
    check_result(write, {}, capacity);
  }
}

TEST_CASE("a capacity of 0 is treated as 1") {
  two_ends pipe{0};
  CHECK(pipe.a.write_some(asio::buffer(std::string_view{"xy"})) == 1);
}

TEST_CASE("bytes keep their order at every capacity and every size of reads and writes") {
  for (std::size_t capacity = 1; capacity <= 9; ++capacity) {
    for (std::size_t write = 1; write <= capacity; ++write) {
      for (std::size_t read = 1; read <= capacity + 1; ++read) {
        two_ends pipe{capacity};
        const auto sent = pattern(300);
        std::string got;
        std::string buffer(read, '\0');
        for (std::size_t written = 0; got.size() < sent.size();) {
          if (written < sent.size()) {
            const auto from = std::string_view{sent}.substr(written, write);
            written += pipe.a.write_some(asio::buffer(from));
          }
          got.append(buffer, 0, pipe.b.read_some(asio::buffer(buffer)));
          if (written - got.size() == capacity) {
            got.append(buffer, 0, pipe.b.read_some(asio::buffer(buffer)));
          }
        }
        REQUIRE(got == sent);
      }
    }
  }
}

TEST_CASE("a memory pipe gathers from several buffers and scatters into several") {
  two_ends pipe;
  const std::string first = "ab", second, third = "cdef";
  const std::array from{asio::buffer(first), asio::buffer(second), asio::buffer(third)};
  CHECK(pipe.a.write_some(from) == 6);
  std::array<char, 1> head{};
  std::array<char, 9> tail{};
  const std::array to{asio::buffer(head), asio::buffer(tail)};
  CHECK(pipe.b.read_some(to) == 6);
  CHECK(head[0] == 'a');
  CHECK(std::string(tail.data(), 5) == "bcdef");
}

TEST_CASE("whole messages pass a memory pipe of any capacity with both ends asynchronous") {
  for (const std::size_t capacity : {1u, 3u, 4096u}) {
    two_ends pipe{capacity};
    const auto sent = pattern(10'000);
    std::string got(sent.size(), '\0');
    expected_transfer write, read;
    write.start(
        [&](auto handler) { asio::async_write(pipe.a, asio::buffer(sent), std::move(handler)); });
    read.start(
        [&](auto handler) { asio::async_read(pipe.b, asio::buffer(got), std::move(handler)); });
    pipe.run();
    check_result(write, {}, sent.size());
    check_result(read, {}, sent.size());
    CHECK(got == sent);
  }
}

TEST_CASE("a blocking end and an asynchronous end work together across threads") {
  for (const std::size_t capacity : {1u, 4096u}) {
    two_ends pipe{capacity};
    const auto sent = pattern(capacity == 1 ? 2'000 : 1'000'000);
    std::string echoed(sent.size(), '\0'), back(sent.size(), '\0');
    std::thread blocking{[&] {
      asio::read(pipe.b, asio::buffer(echoed));
      asio::write(pipe.b, asio::buffer(echoed));
    }};
    expected_transfer write, read;
    write.start(
        [&](auto handler) { asio::async_write(pipe.a, asio::buffer(sent), std::move(handler)); });
    read.start(
        [&](auto handler) { asio::async_read(pipe.a, asio::buffer(back), std::move(handler)); });
    pipe.run();
    blocking.join();
    check_result(write, {}, sent.size());
    check_result(read, {}, sent.size());
    CHECK(echoed == sent);
    CHECK(back == sent);
  }
}

TEST_CASE("two blocking ends need no execution context") {
  auto [a, b] = make_memory_pipe(asio::system_executor{}, 3);
  const auto sent = pattern(5'000);
  std::thread writer{[&end = a, &sent] {
    asio::write(end, asio::buffer(sent));
    end.close();
  }};
  const auto got = read_until_eof(b, 7);
  writer.join();
  CHECK(got == sent);
}

TEST_CASE("two ends on two contexts and threads carry bytes both ways at once") {
  asio::io_context first, second;
  auto ends = make_memory_pipe(first.get_executor(), second.get_executor(), 64);
  const auto sent = pattern(100'000);
  std::string got_a(sent.size(), '\0'), got_b(sent.size(), '\0');
  expected_transfer write_a, read_a, write_b, read_b;
  const auto start = [&sent](memory_pipe& end, std::string& to, auto& write, auto& read) {
    write.start([&](auto h) { asio::async_write(end, asio::buffer(sent), std::move(h)); });
    read.start([&](auto h) { asio::async_read(end, asio::buffer(to), std::move(h)); });
  };
  start(ends.first, got_a, write_a, read_a);
  start(ends.second, got_b, write_b, read_b);
  std::thread other{[&] { second.run(); }};
  first.run();
  other.join();
  for (auto* call : {&write_a, &read_a, &write_b, &read_b}) check_result(*call, {}, sent.size());
  CHECK(got_a == sent);
  CHECK(got_b == sent);
}

TEST_CASE("a transfer of an empty buffer completes at once with 0 though the pipe would block") {
  two_ends pipe{1};
  pipe.a.write_some(asio::buffer(std::string_view{"x"}));
  CHECK(pipe.a.write_some(asio::const_buffer{}) == 0);
  CHECK(pipe.a.read_some(asio::mutable_buffer{}) == 0);
  expected_transfer write, read;
  start_write(write, pipe.a, {});
  start_read(read, pipe.a, {});
  pipe.run();
  check_result(write, {}, 0);
  check_result(read, {}, 0);
}

}  // namespace memory_pipe_tests
