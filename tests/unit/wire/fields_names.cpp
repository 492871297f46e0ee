// Names: their characters, length and components, and their escaped form on the wire.

#include "support/bytes.hpp"

#include <filexfer/fields.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <string_view>

namespace fields_names_tests {

using namespace test;
using namespace std::string_view_literals;
using filexfer::escape_name;
using filexfer::is_name;
using filexfer::unescape_name;

namespace {

// An escape `%XX`; `format` chooses the case of its digits.
std::string percent(const char* format, int value) {
  char text[8];
  std::snprintf(text, sizeof text, format, static_cast<unsigned>(value));
  return text;
}

struct text_case {
  std::string_view text;
  bool valid;
};

// Single characters, at the limits of RFC 3629.
constexpr text_case utf8_cases[] = {
    {"\x01", true},
    {"\x7F", true},
    {"\x80", false},  // a lone continuation byte
    {"\xBF", false},
    {"\xC0\x80", false},  // overlong NUL
    {"\xC0\xAF", false},  // overlong slash
    {"\xC1\xBF", false},
    {"\xC2", false},  // truncated
    {"\xC2\x7F", false},
    {"\xC2\x80", true},  // U+0080
    {"\xC2\xC0", false},
    {"\xDF\xBF", true},  // U+07FF
    {"\xE0\x80\xAF", false},
    {"\xE0\x9F\xBF", false},  // overlong U+07FF
    {"\xE0\xA0", false},
    {"\xE0\xA0\x80", true},  // U+0800
    {"\xE0\xA0\x7F", false},
    {"\xED\x9F\xBF", true},   // U+D7FF
    {"\xED\xA0\x80", false},  // the first surrogate
    {"\xED\xAD\xBF", false},
    {"\xED\xBF\xBF", false},  // the last surrogate
    {"\xED\xA0\x81\xED\xB0\x80", false},
    {"\xEE\x80\x80", true},  // U+E000
    {"\xEF\xBF\xBF", true},  // U+FFFF
    {"\xF0\x80\x80\xAF", false},
    {"\xF0\x8F\xBF\xBF", false},  // overlong U+FFFF
    {"\xF0\x90\x80", false},
    {"\xF0\x90\x80\x80", true},   // U+10000
    {"\xF4\x8F\xBF\xBF", true},   // U+10FFFF
    {"\xF4\x90\x80\x80", false},  // U+110000
    {"\xF5\x80\x80\x80", false},
    {"\xF8\x88\x80\x80\x80", false},
    {"\xF9\x80\x80\x80", false},
    {"\xFC\x84\x80\x80", false},
    {"\xFC\x84\x80\x80\x80\x80", false},
    {"\xFE", false},
    {"\xFF", false},
};

}  // namespace

TEST_CASE("a name has 1 to 1024 bytes") {
  const std::string component(255, 'a');
  const std::string longest =
      component + '/' + component + '/' + component + '/' + component + "/a";
  CHECK_FALSE(is_name(longest));
  CHECK(is_name(longest.substr(2)));
  CHECK(longest.size() - 1 == filexfer::max_name_length);
  CHECK_FALSE(is_name(std::string(254, 'a') + '/' + longest.substr(2)));
}

TEST_CASE("a component of a name has 1 to 255 bytes, whatever its number of characters") {
  CHECK_FALSE(is_name(""));
  CHECK(is_name("a"));
  CHECK(is_name(std::string(254, 'a')));
  CHECK(is_name(std::string(255, 'a')));
  CHECK_FALSE(is_name(std::string(256, 'a')));
  CHECK_FALSE(is_name("a/" + std::string(256, 'a') + "/a"));
  std::string wide;
  for (int i = 0; i < 127; ++i) wide += "\xC3\xA9";
  CHECK(is_name(wide));        // 254 bytes
  CHECK(is_name(wide + "a"));  // 255
  CHECK_FALSE(is_name(wide + "\xC3\xA9"));
}

TEST_CASE("a component of a name is not empty, a dot or two dots") {
  for (const auto name : {"/", "//", "/a", "a/", "a//b", "a///b", ".", "..", "./a", "../a", "a/.",
                          "a/..", "a/./b", "a/../b", "/etc/passwd", "../../x", "a/b/", "..//.."}) {
    CAPTURE(name);
    CHECK_FALSE(is_name(name));
  }
  for (const auto name : {"...", ".a", "a.", "..a", "a..", "a/...", ".a/..b/c..", "a/b/c", "a b",
                          " ", "-", "~", "\\", "..\\..", "C:", "photos/2021/cat.jpg", "%2e%2e"}) {
    CAPTURE(name);
    CHECK(is_name(name));
  }
}

TEST_CASE("a name is UTF-8, without overlong, truncated, surrogate and out-of-range sequences") {
  for (const auto& each : utf8_cases) {
    CAPTURE(each.text);
    const auto& [text, valid] = each;
    CHECK(filexfer::detail::is_utf8(text) == valid);
    CHECK(is_name(text) == valid);
    CHECK(is_name("a" + std::string{text}) == valid);
    CHECK(is_name(std::string{text} + "a") == valid);
    CHECK(is_name("a/" + std::string{text} + "/b") == valid);
  }
  CHECK(filexfer::detail::is_utf8(""));
  CHECK(filexfer::detail::first_code_point({"\xC3\xA9", 1}).bytes == 0);
  CHECK(filexfer::detail::first_code_point({"\xE2\x82\xAC", 2}).bytes == 0);
  CHECK(filexfer::detail::first_code_point({"\xF0\x90\x80\x80", 3}).bytes == 0);
}

TEST_CASE("every code point but the surrogates is accepted in its shortest UTF-8 form") {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    std::string text;
    const auto add = [&](char32_t bits) { text += static_cast<char>(bits); };
    if (c < 0x80) {
      add(c);
    } else if (c < 0x800) {
      add(0xC0 | c >> 6), add(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
      add(0xE0 | c >> 12), add(0x80 | (c >> 6 & 0x3F)), add(0x80 | (c & 0x3F));
    } else {
      add(0xF0 | c >> 18), add(0x80 | (c >> 12 & 0x3F));
      add(0x80 | (c >> 6 & 0x3F)), add(0x80 | (c & 0x3F));
    }
    const auto point = filexfer::detail::first_code_point(text + "a");
    const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    if (point.bytes != (surrogate ? 0 : text.size()) || (!surrogate && point.value != c)) {
      FAIL("code point " << static_cast<std::uint32_t>(c));
    }
  }
}

TEST_CASE("every byte below 0x80 but NUL and the slash is allowed at the end of a name") {
  for (int value = 0; value < 256; ++value) {
    CAPTURE(value);
    const bool valid = value != 0 && value != '/' && value < 0x80;
    CHECK(is_name("a" + single_byte(value)) == valid);
  }
}

TEST_CASE("exactly control bytes, the semicolon and the percent sign are escaped on the wire") {
  for (int value = 1; value < 0x80; ++value) {
    CAPTURE(value);
    const bool escaped = value < 0x20 || value == 0x7F || value == ';' || value == '%';
    CHECK(escape_name(single_byte(value)) ==
          (escaped ? percent("%%%02X", value) : single_byte(value)));
  }
  CHECK(escape_name("a;b%c\n\x7F") == "a%3Bb%25c%0A%7F");
  CHECK(escape_name("caf\xC3\xA9/x y\\\"'") == "caf\xC3\xA9/x y\\\"'");
  CHECK(escape_name("").empty());
}

TEST_CASE("every byte can be escaped, with digits in either case, and is checked after decoding") {
  for (int value = 0; value < 256; ++value) {
    CAPTURE(value);
    const std::string plain = "a" + single_byte(value);
    const std::optional<std::string> expected =
        is_name(plain) ? std::optional{plain} : std::nullopt;
    CHECK(unescape_name("a" + percent("%%%02X", value)) == expected);
    CHECK(unescape_name("a" + percent("%%%02x", value)) == expected);
  }
  CHECK(unescape_name("%41%2f%42%2F%c3%A9") == "A/B/\xC3\xA9");
  CHECK(unescape_name("\xC3%A9") == "\xC3\xA9");
  CHECK(unescape_name("%253B") == "%3B");  // once, not twice
}

TEST_CASE("a name that is invalid once decoded is rejected") {
  for (const auto text : {"%2E%2E", "a%2F..", "a%2F%2E%2E/b", "%2Fetc", "a/%2F/b", "a%00b", "%00",
                          "%C0%AF", "%ED%A0%80", "%FF", "..%2Fx", "%2e"}) {
    CAPTURE(text);
    CHECK_FALSE(unescape_name(text));
  }
}

TEST_CASE("a percent sign without two hexadecimal digits is rejected") {
  for (const auto text :
       {"%"sv, "a%"sv, "%4"sv, "a%4"sv, "%%"sv, "%%41"sv, "%G1"sv, "%1G"sv, "%-1"sv, "%+1"sv,
        "% 1"sv, "%1 "sv, "%0x41"sv, "%x1"sv, "%4\0"sv, "a%25%"sv, "%u0041"sv, "%\xC3\xA9"sv}) {
    CAPTURE(text);
    CHECK_FALSE(unescape_name(text));
  }
}

TEST_CASE("the length of a name is checked after decoding") {
  std::string escaped;
  for (int i = 0; i < 255; ++i) escaped += "%41";
  CHECK(unescape_name(escaped) == std::string(255, 'A'));
  CHECK_FALSE(unescape_name(escaped + "%41"));
  CHECK_FALSE(unescape_name(std::string(4000, 'a')));
  CHECK_FALSE(unescape_name(""));
}

TEST_CASE("every name survives escaping and unescaping, and its escaped form is clean") {
  std::minstd_rand random{2};
  std::size_t names = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string name;
    for (auto length = random() % 24 + 1; length > 0; --length) {
      // Mostly bytes that are escaped, and bytes that occur in escapes.
      constexpr std::string_view likely =
          ";%/.\n\r\t 0123456789ABCDEFabcdef\x7F\xC3\xA9\xE2\x82\xAC";
      name +=
          random() % 4 != 0 ? likely[random() % likely.size()] : static_cast<char>(random() % 256);
    }
    const auto wire = escape_name(name);
    if (name.find('\0') == std::string::npos) CHECK(filexfer::is_clean_line(wire));
    CHECK(wire.find(';') == std::string::npos);
    const auto unescaped = unescape_name(wire);
    REQUIRE(unescaped.has_value() == is_name(name));
    if (unescaped) {
      CHECK(*unescaped == name);
      ++names;
    }
    // The unescaped form of any text survives, too.
    if (const auto parsed = unescape_name(name)) {
      CHECK(unescape_name(escape_name(*parsed)) == parsed);
    }
  }
  CHECK(names > 1000);
}

}  // namespace fields_names_tests
