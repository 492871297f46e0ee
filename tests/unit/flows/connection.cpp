#include "support/script.hpp"

#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/transfer.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace connection_tests {

using namespace test;
using filexfer::errc;
using filexfer::max_line_length;
using filexfer::detail::connection;
using filexfer::detail::deadline;
using filexfer::detail::end_connection;
using filexfer::detail::flow;
using filexfer::detail::interruptible;
using filexfer::detail::io_kind;
using filexfer::detail::line_buffer;
using filexfer::detail::narrow_buffer_size;
using filexfer::detail::read_line;
using filexfer::detail::write_bytes;

namespace {

void fill(line_buffer& buffer, std::string_view text) {
  while (!text.empty()) {
    buffer.grow();
    const auto space = buffer.space();
    REQUIRE_FALSE(space.empty());
    const auto part = text.substr(0, space.size());
    std::memcpy(space.data(), part.data(), part.size());
    buffer.filled(part.size());
    text.remove_prefix(part.size());
  }
}

// All lines that could be read, and then the error.
struct lines_read {
  std::vector<std::string> lines;
  std::error_code ec;
};

flow<void> read_lines(connection& c, lines_read& all, interruptible wait, std::error_code& ec) {
  for (;;) {
    const std::string_view line = co_await read_line(c, deadline::line, wait, ec);
    if (ec) co_return;
    all.lines.emplace_back(line);
  }
}

lines_read lines_of(hand_driver& driver, interruptible wait = interruptible::no) {
  connection c;
  lines_read all;
  driver.run([&](std::error_code& ec) { return read_lines(c, all, wait, ec); }, all.ec);
  return all;
}

lines_read lines_of(const std::string& incoming, std::size_t chunk = no_limit) {
  hand_driver driver{{{C(incoming)}, role::server}};
  driver.chunk = chunk;
  return lines_of(driver);
}

}  // namespace

// ------------------------------------------------------------------------------------ line_buffer

TEST_CASE("a line buffer returns only whole lines, without LF or CR LF") {
  line_buffer buffer;
  CHECK_FALSE(buffer.take_line());
  fill(buffer, "one\ntwo\r\n\n\r\nthr");
  CHECK(buffer.take_line() == "one");
  CHECK(buffer.take_line() == "two");
  CHECK(buffer.take_line() == "");
  CHECK(buffer.take_line() == "");
  CHECK_FALSE(buffer.take_line());
  CHECK_FALSE(buffer.empty());
  fill(buffer, "ee\n");
  CHECK(buffer.take_line() == "three");
  CHECK(buffer.empty());
}

TEST_CASE("only the CR before the LF belongs to a line's end") {
  line_buffer buffer;
  fill(buffer, "a\r\r\nb\rc\n");
  CHECK(buffer.take_line() == "a\r");
  CHECK(buffer.take_line() == "b\rc");
}

TEST_CASE("a line buffer is small until it was full, and small again once it is empty") {
  line_buffer buffer;
  CHECK(buffer.space().size() == narrow_buffer_size);
  fill(buffer, "line\n");
  CHECK(buffer.space().size() == narrow_buffer_size - 5);
  fill(buffer, std::string(narrow_buffer_size - 5, 'x'));
  CHECK(buffer.space().empty());
  buffer.grow();
  CHECK(buffer.space().size() == max_line_length - narrow_buffer_size);
  CHECK(buffer.take_line() == "line");
  buffer.narrow();
  CHECK(buffer.size() == narrow_buffer_size - 5);
  buffer.take(narrow_buffer_size);
  CHECK(buffer.space().size() == max_line_length);
  buffer.narrow();
  CHECK(buffer.space().size() == narrow_buffer_size);
}

TEST_CASE("a line buffer has room for a line of maximum length and for no byte more") {
  line_buffer buffer;
  fill(buffer, std::string(narrow_buffer_size, 'x'));
  buffer.grow();
  CHECK(buffer.space().size() == max_line_length - narrow_buffer_size);
  fill(buffer, std::string(max_line_length - narrow_buffer_size - 1, 'x') + "\n");
  CHECK(buffer.space().empty());
  CHECK(buffer.take_line()->size() == max_line_length - 1);
  CHECK(buffer.space().size() == max_line_length);
}

