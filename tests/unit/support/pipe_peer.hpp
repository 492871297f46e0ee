#ifndef FILEXFER_TESTS_SUPPORT_PIPE_PEER_HPP
#define FILEXFER_TESTS_SUPPORT_PIPE_PEER_HPP

// A peer at the other end of a memory_pipe, driven by the test: it sends what the test gives it,
// and keeps what it receives once `receive` was called. Nothing here blocks; the test polls the
// context.

#include <filexfer/memory_pipe.hpp>

#include <asio/buffer.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace test {

class pipe_peer {
 public:
  explicit pipe_peer(filexfer::memory_pipe& end) : end_{end} {}
  pipe_peer(const pipe_peer&) = delete;
  pipe_peer& operator=(const pipe_peer&) = delete;

  // Receives from now on, up to `limit` bytes in all.
  void receive(std::size_t limit = static_cast<std::size_t>(-1)) {
    if (limit <= received.size() || ended) return;
    const auto size = std::min(buffer_.size(), limit - received.size());
    end_.async_read_some(asio::buffer(buffer_.data(), size),
                         [this, limit](std::error_code ec, std::size_t bytes) {
                           received.append(buffer_.data(), bytes);
                           ended = static_cast<bool>(ec);
                           receive(limit);
                         });
  }

  // Sends `text` as fast as it is read. At most one `send` may be in flight.
  void send(std::string text) {
    sending_ = std::move(text);
    asio::async_write(end_, asio::buffer(sending_), [](std::error_code, std::size_t) {});
  }

  void stop_sending() {
    std::error_code ignored;
    end_.shutdown(asio::socket_base::shutdown_send, ignored);
  }
  void close() { end_.close(); }

  std::string received;
  bool ended = false;  // nothing more will be received

 private:
  filexfer::memory_pipe& end_;
  std::array<char, 4096> buffer_{};
  std::string sending_;
};

}  // namespace test

#endif
