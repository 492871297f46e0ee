// Examples for the reference: the header of the PROXY protocol, and networks.

#include "support.hpp"

#include <filexfer/ip_network.hpp>
#include <filexfer/proxy_protocol.hpp>

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <cstddef>
#include <iostream>
#include <string>
#include <vector>

namespace proxy_protocol_snippets {

using asio::ip::tcp;
using snippets::captured_output;

TEST_CASE("a network contains addresses") {
  captured_output output;
  //! [ip_network]
  const auto network = filexfer::parse_ip_network("2001:db8::/32");
  const filexfer::ip_network host{asio::ip::make_address("192.0.2.1")};
  if (network && network->contains(asio::ip::make_address("2001:db8::1"))) std::cout << "inside\n";
  if (!host.contains(asio::ip::make_address("192.0.2.2"))) std::cout << "another one\n";
  //! [ip_network]
  CHECK(output.take() == "inside\nanother one\n");
}

TEST_CASE("a header is read, and nothing behind it") {
  asio::io_context context;
  tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
  tcp::socket balancer{context};
  balancer.connect(acceptor.local_endpoint());
  const std::string bytes = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 9999\r\nhello";
  asio::write(balancer, asio::buffer(bytes));
  tcp::socket socket = acceptor.accept();
  captured_output output;
  //! [parse_proxy_header]
  std::vector<std::byte> received;
  filexfer::proxy_header header = filexfer::parse_proxy_header(received);
  while (header.missing > 0) {
    const std::size_t before = received.size();
    received.resize(before + header.missing);
    asio::read(socket, asio::buffer(received) + before);
    header = filexfer::parse_proxy_header(received);  // throws if it is not one
  }
  if (header.source) std::cout << *header.source << '\n';
  //! [parse_proxy_header]
  CHECK(output.take() == "192.0.2.7:4711\n");
  std::string rest(5, ' ');
  asio::read(socket, asio::buffer(rest));
  CHECK(rest == "hello");
}

}  // namespace proxy_protocol_snippets
