#include "support/bytes.hpp"
#include "support/proxy_header.hpp"

#include <filexfer/error.hpp>
#include <filexfer/proxy_protocol.hpp>

#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace proxy_protocol_tests {

using namespace test;
using namespace std::string_literals;
using filexfer::errc;
using filexfer::max_proxy_header_size;
using filexfer::min_proxy_header_size;
using filexfer::proxy_header;

namespace {

using source_type = std::optional<asio::ip::tcp::endpoint>;

source_type endpoint(const char* address, std::uint16_t port) {
  return asio::ip::tcp::endpoint{asio::ip::make_address(address), port};
}

proxy_header parse(std::string_view text, std::error_code& ec) {
  return filexfer::parse_proxy_header(as_bytes(text), ec);
}

struct valid_header {
  std::string bytes;
  source_type source{};
};

std::string line(const std::string& rest) { return "PROXY " + rest + "\r\n"; }

/// The longest of version 2.
std::string with_extensions(std::size_t size) {
  return binary_proxy_header(proxy_command, proxy_tcp4,
                             proxied_tcp4 + std::string(size - 16 - proxied_tcp4.size(), '\xFF'));
}

const std::vector<valid_header>& valid_headers() {
  static const std::string longest_v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  static const std::vector<valid_header> all{
      {line("TCP4 192.0.2.7 192.0.2.1 4711 9999"), endpoint("192.0.2.7", 4711)},
      {line("TCP4 0.0.0.0 0.0.0.0 0 0"), endpoint("0.0.0.0", 0)},
      {line("TCP4 255.255.255.255 255.255.255.255 65535 65535"),
       endpoint("255.255.255.255", 65535)},
      {line("TCP6 2001:db8::7 2001:DB8::1 4711 9999"), endpoint("2001:db8::7", 4711)},
      {line("TCP6 :: :: 0 0"), endpoint("::", 0)},
      {line("TCP6 " + longest_v6 + " " + longest_v6 + " 65535 65535"),
       endpoint(longest_v6.c_str(), 65535)},
      {line("TCP6 ::ffff:192.0.2.7 ::1 1 1"), endpoint("::ffff:192.0.2.7", 1)},
      {line("UNKNOWN")},
      {line("UNKNOWN ")},
      {line("UNKNOWN " + longest_v6 + " " + longest_v6 + " 65535 65535")},
      {line("UNKNOWN any \r thing \n \0\xFF\r"s)},
      {binary_proxy_header(proxy_command, proxy_tcp4, proxied_tcp4), endpoint("192.0.2.7", 4711)},
      {binary_proxy_header(proxy_command, proxy_tcp4, proxied_tcp4 + "\4\0\0"s),
       endpoint("192.0.2.7", 4711)},
      {with_extensions(max_proxy_header_size), endpoint("192.0.2.7", 4711)},
      {binary_proxy_header(proxy_command, proxy_tcp6, proxied_tcp6), endpoint("2001:db8::7", 4711)},
      {binary_proxy_header(proxy_command, proxy_tcp6, proxied_tcp6 + "extension"),
       endpoint("2001:db8::7", 4711)},
      {binary_proxy_header(proxy_command, proxy_unix, std::string(216, '/'))},
      {binary_proxy_header(proxy_command, proxy_unix, std::string(217, '/'))},
      {binary_proxy_header(proxy_command, 0x00, "")},
      {binary_proxy_header(proxy_command, 0x00, proxied_tcp4)},
      {binary_proxy_header(proxy_command, 0x01, "anything")},
      {binary_proxy_header(proxy_local, 0x00, "")},
      {binary_proxy_header(proxy_local, proxy_tcp4, proxied_tcp4)},
      {binary_proxy_header(proxy_local, proxy_tcp6, "too short")},
      {binary_proxy_header(proxy_local, 0xFF, "a family that is ignored")},
  };
  return all;
}

}  // namespace

