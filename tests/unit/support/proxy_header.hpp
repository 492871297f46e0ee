#ifndef FILEXFER_TESTS_SUPPORT_PROXY_HEADER_HPP
#define FILEXFER_TESTS_SUPPORT_PROXY_HEADER_HPP

// Headers of the PROXY protocol, written from its specification.

#include <cstddef>
#include <string>
#include <string_view>

namespace test {

inline constexpr int proxy_local = 0x20;
inline constexpr int proxy_command = 0x21;
inline constexpr int proxy_tcp4 = 0x11;
inline constexpr int proxy_tcp6 = 0x21;
inline constexpr int proxy_unix = 0x31;

/// A header of version 2 with any 13th and 14th byte, whose length is that of `behind`.
inline std::string binary_proxy_header(int command, int family, std::string_view behind) {
  std::string header{"\r\n\r\n\0\r\nQUIT\n", 12};
  header += static_cast<char>(command);
  header += static_cast<char>(family);
  header += static_cast<char>(behind.size() >> 8);
  header += static_cast<char>(behind.size());
  return header.append(behind);
}

/// 192.0.2.7:4711 to 192.0.2.1:9999.
inline const std::string proxied_tcp4{"\xC0\0\2\7\xC0\0\2\1\x12\x67\x27\x0F", 12};

/// [2001:db8::7]:4711 to [2001:db8::1]:9999.
inline const std::string proxied_tcp6{
    "\x20\1\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\7\x20\1\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\1\x12\x67\x27\x0F",
    36};

inline std::string proxy_line(const std::string& source, int port = 4711) {
  return "PROXY TCP4 " + source + " 192.0.2.1 " + std::to_string(port) + " 9999\r\n";
}

}  // namespace test

#endif
