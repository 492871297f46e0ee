#ifndef FILEXFER_TESTS_SUPPORT_PROTOCOL_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_PROTOCOL_FIXTURE_HPP

// What the protocol*.cpp share: checked parsers, and malformed parameters.

#include <filexfer/digest.hpp>
#include <filexfer/protocol.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace protocol_tests {

using namespace std::string_literals;
using filexfer::errc;
using id_type = filexfer::digest<16>;
using download_entry = filexfer::download_entry<id_type>;
using download_request = filexfer::download_request<id_type>;
using upload_details = filexfer::upload_details<id_type>;

inline const std::string id_text = "9e107d9d372bb6826bd81d3542a419d6";
inline constexpr std::uint64_t largest = 9223372036854775807u;

// Parses a line, and checks that the error is `expected`.
template <class Parse>
auto checked(Parse parse, std::string_view line, std::error_code expected) {
  CAPTURE(line);
  std::error_code ec = filexfer::errc::store_failed;
  auto result = parse(line, ec);
  CHECK(ec == expected);
  return result;
}

inline download_entry entry(std::string_view line, std::error_code expected = {}) {
  return checked(filexfer::parse_entry<id_type>, line, expected);
}

inline download_request request(std::string_view line, std::error_code expected = {}) {
  return checked(filexfer::parse_download_request<id_type>, line, expected);
}

inline upload_details details(std::string_view line, std::error_code expected = {}) {
  return checked(filexfer::parse_upload_details<id_type>, line, expected);
}

// Parameters that are malformed in every line.
inline const std::vector<std::string> malformed_parameters{
    ";",
    ";;",
    ";x;",
    ";;x",
    ";x;x",
    ";x;x=1",
    ";x=1;x=2",
    ";x=",
    ";=1",
    ";=",
    ";X",
    ";1",
    ";-x",
    ";x_y",
    "; x",
    ";x ",
    ";x =1",
    ";offset;offset=1",
    ";offset=1;offset=1",
    ";\xC3\xA9",
};

}  // namespace protocol_tests

#endif
