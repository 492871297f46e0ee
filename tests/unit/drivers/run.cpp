// Single actions, with every driver.

#include "support/drivers.hpp"
#include "support/script.hpp"

#include <filexfer/detail/driver/run.hpp>
#include <filexfer/detail/flow/connection.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/steady_timer.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace run_tests {

using namespace test;
using filexfer::errc;
using filexfer::detail::action;
using filexfer::detail::flow;
using filexfer::detail::io_kind;
using filexfer::detail::outcome;

// ------------------------------------------------------------------------------------- all drivers

namespace {

// Performs an action, and returns its outcome.
outcome outcome_of(stream_driver& driver, action& wanted) {
  const auto await_one = [](action& a) -> flow<outcome> { co_return co_await a; };
  std::error_code ec;
  const auto out = driver.run([&](std::error_code&) { return await_one(wanted); }, ec);
  CHECK_FALSE(ec);
  return out;
}

}  // namespace

TEST_CASE("read_some returns the bytes available, and read_full fills its buffer") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const io_kind io : {io_kind::read_some, io_kind::read_full}) {
      stream_driver driver{kind, scripted_peer{{C("0123456789")}, role::server}};
      driver.stream.max_read = 3;
      std::array<std::byte, 8> into{};
      action reading;
      reading.io = io;
      reading.read_buffer = into;
      const auto out = outcome_of(driver, reading);
      CHECK_FALSE(out.error);
      CHECK(out.bytes == (io == io_kind::read_some ? 3 : 8));
      CHECK(text_of(into).substr(0, out.bytes) == std::string{"01234567"}.substr(0, out.bytes));
    }
  }
}

TEST_CASE("a read_full that fails reports how many bytes it has read") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    stream_driver driver{kind, scripted_peer{{C("01234")}, role::server}};
    driver.stream.max_read = 2;
    std::array<std::byte, 8> into{};
    action reading;
    reading.io = io_kind::read_full;
    reading.read_buffer = into;
    const auto out = outcome_of(driver, reading);
    CHECK(out.error == errc::end_of_stream);
    CHECK(out.bytes == 5);
    CHECK(text_of(into).substr(0, 5) == "01234");
  }
}

TEST_CASE("a write sends both its buffers, however few bytes a call moves") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const std::string first = "header\n";
    const std::string second = "and bytes";
    for (const auto& [header, body] :
         {std::pair{first, second}, std::pair{std::string{}, second},
          std::pair{first, std::string{}}, std::pair{std::string{}, std::string{}}}) {
      for (std::size_t most = 1; most <= first.size() + second.size(); ++most) {
        stream_driver driver{kind, scripted_peer{{}, role::server}};
        driver.stream.max_write = most;
        action writing;
        writing.io = io_kind::write;
        writing.write_buffers = {as_bytes(header), as_bytes(body)};
        const auto out = outcome_of(driver, writing);
        CHECK_FALSE(out.error);
        CHECK(out.bytes == header.size() + body.size());
        CHECK(driver.stream.peer.received() == header + body);
      }
    }
  }
}

TEST_CASE("actions with empty buffers make no call on the stream") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const io_kind io :
         {io_kind::read_some, io_kind::read_full, io_kind::write, io_kind::none}) {
      stream_driver driver{kind, scripted_peer{{S("our turn")}, role::server}};
      action nothing;
      nothing.io = io;
      CHECK_FALSE(outcome_of(driver, nothing).error);
      CHECK(driver.stream.calls == 0);
    }
  }
}

TEST_CASE("the work of an action runs once, even if its I/O fails") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const bool fails : {false, true}) {
      stream_driver driver{kind, scripted_peer{{C("0123456789")}, role::server}};
      driver.stream.max_read = 4;
      if (fails) driver.stream.failing_call = 1;
      driver.stream.error = asio::error::connection_reset;
      int runs = 0;
      filexfer::detail::work counting{[&](std::error_code& ec) {
        ++runs;
        ec = errc::io;
      }};
      std::array<std::byte, 8> into{};
      action both;
      both.io = io_kind::read_full;
      both.read_buffer = into;
      both.run_and_wait(counting);
      const auto out = outcome_of(driver, both);
      CHECK(runs == 1);
      CHECK(counting.error() == errc::io);
      CHECK(out.error ==
            (fails ? std::error_code{asio::error::connection_reset} : std::error_code{}));
      CHECK(out.bytes == (fails ? 4 : 8));
    }
  }
}

TEST_CASE("a million actions that end immediately do not overflow the stack") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto many = [](int& done) -> flow<void> {
      action nothing;
      for (; done < 1'000'000; ++done) co_await nothing;
    };
    stream_driver driver{kind, scripted_peer{{}, role::server}};
    int done = 0;
    std::error_code ec;
    driver.run([&](std::error_code&) { return many(done); }, ec);
    CHECK_FALSE(ec);
    CHECK(done == 1'000'000);
  }
}

