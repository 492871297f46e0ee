#ifndef PROGRAMS_SERVICE_HPP
#define PROGRAMS_SERVICE_HPP

/// \file
/// What filexfer-server runs, from start to signal.

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

/// Everything that serves one store: servers at all the addresses, or one session on standard input
/// and output.
template <class Store, filexfer::hasher Hasher>
class service {
 public:
  /// Throws `std::system_error` if a certificate or its key can't be read.
  service(const server_settings& chosen, Store& store) : settings_{chosen}, store_{store} {
#ifdef PROGRAMS_WITH_TLS
    if (speaks_tls(chosen)) {
      tls_context_.emplace(filexfer::make_server_context(chosen.certificate, chosen.key));
    }
#endif
  }

  /// Listens on all addresses. Throws `std::system_error`.
  void listen() {
    for (const address& where : settings_.listen) {
      std::visit([this](const auto& a) { this->listen_on(a); }, where);
    }
  }

  /// Takes `streams` over, to serve who is there. Throws `std::system_error`.
  void serve(const filexfer::standard_streams& streams) {
    const auto one = std::make_shared<stdio_session>(*this, streams);
    parts_.push_back({"", [one] { one->start(); }, [one] { one->stop(); },
                      [one] { one->cancel.emit(asio::cancellation_type::terminal); }});
  }

  /// Says where it listens, and serves until a signal has ended it, or the one session has ended;
  /// returns how that did. One that a signal ended has not failed.
  std::error_code run() {
    await_signal([this] { stop(); });
    running_ = parts_.size();
    for (const part& one : parts_) one.start();
    std::vector<std::jthread> others;
    const std::size_t threads = settings_.listen.empty() ? 1 : settings_.threads;
    while (others.size() + 1 < threads) others.emplace_back([this] { run_context(); });
    for (const part& one : parts_) {
      if (!one.where.empty()) std::cout << "listening on " << one.where << std::endl;
    }
    run_context();
    return failed_;
  }

 private:
  using tcp = asio::ip::tcp;
  using local = asio::local::stream_protocol;
  /// Of whichever protocol a socket is: so sessions are compiled once for both.
  using any_socket = asio::generic::stream_protocol::socket;
  template <class Protocol, class Stream>
  using server = filexfer::server<Protocol, Store, Hasher, asio::steady_timer, Stream>;

  /// Something that serves.
  struct part {
    std::string where;  ///< Empty where nobody is told.
    std::function<void()> start;
    std::function<void()> stop;  ///< What is under way may end.
    std::function<void()> break_off;
  };

  struct stdio_session {
    stdio_session(service& owner, const filexfer::standard_streams& streams)
        : all{owner},
          session{filexfer::any_stream{filexfer::pipe_stream{all.context_.get_executor(),
                                                             streams.input, streams.output}},
                  all.store_, all.settings_.options.session} {
      session.work_executor(all.work_.get_executor());
      if (all.settings_.quiet) return;
      session.observe([](const filexfer::session_event& event) { log_event("stdio", event); });
    }

    void start() {
      session.async_run(asio::bind_cancellation_slot(cancel.slot(), [this](std::error_code ec) {
        if (!all.is_stopping_) all.failed_ = ec;
        grace.cancel();
        all.one_has_ended();
      }));
    }

    void stop() {
      grace.expires_after(all.settings_.options.grace);
      grace.async_wait([this](std::error_code ec) {
        if (!ec && all.running_ > 0) all.break_off();
      });
      cancel.emit(asio::cancellation_type::total);
    }

    service& all;
    asio::cancellation_signal cancel;
    asio::steady_timer grace{all.context_};
    filexfer::session<filexfer::any_stream, Store, Hasher> session;
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

  void listen_on([[maybe_unused]] const tls_address& where) {
#ifdef PROGRAMS_WITH_TLS  // or such addresses were refused before
    for (const auto& endpoint : endpoints_of(where.tcp)) {
      auto& added = add<server<tcp, filexfer::any_stream>>(endpoint, "tls:");
      added.wrap([this](tcp::socket socket) {
        return filexfer::any_stream{filexfer::tls_stream<tcp::socket>{
            std::move(socket), *tls_context_, asio::ssl::stream_base::server}};
      });
    }
#endif
  }

  template <class Server>
  Server& add(const typename Server::endpoint_type& endpoint, const std::string& kind) try {
    const auto made =
        std::make_shared<Server>(context_.get_executor(), endpoint, store_, settings_.options);
    made->work_executor(work_.get_executor());
    if (!settings_.quiet) made->observe(log_event);
    const auto stop = [this, &s = *made] {
      s.async_stop(asio::bind_executor(strand_, [this](std::error_code) { one_has_ended(); }));
    };
    servers_.push_back(made);
    parts_.push_back({kind + to_string(made->local_endpoint()), [&s = *made] { s.start(); }, stop,
                      [this] { servers_.clear(); }});
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
    signals_.async_wait([this, call](std::error_code ec, int) {
      if (!ec && running_ > 0) call();  // it may have come before its wait was cancelled
    });
  }

  void stop() {
    is_stopping_ = true;
    if (!settings_.quiet) log_text("stopping: what is under way may end");
    await_signal([this] { break_off(); });
    for (const part& one : parts_) one.stop();
  }

  void break_off() {
    if (!settings_.quiet) log_text("breaking off what is under way");
    for (const part& one : parts_) one.break_off();
  }

  void one_has_ended() {
    if (--running_ == 0) signals_.cancel();
  }

  const server_settings& settings_;
  Store& store_;
#ifdef PROGRAMS_WITH_TLS
  std::optional<asio::ssl::context> tls_context_;
#endif
  asio::io_context context_{static_cast<int>(settings_.threads)};
  asio::thread_pool work_{settings_.threads};  // for hashing, and for a disk that stalls
  asio::strand<asio::io_context::executor_type> strand_{context_.get_executor()};
  asio::signal_set signals_{strand_, SIGINT, SIGTERM};
  std::vector<std::shared_ptr<void>> servers_;  ///< One that is destroyed breaks off its sessions.
  std::vector<part> parts_;
  std::size_t running_ = 0;
  bool is_stopping_ = false;
  std::error_code failed_;
};

}  // namespace programs

#endif
