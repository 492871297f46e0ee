#ifndef FILEXFER_TESTS_SUPPORT_PIPE_PEER_HPP
#define FILEXFER_TESTS_SUPPORT_PIPE_PEER_HPP

// The other end of a memory_pipe, in a test's hand: it says what the test says, and keeps what it
// hears, if it listens. Nothing here blocks; the context has to be polled.

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

  // From now on takes all that comes, up to `most` bytes.
  void listen(std::size_t most = static_cast<std::size_t>(-1)) {
    if (most <= heard.size() || ended) return;
    const auto size = std::min(buffer_.size(), most - heard.size());
    end_.async_read_some(asio::buffer(buffer_.data(), size),
                         [this, most](std::error_code ec, std::size_t bytes) {
                           heard.append(buffer_.data(), bytes);
                           ended = static_cast<bool>(ec);
                           listen(most);
                         });
  }

  // Says it as fast as it is taken. One thing at a time.
  void say(std::string text) {
    saying_ = std::move(text);
    asio::async_write(end_, asio::buffer(saying_), [](std::error_code, std::size_t) {});
  }

  void stop_sending() {
    std::error_code ignored;
    end_.shutdown(asio::socket_base::shutdown_send, ignored);
  }
  void close() { end_.close(); }

  std::string heard;
  bool ended = false;  // there will be no more

 private:
  filexfer::memory_pipe& end_;
  std::array<char, 4096> buffer_{};
  std::string saying_;
};

}  // namespace test

#endif