TEST_CASE("a valid header tells its size, and its source if it has one") {
  for (const valid_header& valid : valid_headers()) {
    const std::string& bytes = valid.bytes;
    CAPTURE(bytes);
    std::error_code ec = errc::busy;
    const auto header = parse(bytes, ec);
    CHECK_FALSE(ec);
    CHECK(header.missing == 0);
    CHECK(header.size == bytes.size());
    CHECK(header.source == valid.source);
  }
}

TEST_CASE("what follows a header changes nothing") {
  for (const valid_header& valid : valid_headers()) {
    const std::string& bytes = valid.bytes;
    for (const auto& behind : {"\r\n"s, "\n"s, "PROXY"s, "LIST_FILES\n"s, "\0\xFF"s}) {
      CAPTURE(bytes);
      std::error_code ec;
      const auto header = parse(bytes + behind, ec);
      CHECK_FALSE(ec);
      CHECK(header.missing == 0);
      CHECK(header.size == bytes.size());
      CHECK(header.source == valid.source);
    }
  }
}

TEST_CASE("a header that is cut anywhere lacks bytes of its own, and no byte behind it") {
  for (const valid_header& valid : valid_headers()) {
    const std::string& bytes = valid.bytes;
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      CAPTURE(bytes);
      CAPTURE(size);
      std::error_code ec;
      const auto header = parse(bytes.substr(0, size), ec);
      CHECK_FALSE(ec);
      CHECK(header.missing > 0);
      CHECK(size + header.missing <= bytes.size());
      CHECK_FALSE(header.source);
    }
  }
}

TEST_CASE("a header is complete after a few reads of what is missing") {
  for (const valid_header& valid : valid_headers()) {
    const std::string& bytes = valid.bytes;
    CAPTURE(bytes);
    std::size_t size = 0;
    std::size_t reads = 0;
    std::error_code ec;
    proxy_header header;
    while ((header = parse(bytes.substr(0, size), ec)).missing > 0) {
      size += header.missing;
      REQUIRE(++reads <= (bytes.starts_with("PROXY") ? 50 : 3));
    }
    CHECK_FALSE(ec);
    CHECK(header.size == size);
    CHECK(size == bytes.size());
    CHECK(header.source == valid.source);
  }
}

TEST_CASE("the first read may be of as many bytes as the shortest header has") {
  std::error_code ec;
  CHECK(parse("", ec).missing == min_proxy_header_size);
  CHECK_FALSE(ec);
  CHECK(line("UNKNOWN").size() == min_proxy_header_size);
}