TEST_CASE("bytes that are not a line are taken up to the number requested") {
  line_buffer buffer;
  fill(buffer, "line\nbytes and more");
  CHECK(buffer.take_line() == "line");
  CHECK(text_of(buffer.take(5)) == "bytes");
  CHECK(text_of(buffer.take(0)).empty());
  CHECK(text_of(buffer.take(1000)) == " and more");
  CHECK(text_of(buffer.take(~std::uint64_t{0})).empty());
  CHECK(buffer.empty());
}

// -------------------------------------------------------------------------------------- read_line

TEST_CASE("the same lines are read at every chunking") {
  const std::string incoming = "first\nsecond\r\n\nfourth;a=b\n";
  const std::vector<std::string> expected{"first", "second", "", "fourth;a=b"};
  for (std::size_t chunk = 1; chunk <= incoming.size(); ++chunk) {
    const auto all = lines_of(incoming, chunk);
    CHECK(all.lines == expected);
    CHECK(all.ec == errc::end_of_stream);
  }
}

TEST_CASE("the end of the stream is end_of_stream between lines and truncated within a line") {
  CHECK(lines_of("").ec == errc::end_of_stream);
  CHECK(lines_of("whole\n").ec == errc::end_of_stream);
  const auto cut = lines_of("whole\npart");
  CHECK(cut.lines == std::vector<std::string>{"whole"});
  CHECK(cut.ec == errc::truncated);
}

TEST_CASE("a line of 4096 bytes, its end included, is read, and a line of one more is too long") {
  for (const std::size_t chunk : {std::size_t{1}, std::size_t{7}, std::size_t{4096}}) {
    const std::string longest(max_line_length - 1, 'x');
    const auto fits = lines_of(longest + "\nnext\n", chunk);
    CHECK(fits.lines == std::vector<std::string>{longest, "next"});
    const std::string with_cr(max_line_length - 2, 'x');
    CHECK(lines_of(with_cr + "\r\n", chunk).lines == std::vector<std::string>{with_cr});
    const auto over = lines_of("next\n" + longest + "x\n", chunk);
    CHECK(over.lines == std::vector<std::string>{"next"});
    CHECK(over.ec == errc::line_too_long);
    CHECK(lines_of(longest + "\r\n", chunk).ec == errc::line_too_long);
  }
}

TEST_CASE("an error while a line is read is reported unchanged") {
  const auto reset = std::make_error_code(std::errc::connection_reset);
  hand_driver driver{{{C("one\ntwo\n")}, role::server}};
  driver.chunk = 4;
  driver.failure = {1, reset};
  const auto all = lines_of(driver);
  CHECK(all.lines == std::vector<std::string>{"one"});
  CHECK(all.ec == reset);
}

TEST_CASE("all reads of a line share one deadline, and each line has a new one") {
  hand_driver driver{{{C("ab\ncd\n")}, role::server}};
  driver.chunk = 1;
  lines_of(driver);
  std::vector<bool> continues;
  for (const auto& step : driver.steps) {
    CHECK(step.limit == deadline::line);
    continues.push_back(step.continues_deadline);
  }
  CHECK(continues == std::vector<bool>{false, true, true, false, true, true, false});
}

TEST_CASE("a wait for a line can be interrupted only before the line's first byte") {
  hand_driver driver{{{C("ab\ncd\n")}, role::server}};
  driver.chunk = 2;
  lines_of(driver, interruptible::yes);
  std::vector<bool> can_be_interrupted;
  for (const auto& step : driver.steps) can_be_interrupted.push_back(step.interruptible);
  CHECK(can_be_interrupted == std::vector<bool>{true, false, false, true});
  hand_driver uninterrupted{{{C("ab\n")}, role::server}};
  lines_of(uninterrupted, interruptible::no);
  for (const auto& step : uninterrupted.steps) CHECK_FALSE(step.interruptible);
}

// ------------------------------------------------------------------------------- write_bytes, end

