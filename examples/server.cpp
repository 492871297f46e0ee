// filexfer-server: serves the files of a folder, or of its memory, over TCP and Unix sockets.

#include "common/arguments.hpp"
#include "common/cli.hpp"
#include "common/endpoints.hpp"
#include "common/exit_code.hpp"
#include "common/failure.hpp"
#include "common/log.hpp"
#include "common/process.hpp"

#include <filexfer/digest.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/options.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/server.hpp>
#include <filexfer/sha256.hpp>

#include <asio/bind_executor.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/signal_set.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iostream>
#include <list>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

namespace programs {
namespace {

constexpr const char* description =
    "Serves files to filexfer-client, and to whatever else speaks the protocol.\n"
    "Prints `listening on ADDRESS` for each endpoint once it is ready.\n"
    "SIGINT and SIGTERM let transfers end within --grace; a second one breaks them off.";

constexpr const char* footer =
    "SIZE is in octets, or takes K, M or G (powers of 1024). TIME takes ms, s, m or h.\n"
    "\n"
    "Exit codes: 0 stopped by a signal, 2 wrong usage, 4 an address could not be listened on,\n"
    "5 the store could not be opened.";

struct settings {
  std::vector<address> listen;
  std::string store = "./filexfer-store";
  filexfer::server_options options;
  std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::string digest{filexfer::md5::name()};
  std::chrono::milliseconds partial_age{std::chrono::hours{24}};
  bool quiet = false;
};

/// Everything that a store's servers share, and their life from start to signal.
template <class Store, filexfer::hasher Hasher>
class service {
 public:
  service(const settings& chosen, Store& store) : settings_{chosen}, store_{store} {}

  /// Listens on all addresses. Throws `std::system_error`.
  void listen() {
    for (const address& where : settings_.listen) {
      std::visit([this](const auto& a) { this->listen_on(a); }, where);
    }
  }

  /// Says where it listens, and serves until a signal has ended it.
  void run() {
    await_signal([this] { stop(); });
    for_each_server([](auto& server) { server.start(); });
    std::vector<std::jthread> others;
    while (others.size() + 1 < settings_.threads) others.emplace_back([this] { run_context(); });
    for (const std::string& name : listening_) std::cout << "listening on " << name << std::endl;
    run_context();
  }

 private:
  using tcp = asio::ip::tcp;
  using local = asio::local::stream_protocol;
  template <class Protocol>
  using servers = std::list<filexfer::server<Protocol, Store, Hasher>>;

  void listen_on(const tcp_address& where) {
    std::error_code ec;
    const auto endpoints = resolve(where, ec);
    if (ec) throw std::system_error{ec, to_string(where)};
    for (const auto& endpoint : endpoints) add(tcp_, endpoint);
  }

  void listen_on(const unix_address& where) { add(local_, local::endpoint{where.path}); }

  template <class Protocol>
  void add(servers<Protocol>& all, const typename Protocol::endpoint& endpoint) try {
    auto& server = all.emplace_back(context_.get_executor(), endpoint, store_, settings_.options);
    listening_.push_back(to_string(server.local_endpoint()));
    server.work_executor(work_.get_executor());
    if (!settings_.quiet) server.observe(log_event);
  } catch (const std::system_error& e) {
    throw std::system_error{e.code(), to_string(endpoint)};
  }

  template <class Call>
  void for_each_server(Call call) {
    for (auto& server : tcp_) call(server);
    for (auto& server : local_) call(server);
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
    stopping_ = tcp_.size() + local_.size();
    for_each_server([this](auto& server) {
      server.async_stop(asio::bind_executor(strand_, [this](std::error_code) {
        if (--stopping_ == 0) signals_.cancel();
      }));
    });
  }

  /// A server that is destroyed breaks off its sessions.
  void break_off() {
    if (!settings_.quiet) log_text("breaking off what is under way");
    tcp_.clear();
    local_.clear();
  }

