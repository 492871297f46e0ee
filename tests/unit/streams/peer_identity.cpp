#include <filexfer/memory_pipe.hpp>
#include <filexfer/peer_identity.hpp>
#include <filexfer/recording_stream.hpp>

#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <doctest/doctest.h>

#include <sstream>
#include <string>
#include <system_error>
#include <utility>

#include <unistd.h>

namespace peer_identity_tests {

using asio::ip::tcp;
using asio::local::stream_protocol;
using filexfer::identify_peer;
using filexfer::peer_identity;

namespace {

std::string text_of(const tcp::endpoint& endpoint) {
  std::ostringstream text;
  text << endpoint;
  return text.str();
}

/// A stream with a certificate, as one of TLS.
struct certified_stream {
  tcp::socket& next_layer() { return socket; }
  std::string peer_subject() const { return "CN=alice"; }
  tcp::socket socket;
};

void check_tcp(const asio::ip::address& address) {
  asio::io_context context;
  tcp::acceptor acceptor{context};
  std::error_code ec;
  acceptor.open(tcp::endpoint{address, 0}.protocol(), ec);
  if (!ec) acceptor.bind({address, 0}, ec);
  if (ec) return;  // no IPv6
  acceptor.listen();
  tcp::socket client{context};
  client.connect(acceptor.local_endpoint());
  const std::string client_address = text_of(client.local_endpoint());
  tcp::socket server = acceptor.accept();
  CHECK(identify_peer(server) == peer_identity{.address = client_address});
  CHECK(identify_peer(client).address == text_of(acceptor.local_endpoint()));
  certified_stream certified{std::move(server)};
  CHECK(identify_peer(certified) ==
        peer_identity{.address = client_address, .certificate_subject = "CN=alice"});
  filexfer::recording_stream<tcp::socket> layer{std::move(certified.socket)};
  CHECK(identify_peer(layer).address == client_address);
  asio::generic::stream_protocol::socket any{std::move(layer.next_layer())};
  CHECK(identify_peer(any) == peer_identity{.address = client_address});
  any.close();
  CHECK(identify_peer(any) == peer_identity{});
}

}  // namespace

TEST_CASE("the peer of a TCP socket is known by address and port, through layers too") {
  check_tcp(asio::ip::address_v4::loopback());
  check_tcp(asio::ip::address_v6::loopback());
}

TEST_CASE("the peer of a local socket is known by its user, group and process") {
  asio::io_context context;
  stream_protocol::socket near{context};
  stream_protocol::socket far{context};
  asio::local::connect_pair(near, far);
  const peer_identity peer = identify_peer(near);
  CHECK(peer.address == "unix:");
  CHECK(peer.user_id == ::geteuid());
  CHECK(peer.group_id == ::getegid());
#if defined(__linux__)
  CHECK(peer.process_id == ::getpid());
#endif
  CHECK(peer.certificate_subject.empty());
  asio::generic::stream_protocol::socket any{std::move(near)};
  CHECK(identify_peer(any) == peer);
}

TEST_CASE("of a stream without an address nothing is known") {
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context);
  CHECK(identify_peer(near) == peer_identity{});
}

}  // namespace peer_identity_tests
