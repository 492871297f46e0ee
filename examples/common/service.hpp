#ifndef PROGRAMS_SERVICE_HPP
#define PROGRAMS_SERVICE_HPP

/// \file
/// Servers at all the addresses of filexfer-server.

#include "common/arguments.hpp"
#include "common/endpoints.hpp"
#include "common/log.hpp"
#include "common/server_settings.hpp"

#include <filexfer/any_stream.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/server.hpp>
#ifdef PROGRAMS_WITH_TLS
#include <filexfer/tls.hpp>
#endif

#include <asio/bind_executor.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>

#include <csignal>
#include <cstddef>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

namespace programs {

/// Everything that a store's servers share, and their life from start to signal.
template <class Store, filexfer::hasher Hasher>
class service {
 public:
  service(const server_settings& chosen, Store& store) : settings_{chosen}, store_{store} {}

#ifdef PROGRAMS_WITH_TLS
  /// For addresses with TLS; before `listen`.
  void tls(std::shared_ptr<asio::ssl::context> context) { tls_context_ = std::move(context); }
#endif

  /// Listens on all addresses. Throws `std::system_error`.
  void listen() {
    for (const address& where : settings_.listen) {
      std::visit([this](const auto& a) { this->listen_on(a); }, where);
    }
  }

  /// Says where it listens, and serves until a signal has ended it.
  void run() {
    await_signal([this] { stop(); });
    for (const listening& one : servers_) one.start();
    std::vector<std::jthread> others;
    while (others.size() + 1 < settings_.threads) others.emplace_back([this] { run_context(); });
    for (const listening& one : servers_) std::cout << "listening on " << one.where << std::endl;
    run_context();
  }

 private:
  using tcp = asio::ip::tcp;
  using local = asio::local::stream_protocol;
  /// Of whichever protocol a socket is: so sessions are compiled once for both.
  using any_socket = asio::generic::stream_protocol::socket;
  template <class Protocol, class Stream>
  using server = filexfer::server<Protocol, Store, Hasher, asio::steady_timer, Stream>;

  /// A server of whichever kind.
  struct listening {
    std::string where;
    std::shared_ptr<void> server;
    std::function<void()> start;
    std::function<void()> stop;
  };

  void listen_on(const tcp_address& where) {
    for (const auto& endpoint : endpoints_of(where)) add_plain<tcp>(endpoint);
  }

  void listen_on(const unix_address& where) { add_plain<local>(local::endpoint{where.path}); }

  template <class Protocol>
  void add_plain(const typename Protocol::endpoint& endpoint) {
    auto& added = add<server<Protocol, any_socket>>(endpoint, "");
    added.wrap([](typename Protocol::socket socket) { return any_socket{std::move(socket)}; });
  }

#ifdef PROGRAMS_WITH_TLS
  void listen_on(const tls_address& where) {
    for (const auto& endpoint : endpoints_of(where.tcp)) {
      auto& added = add<server<tcp, filexfer::any_stream>>(endpoint, "tls:");
      added.wrap([context = tls_context_](tcp::socket socket) {
        return filexfer::any_stream{filexfer::tls_stream<tcp::socket>{
            std::move(socket), *context, asio::ssl::stream_base::server}};
      });
    }
  }
#else
  void listen_on(const tls_address&) {}  // refused before
#endif

  static std::vector<tcp::endpoint> endpoints_of(const tcp_address& where) {
    std::error_code ec;
    auto endpoints = resolve(where, ec);
    if (ec) throw std::system_error{ec, to_string(where)};
    return endpoints;
  }

  template <class Server>
  Server& add(const typename Server::endpoint_type& endpoint, const std::string& kind) try {
    const auto made =
        std::make_shared<Server>(context_.get_executor(), endpoint, store_, settings_.options);
    made->work_executor(work_.get_executor());
    if (!settings_.quiet) made->observe(log_event);
    servers_.push_back({kind + to_string(made->local_endpoint()), made, [&s = *made] { s.start(); },
                        [this, &s = *made] { stop(s); }});
    return *made;
  } catch (const std::system_error& e) {
    throw std::system_error{e.code(), to_string(endpoint)};
  }

  /// No exception ends the server.
  void run_context() {
    for (;;) {
      try {
        context_.run();
        return;
      } catch (const std::exception& e) {
        log_text(e.what());
      }
    }
  }

  template <class Call>
  void await_signal(Call call) {
    signals_.async_wait([call](std::error_code ec, int) {
      if (!ec) call();
    });
  }

  void stop() {
    if (!settings_.quiet) log_text("stopping: what is under way may end");
    await_signal([this] { break_off(); });
    stopping_ = servers_.size();
    for (const listening& one : servers_) one.stop();
  }

  template <class Server>
  void stop(Server& one) {
    one.async_stop(asio::bind_executor(strand_, [this](std::error_code) {
      if (--stopping_ == 0) signals_.cancel();
    }));
  }

  /// A server that is destroyed breaks off its sessions.
  void break_off() {
    if (!settings_.quiet) log_text("breaking off what is under way");
    servers_.clear();
  }

  const server_settings& settings_;
  Store& store_;
#ifdef PROGRAMS_WITH_TLS
  std::shared_ptr<asio::ssl::context> tls_context_;
#endif
  asio::io_context context_{static_cast<int>(settings_.threads)};
  asio::thread_pool work_{settings_.threads};  // for hashing, and for a disk that stalls
  asio::strand<asio::io_context::executor_type> strand_{context_.get_executor()};
  asio::signal_set signals_{strand_, SIGINT, SIGTERM};
  std::vector<listening> servers_;
  std::size_t stopping_ = 0;
};

}  // namespace programs

#endif
