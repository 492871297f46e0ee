#ifndef FILEXFER_SERVER_HPP
#define FILEXFER_SERVER_HPP

/// \file
/// Accepts connections on one endpoint and serves each in a session.

#include <filexfer/detail/driver/async_run.hpp>
#include <filexfer/detail/driver/work_guard.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/session_flow.hpp>
#include <filexfer/detail/stream/listen.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>
#include <filexfer/session.hpp>
#include <filexfer/session_event.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/execution_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace filexfer {

/// Called with the peer's address for every command that has ended, and (with an empty
/// `session_event::verb`) for every connection that failed between commands, was rejected, or could
/// not be accepted (then without an address). Called from any thread that runs the context, from
/// several at once; it must not throw.
using server_observer = std::function<void(const std::string& peer, const session_event& event)>;

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

  /// Sets where sessions hash, and do disk work that can stall, so that no client delays another.
  /// To be called before `start`.
  ///
  /// \param executor  a thread pool's. Join the pool before the context is destroyed.
  void work_executor(asio::any_io_executor executor) {
    state_->work_executor = std::move(executor);
  }

  /// Sets how a `Stream` is made of a socket, for example to speak TLS. Must be called before
  /// `start`.
  ///
  /// \param make  called for each connection. A handshake should be part of the first read or
  ///        write, so that the first line's deadline applies to it.
  void wrap(std::function<Stream(socket_type)> make)
    requires(!std::same_as<Stream, socket_type>)
  {
    state_->make_stream = std::move(make);
  }

  /// Sets a callback for commands and rejected connections. To be called before `start`.
  ///
  /// \param observer  see `server_observer`.
  void observe(server_observer observer) { state_->observer = std::move(observer); }

  /// Starts accepting connections. To be called once, from any thread.
  void start() {
    asio::dispatch(state_->strand, [s = state_] { s->accept(); });
  }

  /// Stops accepting, and lets commands in progress end within `server_options::grace`; then
  /// cancels the connections that are left. Completes when the last connection has ended. May be
  /// called from any thread, and more than once. Cannot be cancelled.
  ///
  /// \param token  for a handler `void(std::error_code)`, which never gets an error; its associated
  ///        executor is used.
  /// \return as the token determines.
  template <class Token = default_token>
  auto async_stop(Token&& token = default_token()) {
    auto initiate = [](auto&& handler, std::shared_ptr<state> s) {
      using waiter_type = stop_waiter_for<std::decay_t<decltype(handler)>>;
      std::unique_ptr<stop_waiter> waiter = std::make_unique<waiter_type>(
          std::forward<decltype(handler)>(handler), s->strand.get_inner_executor());
      asio::post(s->strand,
                 [s, waiter = std::move(waiter)]() mutable { s->stop(std::move(waiter)); });
    };
    return asio::async_initiate<Token, void(std::error_code)>(std::move(initiate), token, state_);
  }

 private:
  using session_type = session<Stream, Store, Hasher, Timer>;

  /// A handler of `async_stop`.
  struct stop_waiter {
    virtual ~stop_waiter() = default;
    virtual void complete() = 0;
  };

  template <class Handler>
  struct stop_waiter_for final : stop_waiter {
    using executor = asio::associated_executor_t<Handler, asio::any_io_executor>;
    template <class H>
    stop_waiter_for(H&& h, const asio::any_io_executor& fallback)
        : handler{std::forward<H>(h)}, guard{asio::get_associated_executor(handler, fallback)} {}
    void complete() override {
      asio::post(guard.get_executor(),
                 [h = std::move(handler)]() mutable { std::move(h)(std::error_code{}); });
    }
    Handler handler;
    detail::work_guard<executor> guard;
  };

  /// One connection: either `served` or `rejected`, on the stream's strand.
  struct peer_connection {
    asio::cancellation_signal cancel;
    std::string address;
    std::unique_ptr<session_type> served;
    std::unique_ptr<Stream> rejected;
    detail::connection reject_state;  ///< Of a rejected connection.

    Stream& stream() { return served ? served->next_layer() : *rejected; }
  };

  struct state : std::enable_shared_from_this<state> {
    state(asio::any_io_executor executor, const endpoint_type& endpoint, Store& store_,
          const server_options& options_)
        : strand{asio::make_strand(executor)},
          acceptor{strand},
          pause{strand},
          grace{strand},
          store{store_},
          options{options_},
          file{detail::bind_and_listen(acceptor, endpoint)} {
      local_endpoint = acceptor.local_endpoint();
    }

    template <class Call>
    auto on_strand(Call call) {
      return asio::bind_executor(strand, std::move(call));
    }

    // ------------------------------------------------------------------------------------- accepting

    void accept() {
      if (!acceptor.is_open()) return;
      const auto failed = attempt([this] {
        asio::any_io_executor for_socket{asio::make_strand(strand.get_inner_executor())};
        acceptor.async_accept(for_socket, on_strand([s = this->shared_from_this()](
                                                        std::error_code ec, socket_type socket) {
                                s->on_accept(ec, std::move(socket));
                              }));
      });
      if (failed) retry_accept(failed);
    }

    void on_accept(std::error_code ec, socket_type socket) {
      if (!acceptor.is_open()) return;
      if (!ec) ec = attempt([&] { admit(std::move(socket)); });
      if (!ec || ec == asio::error::connection_aborted) accept();
      else retry_accept(ec);
    }

    /// Most likely no descriptors or no memory are left: accepting again at once would spin.
    void retry_accept(std::error_code error) {
      report({}, {.error = error});
      pause.expires_after(options.accept_pause);
      pause.async_wait(on_strand([s = this->shared_from_this()](std::error_code) { s->accept(); }));
    }

    /// Returns the error that `call` throws: it ends one connection, not the server.
    template <class Call>
    static std::error_code attempt(Call call) noexcept {
      try {
        call();
        return {};
      } catch (...) {
        return detail::error_of(std::current_exception());
      }
    }

    void admit(socket_type socket) {
      std::error_code disconnected;
      const auto remote = socket.remote_endpoint(disconnected);
      if (disconnected) return;
      detail::set_socket_options(socket);
      const std::string peer = detail::endpoint_name(remote);
      auto connection = std::make_shared<peer_connection>();
      connection->address = detail::peer_address(remote);
      const std::size_t served = count_served([](const peer_connection&) { return true; });
      const bool too_many_from_address = !connection->address.empty() &&  // a local peer has none
                                         count_served([&](const peer_connection& other) {
                                           return other.address == connection->address;
                                         }) >= options.max_connections_per_address;
      if (served < options.max_connections && !too_many_from_address) {
        serve(std::move(connection), std::move(socket), peer);
      } else {
        report(peer, {.error = errc::busy});
        // Rejected connections linger for a moment. Beyond this number they are closed at once.
        constexpr std::size_t max_lingering = 64;
        if (connections.size() - served < max_lingering)
          reject(std::move(connection), std::move(socket));
      }
    }

    Stream stream_over(socket_type socket) {
      if constexpr (std::same_as<Stream, socket_type>) return socket;
      else return make_stream(std::move(socket));
    }

    template <class Predicate>
    std::size_t count_served(Predicate predicate) const {
      const auto matches = [&](const auto& connection) {
        return connection->served && predicate(*connection);
      };
      return static_cast<std::size_t>(
          std::count_if(connections.begin(), connections.end(), matches));
    }

    void serve(std::shared_ptr<peer_connection> connection, socket_type socket,
               const std::string& peer) {
      connection->served =
          std::make_unique<session_type>(stream_over(std::move(socket)), store, options.session);
      session_type& session = *connection->served;
      session.work_executor(work_executor);
      if (observer) {
        session.observe(
            [observer_ = observer, peer](const session_event& e) { observer_(peer, e); });
      }
      run(std::move(connection), [&session](auto&& handler) {
        session.async_run(std::forward<decltype(handler)>(handler));
      });
    }

    void reject(std::shared_ptr<peer_connection> connection, socket_type socket) {
      connection->rejected = std::make_unique<Stream>(stream_over(std::move(socket)));
      peer_connection& peer = *connection;
      auto reject_flow = [&peer](std::error_code& ec) {
        return detail::reject(peer.reject_state, errc::busy, ec);
      };
      run(std::move(connection), [&](auto&& handler) {
        detail::async_run<Timer>(*peer.rejected, {options.session.limits, {}}, reject_flow,
                                 std::forward<decltype(handler)>(handler));
      });
    }

    /// Keeps `connection` alive until the operation that `start` initiates has completed. The
    /// operation runs on the connection's strand.
    template <class Start>
    void run(std::shared_ptr<peer_connection> connection, Start start) {
      connections.push_back(connection);
      const auto executor = connection->stream().get_executor();
      asio::cancellation_slot slot = connection->cancel.slot();
      auto ended = [s = this->shared_from_this(), connection](std::error_code) {
        asio::post(s->strand, [s, connection] { s->drop(connection); });
      };
      try {
        start(asio::bind_cancellation_slot(slot, asio::bind_executor(executor, std::move(ended))));
      } catch (...) {
        std::erase(connections, connection);
        throw;
      }
    }

    void drop(const std::shared_ptr<peer_connection>& connection) {
      std::erase(connections, connection);
      finish_if_stopped();
    }

    // -------------------------------------------------------------------------------------- stopping

    void stop(std::unique_ptr<stop_waiter> waiter) {
      stop_waiters.push_back(std::move(waiter));
      stop_accepting();
      emit(asio::cancellation_type::total);
      if (!connections.empty()) {
        grace.expires_after(options.grace);
        grace.async_wait(on_strand([s = this->shared_from_this()](std::error_code ec) {
          if (!ec) s->emit(asio::cancellation_type::terminal);
        }));
      }
      finish_if_stopped();
    }

    void stop_accepting() {
      if (!acceptor.is_open()) return;
      // Remove the file first: once nothing listens there, another server may replace it.
      detail::remove_socket_file(local_endpoint, file);
      std::error_code ignored;
      acceptor.close(ignored);
      pause.cancel();
    }

    void emit(asio::cancellation_type type) {
      for (const auto& connection : connections) {
        asio::dispatch(connection->stream().get_executor(),
                       [connection, type] { connection->cancel.emit(type); });
      }
    }

    void finish_if_stopped() {
      if (acceptor.is_open() || !connections.empty()) return;
      grace.cancel();
      for (auto& waiter : std::exchange(stop_waiters, {})) waiter->complete();
    }

    void report(const std::string& peer, const session_event& event) const {
      if (observer) observer(peer, event);
    }

    asio::strand<asio::any_io_executor> strand;
    typename Protocol::acceptor acceptor;
    endpoint_type local_endpoint;
    Timer pause;
    Timer grace;
    Store& store;
    server_options options;
    decltype(detail::bind_and_listen(acceptor, local_endpoint)) file;
    asio::any_io_executor work_executor;
    server_observer observer;
    std::function<Stream(socket_type)> make_stream;
    std::vector<std::shared_ptr<peer_connection>> connections;
    std::vector<std::unique_ptr<stop_waiter>> stop_waiters;
  };

  std::shared_ptr<state> state_;
};

}  // namespace filexfer

#endif
