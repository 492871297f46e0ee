#ifndef FILEXFER_RECORDING_STREAM_HPP
#define FILEXFER_RECORDING_STREAM_HPP

/// \file
/// A layer over a stream that records the bytes: to show a dialogue, or to test for it.

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

/// The bytes transferred in one direction: all are counted, the first `max_kept` are kept.
/// \snippet streams.cpp recording_stream
class recording {
 public:
  /// The most bytes that are kept; those behind them are only counted.
  static constexpr std::size_t max_kept = std::size_t{64} * 1024;

  /// Appends to the recording.
  /// \param buffers The buffers of the transfer.
  /// \param bytes The number of bytes transferred, from the beginning of `buffers`.
  template <class Buffers>
  void add(const Buffers& buffers, std::size_t bytes) {
    count_ += bytes;
    const std::size_t before = kept_.size();
    kept_.resize(before + std::min(bytes, max_kept - before));
    asio::buffer_copy(asio::buffer(kept_) + before, buffers);
  }

  /// Forgets everything, the count included.
  void clear() noexcept {
    kept_.clear();
    count_ = 0;
    taken_ = 0;
  }

  /// \return The number of bytes transferred since construction or `clear`.
  [[nodiscard]] std::uint64_t size() const noexcept { return count_; }

  /// Takes the next line.
  /// \return The line without `\n` or `\r\n`; nothing if no whole line is left of the bytes kept.
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

  /// Skips bytes behind those taken so far.
  /// \param max_bytes The most bytes to skip.
  /// \return The number of bytes skipped: fewer if no more have been transferred.
  std::uint64_t take_bytes(std::uint64_t max_bytes) noexcept {
    const std::uint64_t bytes = std::min(max_bytes, count_ - taken_);
    taken_ += bytes;
    return bytes;
  }

 private:
  std::string kept_;
  std::uint64_t count_ = 0;
  std::uint64_t taken_ = 0;
};

/// A stream layer that passes bytes to and from `NextLayer` and records them.
///
/// It offers asynchronous operations only. The next layer's rules for threads apply. It must not be
/// moved or destroyed while an operation is in flight.
/// \snippet streams.cpp recording_stream
///
/// \tparam NextLayer The next layer, which `recording_stream<S&>` refers to and does not own.
///
///     filexfer::client client{filexfer::recording_stream<tcp::socket>{std::move(socket)}};
template <class NextLayer>
class recording_stream {
 public:
  /// The type of the next layer.
  using next_layer_type = std::remove_reference_t<NextLayer>;
  /// The next layer's.
  using executor_type = typename next_layer_type::executor_type;

  /// \param next The next layer, moved in; or a reference to it, which must outlive this stream.
  explicit recording_stream(NextLayer next) : next_{static_cast<NextLayer&&>(next)} {}

  /// \return The executor of the next layer.
  executor_type get_executor() noexcept { return next_.get_executor(); }

  /// \return The next layer.
  next_layer_type& next_layer() noexcept { return next_; }
  /// \return The next layer.
  const next_layer_type& next_layer() const noexcept { return next_; }

  /// \return The bytes written.
  recording& sent() noexcept { return sent_; }
  /// \return The bytes read.
  recording& received() noexcept { return received_; }

  /// Starts an asynchronous read from the next layer, with its errors.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancellation: terminal, passed on to the
  /// next layer.
  ///
  /// \param buffers One or more buffers into which the data is read. Their memory must remain valid
  ///   until the handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class MutableBuffers, class CompletionToken>
  auto async_read_some(const MutableBuffers& buffers, CompletionToken&& token) {
    const auto start = [this](const MutableBuffers& to, auto handler) {
      next_.async_read_some(to, std::move(handler));
    };
    return record(received_, buffers, start, token);
  }

  /// Starts an asynchronous write to the next layer, with its errors.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancellation: terminal, passed on to the
  /// next layer.
  ///
  /// \param buffers One or more buffers to be written. Their memory must remain valid until the
  ///   handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class ConstBuffers, class CompletionToken>
  auto async_write_some(const ConstBuffers& buffers, CompletionToken&& token) {
    const auto start = [this](const ConstBuffers& from, auto handler) {
      next_.async_write_some(from, std::move(handler));
    };
    return record(sent_, buffers, start, token);
  }

  /// Shuts down the next layer.
  /// \param what The direction, or both.
  /// \param ec The next layer's errors.
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec)
    requires half_closable_stream<next_layer_type>
  {
    next_.shutdown(what, ec);
  }

  /// Closes the next layer.
  /// \param ec The next layer's errors.
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
        const auto own_buffers = buffers;  // moving `self` moves this lambda, too
        const auto own_start = start;
        own_start(own_buffers, std::move(self));
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
