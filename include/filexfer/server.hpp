#ifndef FILEXFER_SERVER_HPP
#define FILEXFER_SERVER_HPP

/// \file
/// Accepts connections on one endpoint and serves each in a session.

#include <filexfer/detail/server/server_state.hpp>
#include <filexfer/authorizer.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/ip_network.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>
#include <filexfer/session_event.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <concepts>
#include <functional>
#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace filexfer {

/// Accepts connections on one endpoint, and serves a store's files on each.
///
/// Every connection has its own strand: any number of threads may run the context. The server may
/// be destroyed at any time, which stops it at once, without a grace period; the store must live
/// until the context has run the server's last handler.
///
///     filexfer::memory_store store;
///     asio::io_context context;
///     filexfer::server<asio::ip::tcp, filexfer::memory_store<>> server{
///         context.get_executor(), {asio::ip::tcp::v4(), 9999}, store};
///     server.start();
///     context.run();
///
/// \tparam Protocol  `asio::ip::tcp` or `asio::local::stream_protocol`.
/// \tparam Store     a `file_store`.
/// \tparam Hasher    computes the ids.
/// \tparam Timer     measures the deadlines.
/// \tparam Stream    what sessions use: the protocol's socket, or what `wrap` makes of it.
template <class Protocol, class Store, hasher Hasher = md5, class Timer = asio::steady_timer,
          class Stream = typename Protocol::socket>
class server {
 public:
  using socket_type = typename Protocol::socket;      ///< An accepted connection's.
  using endpoint_type = typename Protocol::endpoint;  ///< Where a server listens.
  using executor_type = asio::any_io_executor;        ///< Any executor.
  /// The completion token of `async_stop`, unless another is given.
  using default_token = asio::default_completion_token_t<executor_type>;

  /// Binds an endpoint and listens. A Unix socket file is replaced if no server listens there any
  /// more.
  ///
  /// \param executor  of the context that accepts and serves connections.
  /// \param endpoint  where to listen; with port 0 the system chooses the port.
  /// \param store     must live until the context has run the server's last handler.
  /// \param options   limits.
  /// \throws std::system_error  if opening, binding or listening fails.
  server(asio::any_io_executor executor, const endpoint_type& endpoint, Store& store,
         const server_options& options = {})
      : state_{std::make_shared<state>(std::move(executor), endpoint, store, options)} {}

  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// Stops accepting and cancels all connections, as `async_stop` without a grace period.
  ~server() {
    asio::dispatch(state_->strand, [s = state_] {
      s->stop_accepting();
      s->emit(asio::cancellation_type::terminal);
    });
  }

  /// \return where the server listens, with the port that the system chose.
  [[nodiscard]] endpoint_type local_endpoint() const { return state_->local_endpoint; }

  /// \return the executor that connections are accepted on, and that their strands run on.
  executor_type get_executor() const noexcept { return state_->strand.get_inner_executor(); }

  /// Sets where sessions hash, and access the store unless there is a `blocking_executor`, so that
  /// no client delays another. To be called before `start`.
  /// \snippet server.cpp work_executor
  ///
  /// \param executor  a thread pool's. Join the pool before the context is destroyed.
  void work_executor(asio::any_io_executor executor) {
    state_->work_executor = std::move(executor);
  }

  /// Sets where sessions access the store, if not on the work executor. A file on a disk that
  /// stalls holds one thread for each session that uses it; the others go on as long as threads are
  /// left. To be called before `start`.
  /// \snippet server.cpp blocking_executor
  ///
  /// \param executor  a thread pool's, with many threads. As for `work_executor`.
  void blocking_executor(asio::any_io_executor executor) {
    state_->blocking_executor = std::move(executor);
  }

  /// Sets how a `Stream` is made of a socket, for example to speak TLS. Must be called before
  /// `start`.
  /// \snippet tls.cpp tls_server
  ///
  /// \param make  called for each connection. A handshake should be part of the first read or
  ///        write, so that the first line's deadline applies to it.
  void wrap(std::function<Stream(socket_type)> make)
    requires(!std::same_as<Stream, socket_type>)
  {
    state_->make_stream = std::move(make);
  }

  /// Expects every connection to begin with a header of the PROXY protocol (`proxy_protocol.hpp`),
  /// by which a load balancer tells the address of its client: that address is then what limits,
  /// the observer and the authorizer go by. If the header has none, the connection's own is. To be
  /// called before `start`.
  ///
  /// The header is read before `wrap` makes the stream, so TLS begins behind it. It has to arrive
  /// within `time_limits::line`. As many connections as may be served (`max_connections`) may wait
  /// for theirs besides, and delay no others; `async_stop` ends them at once.
  ///
  /// A connection is closed without an answer, and the observer gets its own address and
  /// - `errc::untrusted_proxy`: it does not come from a trusted address;
  /// - `errc::bad_proxy_header`: it does not begin with a header;
  /// - `errc::truncated`, `errc::timed_out`: it ends within the header, or the header is late;
  /// - `errc::busy`: too many wait for their header.
  ///
  /// A proxy that disconnects before the first byte, to check the server, is not reported.
  /// \snippet server.cpp expect_proxy
  ///
  /// \param trusted  the addresses of all proxies. Whoever can connect from one of them can claim
  ///        any address, so a network in which there are others is no good choice.
  void expect_proxy(std::vector<ip_network> trusted)
    requires std::same_as<Protocol, asio::ip::tcp>
  {
    state_->proxies.emplace(std::move(trusted));
  }

  /// Sets a callback for commands and rejected connections. To be called before `start`.
  /// \snippet server.cpp observe
  ///
  /// \param observer  see `server_observer`.
  void observe(server_observer observer) { state_->observer = std::move(observer); }

  /// Has each request of each connection allowed or refused. To be called before `start`.
  /// \snippet server.cpp authorize
  ///
  /// \param decide  called from any thread that runs the context, from several at once.
  void authorize(authorizer decide) { state_->decide = std::move(decide); }

  /// Starts accepting connections. To be called once, from any thread.
  /// \snippet server.cpp start
  void start() {
    asio::dispatch(state_->strand, [s = state_] { s->accept(); });
  }

  /// Stops accepting, and lets commands in progress end within `server_options::grace`; then
  /// cancels the connections that are left. Completes when the last connection has ended. May be
  /// called from any thread, and more than once. Cannot be cancelled.
  /// \snippet server.cpp async_stop
  ///
  /// \param token  for a handler `void(std::error_code)`, which never gets an error; its associated
  ///        executor is used.
  /// \return as the token determines.
  template <class Token = default_token>
  auto async_stop(Token&& token = default_token()) {
    auto initiate = [](auto&& handler, std::shared_ptr<state> s) {
      using waiter_type = detail::stop_waiter_for<std::decay_t<decltype(handler)>>;
      std::unique_ptr<detail::stop_waiter> waiter = std::make_unique<waiter_type>(
          std::forward<decltype(handler)>(handler), s->strand.get_inner_executor());
      asio::post(s->strand,
                 [s, waiter = std::move(waiter)]() mutable { s->stop(std::move(waiter)); });
    };
    return asio::async_initiate<Token, void(std::error_code)>(std::move(initiate), token, state_);
  }

 private:
  using state = detail::server_state<Protocol, Store, Hasher, Timer, Stream>;

  std::shared_ptr<state> state_;
};

}  // namespace filexfer

#endif
