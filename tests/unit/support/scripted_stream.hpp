#ifndef FILEXFER_TESTS_SUPPORT_SCRIPTED_STREAM_HPP
#define FILEXFER_TESTS_SUPPORT_SCRIPTED_STREAM_HPP

// A stream whose peer follows a script (script.hpp), with blocking and asynchronous operations. The
// bytes per call can be limited, and any call can be made to fail. For single-threaded tests.

#include "support/manual_clock.hpp"
#include "support/script.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/socket_base.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace test {

class scripted_stream {
 public:
  using executor_type = asio::any_io_executor;

  scripted_stream(executor_type executor, scripted_peer p)
      : peer{std::move(p)}, executor_{executor}, wake_{executor, manual_timer::time_point::max()} {}

  scripted_peer peer;
  std::size_t max_read = no_limit;   // bytes per call
  std::size_t max_write = no_limit;  // bytes per call

  // Calls from this index on fail with `error`. Reads and writes count when they complete.
  std::size_t failing_call = never;
  std::error_code error;
  // Writes fail with this once the peer has sent everything: it has closed without reading on.
  std::error_code error_after_the_end;

  // Results.
  std::size_t calls = 0;
  bool stalled = false;  // deadlock: a read waits for a peer that waits for more bytes
  bool sending_ended = false;
  bool closed = false;
  bool used_after_close = false;

  executor_type get_executor() const noexcept { return executor_; }

  template <class Buffers>
  std::size_t read_some(const Buffers& to, std::error_code& ec) {
    if (const auto result = attempt_read(to)) {
      ec = result->ec;
      return result->bytes;
    }
    stalled = true;
    ec = asio::error::timed_out;
    return 0;
  }

  template <class Buffers>
  std::size_t write_some(const Buffers& from, std::error_code& ec) {
    const auto result = attempt_write(from);
    ec = result.ec;
    return result.bytes;
  }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& to, Token&& token) {
    return asio::async_compose<Token, void(std::error_code, std::size_t)>(
        reading<Buffers>{*this, to}, token, executor_);
  }

  template <class Buffers, class Token>
  auto async_write_some(const Buffers& from, Token&& token) {
    return asio::async_compose<Token, void(std::error_code, std::size_t)>(
        writing<Buffers>{*this, from}, token, executor_);
  }

  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    ec.clear();
    if (what != asio::socket_base::shutdown_receive) sending_ended = true;
  }

  void close(std::error_code& ec) {
    ec.clear();
    closed = true;
    wake_.cancel();
  }

 private:
  struct outcome {
    std::error_code ec;
    std::size_t bytes = 0;
  };

  template <class Buffers>
  std::optional<outcome> attempt_read(const Buffers& to) {
    used_after_close = used_after_close || closed;
    if (calls >= failing_call) return count({error});
    const auto bytes = peer.read(std::min(max_read, asio::buffer_size(to)));
    if (bytes.empty() && !peer.has_ended()) return std::nullopt;
    if (bytes.empty()) return count({asio::error::eof});
    return count({{}, asio::buffer_copy(to, asio::buffer(bytes.data(), bytes.size()))});
  }

  template <class Buffers>
  outcome attempt_write(const Buffers& from) {
    used_after_close = used_after_close || closed;
    if (calls >= failing_call) return count({error});
    if (error_after_the_end && peer.has_sent_all()) return count({error_after_the_end});
    std::size_t written = 0;
    const auto end = asio::buffer_sequence_end(from);
    for (auto part = asio::buffer_sequence_begin(from); part != end; ++part) {
      const asio::const_buffer buffer{*part};
      const std::size_t bytes = std::min(buffer.size(), max_write - written);
      peer.receive({static_cast<const std::byte*>(buffer.data()), bytes});
      written += bytes;
    }
    wake_.cancel();
    return count({{}, written});
  }

  outcome count(outcome result) {
    ++calls;
    return result;
  }

  // Whether an asynchronous operation has been cancelled, or the stream was closed.
  template <class Operation>
  bool is_aborted(const Operation& operation) const {
    return closed ||
           operation.get_cancellation_state().cancelled() != asio::cancellation_type::none;
  }

  template <class Buffers>
  struct reading {
    scripted_stream& stream;
    Buffers to;
    bool posted = false;

    template <class Self>
    void operator()(Self& self, std::error_code = {}) {
      auto& s = stream;
      if (!std::exchange(posted, true)) return asio::post(s.executor_, std::move(self));
      if (s.is_aborted(self)) return self.complete(asio::error::operation_aborted, 0);
      if (const auto result = s.attempt_read(to)) return self.complete(result->ec, result->bytes);
      s.wake_.async_wait(std::move(self));
    }
  };

  template <class Buffers>
  struct writing {
    scripted_stream& stream;
    Buffers from;
    bool posted = false;

    template <class Self>
    void operator()(Self& self, std::error_code = {}) {
      auto& s = stream;
      if (!std::exchange(posted, true)) return asio::post(s.executor_, std::move(self));
      if (s.is_aborted(self)) return self.complete(asio::error::operation_aborted, 0);
      const auto result = s.attempt_write(from);
      self.complete(result.ec, result.bytes);
    }
  };

  executor_type executor_;
  manual_timer wake_;  // never expires; cancelled to wake pending reads
};

}  // namespace test

#endif
