#ifndef FILEXFER_TESTS_FUZZ_SUPPORT_PROXY_GRAMMAR_HPP
#define FILEXFER_TESTS_FUZZ_SUPPORT_PROXY_GRAMMAR_HPP

// The header of the PROXY protocol, read a second time: from its specification alone, with no code
// of the library.

#include <array>
#include <cstddef>
#include <optional>
#include <regex>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace fuzz::grammar {

struct read_header {
  std::size_t size = 0;
  std::optional<std::string> source{};  ///< The address, as the system writes it, and the port.
};

/// The address of these bytes in network order, as text.
inline std::string address_text(int family, const void* bytes) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(family, bytes, text.data(), text.size());
  return text.data();
}

inline std::optional<std::string> address_of(int family, const std::string& text) {
  in6_addr bytes{};  // the larger one
  if (::inet_pton(family, text.c_str(), &bytes) != 1) return std::nullopt;
  return address_text(family, &bytes);
}

/// Section 2.1.
inline std::optional<read_header> read_proxy_line(std::string_view bytes) {
  const auto end = bytes.find("\r\n");
  if (end == bytes.npos || end + 2 > 107) return std::nullopt;
  const std::string line{bytes.substr(0, end)};
  if (line == "PROXY UNKNOWN" || line.starts_with("PROXY UNKNOWN ")) return read_header{end + 2};
  static const std::regex form{
      "PROXY TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"};
  std::smatch fields;
  if (!std::regex_match(line, fields, form)) return std::nullopt;
  const int family = fields[1] == "4" ? AF_INET : AF_INET6;
  const auto source = address_of(family, fields[2]);
  const auto destination = address_of(family, fields[3]);
  if (!source || !destination || std::stoul(fields[4]) > 65535 || std::stoul(fields[5]) > 65535) {
    return std::nullopt;
  }
  return read_header{end + 2, *source + ' ' + fields[4].str()};
}

/// Section 2.2, of which streams are accepted, and 4096 bytes.
inline std::optional<read_header> read_proxy_block(std::string_view bytes) {
  if (bytes.size() < 16 || bytes.substr(0, 12) != std::string_view{"\r\n\r\n\0\r\nQUIT\n", 12}) {
    return std::nullopt;
  }
  const auto value = [bytes](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const std::size_t length = 256u * value(14) + value(15);
  if (length > 4096 || bytes.size() < 16 + length) return std::nullopt;
  const read_header without_source{16 + length};
  if (value(12) == 0x20) return without_source;
  if (value(12) != 0x21) return std::nullopt;
  if (value(13) == 0x00 || value(13) == 0x01) return without_source;
  if (value(13) == 0x31 && length >= 216) return without_source;
  const auto with_source = [&](int family, std::size_t port) {
    return read_header{16 + length, address_text(family, bytes.data() + 16) + ' ' +
                                        std::to_string(256u * value(port) + value(port + 1))};
  };
  if (value(13) == 0x11 && length >= 12) return with_source(AF_INET, 24);
  if (value(13) == 0x21 && length >= 36) return with_source(AF_INET6, 48);
  return std::nullopt;
}

/// The header that the bytes begin with; nothing if it is malformed or incomplete.
inline std::optional<read_header> read_proxy_header(std::string_view bytes) {
  const auto line = read_proxy_line(bytes);
  return line ? line : read_proxy_block(bytes);
}

}  // namespace fuzz::grammar

#endif