TEST_CASE("a malformed header is rejected, and read no further than a valid one could be") {
  const std::string tcp4 = "TCP4 192.0.2.7 192.0.2.1 ";
  const std::vector<std::string> malformed{
      // No header at all.
      "LIST_FILES\n"s,
      "GET / HTTP/1.1\r\n"s,
      "\x16\x03\x01\x02"s,
      "\0"s,
      "proxy UNKNOWN\r\n"s,
      " PROXY UNKNOWN\r\n"s,
      "PROXY\r\n"s,
      "PROXY \r\n"s,
      "PROXYUNKNOWN\r\n"s,
      "PROXY\tUNKNOWN\r\n"s,
      "PROXY  UNKNOWN\r\n"s,
      // The word behind PROXY.
      line("TCP5 192.0.2.7 192.0.2.1 1 1"),
      line("UDP4 192.0.2.7 192.0.2.1 1 1"),
      line("tcp4 192.0.2.7 192.0.2.1 1 1"),
      line("TCP 192.0.2.7 192.0.2.1 1 1"),
      line("UNKNOWNS"),
      line("UNKNOWN\t"),
      "PROXY UNKNOWN\n"s + std::string(20, ' '),
      // Spaces and fields.
      line("TCP4  192.0.2.7 192.0.2.1 1 1"),
      line("TCP4 192.0.2.7  192.0.2.1 1 1"),
      line("TCP4 192.0.2.7 192.0.2.1  1 1"),
      line(tcp4 + "1  1"),
      line(tcp4 + "1 1 "),
      line("TCP4 192.0.2.7\t192.0.2.1 1 1"),
      line(tcp4 + "1"),
      line(tcp4 + "1 1 1"),
      line("TCP4 192.0.2.7 1 1"),
      line("TCP4 "),
      line("TCP4 192.0.2.7 192.0.2.1 1 "),
      line("TCP4"),
      // The end.
      "PROXY " + tcp4 + "1 1\n",
      "PROXY " + tcp4 + "1 1\n\r",
      "PROXY " + tcp4 + "1 1\r\r\n",
      "PROXY " + tcp4 + "1 1\n\r\n",
      "PROXY " + tcp4 + "1 1\0\r\n"s,
      "PROXY " + tcp4 + "1\r1 1\r\n",
      // Addresses.
      line("TCP4 192.0.2.256 192.0.2.1 1 1"),
      line("TCP4 192.0.2 192.0.2.1 1 1"),
      line("TCP4 192.0.2.7.1 192.0.2.1 1 1"),
      line("TCP4 192.0.2.07 192.0.2.1 1 1"),
      line("TCP4 0192.0.2.7 192.0.2.1 1 1"),
      line("TCP4 192.0..7 192.0.2.1 1 1"),
      line("TCP4 0x7f.0.0.1 192.0.2.1 1 1"),
      line("TCP4 3221225985 192.0.2.1 1 1"),
      line("TCP4 ::1 192.0.2.1 1 1"),
      line("TCP4 192.0.2.7 ::1 1 1"),
      line("TCP4 192.0.2.7\0x 192.0.2.1 1 1"s),
      line("TCP4 localhost 192.0.2.1 1 1"),
      line("TCP4 192.0.2.7 192.0.2.256 1 1"),
      line("TCP6 192.0.2.7 2001:db8::1 1 1"),
      line("TCP6 2001:db8::7 192.0.2.1 1 1"),
      line("TCP6 2001::db8::7 ::1 1 1"),
      line("TCP6 2001:db8:7 ::1 1 1"),
      line("TCP6 12345::1 ::1 1 1"),
      line("TCP6 ::g ::1 1 1"),
      line("TCP6 fe80::1%1 ::1 1 1"),
      line("TCP6 fe80::1%lo ::1 1 1"),
      line("TCP6 [::1] ::1 1 1"),
      line("TCP6 1:2:3:4:5:6:7:8:9 ::1 1 1"),
      // Ports.
      line(tcp4 + "65536 1"),
      line(tcp4 + "1 65536"),
      line(tcp4 + "01 1"),
      line(tcp4 + "1 00"),
      line(tcp4 + "+1 1"),
      line(tcp4 + "-1 1"),
      line(tcp4 + "1 -0"),
      line(tcp4 + "0x1 1"),
      line(tcp4 + "1a 1"),
      line(tcp4 + "99999999999999999999 1"),
      line(tcp4 + "1.0 1"),
      // The length of version 1.
      line("UNKNOWN " + std::string(108 - 16, ' ')),
      "PROXY UNKNOWN " + std::string(200, 'x'),
      line(tcp4 + std::string(40, '0') + "1 1"),
      "PROXY TCP4 " + std::string(200, '1'),
      // The signature of version 2.
      "\r\n\r\n\0\r\nQUIT\r\x21\x11\0\0"s,
      "\r\n\r\n\r\n"s,
      "\r\n"s + "LIST_FILES\n",
      "\r\r"s,
      // Its version, command, family and transport.
      binary_proxy_header(0x11, proxy_tcp4, proxied_tcp4),
      binary_proxy_header(0x31, proxy_tcp4, proxied_tcp4),
      binary_proxy_header(0x01, proxy_tcp4, proxied_tcp4),
      binary_proxy_header(0x22, proxy_tcp4, proxied_tcp4),
      binary_proxy_header(0x2F, proxy_tcp4, proxied_tcp4),
      binary_proxy_header(proxy_command, 0x02, ""),
      binary_proxy_header(proxy_command, 0x10, proxied_tcp4),
      binary_proxy_header(proxy_command, 0x12, proxied_tcp4),
      binary_proxy_header(proxy_command, 0x13, proxied_tcp4),
      binary_proxy_header(proxy_command, 0x22, proxied_tcp6),
      binary_proxy_header(proxy_command, 0x32, std::string(216, '/')),
      binary_proxy_header(proxy_command, 0x41, std::string(216, '/')),
      binary_proxy_header(proxy_command, 0xF1, std::string(216, '/')),
      // Its length.
      binary_proxy_header(proxy_command, proxy_tcp4, ""),
      binary_proxy_header(proxy_command, proxy_tcp4, proxied_tcp4.substr(1)),
      binary_proxy_header(proxy_command, proxy_tcp6, proxied_tcp4),
      binary_proxy_header(proxy_command, proxy_tcp6, proxied_tcp6.substr(1)),
      binary_proxy_header(proxy_command, proxy_unix, std::string(215, '/')),
      with_extensions(max_proxy_header_size + 1),
      binary_proxy_header(proxy_local, 0x00, std::string(4097, ' ')),
      binary_proxy_header(proxy_local, 0x00, std::string(65535, ' ')),
  };
  for (const std::string& bytes : malformed) {
    CAPTURE(bytes);
    std::error_code ec;
    const auto whole = parse(bytes, ec);
    CHECK(ec == errc::bad_proxy_header);
    CHECK_FALSE(whole.source);
    // What is read of it by and by is rejected, too.
    std::size_t size = 0;
    for (;;) {
      const auto header = parse(std::string_view{bytes}.substr(0, size), ec);
      if (ec) break;
      REQUIRE(header.missing > 0);
      REQUIRE(size < bytes.size());
      size = std::min(bytes.size(), size + header.missing);
      REQUIRE(size <= max_proxy_header_size);
    }
    CHECK(ec == errc::bad_proxy_header);
    // Once it is rejected, it stays so.
    for (; size <= std::min<std::size_t>(bytes.size(), 300); ++size) {
      parse(std::string_view{bytes}.substr(0, size), ec);
      CHECK(ec == errc::bad_proxy_header);
    }
  }
}