TEST_CASE("a header and its bytes are sent in one write") {
  connection c;
  std::error_code ec;
  hand_driver driver{{{}, role::server}};
  const auto make = [&](std::error_code& e) {
    return write_bytes(c, as_bytes("header\n"), as_bytes("bytes"), e);
  };
  driver.run(make, ec);
  CHECK_FALSE(ec);
  CHECK(driver.peer.received() == "header\nbytes");
  CHECK(driver.steps.size() == 1);
  hand_driver broken{{{}, role::server}};
  broken.failure = {0, std::make_error_code(std::errc::broken_pipe), 3};
  broken.run(make, ec);
  CHECK(ec == std::errc::broken_pipe);
}

TEST_CASE(
    "a connection ends by shutting down its sending side, discarding what arrives, and closing") {
  hand_driver driver{{{C("still talking")}, role::server}};
  driver.chunk = 5;
  connection c;
  fill(c.in, "unread");
  std::error_code ec;
  driver.run([&](std::error_code&) { return end_connection(c, {}); }, ec);
  CHECK(driver.closed);
  CHECK_FALSE(driver.used_after_close);
  std::vector<io_kind> kinds;
  for (const auto& step : driver.steps) kinds.push_back(step.io);
  CHECK(kinds == std::vector<io_kind>{io_kind::shutdown_send, io_kind::read_some,
                                      io_kind::read_some, io_kind::read_some, io_kind::read_some,
                                      io_kind::close});
  for (std::size_t i = 1; i <= 4; ++i) {
    CHECK(driver.steps[i].limit == deadline::linger);
    CHECK(driver.steps[i].continues_deadline == (i > 1));
  }
}

TEST_CASE("a connection whose last line could not be written is closed immediately") {
  hand_driver driver{{{C("still talking")}, role::server}};
  connection c;
  std::error_code ec;
  const auto broken = std::make_error_code(std::errc::broken_pipe);
  driver.run([&](std::error_code&) { return end_connection(c, broken); }, ec);
  CHECK(driver.steps.size() == 1);
  CHECK(driver.closed);
}

TEST_CASE("the chunks of a transfer grow with it, from 256 KiB to the connection's chunk size") {
  using filexfer::detail::buffer_size_for;
  constexpr std::size_t kib = 1024, mib = 1024 * kib;
  connection c;
  CHECK(buffer_size_for(c, 0) == 0);
  CHECK(buffer_size_for(c, 100 * kib) == 100 * kib);
  CHECK(buffer_size_for(c, mib) == 256 * kib);
  CHECK(buffer_size_for(c, 8 * mib + 1) == 256 * kib);
  CHECK(buffer_size_for(c, 16 * mib) == 512 * kib);
  CHECK(buffer_size_for(c, 20'000'001) == 622'592);  // whole pages
  CHECK(buffer_size_for(c, std::uint64_t{1} << 40) == mib);
  c.small_file_size = 2 * mib;  // a small file has one chunk
  CHECK(buffer_size_for(c, 2 * mib) == 2 * mib);
  c.chunk_size = c.small_file_size = 100;
  CHECK(buffer_size_for(c, mib) == 100);
}

TEST_CASE("a widened line buffer holds more bytes, and the maximum length of a line is the same") {
  line_buffer buffer;
  fill(buffer, "a\nrest");
  CHECK(buffer.take_line() == "a");
  buffer.widen();
  CHECK(buffer.size() == 4);
  CHECK(buffer.space().size() == filexfer::detail::wide_buffer_size - 4);
  std::string xs(max_line_length - 5, 'x');
  fill(buffer, xs);
  fill(buffer, "\n");
  CHECK(buffer.holds_line());
  fill(buffer, std::string(max_line_length, 'y'));
  fill(buffer, "\n");
  CHECK(buffer.take_line() == "rest" + xs);
  CHECK(buffer.holds_long_line());
  CHECK_FALSE(buffer.take_line());
  buffer.take(max_line_length + 1);
  buffer.narrow();
  CHECK(buffer.space().size() == narrow_buffer_size);
}

}  // namespace connection_tests
