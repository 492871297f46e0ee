#include "support/once_handler.hpp"
#include "support/scratch_folder.hpp"
#include "support/store_use.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/client.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>

#include <asio/buffer.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/socket_base.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace server_tests {

using namespace std::chrono_literals;
using asio::ip::tcp;
using filexfer::command;
using filexfer::errc;
using filexfer::memory_store;
using filexfer::server_options;
using filexfer::session_event;
using local = asio::local::stream_protocol;
using tests::open_descriptors;
using tests::virtual_timer;

namespace {

/// Runs `context` until `happened()`; ends the test if that does not come about.
template <class Happened>
void run_until(asio::io_context& context, Happened happened) {
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (!happened()) {
    if (context.stopped()) context.restart();
    const bool ran = context.run_one_until(give_up) > 0;
    if (!ran && !happened()) {
      FAIL("it never happened");
    }
  }
}

/// Runs whatever is ready. Ends the test if that goes on and on.
void settle(asio::io_context& context) {
  if (context.stopped()) context.restart();
  std::size_t handlers = 0;
  while (context.poll_one() > 0) {
    if (++handlers >= 10'000) FAIL("it spins");
  }
}

template <class Protocol>
typename Protocol::endpoint any_endpoint(const tests::scratch_folder& folder) {
  if constexpr (std::is_same_v<Protocol, tcp>) return {asio::ip::address_v4::loopback(), 0};
  else return (folder / "socket").string();
}

/// A client that speaks the protocol by hand.
template <class Protocol>
class peer {
 public:
  using socket_type = typename Protocol::socket;
  using endpoint_type = typename Protocol::endpoint;

  peer(asio::io_context& context, const endpoint_type& to)
      : context_{context}, socket_{context, to.protocol()} {
    connect(to);
  }
  /// From an address of one's own.
  peer(asio::io_context& context, const endpoint_type& to, const endpoint_type& from)
      : context_{context}, socket_{context, to.protocol()} {
    socket_.bind(from);
    connect(to);
  }
  explicit peer(asio::io_context& context, typename Protocol::socket unconnected)
      : context_{context}, socket_{std::move(unconnected)} {}
  peer(const peer&) = delete;
  peer& operator=(const peer&) = delete;

  void connect(const endpoint_type& to) {
    socket_.connect(to);
    listen();
  }

  void say(std::string_view text) { asio::write(socket_, asio::buffer(text)); }

  const std::string& heard() const noexcept { return *heard_; }
  bool ended() const noexcept { return *ended_; }

  void wait_for(std::string_view text) {
    run_until(context_, [&] { return heard().find(text) != std::string::npos || ended(); });
    CHECK(heard().find(text) != std::string::npos);
  }
  void wait_for_end() {
    run_until(context_, [&] { return ended(); });
  }

  void close() { socket_.close(); }
  void reset() {
    socket_.set_option(asio::socket_base::linger{true, 0});
    socket_.close();
  }
  socket_type& socket() noexcept { return socket_; }

 private:
  void listen() {
    socket_.async_read_some(asio::buffer(*buffer_),
                            [this, heard = heard_, ended = ended_, buffer = buffer_](
                                std::error_code ec, std::size_t bytes) {
                              heard->append(buffer->data(), bytes);
                              if (ec) *ended = true;
                              else listen();
                            });
  }

  asio::io_context& context_;
  socket_type socket_;
  // Shared with the read under way, which ends after the peer.
  std::shared_ptr<std::string> heard_ = std::make_shared<std::string>();
  std::shared_ptr<bool> ended_ = std::make_shared<bool>(false);
  std::shared_ptr<std::array<char, 4096>> buffer_ = std::make_shared<std::array<char, 4096>>();
};

struct observed {
  std::string peer;
  session_event event;
};

constexpr std::string_view empty_list = "No files available at the moment\n\n";

/// A server on one thread, in manual time.
template <class Protocol, class Store = memory_store<>>
struct one_server {
  using server_type = filexfer::server<Protocol, Store, filexfer::md5, virtual_timer>;
  using peer_type = peer<Protocol>;

  explicit one_server(const server_options& options = {})
      : server{std::in_place, context.get_executor(), any_endpoint<Protocol>(folder), store,
               options},
        endpoint{server->local_endpoint()} {
    server->observe([this](const std::string& who, const session_event& event) {
      events.push_back({who, event});
    });
    server->start();
  }

  ~one_server() {
    server.reset();
    settle(context);
  }

  peer_type arrive() { return peer_type{context, endpoint}; }

  /// One that is known to be served.
  std::unique_ptr<peer_type> served() {
    auto one = std::make_unique<peer_type>(context, endpoint);
    one->say("FEATURES\n");
    one->wait_for("\n\n");
    return one;
  }

  std::size_t count(std::error_code error) const {
    return static_cast<std::size_t>(std::count_if(
        events.begin(), events.end(), [&](const observed& o) { return o.event.error == error; }));
  }

  tests::scratch_folder folder;
  Store store;
  asio::io_context context;
  std::optional<server_type> server;
  typename Protocol::endpoint endpoint;
  std::vector<observed> events;
};

std::size_t lines_in(std::string_view text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

// --------------------------------------------------------------------------------- how many at once

TEST_CASE_TEMPLATE("a connection above the bound hears that the server is busy, and is closed", P,
                   tcp, local) {
  one_server<P> one{{.max_connections = 2}};
  const auto first = one.served();
  const auto second = one.served();
  auto third = one.arrive();
  third.say("LIST_FILES\n");
  third.wait_for_end();
  CHECK(third.heard().starts_with("ERROR busy "));
  CHECK(lines_in(third.heard()) == 1);
  CHECK(one.count(errc::busy) == 1);
  first->say("LIST_FILES\n");
  first->wait_for(empty_list);
}

TEST_CASE_TEMPLATE("a place that becomes free is given to the next", P, tcp, local) {
  one_server<P> one{{.max_connections = 1}};
  auto first = one.served();
  {
    auto refused = one.arrive();
    refused.wait_for_end();
    CHECK(refused.heard().starts_with("ERROR busy "));
  }
  first->close();
  settle(one.context);
  for (int turn = 0; turn < 3; ++turn) {
    auto next = one.served();
    next->reset();
    settle(one.context);
  }
}

TEST_CASE_TEMPLATE("a client's operation on a busy server ends with busy", P, tcp, local) {
  one_server<P> one{{.max_connections = 0}};
  typename P::socket socket{one.context};
  socket.connect(one.endpoint);
  filexfer::client<typename P::socket&> client{socket};
  test::expected_call<void(std::error_code, std::vector<filexfer::client<tcp::socket>::file_info>)>
      call;
  call.start([&](auto handler) { client.async_list_files(std::move(handler)); });
  run_until(one.context, [&] { return call.called(); });
  CHECK(std::get<0>(call.result()) == errc::busy);
  CHECK_FALSE(client.usable());
}

TEST_CASE("one address has a bound of its own") {
  one_server<tcp> one{{.max_connections = 10, .max_connections_per_address = 2}};
  const tcp::endpoint other_address{asio::ip::make_address("127.0.0.2"), 0};
  const auto first = one.served();
  const auto second = one.served();
  auto third = one.arrive();
  third.wait_for_end();
  CHECK(third.heard().starts_with("ERROR busy "));
  peer<tcp> other{one.context, one.endpoint, other_address};
  other.say("LIST_FILES\n");
  other.wait_for(empty_list);
  first->close();
  settle(one.context);
  one.served();
}

TEST_CASE("a bound for one address does not count those who have none") {
  one_server<local> one{{.max_connections_per_address = 1}};
  const auto first = one.served();
  const auto second = one.served();
  CHECK(one.count(errc::busy) == 0);
}

TEST_CASE("those who are turned away do not stay longer than the linger time, nor are they many") {
  one_server<tcp> one{{.max_connections = 1}};
  const auto served = one.served();
  const std::size_t before = open_descriptors();
  std::vector<std::unique_ptr<peer<tcp>>> away;
  for (int i = 0; i < 100; ++i) {
    away.push_back(std::make_unique<peer<tcp>>(one.context, one.endpoint));
  }
  for (const auto& p : away) p->wait_for_end();
  const auto told = std::count_if(away.begin(), away.end(), [](const auto& p) {
    return p->heard().starts_with("ERROR busy ");
  });
  CHECK(told == 64);
  CHECK(open_descriptors() == before + 100 + 64);
  virtual_timer::pass(2s);
  settle(one.context);
  CHECK(open_descriptors() == before + 100);
  auto next = one.arrive();
  next.wait_for("ERROR busy ");
}

// ------------------------------------------------------------------------------------------ stopping

namespace {

template <class Server>
void stop(Server& server, test::expected_call<void(std::error_code)>& call) {
  call.start([&](auto handler) { server.async_stop(std::move(handler)); });
}

}  // namespace

TEST_CASE_TEMPLATE("a server that stops tells idle connections so, and takes no new ones", P, tcp,
                   local) {
  one_server<P> one;
  const auto idle = one.served();
  test::expected_call<void(std::error_code)> stopped;
  stop(*one.server, stopped);
  idle->wait_for("ERROR shutting-down ");
  idle->wait_for_end();
  typename P::socket late{one.context};
  std::error_code refused;
  late.connect(one.endpoint, refused);
  CHECK(refused);
  CHECK_FALSE(stopped.called());  // it waits for the peer to close
  idle->close();
  run_until(one.context, [&] { return stopped.called(); });
  CHECK_FALSE(std::get<0>(stopped.result()));
}

TEST_CASE_TEMPLATE("a server that stops does not wait for ever until told peers have closed", P,
                   tcp, local) {
  one_server<P> one;
  const auto idle = one.served();
  test::expected_call<void(std::error_code)> stopped;
  stop(*one.server, stopped);
  idle->wait_for_end();
  virtual_timer::pass(2s - 1ms);
  settle(one.context);
  CHECK_FALSE(stopped.called());
  virtual_timer::pass(1ms);
  settle(one.context);
  CHECK(stopped.called());
}

TEST_CASE_TEMPLATE("a transfer that is under way when the server stops is finished", P, tcp,
                   local) {
  one_server<P> one;
  const auto busy = one.served();
  busy->say("UPLOAD\nname;5\n");
  busy->wait_for("Ready");
  test::expected_call<void(std::error_code)> stopped;
  stop(*one.server, stopped);
  settle(one.context);
  busy->say("he");
  virtual_timer::pass(9s);
  settle(one.context);
  busy->say("llo");
  busy->wait_for(tests::id_of("hello").to_string() + "\nERROR shutting-down ");
  busy->wait_for_end();
  busy->close();
  run_until(one.context, [&] { return stopped.called(); });
  CHECK(tests::fetch(one.store, tests::id_of("hello")) == "hello");
}

TEST_CASE_TEMPLATE("what goes on beyond the grace is broken off, and leaves nothing", P, tcp,
                   local) {
  one_server<P> one{{.grace = 10s}};
  REQUIRE_FALSE(tests::put(one.store, "big", std::string(16 << 20, 'x')));
  const auto hanging = one.served();
  hanging->say("UPLOAD\nname;5\n");
  hanging->wait_for("Ready");
  hanging->say("hell");
  typename P::socket deaf{one.context};  // fetches, but does not read
  deaf.connect(one.endpoint);
  asio::write(deaf, asio::buffer("DOWNLOAD\n" +
                                 tests::id_of(std::string(16 << 20, 'x')).to_string() + "\n"));
  settle(one.context);
  test::expected_call<void(std::error_code)> stopped;
  stop(*one.server, stopped);
  settle(one.context);
  virtual_timer::pass(10s - 1ms);
  settle(one.context);
  CHECK_FALSE(stopped.called());
  CHECK_FALSE(hanging->ended());
  virtual_timer::pass(1ms);
  run_until(one.context, [&] { return stopped.called(); });
  hanging->wait_for_end();
  CHECK(hanging->heard().ends_with("Ready to receive the file\n"));
  CHECK(tests::entries(one.store).size() == 1);
}

TEST_CASE_TEMPLATE("a server without connections stops at once, and may be told so twice", P, tcp,
                   local) {
  one_server<P> one;
  test::expected_call<void(std::error_code)> first;
  test::expected_call<void(std::error_code)> second;
  test::expected_call<void(std::error_code)> third;
  stop(*one.server, first);
  stop(*one.server, second);
  settle(one.context);
  CHECK(first.called());
  CHECK(second.called());
  stop(*one.server, third);
  settle(one.context);
  CHECK(third.called());
}

TEST_CASE_TEMPLATE("those who were turned away do not keep a server from stopping", P, tcp, local) {
  one_server<P> one{{.max_connections = 1, .grace = 10s}};
  const auto busy = one.served();
  busy->say("UPLOAD\nname;5\n");
  busy->wait_for("Ready");
  auto away = one.arrive();  // and does not close
  away.wait_for_end();
  test::expected_call<void(std::error_code)> stopped;
  stop(*one.server, stopped);
  busy->say("hello");
  busy->wait_for_end();
  busy->close();
  settle(one.context);
  CHECK_FALSE(stopped.called());
  virtual_timer::pass(2s);  // as long as they may linger
  settle(one.context);
  CHECK(stopped.called());
  CHECK(tests::fetch(one.store, tests::id_of("hello")) == "hello");
}

TEST_CASE("the handler of a stop runs on its executor") {
  one_server<tcp> one;
  const auto idle = one.served();
  asio::io_context other;
  test::expected_call<void(std::error_code)> stopped;
  stopped.start_on(other.get_executor(),
                   [&](auto handler) { one.server->async_stop(std::move(handler)); });
  idle->wait_for_end();
  idle->close();
  settle(one.context);
  CHECK_FALSE(stopped.called());
  run_until(other, [&] { return stopped.called(); });
  CHECK_FALSE(std::get<0>(stopped.result()));
}

TEST_CASE_TEMPLATE("a server that is destroyed breaks off all connections at once", P, tcp, local) {
  const std::size_t before = open_descriptors();
  {
    one_server<P> one{{.max_connections = 2}};
    const auto idle = one.served();
    const auto busy = one.served();
    auto away = one.arrive();
    busy->say("UPLOAD\nname;5\nhell");
    busy->wait_for("Ready");
    away.wait_for("ERROR busy ");
    one.server.reset();
    settle(one.context);
    idle->wait_for_end();
    busy->wait_for_end();
    CHECK(idle->heard().find("ERROR") == std::string::npos);
    CHECK(tests::entries(one.store).empty());
    typename P::socket late{one.context};
    std::error_code refused;
    late.connect(one.endpoint, refused);
    CHECK(refused);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE_TEMPLATE("a server that is destroyed while it stops completes the stop", P, tcp, local) {
  one_server<P> one;
  const auto busy = one.served();
  busy->say("UPLOAD\nname;5\nhell");
  busy->wait_for("Ready");
  test::expected_call<void(std::error_code)> stopped;
  stop(*one.server, stopped);
  settle(one.context);
  CHECK_FALSE(stopped.called());
  one.server.reset();
  settle(one.context);
  CHECK(stopped.called());
}

TEST_CASE_TEMPLATE("a context that goes away with connections open leaves nothing", P, tcp, local) {
  const std::size_t before = open_descriptors();
  const tests::scratch_folder folder;
  memory_store<> store;
  {
    asio::io_context context;
    filexfer::server<P, memory_store<>> server{
        context.get_executor(), any_endpoint<P>(folder), store, {.max_connections = 2}};
    server.start();
    peer<P> idle{context, server.local_endpoint()};
    peer<P> busy{context, server.local_endpoint()};
    busy.say("UPLOAD\nname;5\nhell");
    busy.wait_for("Ready");
    peer<P> away{context, server.local_endpoint()};
    away.wait_for("ERROR busy ");
  }
  CHECK(open_descriptors() == before);
  CHECK(tests::entries(store).empty());
}

// ---------------------------------------------------------------------------------- descriptors gone

namespace {

/// Takes all descriptors that this process may have, after lowering how many that are.
class descriptor_famine {
 public:
  descriptor_famine() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit low = before_;
    low.rlim_cur = std::min<rlim_t>(before_.rlim_cur, 256);
    ::setrlimit(RLIMIT_NOFILE, &low);
    for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) taken_.push_back(fd);
  }
  descriptor_famine(const descriptor_famine&) = delete;
  descriptor_famine& operator=(const descriptor_famine&) = delete;
  ~descriptor_famine() { end(); }

  void end() {
    for (const int fd : std::exchange(taken_, {})) ::close(fd);
    ::setrlimit(RLIMIT_NOFILE, &before_);
  }

 private:
  rlimit before_{};
  std::vector<int> taken_;
};

}  // namespace

TEST_CASE_TEMPLATE("a server without descriptors asks again ten times a second, and is then back",
                   P, tcp, local) {
  one_server<P> one;
  const auto served = one.served();
  typename P::socket socket{one.context, one.endpoint.protocol()};
  peer<P> waiting{one.context, std::move(socket)};
  descriptor_famine famine;
  waiting.connect(one.endpoint);
  settle(one.context);
  const auto failures = [&] { return one.count(asio::error::no_descriptors); };
  CHECK(failures() == 1);
  CHECK(one.events.back().peer.empty());
  virtual_timer::pass(99ms);
  settle(one.context);
  CHECK(failures() == 1);
  virtual_timer::pass(1ms);
  settle(one.context);
  CHECK(failures() == 2);
  for (int tenth = 0; tenth < 10; ++tenth) {
    virtual_timer::pass(100ms);
    settle(one.context);
  }
  CHECK(failures() == 12);
  served->say("LIST_FILES\n");  // who is there is served meanwhile
  served->wait_for(empty_list);
  famine.end();
  virtual_timer::pass(100ms);
  waiting.say("LIST_FILES\n");
  waiting.wait_for(empty_list);
  CHECK(failures() == 12);
}

TEST_CASE("a server without descriptors can be stopped") {
  one_server<tcp> one;
  tcp::socket socket{one.context, one.endpoint.protocol()};
  descriptor_famine famine;
  socket.connect(one.endpoint);
  settle(one.context);
  CHECK(one.count(asio::error::no_descriptors) == 1);
  famine.end();
  test::expected_call<void(std::error_code)> stopped;
  stop(*one.server, stopped);
  settle(one.context);
  CHECK(stopped.called());
  CHECK_FALSE(virtual_timer::any_waits());
}

TEST_CASE_TEMPLATE("a server without descriptors can be destroyed", P, tcp, local) {
  one_server<P> one;
  typename P::socket socket{one.context, one.endpoint.protocol()};
  descriptor_famine famine;
  socket.connect(one.endpoint);
  settle(one.context);
  CHECK(one.count(asio::error::no_descriptors) == 1);
  one.server.reset();
  settle(one.context);
  CHECK_FALSE(virtual_timer::any_waits());
  CHECK(one.context.stopped());  // nothing of it is left
}

TEST_CASE_TEMPLATE("a peer that is gone before it was accepted harms nobody", P, tcp, local) {
  one_server<P> one;
  for (int i = 0; i < 10; ++i) {
    typename P::socket socket{one.context, one.endpoint.protocol()};
    socket.connect(one.endpoint);
    if constexpr (std::is_same_v<P, tcp>) socket.set_option(asio::socket_base::linger{true, 0});
  }
  one.served();
}

namespace {

/// An observer of which no copy can be made while memory lacks.
struct bulky_observer {
  explicit bulky_observer(const bool& lacking) : memory_lacks{lacking} {}
  bulky_observer(const bulky_observer& other) : memory_lacks{other.memory_lacks} {
    if (memory_lacks) throw std::bad_alloc{};
  }
  void operator()(const std::string&, const session_event&) const {}

  const bool& memory_lacks;
};

}  // namespace

TEST_CASE_TEMPLATE("a server that lacks memory for a connection ends that one, and goes on", P, tcp,
                   local) {
  bool memory_lacks = false;
  tests::scratch_folder folder;
  memory_store<> store;
  asio::io_context context;
  {
    filexfer::server<P, memory_store<>> server{context.get_executor(),
                                               any_endpoint<P>(folder),
                                               store,
                                               {.max_connections = 1, .accept_pause = 1ms}};
    server.observe(bulky_observer{memory_lacks});
    server.start();
    memory_lacks = true;
    peer<P> unlucky{context, server.local_endpoint()};
    unlucky.wait_for_end();
    memory_lacks = false;
    peer<P> next{context, server.local_endpoint()};
    next.say("LIST_FILES\n");
    next.wait_for(empty_list);
  }
  settle(context);
}

// -------------------------------------------------------------------------------------- Unix sockets

namespace {

struct socket_path {
  using server_type = filexfer::server<local, memory_store<>>;

  std::error_code serve() {
    try {
      server_type server{context.get_executor(), endpoint, store};
      server.start();
      settle(context);
      peer<local> one{context, endpoint};
      one.say("LIST_FILES\n");
      one.wait_for(empty_list);
    } catch (const std::system_error& e) {
      settle(context);
      return e.code();
    }
    settle(context);
    return {};
  }

  tests::scratch_folder folder;
  local::endpoint endpoint{(folder / "socket").string()};
  memory_store<> store;
  asio::io_context context;
};

}  // namespace

TEST_CASE("a Unix socket that was left behind is replaced") {
  socket_path at;
  { const local::acceptor killed{at.context, at.endpoint}; }
  REQUIRE(std::filesystem::is_socket(at.endpoint.path()));
  CHECK_FALSE(at.serve());
}

TEST_CASE("a Unix socket at which somebody answers is not replaced") {
  socket_path at;
  local::acceptor alive{at.context, at.endpoint};
  CHECK(at.serve() == asio::error::address_in_use);
  local::socket client{at.context};
  client.connect(at.endpoint);  // it still leads to who was there
  CHECK_NOTHROW(alive.accept());
}

TEST_CASE("a Unix socket whose server can take no more now is not replaced, nor waited for") {
  socket_path at;
  local::acceptor alive{at.context, at.endpoint.protocol()};
  alive.bind(at.endpoint);
  alive.listen(0);
  std::vector<local::socket> queue;
  for (std::error_code full; !full;) {
    auto& next = queue.emplace_back(at.context, at.endpoint.protocol());
    next.native_non_blocking(true);
    if (::connect(next.native_handle(), at.endpoint.data(),
                  static_cast<socklen_t>(at.endpoint.size())) != 0) {
      full = {errno, std::system_category()};
    }
  }
  CHECK(at.serve() == asio::error::address_in_use);
  CHECK(std::filesystem::is_socket(at.endpoint.path()));
}

TEST_CASE("a file that is no socket is not replaced") {
  socket_path at;
  tests::write_file(at.endpoint.path(), "precious");
  CHECK(at.serve() == asio::error::address_in_use);
  CHECK(tests::contents(at.endpoint.path()) == "precious");
  std::filesystem::remove(at.endpoint.path());
  { const local::acceptor killed{at.context, local::endpoint{(at.folder / "other").string()}}; }
  std::filesystem::create_symlink("other", at.endpoint.path());
  CHECK(at.serve() == asio::error::address_in_use);
  CHECK(std::filesystem::is_symlink(at.endpoint.path()));
}

TEST_CASE("a Unix socket is removed when its server stops, and when it is destroyed") {
  socket_path at;
  CHECK_FALSE(at.serve());
  CHECK_FALSE(std::filesystem::exists(at.endpoint.path()));
  socket_path::server_type server{at.context.get_executor(), at.endpoint, at.store};
  server.start();
  CHECK(std::filesystem::is_socket(at.endpoint.path()));
  test::expected_call<void(std::error_code)> stopped;
  stop(server, stopped);
  settle(at.context);
  CHECK(stopped.called());
  CHECK_FALSE(std::filesystem::exists(at.endpoint.path()));
}

TEST_CASE("a server that stops leaves a socket that is another's now") {
  socket_path at;
  {
    const socket_path::server_type server{at.context.get_executor(), at.endpoint, at.store};
    std::filesystem::rename(at.endpoint.path(), at.endpoint.path() + ".old");
    const local::acceptor another{at.context, at.endpoint};
  }
  CHECK(std::filesystem::is_socket(at.endpoint.path()));
}

TEST_CASE("of servers that start at one left behind socket at once, one gets it") {
  for (int round = 0; round < 50; ++round) {
    socket_path at;
    { const local::acceptor killed{at.context, at.endpoint}; }
    std::array<std::unique_ptr<socket_path::server_type>, 4> servers;
    std::array<std::thread, 4> starting;
    for (std::size_t i = 0; i < servers.size(); ++i) {
      starting[i] = std::thread{[&at, &mine = servers[i]] {
        try {
          mine = std::make_unique<socket_path::server_type>(at.context.get_executor(), at.endpoint,
                                                            at.store);
        } catch (const std::system_error&) {
        }
      }};
    }
    for (auto& thread : starting) thread.join();
    CHECK(std::count(servers.begin(), servers.end(), nullptr) == 3);
    local::socket client{at.context};
    CHECK_NOTHROW(client.connect(at.endpoint));
  }
}

TEST_CASE("a server that was never started can be stopped, and leaves no socket") {
  socket_path at;
  socket_path::server_type server{at.context.get_executor(), at.endpoint, at.store};
  test::expected_call<void(std::error_code)> stopped;
  stop(server, stopped);
  settle(at.context);
  CHECK(stopped.called());
  CHECK_FALSE(std::filesystem::exists(at.endpoint.path()));
}

// ------------------------------------------------------------------------------------------ observers

TEST_CASE_TEMPLATE("an observer is told of every command, by whom, and what came of it", P, tcp,
                   local) {
  one_server<P> one;
  const auto speaker = one.served();
  const std::string id = tests::id_of("hello").to_string();
  speaker->say("UPLOAD\nmy file;5\nhello");
  speaker->wait_for(id);
  speaker->say("LIST_FILES\n");
  speaker->wait_for(id + ";my file;5\n\n");
  speaker->say("DOWNLOAD\n" + id + "\n");
  speaker->wait_for("5\nhello");
  speaker->say("DOWNLOAD\n" + std::string(32, '0') + "\n");
  speaker->wait_for("ERROR not-found");
  speaker->say("UPLOAD\nother;10\n123");
  run_until(one.context, [&] { return speaker->heard().ends_with("Ready to receive the file\n"); });
  speaker->close();
  run_until(one.context, [&] { return one.events.size() == 6; });

  const auto& events = one.events;
  if constexpr (std::is_same_v<P, tcp>) {
    CHECK(events[0].peer.starts_with("127.0.0.1:"));
  } else {
    CHECK(events[0].peer == "unix:");
  }
  for (const auto& o : events) CHECK(o.peer == events[0].peer);
  CHECK(events[0].event.verb == command::features);
  const auto& upload = events[1].event;
  CHECK(upload.verb == command::upload);
  CHECK(upload.name == "my file");
  CHECK(upload.id == id);
  CHECK(upload.size == 5);
  CHECK(upload.bytes == 5);
  CHECK_FALSE(upload.error);
  CHECK(events[2].event.verb == command::list_files);
  CHECK(events[2].event.size == 1);
  const auto& download = events[3].event;
  CHECK(download.verb == command::download);
  CHECK(download.name == "my file");
  CHECK(download.id == id);
  CHECK(download.bytes == 5);
  CHECK_FALSE(download.error);
  CHECK(events[4].event.error == errc::not_found);
  CHECK(events[5].event.verb == command::upload);
  CHECK(events[5].event.bytes == 3);
  CHECK(events[5].event.error == errc::truncated);
}

// ---------------------------------------------------------------------------- who delays whom, threads

namespace {

/// A store whose commits wait until they are let go.
class gate {
 public:
  void pass() {
    std::unique_lock lock{mutex_};
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void wait_for_one() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }
  void open() {
    const std::lock_guard lock{mutex_};
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

class slow_store : public memory_store<> {
 public:
  class upload : public memory_store<>::upload {
   public:
    upload(memory_store<>::upload inner, gate& g)
        : memory_store<>::upload{std::move(inner)}, gate_{&g} {}
    void commit(const digest_type& id, std::error_code& ec) {
      gate_->pass();
      memory_store<>::upload::commit(id, ec);
    }

   private:
    gate* gate_;
  };

  std::optional<upload> create(const filexfer::upload_details<digest_type>& details,
                               std::error_code& ec) {
    auto inner = memory_store<>::create(details, ec);
    if (!inner) return std::nullopt;
    return upload{std::move(*inner), commits};
  }

  gate commits;
};

}  // namespace

TEST_CASE("a store that takes its time with one file keeps nobody else waiting") {
  slow_store store;
  asio::io_context context;
  asio::thread_pool pool{1};
  filexfer::server<tcp, slow_store> server{context.get_executor(),
                                           any_endpoint<tcp>(tests::scratch_folder{}), store};
  server.work_executor(pool.get_executor());
  server.start();
  peer<tcp> slow{context, server.local_endpoint()};
  slow.say("UPLOAD\nname;5\nhello");
  slow.wait_for("Ready");
  settle(context);
  store.commits.wait_for_one();
  peer<tcp> quick{context, server.local_endpoint()};
  quick.say("FEATURES\n");
  quick.wait_for("\n\n");
  CHECK(slow.heard().ends_with("Ready to receive the file\n"));
  store.commits.open();
  slow.wait_for(tests::id_of("hello").to_string());
}

TEST_CASE("a server that is destroyed while a file is being stored waits for that, and no longer") {
  asio::thread_pool pool{1};
  slow_store store;
  asio::io_context context;
  std::optional<filexfer::server<tcp, slow_store>> server;
  server.emplace(context.get_executor(), any_endpoint<tcp>(tests::scratch_folder{}), store);
  server->work_executor(pool.get_executor());
  server->start();
  peer<tcp> one{context, server->local_endpoint()};
  one.say("UPLOAD\nname;5\nhello");
  one.wait_for("Ready");
  settle(context);
  store.commits.wait_for_one();
  server.reset();
  settle(context);
  store.commits.open();
  one.wait_for_end();
  pool.join();
  CHECK(tests::fetch(store, tests::id_of("hello")) == "hello");  // stored, though nobody was told
}

TEST_CASE(
    "a server on many threads stops in the midst of transfers, and each client knows its own") {
  constexpr int clients = 24;
  const std::string bytes = tests::noise(300'000);
  const auto id = tests::id_of(bytes);
  asio::thread_pool work{2};
  memory_store<> store;
  asio::io_context context;
  std::atomic<std::size_t> events = 0;
  std::optional<filexfer::server<tcp, memory_store<>>> server;
  server.emplace(context.get_executor(), any_endpoint<tcp>(tests::scratch_folder{}), store,
                 server_options{.max_connections = clients - 4, .grace = 5s});
  server->work_executor(work.get_executor());
  server->observe([&](const std::string&, const session_event&) { ++events; });
  server->start();
  const auto endpoint = server->local_endpoint();
  std::vector<std::thread> threads;
  auto guard = std::make_optional(asio::make_work_guard(context));
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { context.run(); });

  // Each uploads the same bytes under names of its own for as long as it is let.
  struct outcome {
    int acknowledged = 0;
    std::error_code error;
  };
  std::atomic<int> total = 0;
  std::vector<std::future<outcome>> outcomes;
  for (int i = 0; i < clients; ++i) {
    outcomes.push_back(std::async(std::launch::async, [&, i] {
      outcome o;
      asio::io_context mine;
      tcp::socket socket{mine};
      socket.connect(endpoint, o.error);
      filexfer::client<tcp::socket&> client{socket};
      for (int n = 0; !o.error && n < 10'000; ++n) {
        filexfer::memory_source source{tests::as_bytes(bytes)};
        const auto name = std::to_string(i) + '-' + std::to_string(n);
        const auto result = client.upload(source, name, o.error);
        if (o.error) break;
        if (result.computed_there != id) throw std::runtime_error{"a wrong digest"};
        ++o.acknowledged;
        ++total;
      }
      return o;
    }));
  }
  while (total < 3 * clients) std::this_thread::yield();
  auto stopped = server->async_stop(asio::use_future);
  REQUIRE(stopped.wait_for(60s) == std::future_status::ready);
  stopped.get();
  int acknowledged = 0;
  for (auto& o : outcomes) {
    const outcome one = o.get();
    acknowledged += one.acknowledged;
    CHECK(one.error);
  }
  server.reset();
  guard.reset();
  for (auto& t : threads) t.join();
  work.join();
  // Whoever was acknowledged is in the list; the last ones may not have heard.
  const auto listed = static_cast<int>(tests::entries(store).size());
  CHECK(listed >= acknowledged);
  CHECK(listed <= acknowledged + clients);
  CHECK(events > 0);
}

// --------------------------------------------------------------------------- what sessions leave behind

namespace {

/// What `malloc` has given away; 0 where a sanitizer has its own.
std::size_t memory_in_use() {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
  return ::mallinfo2().uordblks;
#else
  return 0;
#endif
}

}  // namespace

TEST_CASE_TEMPLATE("a thousand sessions leave memory and descriptors as they were", P, tcp, local) {
  one_server<P> one{{.max_connections = 2}};
  REQUIRE_FALSE(tests::put(one.store, "name", "hello"));
  const std::string id = tests::id_of("hello").to_string();
  const auto sessions = [&](int count) {
    for (int i = 0; i < count; ++i) {
      auto p = one.arrive();
      switch (i % 8) {
        case 0: p.say("LIST_FILES\n"), p.wait_for("\n\n"); break;
        case 1: p.say("UPLOAD\nname;5\nhello"), p.wait_for(id); break;
        case 2: p.say("DOWNLOAD\n" + id + "\n"), p.wait_for("hello"); break;
        case 3: p.say("UPLOAD\nname;50\nhello"), p.wait_for("Ready"); break;
        case 4: p.say("GET / HTTP/1.1\r\n\r\n"), p.wait_for_end(); break;
        case 5: p.say("UPLOAD\nname;50\nhello"), p.wait_for("Ready"), p.reset(); break;
        case 6: p.say("UPLO"); break;
        case 7: {
          const auto second = one.arrive();
          auto third = one.arrive();
          third.wait_for_end();
          break;
        }
      }
      p.close();
      settle(one.context);
      one.events.clear();
    }
  };
  sessions(200);
  const std::size_t descriptors = open_descriptors();
  const std::size_t memory = memory_in_use();
  sessions(1000);
  CHECK(open_descriptors() == descriptors);
  CHECK(memory_in_use() <= memory + 16 * 1024);
  CHECK(tests::entries(one.store) == std::vector{tests::entry("name", "hello")});
}

}  // namespace server_tests
