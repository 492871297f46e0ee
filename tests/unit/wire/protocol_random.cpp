// Random lines: valid ones survive formatting and parsing, and others are rejected.

#include "support/protocol_fixture.hpp"

#include <filexfer/protocol.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <system_error>

namespace protocol_random_tests {

using namespace protocol_tests;
using number = std::optional<std::uint64_t>;

namespace {

// Makes random lines of parts of valid ones, so that many are nearly valid.
class line_maker {
 public:
  explicit line_maker(unsigned seed) : random_{seed} {}

  std::string line() {
    std::string text;
    for (auto pieces = below(7) + 1; pieces > 0; --pieces) text += piece();
    return text;
  }

  std::string name() {
    constexpr std::string_view bytes = "ab./;%\n \x7F\x01";
    std::string text;
    do {
      text.clear();
      for (auto length = below(9) + 1; length > 0; --length) text += bytes[below(bytes.size())];
      if (below(3) == 0) text += "\xE2\x82\xAC";
    } while (!filexfer::is_name(text));
    return text;
  }

  std::uint64_t size() {
    // All lengths are equally likely.
    const std::uint64_t value = std::uint64_t{random_()} << 32 | random_();
    return (value & largest) >> below(63);
  }

  number maybe_size() { return below(2) == 0 ? number{} : number{size()}; }

  id_type digest() {
    std::array<std::byte, 16> value;
    for (auto& byte : value) byte = static_cast<std::byte>(below(256));
    return id_type{value};
  }

  std::size_t below(std::size_t bound) { return random_() % bound; }

 private:
  std::string piece() {
    const std::array pieces{
        ";"s,         "="s,         id_text,
        "a.txt"s,     "0"s,         "17"s,
        ";offset=1"s, ";length=2"s, ";id="s + id_text,
        ";mtime"s,    ";x=y"s,      "LIST_FILES"s,
        "UPLOAD"s,    "DOWNLOAD"s,  "FEATURES"s,
        "ERROR "s,    "bad-id"s,    "%3B"s,
        "%"s,         "/"s,         ".."s,
        " "s,         "\x01"s,      "\xFF"s,
        ""s,
    };
    return pieces[below(pieces.size())];
  }

  std::mt19937 random_;
};

}  // namespace

TEST_CASE("every line survives formatting and parsing") {
  line_maker make{4};
  for (int i = 0; i < 5'000; ++i) {
    const download_entry sent_entry{
        {make.digest(), make.name(), make.size()}, make.maybe_size(), make.maybe_size()};
    const auto entry_line = filexfer::format_entry(sent_entry);
    CHECK(filexfer::is_clean_line(entry_line));
    const auto parsed_entry = entry(entry_line);
    CHECK(parsed_entry.file == sent_entry.file);
    CHECK(parsed_entry.offset == sent_entry.offset);
    CHECK(parsed_entry.length == sent_entry.length);

    const download_request sent_request{make.digest(), make.maybe_size(), make.maybe_size()};
    const auto parsed_request = request(filexfer::format_download_request(sent_request));
    CHECK(parsed_request.id == sent_request.id);
    CHECK(parsed_request.offset == sent_request.offset);
    CHECK(parsed_request.length == sent_request.length);

    upload_details sent_details{make.name(), make.size(), {}};
    if (make.below(2) == 0) sent_details.id = make.digest();
    const auto details_line = filexfer::format_upload_details(sent_details);
    CHECK(filexfer::is_clean_line(details_line));
    const auto parsed_details = details(details_line);
    CHECK(parsed_details.name == sent_details.name);
    CHECK(parsed_details.size == sent_details.size);
    CHECK(parsed_details.id == sent_details.id);

    const filexfer::ready_line sent_ready{make.maybe_size()};
    std::error_code ec;
    CHECK(filexfer::parse_ready(filexfer::format_ready(sent_ready), ec).offset ==
          sent_ready.offset);
    CHECK_FALSE(ec);
  }
}

TEST_CASE("a random line is rejected with a code of section 8, or survives another round trip") {
  line_maker make{5};
  std::size_t good = 0;
  const auto check_error = [&](std::error_code ec) {
    if (ec) CHECK(filexfer::to_refusal(ec) == ec);
    else ++good;
    return !ec;
  };
  for (int i = 0; i < 50'000; ++i) {
    const std::string line = make.line();
    CAPTURE(line);
    std::error_code ec;
    if (const auto e = filexfer::parse_entry<id_type>(line, ec); check_error(ec)) {
      CHECK(entry(filexfer::format_entry(e)).file == e.file);
    }
    if (const auto r = filexfer::parse_download_request<id_type>(line, ec); check_error(ec)) {
      CHECK(request(filexfer::format_download_request(r)).length == r.length);
    }
    if (const auto d = filexfer::parse_upload_details<id_type>(line, ec); check_error(ec)) {
      CHECK(details(filexfer::format_upload_details(d)).name == d.name);
    }
    filexfer::parse_command(line, ec);
    check_error(ec);
    filexfer::parse_ready(line, ec);
    check_error(ec);
    CHECK(filexfer::parse_error(line).has_value() ==
          (line == "ERROR" || line.starts_with("ERROR ")));
  }
  CHECK(good > 10'000);
}

}  // namespace protocol_random_tests