  const settings& settings_;
  Store& store_;
  asio::io_context context_{static_cast<int>(settings_.threads)};
  asio::thread_pool work_{settings_.threads};  // for hashing, and for a disk that stalls
  asio::strand<asio::io_context::executor_type> strand_{context_.get_executor()};
  asio::signal_set signals_{strand_, SIGINT, SIGTERM};
  servers<tcp> tcp_;
  servers<local> local_;
  std::vector<std::string> listening_;
  std::size_t stopping_ = 0;
};

template <filexfer::hasher Hasher, class Store>
exit_code serve(const settings& chosen, Store& store) {
  service<Store, Hasher> all{chosen, store};
  try {
    all.listen();
  } catch (const std::system_error& e) {
    std::cerr << filexfer::printable(e.what()) << ": choose another address with --listen\n";
    return broken;
  }
  all.run();
  return done;
}

template <filexfer::hasher Hasher>
exit_code serve(const settings& chosen) {
  if (chosen.store == "memory") {
    filexfer::memory_store<Hasher> store;
    return serve<Hasher>(chosen, store);
  }
  filexfer::directory_store_options options;
  options.partial_age = std::chrono::ceil<std::chrono::seconds>(chosen.partial_age);
  if (!chosen.quiet) options.log = log_text;
  std::optional<filexfer::directory_store<Hasher>> store;
  try {
    store.emplace(chosen.store, std::move(options));
  } catch (const std::system_error& e) {
    std::cerr << filexfer::printable(e.what()) << ": no store can be kept there\n";
    return local_file;
  }
  return serve<Hasher>(chosen, *store);
}

int run(int argc, char** argv) {
  settings chosen;
  filexfer::server_options& options = chosen.options;
  filexfer::session_options& session = options.session;

  CLI::App app{description, "filexfer-server"};
  app.footer(footer);
  const auto listen = [&](const auto& words) {
    for (const auto& word : words) chosen.listen.push_back(parse_address(word));
  };
  add_words(app, "--listen", listen, "Where to listen; may be repeated; port 0 takes a free one")
      ->type_name("HOST:PORT|[::1]:PORT|unix:PATH [127.0.0.1:9999]")
      ->allow_extra_args(false);
  add_option(app, "--store", chosen.store, as_it_stands,
             "A folder, made if missing, or the word memory")
      ->type_name("DIR|memory [" + chosen.store + "]");
  add_option(app, "--partial-age", chosen.partial_age, parse_duration,
             "How long a folder keeps what arrived of an upload that broke, to go on with it")
      ->type_name("TIME [24h]");
  app.add_option("--digest", chosen.digest,
                 "What the files' ids are; sha256 where an attacker may choose files")
      ->type_name("md5|sha256 [" + chosen.digest + "]")
      ->check(CLI::IsMember({filexfer::md5::name(), filexfer::sha256::name()}));
  add_option(app, "--max-size", session.max_size, parse_octets, "Octets of the largest upload")
      ->type_name("SIZE");
  add_option(app, "--max-connections", options.max_connections, parse_count,
             "Connections served at once")
      ->type_name("N [" + std::to_string(options.max_connections) + "]");
  add_option(app, "--idle-timeout", session.limits.idle, parse_timeout,
             "How long a client may be silent")
      ->type_name("TIME [1m]");
  add_option(app, "--grace", options.grace, parse_duration,
             "How long transfers may go on after a signal")
      ->type_name("TIME [10s]");
  add_option(app, "--threads", chosen.threads, parse_count,
             "Threads for connections, and as many for hashing and the disk")
      ->type_name("N [" + std::to_string(chosen.threads) + "]");
  app.add_flag_callback(
      "--read-only", [&] { session.access = filexfer::access::read_only; }, "Take no uploads");
  app.add_flag("--quiet", chosen.quiet, "No log on stderr");
  if (const auto ended = parse(app, argc, argv)) return *ended;

  if (chosen.listen.empty()) chosen.listen.push_back(tcp_address{"127.0.0.1", 9999});
  session.limits.line = session.limits.idle;
  ignore_signals_of_writes();
  take_all_descriptors();
  const bool sha256 = chosen.digest == filexfer::sha256::name();
  return sha256 ? serve<filexfer::sha256>(chosen) : serve<filexfer::md5>(chosen);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::guarded("filexfer-server", [&] { return programs::run(argc, argv); });
}
