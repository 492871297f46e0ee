#ifndef PROGRAMS_SERVICE_HPP
#define PROGRAMS_SERVICE_HPP

/// \file
/// Runs filexfer-server's servers until a signal stops them.

#include "common/log.hpp"
#include "common/server_settings.hpp"

#include <filexfer/filexfer.hpp>
#ifdef PROGRAMS_WITH_TLS
#include <filexfer/tls.hpp>
#endif

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/signal_set.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>

#include <csignal>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <thread>

namespace programs {

/// Serves one store: with a server per address, or one session on standard input and output.
template <class Store, filexfer::hasher Hasher>
class service {
 public:
  /// Throws `std::system_error` if a certificate or its key can't be read.
  service(const server_settings& settings, Store& store) : settings_{settings}, store_{store} {
#ifdef PROGRAMS_WITH_TLS
    if (uses_tls(settings)) {
      tls_context_.emplace(filexfer::make_server_context(settings.certificate, settings.key));
    }
#endif
  }

  /// Listens on all addresses. Throws `std::system_error`.
  void listen() {
    for (const address& where : settings_.listen) {
      std::visit([this](const auto& a) { this->listen_on(a); }, where);
    }
  }

  /// Serves the client on `streams`, which it takes ownership of. Throws `std::system_error`.
  void serve(const filexfer::standard_streams& streams) {
    const auto session = std::make_shared<stdio_session>(*this, streams);
    parts_.push_back({"", [session] { session->start(); }, [session] { session->stop(); },
                      [session] { session->cancel.emit(asio::cancellation_type::terminal); }});
  }

  /// Prints the addresses that it listens on, and serves until a signal has stopped it, or the
  /// session on standard input and output has ended. Returns that session's error, unless a signal
  /// stopped it.
  std::error_code run() {
    wait_for_signal([this] { stop(); });
    running_ = parts_.size();
    for (const service_part& part : parts_) part.start();
    std::vector<std::jthread> more_threads;
    const std::size_t threads = settings_.listen.empty() ? 1 : settings_.threads;
    while (more_threads.size() + 1 < threads) more_threads.emplace_back([this] { run_context(); });
    for (const service_part& part : parts_) {
      if (!part.address.empty()) std::cout << "listening on " << part.address << std::endl;
    }
    run_context();
    return session_error_;
  }

 private:
  using tcp = asio::ip::tcp;
  using local = asio::local::stream_protocol;
  /// A socket of either protocol, so that sessions are compiled once for both.
  using any_socket = asio::generic::stream_protocol::socket;
  template <class Protocol, class Stream>
  using server_of = filexfer::server<Protocol, Store, Hasher, asio::steady_timer, Stream>;

  /// A server, or the session on standard input and output.
  struct service_part {
    std::string address;  ///< To print; empty for standard input and output.
    std::function<void()> start;
    std::function<void()> stop;  ///< Graceful: lets transfers in flight finish.
    std::function<void()> abort;
  };

  struct stdio_session {
    stdio_session(service& s, const filexfer::standard_streams& streams)
        : owner{s},
          session{filexfer::any_stream{filexfer::pipe_stream{owner.context_.get_executor(),
                                                             streams.input, streams.output}},
                  owner.store_, owner.settings_.options.session} {
      session.work_executor(owner.work_.get_executor());
      if (owner.settings_.quiet) return;
      session.observe([](const filexfer::session_event& event) { log_event("stdio", event); });
    }

    void start() {
      session.async_run(asio::bind_cancellation_slot(cancel.slot(), [this](std::error_code ec) {
        if (!owner.is_stopping_) owner.session_error_ = ec;
        grace.cancel();
        owner.on_part_ended();
      }));
    }

    void stop() {
      grace.expires_after(owner.settings_.options.grace);
      grace.async_wait([this](std::error_code ec) {
        if (!ec && owner.running_ > 0) owner.abort();
      });
      cancel.emit(asio::cancellation_type::total);
    }

    service& owner;
    asio::cancellation_signal cancel;
    asio::steady_timer grace{owner.context_};
    filexfer::session<filexfer::any_stream, Store, Hasher> session;
  };

  void listen_on(const tcp_address& where) {
    for (const auto& endpoint : resolve_address(where)) add_plain<tcp>(endpoint);
  }

  void listen_on(const unix_address& where) { add_plain<local>(local::endpoint{where.path}); }

  template <class Protocol>
  void add_plain(const typename Protocol::endpoint& endpoint) {
    auto& server = add<server_of<Protocol, any_socket>>(endpoint, "");
    server.wrap([](typename Protocol::socket socket) { return any_socket{std::move(socket)}; });
  }

  void listen_on([[maybe_unused]] const tls_address& where) {
#ifdef PROGRAMS_WITH_TLS  // otherwise parse_address rejects TLS addresses
    for (const auto& endpoint : resolve_address(where.tcp)) {
      auto& server = add<server_of<tcp, filexfer::any_stream>>(endpoint, "tls:");
      server.wrap([this](tcp::socket socket) {
        return filexfer::any_stream{filexfer::tls_stream<tcp::socket>{
            std::move(socket), *tls_context_, asio::ssl::stream_base::server}};
      });
    }
#endif
  }

  template <class Server>
  Server& add(const typename Server::endpoint_type& endpoint, const std::string& prefix) try {
    const auto server =
        std::make_shared<Server>(context_.get_executor(), endpoint, store_, settings_.options);
    server->work_executor(work_.get_executor());
    if (!settings_.quiet) server->observe(log_event);
    const auto stop = [this, &s = *server] {
      s.async_stop(asio::bind_executor(strand_, [this](std::error_code) { on_part_ended(); }));
    };
    servers_.push_back(server);
    parts_.push_back({prefix + to_string(server->local_endpoint()), [&s = *server] { s.start(); },
                      stop, [this] { servers_.clear(); }});
    return *server;
  } catch (const std::system_error& e) {
    throw std::system_error{e.code(), to_string(endpoint)};
  }

  /// Runs the context; an exception is logged and does not end the server.
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

  template <class OnSignal>
  void wait_for_signal(OnSignal on_signal) {
    signals_.async_wait([this, on_signal](std::error_code ec, int) {
      if (!ec && running_ > 0) on_signal();  // may have been received before the wait was cancelled
    });
  }

  void stop() {
    is_stopping_ = true;
    if (!settings_.quiet) log_text("stopping: what is under way may end");
    wait_for_signal([this] { abort(); });
    for (const service_part& part : parts_) part.stop();
  }

  void abort() {
    if (!settings_.quiet) log_text("breaking off what is under way");
    for (const service_part& part : parts_) part.abort();
  }

  void on_part_ended() {
    if (--running_ == 0) signals_.cancel();
  }

  const server_settings& settings_;
  Store& store_;
#ifdef PROGRAMS_WITH_TLS
  std::optional<asio::ssl::context> tls_context_;
#endif
  asio::io_context context_{static_cast<int>(settings_.threads)};
  asio::thread_pool work_{settings_.threads};  // for hashing, and for blocking disk access
  asio::strand<asio::io_context::executor_type> strand_{context_.get_executor()};
  asio::signal_set signals_{strand_, SIGINT, SIGTERM};
  std::vector<std::shared_ptr<void>> servers_;  ///< Destroying a server aborts its sessions.
  std::vector<service_part> parts_;
  std::size_t running_ = 0;  ///< Parts that have not ended.
  bool is_stopping_ = false;
  std::error_code session_error_;
};

}  // namespace programs

#endif
