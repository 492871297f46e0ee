// any_stream and any_connector, and the command_stream as one of their types.

#include "support/once_handler.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/any_stream.hpp>
#include <filexfer/client.hpp>
#include <filexfer/command_stream.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/peer_identity.hpp>
#include <filexfer/session.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <unistd.h>

namespace any_stream_tests {

using filexfer::any_connector;
using filexfer::any_stream;
using filexfer::command_connector;
using filexfer::command_stream;

namespace {

/// The output of a command that reads nothing, and why it ended.
std::pair<std::string, std::optional<std::string>> output_of(const std::string& command) {
  asio::io_context context;
  command_stream stream{context.get_executor(), command};
  std::string output;
  std::array<char, 100> some{};
  for (;;) {
    std::error_code ec;
    const std::size_t count = stream.read_some(asio::buffer(some), ec);
    if (ec) break;
    output.append(some.data(), count);
  }
  return {output, stream.end_reason()};
}

/// Counts its copies, to check that a handler was freed.
struct counted {
  explicit counted(int& c) : count{&c} { ++c; }
  counted(const counted& other) : count{other.count} { ++*count; }
  counted& operator=(const counted&) = delete;
  ~counted() { --*count; }
  int* count;
};

}  // namespace

TEST_CASE("a command's output is read, and its exit status or signal is reported") {
  CHECK(output_of("echo hello") ==
        std::pair{std::string{"hello\n"},
                  std::optional<std::string>{"the command ended (exit status 0)"}});
  CHECK(output_of("exit 3").second == "the command ended (exit status 3)");
  CHECK(output_of("kill -9 $$").second == "the command ended (signal 9)");
  CHECK(output_of("/no/such/command 2>/dev/null").second == "the command ended (exit status 127)");
}

TEST_CASE("a command ends with its stream, and is replaced by assigning another") {
  asio::io_context context;
  command_stream stream{context.get_executor()};
  CHECK_FALSE(stream.end_reason());
  stream = command_stream{context.get_executor(), "cat"};
  stream = command_stream{context.get_executor(), "cat; exit 4"};
  std::error_code ec;
  CHECK(stream.write_some(asio::buffer(std::string_view{"x"}), ec) == 1);
  stream.shutdown(asio::socket_base::shutdown_send, ec);
  std::array<char, 10> some{};
  CHECK(stream.read_some(asio::buffer(some), ec) == 1);
  stream.read_some(asio::buffer(some), ec);
  CHECK(ec == asio::error::eof);
  CHECK(stream.end_reason() == "the command ended (exit status 4)");
}

TEST_CASE("a client uploads over an any_stream") {
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context.get_executor());
  filexfer::memory_store<> store;
  filexfer::session session{std::move(far), store};
  session.async_run([](std::error_code) {});
  auto client = std::make_unique<filexfer::client<any_stream>>(any_stream{std::move(near)});
  const std::string text(300'000, 'x');
  filexfer::memory_source source{text};
  std::optional<std::error_code> ended;
  client->async_upload(source, "file", [&](std::error_code ec, const auto&) {
    ended = ec;
    client.reset();
  });
  context.run();
  CHECK(ended == std::error_code{});
  CHECK(test::entries(store).size() == 1);
}

TEST_CASE("a read from an any_stream can be cancelled, and frees its handler first") {
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context.get_executor());
  any_stream stream{std::move(near)};
  CHECK_FALSE(stream.end_reason());
  int handlers = 0;
  std::array<char, 10> some{};
  asio::cancellation_signal cancel;
  std::error_code ended;
  stream.async_read_some(
      asio::buffer(some),
      asio::bind_cancellation_slot(cancel.slot(), [&ended, &handlers, c = counted{handlers}](
                                                      std::error_code ec, std::size_t) {
        ended = ec;
        CHECK(handlers == 1);
      }));
  cancel.emit(asio::cancellation_type::terminal);
  context.run();
  CHECK(ended == asio::error::operation_aborted);
  CHECK(handlers == 0);
}

TEST_CASE("an any_stream identifies its peer as the stream in it does") {
  struct certified_stream : filexfer::memory_pipe {
    std::string peer_subject() const { return "CN=alice"; }
  };
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context.get_executor());
  any_stream plain{std::move(near)};
  CHECK(plain.peer_subject().empty());
  any_stream certified{certified_stream{std::move(far)}};
  CHECK(certified.peer_subject() == "CN=alice");
  CHECK(filexfer::identify_peer(certified).certificate_subject == "CN=alice");

  asio::local::stream_protocol::socket a{context};
  asio::local::stream_protocol::socket b{context};
  asio::local::connect_pair(a, b);
  any_stream local{std::move(a)};
  CHECK(filexfer::identify_peer(local).user_id == ::geteuid());
}

TEST_CASE("an any_connector connects, or fails, like the connector in it") {
  asio::io_context context;
  any_connector connector{command_connector{context.get_executor(), "exit 5"}};
  test::expected_call<void(std::error_code, any_stream)> call;
  call.start([&](auto handler) { connector.async_connect(std::move(handler)); });
  context.run();
  auto& [ec, stream] = call.result();
  REQUIRE(!ec);
  CHECK(stream.end_reason() == "the command ended (exit status 5)");

  any_connector other{filexfer::unix_connector{context.get_executor(), "no such socket"}};
  test::expected_call<void(std::error_code, any_stream)> failing;
  failing.start([&](auto handler) { other.async_connect(std::move(handler)); });
  context.restart();
  context.run();
  CHECK(std::get<0>(failing.result()).value() == ENOENT);
}

}  // namespace any_stream_tests
