#ifndef FILEXFER_CONNECTOR_HPP
#define FILEXFER_CONNECTOR_HPP

/// \file
/// How a `transfer_pool` makes its connections: over TCP, or a Unix socket.

#include <filexfer/detail/stream/keepalive.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_executor.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>

#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer {

namespace detail {

/// Archetype of a connect handler, to check the concept with.
struct any_connect_handler : handler_archetype {
  template <class Stream>
  void operator()(std::error_code, Stream&&) const {}
};

inline std::optional<std::uint16_t> parse_port(std::string_view text) noexcept {
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  return error == std::errc{} && stop == end ? std::optional{port} : std::nullopt;
}

}  // namespace detail

/// Makes connections.
///
/// `async_connect(handler)` makes one connection; the handler's signature is `void(std::error_code,
/// stream_type)`. It may be called while earlier calls are pending, and must use the handler's
/// associated executor and cancellation slot. The member type `timer_type`, if present, is the
/// timer for the deadlines of its connections; else that is `asio::steady_timer`.
///
/// \tparam C The connector.
template <class C>
concept connector =
    std::move_constructible<C> && requires(C& c, detail::any_connect_handler handler) {
      typename C::stream_type;
      requires async_stream<typename C::stream_type>;
      { c.get_executor() } -> std::convertible_to<asio::any_io_executor>;
      c.async_connect(handler);
    };

/// A connector over TCP: resolves the host, and tries its addresses in turn.
/// \snippet connectors.cpp tcp_connector
class tcp_connector {
 public:
  /// The type of its streams.
  using stream_type = asio::ip::tcp::socket;
  /// The executor type.
  using executor_type = asio::any_io_executor;

  /// \param executor The executor of the sockets.
  /// \param host A name, or an address such as `127.0.0.1` or `::1`, which is not resolved.
  /// \param service A port, or its name.
  tcp_connector(executor_type executor, std::string host, std::string service)
      : executor_{std::move(executor)}, host_{std::move(host)}, service_{std::move(service)} {}

  /// \return The executor of the sockets.
  executor_type get_executor() const noexcept { return executor_; }

  /// Connects. The socket has `no_delay` set, and is probed when it is idle: a peer that is gone
  /// without a word is noticed within two minutes.
  ///
  /// Handler: `void(std::error_code, asio::ip::tcp::socket)`. Errors: the resolver's, such as
  /// `asio::error::host_not_found`; the system's for the last address tried. There is no deadline
  /// but the system's own.
  ///
  /// Cancellation: terminal; completes with `asio::error::operation_aborted`, but not before a
  /// resolution in flight has ended.
  ///
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Token>
  auto async_connect(Token&& token) {
    return asio::async_compose<Token, void(std::error_code, stream_type)>(
        operation{executor_, host_, service_}, token, executor_);
  }

 private:
  class operation {
   public:
    operation(const executor_type& executor, const std::string& host, const std::string& service)
        : socket_{std::make_unique<stream_type>(executor)},
          resolver_{std::make_unique<asio::ip::tcp::resolver>(executor)},
          host_{host},
          service_{service} {}

    template <class Self>
    void operator()(Self& self) {
      auto& resolver = *resolver_;
      const std::string host = host_;
      const std::string service = service_;
      std::error_code not_numeric;
      const auto address = asio::ip::make_address(host, not_numeric);
      const auto port = detail::parse_port(service);
      if (not_numeric || !port) {
        resolver.async_resolve(host, service, std::move(self));
      } else {
        endpoints_.emplace_back(address, *port);
        const auto executor = socket_->get_executor();
        asio::post(executor, resolved<Self>{std::move(self)});
      }
    }

    /// The host is resolved.
    template <class Self>
    void operator()(Self& self, std::error_code ec, asio::ip::tcp::resolver::results_type results) {
      if (ec) return finish(self, ec);
      for (const auto& entry : results) endpoints_.push_back(entry.endpoint());
      try_next(self, asio::error::host_not_found);
    }

    /// A connect has completed.
    template <class Self>
    void operator()(Self& self, std::error_code ec) {
      if (!ec) return finish(self, ec);
      if (ec == asio::error::operation_aborted) return finish(self, ec);
      try_next(self, ec);
    }

