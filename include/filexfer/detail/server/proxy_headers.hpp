#ifndef FILEXFER_DETAIL_SERVER_PROXY_HEADERS_HPP
#define FILEXFER_DETAIL_SERVER_PROXY_HEADERS_HPP

// How a server behind proxies learns its clients' addresses, before anything else is read.

#include <filexfer/detail/driver/async_run.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>
#include <filexfer/ip_network.hpp>
#include <filexfer/options.hpp>
#include <filexfer/proxy_protocol.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// Reads a header, and nothing behind it. Returns its source endpoint, if any. Errors:
/// `errc::bad_proxy_header`; `errc::end_of_stream` before its first byte, also if the connection
/// was reset; `errc::truncated` after it.
inline flow<std::optional<asio::ip::tcp::endpoint>> read_proxy_header(std::error_code& ec) {
  std::array<std::byte, max_proxy_header_size> buffer{};
  const std::span<std::byte> all{buffer};
  std::size_t size = 0;
  action reading;
  reading.io = io_kind::read_some;
  reading.deadline = deadline::line;
  reading.interruptible = true;
  for (;;) {
    const proxy_header header = parse_proxy_header(all.first(size), ec);
    if (ec || header.missing == 0) co_return header.source;
    reading.read_buffer = all.subspan(size, header.missing);
    const outcome read = co_await reading;
    if (read.error) {
      ec = read.error;
      const bool reset = ec == asio::error::connection_reset;
      if (size == 0 && reset) ec = errc::end_of_stream;
      if (size > 0 && ec == errc::end_of_stream) ec = errc::truncated;
      co_return std::nullopt;
    }
    size += static_cast<std::size_t>(read.bytes);
    reading.continues_deadline = true;
  }
}

/// The connections of trusted proxies whose header has not arrived yet. Used on the server's
/// strand.
template <class Timer>
class proxy_headers {
 public:
  using socket_type = asio::ip::tcp::socket;
  using source_type = std::optional<asio::ip::tcp::endpoint>;

  explicit proxy_headers(std::vector<ip_network> trusted) : trusted_{std::move(trusted)} {}

  bool trusts(const asio::ip::address& proxy) const {
    return std::any_of(trusted_.begin(), trusted_.end(),
                       [&](const ip_network& network) { return network.contains(proxy); });
  }

  /// How many connections wait for their header.
  std::size_t size() const noexcept { return waiting_.size(); }

  /// Reads the header of a connection, then calls `on_header(error, socket, source)` on `strand`.
  /// That must keep this object alive.
  template <class Strand, class OnHeader>
  void read(socket_type socket, const time_limits& limits, const Strand& strand,
            OnHeader on_header) {
    const auto added = std::make_shared<connection>(std::move(socket));
    const auto position = waiting_.insert(waiting_.end(), added);
    auto on_read = [this, strand, position, added, on_header = std::move(on_header)](
                       std::error_code ec, const source_type& source) mutable {
      asio::post(strand, [this, position, added = std::move(added),
                          on_header = std::move(on_header), ec, source]() mutable {
        waiting_.erase(position);
        on_header(ec, std::move(added->socket), source);
      });
    };
    try {
      async_run<Timer>(
          added->socket, {limits, {}}, [](std::error_code& ec) { return read_proxy_header(ec); },
          asio::bind_cancellation_slot(
              added->cancel.slot(),
              asio::bind_executor(added->socket.get_executor(), std::move(on_read))));
    } catch (...) {
      waiting_.erase(position);
      throw;
    }
  }

  /// Ends all of them at once: none has a command in progress.
  void cancel() {
    for (const auto& each : waiting_) {
      asio::dispatch(each->socket.get_executor(),
                     [each] { each->cancel.emit(asio::cancellation_type::terminal); });
    }
  }

 private:
  struct connection {
    explicit connection(socket_type s) : socket{std::move(s)} {}
    asio::cancellation_signal cancel;
    socket_type socket;
  };

  std::vector<ip_network> trusted_;
  std::list<std::shared_ptr<connection>> waiting_;
};

}  // namespace filexfer::detail

#endif
