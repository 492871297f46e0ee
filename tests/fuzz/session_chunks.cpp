// The same bytes of a client, cut differently and through each driver, get the same replies and
// leave the same store; what is listed then hashes to its id.
//
// Input: a line with the pace of the bytes (flow_driver.hpp); then what the client sends.

#include "fuzz/support/flow_driver.hpp"
#include "fuzz/support/fuzzing.hpp"
#include "support/rfc1321.hpp"

#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace {

using filexfer::md5;
using fuzz::require;

/// Gives uploads without a time the same one, not that of the clock.
class timeless_store : public filexfer::memory_store<> {
 public:
  std::optional<upload> create(filexfer::upload_details<digest_type> details, std::error_code& ec) {
    if (!details.modified) details.modified = filexfer::file_time{};
    return memory_store::create(details, ec);
  }
};

struct outcome {
  std::string replies;
  std::string list;
  std::error_code error;

  friend bool operator==(const outcome&, const outcome&) = default;
};

filexfer::session_options options() {
  filexfer::session_options result;
  result.chunk_size = 64;
  result.small_file_size = 32;
  result.max_size = 100'000;
  result.max_drain_size = 200'000;
  result.permitted.remove = true;
  return result;
}

/// The lines of the list. Checks the bytes of the files.
std::string list_of(timeless_store& store) {
  std::string lines;
  std::error_code ec;
  auto cursor = store.list(ec);
  while (const auto entry = cursor.next(ec)) {
    lines += filexfer::format_entry(*entry) + '\n';
    auto opened = store.open(entry->id, ec);
    require(opened.has_value(), "what is listed can be opened");
    std::string bytes(static_cast<std::size_t>(entry->size) + 1, '\0');
    bytes.resize(opened->reader.read(std::as_writable_bytes(std::span{bytes}), ec));
    require(bytes.size() == entry->size && test::rfc1321_hex(bytes) == entry->id.to_string(),
            "what is listed hashes to its id", lines);
  }
  return lines;
}

outcome by_hand(std::string_view requests, std::string_view pace) {
  timeless_store store;
  outcome result;
  filexfer::detail::session_state state;
  state.options = options();
  state.connection.chunk_size = state.options.chunk_size;
  state.connection.small_file_size = state.options.small_file_size;
  filexfer::detail::session_flow<timeless_store, md5> session{state, store};
  fuzz::flow_driver driver{{requests, {}, pace}};
  driver.run([&](std::error_code& e) { return session.serve(e); }, result.error);
  result.replies = driver.sent;
  result.list = list_of(store);
  return result;
}

/// A stream whose reads and writes transfer a few bytes each.
class cut_stream {
 public:
  cut_stream(std::string_view incoming, std::string_view pace) : incoming_{incoming}, pace_{pace} {}

  template <class Buffers>
  std::size_t read_some(const Buffers& to, std::error_code& ec) {
    const std::size_t most = std::min(limit(), asio::buffer_size(to));
    const auto bytes = incoming_.substr(0, most);
    ec = bytes.empty() ? asio::error::eof : std::error_code{};
    incoming_.remove_prefix(bytes.size());
    return asio::buffer_copy(to, asio::buffer(bytes));
  }

  template <class Buffers>
  std::size_t write_some(const Buffers& from, std::error_code& ec) {
    ec.clear();
    std::string bytes(std::min(limit(), asio::buffer_size(from)), '\0');
    const auto count = asio::buffer_copy(asio::buffer(bytes), from);
    written += bytes;
    return count;
  }

  std::string written;

 private:
  std::size_t limit() {
    if (pace_.empty()) return 1;
    return 1U + static_cast<unsigned char>(pace_[calls_++ % pace_.size()]);
  }

  std::string_view incoming_;
  std::string_view pace_;
  std::size_t calls_ = 0;
};

outcome blocking(std::string_view requests, std::string_view pace) {
  timeless_store store;
  outcome result;
  cut_stream stream{requests, pace};
  filexfer::session<cut_stream&, timeless_store> session{stream, store, options()};
  session.run(result.error);
  result.replies = stream.written;
  result.list = list_of(store);
  return result;
}

/// The client at the other end of a pipe, which reads while it writes.
class pipe_client {
 public:
  pipe_client(filexfer::memory_pipe& end, std::string_view requests) : end_{end} {
    asio::async_write(end_, asio::buffer(requests), [this](std::error_code, std::size_t) {
      std::error_code ignored;
      end_.shutdown(asio::socket_base::shutdown_send, ignored);
    });
    receive();
  }

  std::string received;

 private:
  void receive() {
    end_.async_read_some(asio::buffer(buffer_), [this](std::error_code ec, std::size_t bytes) {
      received.append(buffer_.data(), bytes);
      if (!ec) receive();
    });
  }

  filexfer::memory_pipe& end_;
  std::array<char, 64> buffer_{};
};

outcome asynchronous(std::string_view requests, std::string_view pace) {
  timeless_store store;
  outcome result;
  asio::io_context context;
  const std::size_t capacity = pace.empty() ? 1 : 1U + static_cast<unsigned char>(pace[0]);
  auto ends = filexfer::make_memory_pipe(context, capacity);
  pipe_client client{ends.second, requests};
  filexfer::session<filexfer::memory_pipe&, timeless_store> session{ends.first, store, options()};
  bool has_ended = false;
  session.async_run([&](std::error_code ec) {
    result.error = ec;
    has_ended = true;
  });
  context.run();
  require(has_ended, "a session ends");
  result.replies = client.received;
  result.list = list_of(store);
  return result;
}

void check_same(const outcome& expected, const outcome& found, std::string_view how) {
  require(expected == found, "the replies and the store depend on nothing but the bytes",
          std::string{how} + "\nexpected:\n" + expected.replies + "\n" + expected.list +
              expected.error.message() + "\nfound:\n" + found.replies + "\n" + found.list +
              found.error.message());
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input input{data, size};
  const auto pace = input.line();
  const auto requests = input.rest();
  const outcome expected = by_hand(requests, {});
  const std::string_view one_by_one{"\0", 1};
  check_same(expected, by_hand(requests, one_by_one), "one byte at a time");
  check_same(expected, by_hand(requests, pace), "as the input says");
  check_same(expected, blocking(requests, pace), "blocking");
  check_same(expected, asynchronous(requests, pace), "asynchronous");
  return 0;
}