TEST_CASE("a flow that throws completes its operation with that error") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto throws = [](std::error_code code) -> flow<int> {
      action nothing;
      co_await nothing;
      if (code) throw std::system_error{code};
      co_return 1;
    };
    for (const std::error_code code : {std::error_code{}, make_error_code(errc::collision)}) {
      stream_driver driver{kind, scripted_peer{{}, role::server}};
      std::error_code ec;
      const int value = driver.run([&](std::error_code&) { return throws(code); }, ec);
      CHECK(ec == code);
      CHECK(value == (code ? 0 : 1));
    }
  }
}

// ----------------------------------------------------------------------------------- blocking only

TEST_CASE("bytes that a failing call has transferred are counted") {
  struct failing_stream {
    std::size_t read_some(asio::mutable_buffer, std::error_code& ec) {
      ec = asio::error::connection_reset;
      return 3;
    }
    std::size_t write_some(std::array<asio::const_buffer, 2>, std::error_code& ec) {
      ec = asio::error::connection_reset;
      return 3;
    }
  };
  failing_stream stream;
  const auto await_one = [](action& a) -> flow<outcome> { co_return co_await a; };
  for (const io_kind io : {io_kind::read_full, io_kind::write}) {
    std::array<std::byte, 8> bytes{};
    action moving;
    moving.io = io;
    moving.read_buffer = bytes;
    moving.write_buffers[0] = bytes;
    std::error_code ec;
    const auto out = filexfer::detail::run(
        stream, [&](std::error_code&) { return await_one(moving); }, ec);
    CHECK(out.error == asio::error::connection_reset);
    CHECK(out.bytes == 3);
  }
}

// --------------------------------------------------------------------------------------- send_file

namespace {

// An unnamed temporary file, and a connected pair of sockets.
struct file_on_a_socket {
  explicit file_on_a_socket(const std::string& bytes) : file{std::tmpfile()} {
    REQUIRE(file != nullptr);
    REQUIRE(std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
    REQUIRE(std::fflush(file) == 0);
    asio::local::connect_pair(ours, theirs);
  }
  file_on_a_socket(const file_on_a_socket&) = delete;
  file_on_a_socket& operator=(const file_on_a_socket&) = delete;
  ~file_on_a_socket() { std::fclose(file); }

  action sending(std::uint64_t offset, std::uint64_t bytes) const {
    action a;
    a.io = io_kind::send_file;
    a.file = {::fileno(file), offset, bytes};
    return a;
  }

  outcome send(driver_kind kind, action& wanted) {
    const auto await_one = [](action& a) -> flow<outcome> { co_return co_await a; };
    const auto make = [&](std::error_code&) { return await_one(wanted); };
    std::error_code ec;
    if (kind == driver_kind::blocking) return filexfer::detail::run(ours, make, ec);
    outcome out;
    filexfer::detail::async_run<asio::steady_timer>(
        ours, {}, make, [&](std::error_code, outcome result) { out = result; });
    context.run();
    return out;
  }

  std::FILE* file;
  asio::io_context context;
  asio::local::stream_protocol::socket ours{context};
  asio::local::stream_protocol::socket theirs{context};
};

}  // namespace

TEST_CASE("send_file sends a range of a file, even one larger than the socket's buffer") {
  const auto bytes = pattern(3'000'000);
  for (const driver_kind kind : {driver_kind::blocking, driver_kind::asynchronous}) {
    CAPTURE(to_string(kind));
    file_on_a_socket f{bytes};
    auto sending = f.sending(7, 2'500'000);
    std::string received;
    std::thread reader{[&] {
      std::array<char, 65536> buffer;
      std::error_code ec;
      while (!ec) received.append(buffer.data(), f.theirs.read_some(asio::buffer(buffer), ec));
    }};
    const auto out = f.send(kind, sending);
    f.ours.close();
    reader.join();
    CHECK_FALSE(out.error);
    CHECK(out.bytes == 2'500'000);
    CHECK(received == bytes.substr(7, 2'500'000));
  }
}

TEST_CASE("send_file fails with short_source if the file ends before the range does") {
  for (const driver_kind kind : {driver_kind::blocking, driver_kind::asynchronous}) {
    file_on_a_socket f{"hello"};
    auto sending = f.sending(1, 100);
    const auto out = f.send(kind, sending);
    CHECK(out.error == errc::short_source);
    CHECK(out.bytes == 4);
  }
}

TEST_CASE("send_file to a peer that has closed is an error, not a signal") {
  for (const driver_kind kind : {driver_kind::blocking, driver_kind::asynchronous}) {
    file_on_a_socket f{"hello"};
    auto sending = f.sending(0, 5);
    f.theirs.close();
    CHECK(f.send(kind, sending).error == asio::error::broken_pipe);
  }
}

TEST_CASE("send_file to a stream that is not a socket is not supported") {
  stream_driver driver{driver_kind::blocking, scripted_peer{{}, role::server}};
  action sending;
  sending.io = io_kind::send_file;
  sending.file = {0, 0, 5};
  CHECK(outcome_of(driver, sending).error == std::errc::operation_not_supported);
}

}  // namespace run_tests
