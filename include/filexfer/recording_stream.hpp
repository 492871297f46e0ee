#ifndef FILEXFER_RECORDING_STREAM_HPP
#define FILEXFER_RECORDING_STREAM_HPP

/// \file
/// A stream around a stream that keeps what passes: to show a dialogue, or to test for it.

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
#include <type_traits>
#include <utility>

namespace filexfer {

/// What has passed in one direction: all of it counted, its beginning kept.
class recording {
 public:
  /// Bytes that are kept; lines behind them are only counted.
  static constexpr std::size_t max_kept = std::size_t{64} * 1024;

  /// The first `bytes` bytes of `buffers` have passed.
  template <class Buffers>
  void add(const Buffers& buffers, std::size_t bytes) {
    count_ += bytes;
    const std::size_t before = kept_.size();
    kept_.resize(before + std::min(bytes, max_kept - before));
    asio::buffer_copy(asio::buffer(kept_) + before, buffers);
  }

  void clear() noexcept {
    kept_.clear();
    count_ = 0;
    taken_ = 0;
  }

  /// Bytes that have passed since the beginning, or `clear`.
  [[nodiscard]] std::uint64_t size() const noexcept { return count_; }

  /// The next line, without its end (`\n`, or `\r\n`); nothing if no whole one is left of what was
  /// kept.
  std::optional<std::string> take_line() {
    const auto end = taken_ < kept_.size() ? kept_.find('\n', static_cast<std::size_t>(taken_))
                                           : std::string::npos;
    if (end == std::string::npos) return std::nullopt;
    const auto begin = static_cast<std::size_t>(taken_);
    std::string line = kept_.substr(begin, end - begin);
    taken_ = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    return line;
  }

  /// Passes over the bytes behind the lines that were taken, up to `most`; returns how many.
  std::uint64_t take_bytes(std::uint64_t most) noexcept {
    const std::uint64_t bytes = std::min(most, count_ - taken_);
    taken_ += bytes;
    return bytes;
  }

 private:
  std::string kept_;
  std::uint64_t count_ = 0;
  std::uint64_t taken_ = 0;
};

/// Passes everything on to and from `NextLayer`, which it owns, or refers to
/// (`recording_stream<S&>`), and keeps it. Asynchronous only; to be used as the next layer may be.
/// It stays where it is while an operation is under way.
///
///     filexfer::client client{filexfer::recording_stream<tcp::socket>{std::move(socket)}};
template <class NextLayer>
class recording_stream {
 public:
  using next_layer_type = std::remove_reference_t<NextLayer>;
  using executor_type = typename next_layer_type::executor_type;

  explicit recording_stream(NextLayer next) : next_{static_cast<NextLayer&&>(next)} {}

  executor_type get_executor() noexcept { return next_.get_executor(); }

  next_layer_type& next_layer() noexcept { return next_; }
  const next_layer_type& next_layer() const noexcept { return next_; }

  /// What was written, and what was read.
  recording& sent() noexcept { return sent_; }
  recording& received() noexcept { return received_; }

  /// Reads as the next layer does. Handler: `void(std::error_code, std::size_t)`.
  template <class MutableBuffers, class CompletionToken>
  auto async_read_some(const MutableBuffers& buffers, CompletionToken&& token) {
    const auto start = [this](const MutableBuffers& to, auto handler) {
      next_.async_read_some(to, std::move(handler));
    };
    return record(received_, buffers, start, token);
  }

  /// Writes as the next layer does. Handler: `void(std::error_code, std::size_t)`.
  template <class ConstBuffers, class CompletionToken>
  auto async_write_some(const ConstBuffers& buffers, CompletionToken&& token) {
    const auto start = [this](const ConstBuffers& from, auto handler) {
      next_.async_write_some(from, std::move(handler));
    };
    return record(sent_, buffers, start, token);
  }

  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec)
    requires half_closable_stream<next_layer_type>
  {
    next_.shutdown(what, ec);
  }

  void close(std::error_code& ec)
    requires closable_stream<next_layer_type>
  {
    next_.close(ec);
  }

 private:
  template <class Buffers, class Start, class CompletionToken>
  auto record(recording& to, const Buffers& buffers, Start start, CompletionToken& token) {
    auto transfer = [&to, buffers, start, started = false](auto& self, std::error_code ec = {},
                                                           std::size_t bytes = 0) mutable {
      if (!std::exchange(started, true)) {
        const auto given = buffers;
        const auto begin = start;
        begin(given, std::move(self));  // this object moves along
        return;
      }
      to.add(buffers, bytes);
      self.complete(ec, bytes);
    };
    return asio::async_compose<CompletionToken, void(std::error_code, std::size_t)>(
        std::move(transfer), token, next_);
  }

  NextLayer next_;
  recording sent_;
  recording received_;
};

}  // namespace filexfer

#endif
