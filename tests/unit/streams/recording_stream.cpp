// A recording_stream records the lines and bytes that a client and a session exchange.

#include "support/once_handler.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/recording_stream.hpp>
#include <filexfer/session.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/socket_base.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace recording_stream_tests {

using filexfer::memory_pipe;
using filexfer::recording;
using filexfer::recording_stream;
using recorded_pipe = recording_stream<memory_pipe>;

namespace {

recording recording_of(const std::string& text) {
  recording result;
  result.add(asio::buffer(text), text.size());
  return result;
}

}  // namespace

TEST_CASE("a client's lines and bytes are recorded in order, in either direction") {
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context.get_executor());
  filexfer::memory_store<> store;
  filexfer::session<memory_pipe, filexfer::memory_store<>> session{std::move(far), store};
  session.async_run([](std::error_code) {});
  filexfer::client<recorded_pipe> client{recorded_pipe{std::move(near)}};
  const std::string text = "first\nsecond\n";
  filexfer::memory_source source{text};
  std::optional<std::error_code> ended;
  client.async_upload(source, "name", [&](std::error_code ec, const auto&) { ended = ec; });
  while (!ended) context.run_one();
  CHECK(!*ended);
  recording& sent = client.next_layer().sent();
  recording& received = client.next_layer().received();
  CHECK(sent.take_line() == "UPLOAD");
  CHECK(sent.take_line() == "name;13");
  CHECK(sent.take_bytes(1000) == text.size());
  CHECK(!sent.take_line());
  REQUIRE(received.take_line());
  REQUIRE(received.take_line());
  CHECK(received.take_line() == test::id_of(text).to_string());
  CHECK(received.take_bytes(1) == 0);

  std::error_code ec;
  client.next_layer().shutdown(asio::socket_base::shutdown_send, ec);
  CHECK(!ec);
  context.run();
}

TEST_CASE("a long recording keeps its beginning, and counts all bytes") {
  recording all = recording_of("line\r\n");
  const std::string part(recording::max_kept - 10, 'x');
  all.add(asio::buffer(part), part.size());
  all.add(asio::buffer(part), part.size());
  CHECK(all.size() == 6 + 2 * part.size());
  CHECK(all.take_line() == "line");
  CHECK(all.take_bytes(part.size()) == part.size());
  CHECK(all.take_bytes(recording::max_kept) == part.size());
  CHECK(!all.take_line());
  all.clear();
  CHECK(all.size() == 0);
  CHECK(!all.take_line());
  CHECK(recording_of("cut").take_line() == std::nullopt);
  CHECK(recording_of("\nnext").take_line() == "");
}

TEST_CASE("operations are passed to the next layer, and can be cancelled") {
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context.get_executor());
  recording_stream<memory_pipe&> stream{near};
  CHECK(&stream.next_layer() == &near);
  std::array<char, 4> to{};
  test::expected_transfer read;
  asio::cancellation_signal signal;
  read.cancelled_by(signal.slot());
  read.start([&](auto handler) { stream.async_read_some(asio::buffer(to), std::move(handler)); });
  context.poll();
  CHECK_FALSE(read.called());
  signal.emit(asio::cancellation_type::terminal);
  context.restart();
  context.poll();
  CHECK(std::get<0>(read.result()) == asio::error::operation_aborted);
  CHECK(stream.received().size() == 0);

  test::expected_transfer write;
  write.start(
      [&](auto handler) { stream.async_write_some(asio::buffer("abc", 3), std::move(handler)); });
  context.restart();
  context.poll();
  CHECK(std::get<1>(write.result()) == 3);
  CHECK(stream.sent().size() == 3);
  std::error_code ec;
  stream.close(ec);
  CHECK(!near.is_open());
}

}  // namespace recording_stream_tests
