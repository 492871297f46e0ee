#ifndef PROGRAMS_SERVICE_HPP
#define PROGRAMS_SERVICE_HPP

/// \file
/// Runs filexfer-server's servers until a signal stops them.

#include "common/log.hpp"
#include "common/sandbox.hpp"
#include "common/server_settings.hpp"

#include <filexfer/filexfer.hpp>
#ifdef PROGRAMS_WITH_TLS
#include <filexfer/tls.hpp>
#endif

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>

#include <chrono>
#include <csignal>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

namespace programs {

/// Serves one store: with a server per address, or one session on standard input and output.
template <class Store, filexfer::hasher Hasher>
class service {
 public:
  /// Throws `std::system_error` if a certificate or its key can't be read.
  service(const server_settings& settings, Store& store, server_log& log)
      : settings_{settings}, store_{store}, log_{log} {
#ifdef PROGRAMS_WITH_TLS
    if (uses_tls(settings)) {
      tls_.emplace([&settings] {
        return filexfer::make_server_context(settings.certificate, settings.key,
                                             settings.client_authorities);
      });
    }
#endif
  }

  /// Listens on all addresses. Throws `std::system_error`.
  void listen() {
    for (const listen_address& listen : settings_.listen) {
      std::visit([&](const auto& where) { this->listen_on(where, listen); }, listen.where);
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
  /// stopped it. Throws `std::system_error` if the sandbox can't be set up; `on_confined` is called
  /// once it is.
  template <class OnConfined>
  std::error_code run(OnConfined on_confined) {
    confine();  // before any thread is started
    on_confined();
    work_.emplace(settings_.threads);
    disk_.emplace(settings_.disk_threads);
    wait_for_signal([this] { stop(); });
    if (!settings_.listen.empty()) {
      hangups_.add(SIGHUP);
      wait_for_hangup();
    }
    running_ = parts_.size();
    for (const service_part& part : parts_) part.start();
    if (!settings_.quiet) asio::post(strand_, [this] { report_suppressed_lines(); });
    std::vector<std::jthread> more_threads;
    const std::size_t threads = settings_.listen.empty() ? 1 : settings_.threads;
    while (more_threads.size() + 1 < threads) more_threads.emplace_back([this] { run_context(); });
    for (const service_part& part : parts_) {
      if (!part.address.empty()) std::cout << "listening on " << part.address << std::endl;
    }
    run_context();
    more_threads.clear();
    log_.report_suppressed();
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
      if (owner.settings_.quiet) return;
      session.observe(
          [this](const filexfer::session_event& event) { owner.log_.report("stdio", event); });
    }

    void start() {
      session.work_executor(owner.work_->get_executor());
      session.blocking_executor(owner.disk_->get_executor());
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

  void listen_on(const tcp_address& where, const listen_address& listen) {
    for (const auto& endpoint : resolve_address(where)) {
      expect_proxy(add_plain<tcp>(endpoint, listen.is_proxied ? "proxy+tcp:" : ""), listen);
    }
  }

  void listen_on(const unix_address& where, const listen_address&) {
    add_plain<local>(local::endpoint{where.path}, "");
  }

  template <class Protocol>
  auto& add_plain(const typename Protocol::endpoint& endpoint, const std::string& prefix) {
    auto& server = add<server_of<Protocol, any_socket>>(endpoint, prefix);
    server.wrap([](typename Protocol::socket socket) { return any_socket{std::move(socket)}; });
    return server;
  }

  template <class Server>
  void expect_proxy(Server& server, const listen_address& listen) {
    if (listen.is_proxied) server.expect_proxy(settings_.proxies);
  }

  void listen_on([[maybe_unused]] const tls_address& where,
                 [[maybe_unused]] const listen_address& listen) {
#ifdef PROGRAMS_WITH_TLS  // otherwise parse_address rejects TLS addresses
    for (const auto& endpoint : resolve_address(where.tcp)) {
      auto& server = add<server_of<tcp, filexfer::any_stream>>(
          endpoint, listen.is_proxied ? "proxy+tls:" : "tls:");
      expect_proxy(server, listen);
      server.wrap([this](tcp::socket socket) {
        return filexfer::any_stream{filexfer::tls_stream<tcp::socket>{
            std::move(socket), tls_->current(), asio::ssl::stream_base::server}};
      });
    }
#endif
  }

  template <class Server>
  Server& add(const typename Server::endpoint_type& endpoint, const std::string& prefix) try {
    const auto server =
        std::make_shared<Server>(context_.get_executor(), endpoint, store_, settings_.options);
    if (!settings_.quiet) {
      server->observe([this](const std::string& peer, const filexfer::session_event& event) {
        log_.report(peer, event);
      });
    }
    const auto stop = [this, &s = *server] {
      s.async_stop(asio::bind_executor(strand_, [this](std::error_code) { on_part_ended(); }));
    };
    servers_.push_back(server);
    const auto start = [this, &s = *server] {
      s.work_executor(work_->get_executor());
      s.blocking_executor(disk_->get_executor());
      s.start();
    };
    parts_.push_back(
        {prefix + to_string(server->local_endpoint()), start, stop, [this] { servers_.clear(); }});
    return *server;
  } catch (const std::system_error& e) {
    throw std::system_error{e.code(), to_string(endpoint)};
  }

  void confine() const {
    if (settings_.sandbox == "off") return;
    const std::string missing = enter_sandbox(settings_);
    if (!missing.empty() && !settings_.quiet) log_.report("no sandbox: " + missing);
  }

  /// Runs the context; an exception is logged and does not end the server.
  void run_context() {
    for (;;) {
      try {
        context_.run();
        return;
      } catch (const std::exception& e) {
        log_.report(e.what());
      }
    }
  }

  template <class OnSignal>
  void wait_for_signal(OnSignal on_signal) {
    signals_.async_wait([this, on_signal](std::error_code ec, int) {
      if (!ec && running_ > 0) on_signal();  // may have been received before the wait was cancelled
    });
  }

  void wait_for_hangup() {
    hangups_.async_wait([this](std::error_code ec, int) {
      if (ec || running_ == 0) return;
      asio::post(work_->get_executor(), [this] { reload(); });
      wait_for_hangup();
    });
  }

  /// Reads the certificates again. If they can't be used, those in force stay.
  void reload() {
    std::string outcome = "there are no certificates to reload";
#ifdef PROGRAMS_WITH_TLS
    try {
      if (tls_) {
        tls_->reload();
        outcome = "certificates reloaded, for new connections";
      }
    } catch (const std::exception& e) {
      outcome = std::string{"certificates not reloaded, the old ones stay in force: "} + e.what();
    }
#endif
    if (!settings_.quiet) log_.report("SIGHUP: " + outcome);
  }

  void stop() {
    is_stopping_ = true;
    if (!settings_.quiet) log_.report("stopping: running transfers may finish");
    wait_for_signal([this] { abort(); });
    for (const service_part& part : parts_) part.stop();
  }

  void abort() {
    if (!settings_.quiet) log_.report("aborting running transfers");
    for (const service_part& part : parts_) part.abort();
  }

  void on_part_ended() {
    if (--running_ > 0) return;
    signals_.cancel();
    hangups_.cancel();
    log_timer_.cancel();
  }

  /// Reports them every few seconds from now on, until all parts have ended.
  void report_suppressed_lines() {
    if (running_ == 0) return;
    log_.report_suppressed();
    log_timer_.expires_after(std::chrono::seconds{5});
    log_timer_.async_wait([this](std::error_code) { report_suppressed_lines(); });
  }

  const server_settings& settings_;
  Store& store_;
  server_log& log_;
#ifdef PROGRAMS_WITH_TLS
  std::optional<filexfer::reloadable_context> tls_;
#endif
  asio::io_context context_{static_cast<int>(settings_.threads)};
  std::optional<asio::thread_pool> work_;  ///< For hashing.
  std::optional<asio::thread_pool> disk_;  ///< For what may block.
  asio::strand<asio::io_context::executor_type> strand_{context_.get_executor()};
  asio::signal_set signals_{strand_, SIGINT, SIGTERM};
  asio::signal_set hangups_{strand_};
  asio::steady_timer log_timer_{strand_};
  std::vector<std::shared_ptr<void>> servers_;  ///< Destroying a server aborts its sessions.
  std::vector<service_part> parts_;
  std::size_t running_ = 0;  ///< Parts that have not ended.
  bool is_stopping_ = false;
  std::error_code session_error_;
};

}  // namespace programs

#endif
