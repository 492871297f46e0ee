#ifndef PROGRAMS_RECORDING_STREAM_HPP
#define PROGRAMS_RECORDING_STREAM_HPP

/// \file
/// A stream around a stream that keeps what passes.

#include <filexfer/stream.hpp>

#include <asio/buffer.hpp>
#include <asio/compose.hpp>
#include <asio/socket_base.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace programs {

/// What has passed in one direction: all of it counted, its beginning kept.
class recording {
 public:
  /// The first `octets` of `buffers` have passed.
  template <class Buffers>
  void add(const Buffers& buffers, std::size_t octets) {
    constexpr std::size_t kept = std::size_t{64} * 1024;
    count_ += octets;
    const std::size_t before = head_.size();
    head_.resize(before + std::min(octets, kept - before));
    asio::buffer_copy(asio::buffer(head_) + before, buffers);
  }

  void clear() noexcept {
    head_.clear();
    count_ = 0;
    taken_ = 0;
  }

  /// The next line, without its end; nothing if no whole one is left of what was kept.
  std::optional<std::string> take_line() {
    const auto end = head_.find('\n', taken_);
    if (end == head_.npos) return std::nullopt;
    std::string line = head_.substr(taken_, end - taken_);
    taken_ = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    return line;
  }

  /// Octets behind the lines that were taken, up to `most`.
  std::uint64_t take_octets(std::uint64_t most) noexcept {
    const std::uint64_t octets = std::min(most, count_ - taken_);
    taken_ += static_cast<std::size_t>(octets);
    return octets;
  }

 private:
  std::string head_;
  std::uint64_t count_ = 0;
  std::size_t taken_ = 0;
};

/// Passes everything on, and records it. Models what `Stream` models of Asio's concepts.
template <class Stream>
class recording_stream {
 public:
  using executor_type = typename Stream::executor_type;

  explicit recording_stream(Stream recorded) : stream_{std::move(recorded)} {}

  executor_type get_executor() { return stream_.get_executor(); }
  Stream& next_layer() noexcept { return stream_; }

  recording& sent() noexcept { return sent_; }
  recording& received() noexcept { return received_; }

  template <class Buffers>
  std::size_t read_some(const Buffers& to, std::error_code& ec) {
    const std::size_t octets = stream_.read_some(to, ec);
    received_.add(to, octets);
    return octets;
  }

  template <class Buffers>
  std::size_t write_some(const Buffers& from, std::error_code& ec) {
    const std::size_t octets = stream_.write_some(from, ec);
    sent_.add(from, octets);
    return octets;
  }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& to, Token&& token) {
    const auto start = [this](const Buffers& b, auto handler) {
      stream_.async_read_some(b, std::move(handler));
    };
    return record(received_, to, start, std::forward<Token>(token));
  }

  template <class Buffers, class Token>
  auto async_write_some(const Buffers& from, Token&& token) {
    const auto start = [this](const Buffers& b, auto handler) {
      stream_.async_write_some(b, std::move(handler));
    };
    return record(sent_, from, start, std::forward<Token>(token));
  }

  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec)
    requires filexfer::half_closable_stream<Stream>
  {
    stream_.shutdown(what, ec);
  }

  void close(std::error_code& ec)
    requires filexfer::closable_stream<Stream>
  {
    stream_.close(ec);
  }

 private:
  template <class Buffers, class Start, class Token>
  auto record(recording& log, const Buffers& buffers, Start start, Token&& token) {
    auto transfer = [&log, buffers, start, started = false](auto& self, std::error_code ec = {},
                                                            std::size_t octets = 0) mutable {
      if (!std::exchange(started, true)) {
        const auto copy = buffers;
        const auto begin = start;
        begin(copy, std::move(self));  // this object moves along
        return;
      }
      log.add(buffers, octets);
      self.complete(ec, octets);
    };
    return asio::async_compose<Token, void(std::error_code, std::size_t)>(std::move(transfer),
                                                                          token, stream_);
  }

  Stream stream_;
  recording sent_;
  recording received_;
};

}  // namespace programs

#endif
