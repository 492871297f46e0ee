#ifndef FILEXFER_DETAIL_SERVER_SERVER_STATE_HPP
#define FILEXFER_DETAIL_SERVER_SERVER_STATE_HPP

// How a server accepts connections, serves or rejects each, and stops.

#include <filexfer/detail/driver/async_run.hpp>
#include <filexfer/detail/driver/work_guard.hpp>
#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/session_flow.hpp>
#include <filexfer/detail/server/proxy_headers.hpp>
#include <filexfer/detail/stream/listen.hpp>
#include <filexfer/authorizer.hpp>
#include <filexfer/connection_counter.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>
#include <filexfer/peer_identity.hpp>
#include <filexfer/session.hpp>
#include <filexfer/session_event.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_executor.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

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
  work_guard<executor> guard;
};

/// One connection: either `served` or `rejected`, on the stream's strand.
template <class Session, class Stream>
struct peer_connection {
  explicit peer_connection(connection_slot counted) : slot{std::move(counted)} {}

  asio::cancellation_signal cancel;
  connection_slot slot;  ///< Empty if it is rejected.
  typename std::list<std::shared_ptr<peer_connection>>::iterator position{};  ///< In the list.
  std::unique_ptr<Session> served;
  std::unique_ptr<Stream> rejected;
  std::optional<connection> reject_state;  ///< Of a rejected connection.

  Stream& stream() { return served ? served->next_layer() : *rejected; }
};