   private:
    template <class Self>
    struct resolved {
      using executor_type = asio::associated_executor_t<Self>;
      executor_type get_executor() const noexcept { return asio::get_associated_executor(self); }
      Self self;
      void operator()() { self(std::error_code{}, asio::ip::tcp::resolver::results_type{}); }
    };

    template <class Self>
    void try_next(Self& self, std::error_code last_error) {
      auto& socket = *socket_;
      std::error_code ignored;
      if (self.get_cancellation_state().cancelled() != asio::cancellation_type::none) {
        return finish(self, asio::error::operation_aborted);
      }
      while (next_ < endpoints_.size()) {
        const auto endpoint = endpoints_[next_++];
        socket.close(ignored);
        socket.open(endpoint.protocol(), last_error);  // fails if the system lacks the family
        if (!last_error) return socket.async_connect(endpoint, std::move(self));
      }
      finish(self, last_error);
    }

    template <class Self>
    void finish(Self& self, std::error_code ec) {
      if (!ec) detail::set_tcp_options(*socket_);
      resolver_.reset();
      stream_type socket = std::move(*socket_);
      socket_.reset();
      self.complete(ec, std::move(socket));
    }

    std::unique_ptr<stream_type> socket_;
    std::unique_ptr<asio::ip::tcp::resolver> resolver_;
    std::string host_;
    std::string service_;
    std::vector<asio::ip::tcp::endpoint> endpoints_;
    std::size_t next_ = 0;
  };

  executor_type executor_;
  std::string host_;
  std::string service_;
};

static_assert(connector<tcp_connector>);

/// A connector to a Unix socket.
/// \snippet connectors.cpp unix_connector
class unix_connector {
 public:
  /// The type of its streams.
  using stream_type = asio::local::stream_protocol::socket;
  /// The executor type.
  using executor_type = asio::any_io_executor;

  /// \param executor The executor of the sockets.
  /// \param path The path of the server's socket.
  unix_connector(executor_type executor, std::string path)
      : executor_{std::move(executor)}, path_{std::move(path)} {}

  /// \return The executor of the sockets.
  executor_type get_executor() const noexcept { return executor_; }

  /// Connects.
  ///
  /// Handler: `void(std::error_code, asio::local::stream_protocol::socket)`. Errors: the system's,
  /// such as `ENOENT`, or `ENAMETOOLONG` for a path that does not fit an address.
  ///
  /// Cancellation: terminal; completes with `asio::error::operation_aborted`.
  ///
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Token>
  auto async_connect(Token&& token) {
    return asio::async_compose<Token, void(std::error_code, stream_type)>(
        operation{executor_, path_}, token, executor_);
  }

 private:
  class operation {
   public:
    operation(const executor_type& executor, const std::string& path)
        : socket_{std::make_unique<stream_type>(executor)}, path_{path} {}

    template <class Self>
    void operator()(Self& self) {
      auto& socket = *socket_;
      std::optional<asio::local::stream_protocol::endpoint> endpoint;
      std::error_code ec;
      try {
        endpoint.emplace(path_);
        socket.open(endpoint->protocol(), ec);
      } catch (const std::system_error& e) {  // the path is too long
        ec = e.code();
      }
      if (!ec) return socket.async_connect(*endpoint, std::move(self));
      const auto executor = socket.get_executor();
      asio::post(executor, failed<Self>{std::move(self), ec});
    }

    template <class Self>
    void operator()(Self& self, std::error_code ec) {
      stream_type socket = std::move(*socket_);
      socket_.reset();
      self.complete(ec, std::move(socket));
    }

   private:
    template <class Self>
    struct failed {
      using executor_type = asio::associated_executor_t<Self>;
      executor_type get_executor() const noexcept { return asio::get_associated_executor(self); }
      Self self;
      std::error_code ec;
      void operator()() { self(ec); }
    };

    std::unique_ptr<stream_type> socket_;
    std::string path_;
  };

  executor_type executor_;
  std::string path_;
};

static_assert(connector<unix_connector>);

}  // namespace filexfer

#endif
