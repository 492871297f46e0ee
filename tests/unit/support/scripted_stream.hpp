#ifndef FILEXFER_TESTS_SUPPORT_SCRIPTED_STREAM_HPP
#define FILEXFER_TESTS_SUPPORT_SCRIPTED_STREAM_HPP

// A stream whose other end follows a script (script.hpp), for the blocking and the asynchronous
// operations. It moves as few bytes a call as it is told, and fails at the call that it is told.
// For one thread.

#include "manual_clock.hpp"
#include "script.hpp"

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
  std::size_t most_read = any_number;     // bytes a call
  std::size_t most_written = any_number;  // bytes a call

  // From this call on, reads and writes counted as they end, all fail.
  std::size_t failing_call = any_number;
  std::error_code error;
  // A write fails so once the peer has said all: it has closed, reading no more.
  std::error_code error_after_the_end;

  // What happened.
  std::size_t calls = 0;
  bool stalled = false;  // somebody waits for a peer that waits for somebody
  bool sending_ended = false;
  bool closed = false;
  bool used_after_close = false;

  executor_type get_executor() const noexcept { return executor_; }

  template <class Buffers>
  std::size_t read_some(const Buffers& to, std::error_code& ec) {
    if (const auto done = attempt_read(to)) {
      ec = done->ec;
      return done->bytes;
    }
    stalled = true;
    ec = asio::error::timed_out;
    return 0;
  }

  template <class Buffers>
  std::size_t write_some(const Buffers& from, std::error_code& ec) {
    const auto done = attempt_write(from);
    ec = done.ec;
    return done.bytes;
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
    const auto bytes = peer.read(std::min(most_read, asio::buffer_size(to)));
    if (bytes.empty() && !peer.has_ended()) return std::nullopt;
    if (bytes.empty()) return count({asio::error::eof});
    return count({{}, asio::buffer_copy(to, asio::buffer(bytes.data(), bytes.size()))});
  }

  template <class Buffers>
  outcome attempt_write(const Buffers& from) {
    used_after_close = used_after_close || closed;
    if (calls >= failing_call) return count({error});
    if (error_after_the_end && peer.has_said_all()) return count({error_after_the_end});
    std::size_t moved = 0;
    const auto end = asio::buffer_sequence_end(from);
    for (auto part = asio::buffer_sequence_begin(from); part != end; ++part) {
      const asio::const_buffer buffer{*part};
      const std::size_t bytes = std::min(buffer.size(), most_written - moved);
      peer.hear({static_cast<const std::byte*>(buffer.data()), bytes});
      moved += bytes;
    }
    wake_.cancel();
    return count({{}, moved});
  }

  outcome count(outcome done) {
    ++calls;
    return done;
  }

  template <class Buffers>
  struct reading {
    scripted_stream& stream;
    Buffers to;
    bool begun = false;

    template <class Self>
    void operator()(Self& self, std::error_code = {}) {
      auto& s = stream;
      if (!std::exchange(begun, true)) return asio::post(s.executor_, std::move(self));
      const bool cancelled =
          self.get_cancellation_state().cancelled() != asio::cancellation_type::none;
      if (cancelled || s.closed) return self.complete(asio::error::operation_aborted, 0);
      if (const auto done = s.attempt_read(to)) return self.complete(done->ec, done->bytes);
      s.wake_.async_wait(std::move(self));
    }
  };

  template <class Buffers>
  struct writing {
    scripted_stream& stream;
    Buffers from;
    bool begun = false;

    template <class Self>
    void operator()(Self& self, std::error_code = {}) {
      auto& s = stream;
      if (!std::exchange(begun, true)) return asio::post(s.executor_, std::move(self));
      const bool cancelled =
          self.get_cancellation_state().cancelled() != asio::cancellation_type::none;
      if (cancelled || s.closed) return self.complete(asio::error::operation_aborted, 0);
      const auto done = s.attempt_write(from);
      self.complete(done.ec, done.bytes);
    }
  };

  executor_type executor_;
  manual_timer wake_;  // never expires; cancelled as a signal
};

}  // namespace test

#endif