TEST_CASE("what can't become a header is rejected as soon as that is certain") {
  const std::vector<std::pair<std::string, std::string>> last_good_and_bad{
      {"", "L"},
      {"PROXY ", "X"},
      {"PROXY TCP", "5"},
      {"PROXY UNKNOWN", "S"},
      {"PROXY TCP4 1.2.3.4 ", "\n"},
      {"PROXY TCP4 1.2.3.4 ", "\xFF"},
      {"\r\n\r\n", "\r"},
      {"\r\n\r\n\0\r\nQUIT\n"s, "\x31"},
      {"\r\n\r\n\0\r\nQUIT\n\x21"s, "\x12"},
      {"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"s, "\x0B"},
      {"\r\n\r\n\0\r\nQUIT\n\x20\0\x10"s, "\1"},
      {"PROXY UNKNOWN " + std::string(91, 'x'), "x"},
  };
  for (const auto& each : last_good_and_bad) {
    const std::string& good = each.first;
    CAPTURE(good);
    std::error_code ec;
    CHECK(parse(good, ec).missing > 0);
    CHECK_FALSE(ec);
    parse(good + each.second, ec);
    CHECK(ec == errc::bad_proxy_header);
  }
}

TEST_CASE("a malformed header is thrown as a system_error where no error code is taken") {
  CHECK_THROWS_AS(filexfer::parse_proxy_header(as_bytes("LIST_FILES\n")), std::system_error);
  CHECK(filexfer::parse_proxy_header(as_bytes("PROXY UNKNOWN\r\n")).size == 15);
}

}  // namespace proxy_protocol_tests