/// What a server shares with its handlers. Used on `strand` once the server has started.
template <class Protocol, class Store, class Hasher, class Timer, class Stream>
struct server_state
    : std::enable_shared_from_this<server_state<Protocol, Store, Hasher, Timer, Stream>> {
  using socket_type = typename Protocol::socket;
  using endpoint_type = typename Protocol::endpoint;
  using session_type = session<Stream, Store, Hasher, Timer>;
  using connection_type = peer_connection<session_type, Stream>;

  server_state(asio::any_io_executor executor, const endpoint_type& endpoint, Store& s,
               const server_options& o)
      : strand{asio::make_strand(executor)},
        acceptor{strand},
        pause{strand},
        grace{strand},
        store{s},
        options{o},
        counter{o.counter ? o.counter : std::make_shared<connection_counter>()},
        file{bind_and_listen(acceptor, endpoint)} {
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
      return error_of(std::current_exception());
    }
  }

  void admit(socket_type socket) {
    std::error_code disconnected;
    const auto remote = socket.remote_endpoint(disconnected);
    if (disconnected) return;
    set_socket_options(socket);
    if constexpr (std::same_as<Protocol, asio::ip::tcp>) {
      if (proxies) {
        await_header(std::move(socket), remote);
        return;
      }
    }
    admit(std::move(socket), remote);
  }

  /// Admits the connection once the proxy has told whose it is.
  void await_header(socket_type socket, const endpoint_type& proxy) {
    if (!proxies->trusts(proxy.address())) {
      report(endpoint_name(proxy), {.error = errc::untrusted_proxy});
    } else if (proxies->size() >= options.max_connections) {
      report(endpoint_name(proxy), {.error = errc::busy});
    } else {
      proxies->read(std::move(socket), options.session.limits, strand,
                    [s = this->shared_from_this(), proxy](std::error_code ec, socket_type proxied,
                                                          const auto& source) {
                      s->on_header(ec, std::move(proxied), source.value_or(proxy));
                    });
    }
  }

  void on_header(std::error_code ec, socket_type socket, const endpoint_type& client) {
    if (acceptor.is_open()) {
      if (!ec) ec = attempt([&] { admit(std::move(socket), client); });
      // A proxy that disconnects at once has only checked whether this server is up.
      if (ec && ec != errc::end_of_stream) report(endpoint_name(client), {.error = ec});
    }
    finish_if_stopped();
  }

  /// Serves or rejects a connection of a client at `remote`.
  void admit(socket_type socket, const endpoint_type& remote) {
    const std::string peer = endpoint_name(remote);
    connection_slot slot{counter, counted_address(remote), limits_of(remote),
                         Timer::clock_type::now().time_since_epoch()};
    if (slot) {
      serve(std::make_shared<connection_type>(std::move(slot)), std::move(socket), peer);
    } else {
      report(peer, {.error = errc::busy});
      // Rejected connections linger for a moment. Beyond this number they are closed at once.
      constexpr std::size_t max_lingering = 64;
      if (lingering < max_lingering)
        reject(std::make_shared<connection_type>(std::move(slot)), std::move(socket));
    }
  }

  connection_limits limits_of(const endpoint_type& remote) const {
    connection_limits limits{.connections = options.max_connections};
    if (counted_address(remote).empty()) return limits;
    if (!is_loopback(remote)) {
      limits.per_address = default_connections_per_address;
      limits.rate_per_address = default_connection_rate;
    }
    limits.per_address = options.max_connections_per_address.value_or(limits.per_address);
    limits.rate_per_address = options.max_connection_rate.value_or(limits.rate_per_address);
    return limits;
  }

  Stream stream_over(socket_type socket) {
    if constexpr (std::same_as<Stream, socket_type>) return socket;
    else return make_stream(std::move(socket));
  }

  void serve(std::shared_ptr<connection_type> connection, socket_type socket,
             const std::string& peer) {
    connection->served =
        std::make_unique<session_type>(stream_over(std::move(socket)), store, options.session);
    session_type& session = *connection->served;
    session.work_executor(work_executor);
    session.blocking_executor(blocking_executor);
    if (decide) session.authorize(proxies ? authorizer_for(peer) : decide);
    if (observer) {
      session.observe([notify = observer, peer](const session_event& e) { notify(peer, e); });
    }
    run(std::move(connection), [&session](auto&& handler) {
      session.async_run(std::forward<decltype(handler)>(handler));
    });
  }

  /// Tells the owner's authorizer the client's address, where the stream knows that of the proxy.
  authorizer authorizer_for(const std::string& client) const {
    return [ask = decide, client](const peer_identity& peer, const access_request& request,
                                  access_answer answer) {
      peer_identity identity = peer;
      identity.address = client;
      ask(identity, request, std::move(answer));
    };
  }

  void reject(std::shared_ptr<connection_type> connection, socket_type socket) {
    connection->rejected = std::make_unique<Stream>(stream_over(std::move(socket)));
    connection->reject_state.emplace();
    connection_type& peer = *connection;
    auto reject_flow = [&peer](std::error_code& ec) {
      return detail::reject(*peer.reject_state, errc::busy, ec);
    };
    run(std::move(connection), [&](auto&& handler) {
      async_run<Timer>(*peer.rejected, {options.session.limits, {}}, reject_flow,
                       std::forward<decltype(handler)>(handler));
    });
  }

  /// Keeps `connection` alive until the operation that `start` initiates has completed. The
  /// operation runs on the connection's strand.
  template <class Start>
  void run(std::shared_ptr<connection_type> connection, Start start) {
    connection->position = connections.insert(connections.end(), connection);
    if (connection->rejected) ++lingering;
    const auto executor = connection->stream().get_executor();
    asio::cancellation_slot slot = connection->cancel.slot();
    auto ended = [s = this->shared_from_this(), connection](std::error_code) {
      asio::post(s->strand, [s, connection] { s->drop(connection); });
    };
    try {
      start(asio::bind_cancellation_slot(slot, asio::bind_executor(executor, std::move(ended))));
    } catch (...) {
      forget(*connection);
      throw;
    }
  }

  void forget(connection_type& connection) {
    connection.slot.release();
    if (connection.rejected) --lingering;
    connections.erase(connection.position);
  }

  void drop(const std::shared_ptr<connection_type>& connection) {
    forget(*connection);
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
    remove_socket_file(local_endpoint, file);
    std::error_code ignored;
    acceptor.close(ignored);
    pause.cancel();
  }

  void emit(asio::cancellation_type type) {
    for (const auto& connection : connections) {
      asio::dispatch(connection->stream().get_executor(),
                     [connection, type] { connection->cancel.emit(type); });
    }
    if (proxies) proxies->cancel();
  }

  void finish_if_stopped() {
    if (acceptor.is_open() || !connections.empty() || (proxies && proxies->size() > 0)) return;
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
  std::shared_ptr<connection_counter> counter;
  decltype(bind_and_listen(acceptor, local_endpoint)) file;
  asio::any_io_executor work_executor;
  asio::any_io_executor blocking_executor;
  authorizer decide;
  server_observer observer;
  std::function<Stream(socket_type)> make_stream;
  std::optional<proxy_headers<Timer>> proxies;  ///< Set if all connections are from proxies.
  std::list<std::shared_ptr<connection_type>> connections;
  std::size_t lingering = 0;  ///< Those of them that are rejected.
  std::vector<std::unique_ptr<stop_waiter>> stop_waiters;
};

}  // namespace filexfer::detail

#endif
