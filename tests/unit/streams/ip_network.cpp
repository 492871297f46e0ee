#include <filexfer/ip_network.hpp>

#include <asio/ip/address.hpp>
#include <doctest/doctest.h>

#include <stdexcept>
#include <string_view>

namespace ip_network_tests {

using filexfer::ip_network;
using filexfer::parse_ip_network;

namespace {

asio::ip::address address(const char* text) { return asio::ip::make_address(text); }

bool contains(std::string_view network, const char* text) {
  const auto parsed = parse_ip_network(network);
  REQUIRE(parsed);
  return parsed->contains(address(text));
}

}  // namespace

TEST_CASE("a network contains the addresses that begin with its bits, and no others") {
  CHECK(contains("10.0.0.0/8", "10.0.0.0"));
  CHECK(contains("10.0.0.0/8", "10.255.255.255"));
  CHECK_FALSE(contains("10.0.0.0/8", "11.0.0.0"));
  CHECK_FALSE(contains("10.0.0.0/8", "9.255.255.255"));
  CHECK(contains("192.0.2.64/26", "192.0.2.64"));
  CHECK(contains("192.0.2.64/26", "192.0.2.127"));
  CHECK_FALSE(contains("192.0.2.64/26", "192.0.2.63"));
  CHECK_FALSE(contains("192.0.2.64/26", "192.0.2.128"));
  CHECK_FALSE(contains("192.0.2.64/26", "192.0.3.64"));
  CHECK(contains("2001:db8::/33", "2001:db8:7fff:ffff::1"));
  CHECK_FALSE(contains("2001:db8::/33", "2001:db8:8000::"));
  CHECK_FALSE(contains("2001:db8::/33", "2001:db9::"));
}

TEST_CASE("an address alone is a network of one") {
  CHECK(contains("192.0.2.1", "192.0.2.1"));
  CHECK_FALSE(contains("192.0.2.1", "192.0.2.0"));
  CHECK_FALSE(contains("192.0.2.1", "128.0.2.1"));
  CHECK(contains("::1", "::1"));
  CHECK_FALSE(contains("::1", "::"));
  CHECK(contains("192.0.2.1/32", "192.0.2.1"));
  CHECK(contains("::1/128", "::1"));
  CHECK_FALSE(contains("::1/128", "::3"));
  CHECK(ip_network{address("192.0.2.1")}.prefix_length() == 32);
  CHECK(ip_network{address("2001:db8::1")}.prefix_length() == 128);
}

TEST_CASE("a network without bits contains all addresses of its version") {
  CHECK(contains("0.0.0.0/0", "255.0.0.1"));
  CHECK_FALSE(contains("0.0.0.0/0", "::1"));
  CHECK(contains("::/0", "ffff::1"));
  CHECK_FALSE(contains("::/0", "127.0.0.1"));
  CHECK_FALSE(contains("::/0", "::ffff:127.0.0.1"));
}

TEST_CASE("an IPv4 address that a socket of both versions has mapped is in IPv4 networks") {
  CHECK(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  CHECK_FALSE(contains("10.0.0.0/8", "::ffff:11.1.2.3"));
  CHECK(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
  CHECK_FALSE(contains("::ffff:10.0.0.0/104", "11.1.2.3"));
  CHECK(contains("::ffff:10.0.0.1", "10.0.0.1"));
  CHECK_FALSE(contains("::/96", "10.0.0.1"));
}

TEST_CASE("a link-local address is in its network on whichever interface") {
  CHECK(contains("fe80::/10", "fe80::1%1"));
}

TEST_CASE("what is not a network is not parsed") {
  using namespace std::string_view_literals;
  for (const auto text : {""sv,
                          "/"sv,
                          "/8"sv,
                          "10"sv,
                          "10.0.0"sv,
                          "10.0.0.0/"sv,
                          "10.0.0.0/33"sv,
                          "10.0.0.0/-1"sv,
                          "10.0.0.0/+8"sv,
                          "10.0.0.0/08"sv,
                          "10.0.0.0/8 "sv,
                          " 10.0.0.0/8"sv,
                          "10.0.0.0/8/8"sv,
                          "10.0.0.0/255.0.0.0"sv,
                          "10.0.0.0/4294967304"sv,
                          "10.0.0.256"sv,
                          "010.0.0.0"sv,
                          "10.0.0.0\0"sv,
                          "10.0.0.0\0/8"sv,
                          "::/129"sv,
                          ":::"sv,
                          "[::1]"sv,
                          "::1%lo"sv,
                          "fe80::%1/10"sv,
                          "localhost"sv,
                          "10.0.0.1/8"sv,
                          "10.0.0.0/6"sv,
                          "0.0.0.1/0"sv,
                          "192.0.2.1/31"sv,
                          "2001:db8::1/32"sv,
                          "2001:db8:8000::/32"sv,
                          "8000::/0"sv}) {
    CAPTURE(text);
    CHECK_FALSE(parse_ip_network(text));
  }
}

TEST_CASE("a network of more bits than an address has is rejected") {
  CHECK_NOTHROW(ip_network(address("10.0.0.0"), 32));
  CHECK_THROWS_AS(ip_network(address("10.0.0.0"), 33), std::out_of_range);
  CHECK_NOTHROW(ip_network(address("::1"), 128));
  CHECK_THROWS_AS(ip_network(address("::1"), 129), std::out_of_range);
}

TEST_CASE("a network that is made of any of its addresses contains all of them") {
  const ip_network network{address("10.1.2.3"), 12};
  CHECK(network.contains(address("10.0.0.0")));
  CHECK(network.contains(address("10.15.255.255")));
  CHECK_FALSE(network.contains(address("10.16.0.0")));
}

}  // namespace ip_network_tests
