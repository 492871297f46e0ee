#ifndef FILEXFER_TESTS_SUPPORT_SERVER_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_SERVER_FIXTURE_HPP

// A server in virtual time, and clients that send and receive text.

#include "support/once_handler.hpp"
#include "support/scratch_folder.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/socket_base.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace server_tests {

using namespace test;
using namespace std::chrono_literals;
using asio::ip::tcp;
using filexfer::errc;
using filexfer::memory_store;
using filexfer::server_options;
using filexfer::session_event;
using local = asio::local::stream_protocol;

/// Runs `context` until `condition()`; ends the test if that takes more than 60 s.
template <class Condition>
void run_until(asio::io_context& context, Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    if (context.stopped()) context.restart();
    const bool ran = context.run_one_until(deadline) > 0;
    if (!ran && !condition()) {
      FAIL("it never happened");
    }
  }
}

/// Runs the handlers that are ready, and those that become ready; ends the test after 10,000.
inline void run_until_idle_or_fail(asio::io_context& context) {
  if (context.stopped()) context.restart();
  std::size_t handlers = 0;
  while (context.poll_one() > 0) {
    if (++handlers >= 10'000) FAIL("it spins");
  }
}

template <class Protocol>
typename Protocol::endpoint any_endpoint(const scratch_folder& folder) {
  if constexpr (std::is_same_v<Protocol, tcp>) return {asio::ip::address_v4::loopback(), 0};
  else return (folder / "socket").string();
}

/// A client that sends and receives the text of the protocol.
template <class Protocol>
class peer {
 public:
  using socket_type = typename Protocol::socket;
  using endpoint_type = typename Protocol::endpoint;

  peer(asio::io_context& context, const endpoint_type& to)
      : context_{context}, socket_{context, to.protocol()} {
    connect(to);
  }
  /// Binds its socket to `from`.
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
    read_more();
  }

  void send(std::string_view text) { asio::write(socket_, asio::buffer(text)); }

  const std::string& received() const noexcept { return *received_; }
  bool ended() const noexcept { return *ended_; }

  void wait_for(std::string_view text) {
    run_until(context_, [&] { return received().find(text) != std::string::npos || ended(); });
    CHECK(received().find(text) != std::string::npos);
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
  asio::io_context& context() noexcept { return context_; }

 private:
  void read_more() {
    socket_.async_read_some(asio::buffer(*buffer_),
                            [this, received = received_, ended = ended_, buffer = buffer_](
                                std::error_code ec, std::size_t bytes) {
                              received->append(buffer->data(), bytes);
                              if (ec) *ended = true;
                              else read_more();
                            });
  }

  asio::io_context& context_;
  socket_type socket_;
  // Shared with the pending read, which may outlive the peer.
  std::shared_ptr<std::string> received_ = std::make_shared<std::string>();
  std::shared_ptr<bool> ended_ = std::make_shared<bool>(false);
  std::shared_ptr<std::array<char, 4096>> buffer_ = std::make_shared<std::array<char, 4096>>();
};

struct observed {
  std::string peer;
  session_event event;
};

inline constexpr std::string_view empty_list = "No files available at the moment\n\n";

/// A server on one thread, in virtual time.
template <class Protocol, class Store = memory_store<>>
struct server_fixture {
  using server_type = filexfer::server<Protocol, Store, filexfer::md5, virtual_timer>;
  using peer_type = peer<Protocol>;

  /// `configure` is called before the server is started.
  explicit server_fixture(const server_options& options = {},
                          const std::function<void(server_type&)>& configure = {})
      : server{std::in_place, context.get_executor(), any_endpoint<Protocol>(folder), store,
               options},
        endpoint{server->local_endpoint()} {
    server->observe([this](const std::string& peer_name, const session_event& event) {
      events.push_back({peer_name, event});
    });
    if (configure) configure(*server);
    server->start();
  }

  ~server_fixture() {
    server.reset();
    run_until_idle_or_fail(context);
  }

  peer_type connect() { return peer_type{context, endpoint}; }

  /// A peer that the server has accepted and answered.
  std::unique_ptr<peer_type> connect_served() {
    auto served = std::make_unique<peer_type>(context, endpoint);
    served->send("FEATURES\n");
    served->wait_for("\n\n");
    return served;
  }

  std::size_t count(std::error_code error) const {
    return static_cast<std::size_t>(std::count_if(
        events.begin(), events.end(), [&](const observed& o) { return o.event.error == error; }));
  }

  scratch_folder folder;
  Store store;
  asio::io_context context;
  std::optional<server_type> server;
  typename Protocol::endpoint endpoint;
  std::vector<observed> events;
};

inline std::size_t lines_in(std::string_view text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

template <class Server>
void stop(Server& server, expected_call<void(std::error_code)>& call) {
  call.start([&](auto handler) { server.async_stop(std::move(handler)); });
}

}  // namespace server_tests

#endif
