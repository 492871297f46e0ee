#include <filexfer/fields.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <system_error>

namespace fields_tests {

namespace {

using filexfer::errc;
using filexfer::escape_name;
using filexfer::is_name;
using filexfer::parameters;
using filexfer::parse_size;
using filexfer::unescape_name;

using namespace std::string_literals;
using namespace std::string_view_literals;

std::string byte(int value) { return {static_cast<char>(value)}; }

// `%XX`, with the given format of the digits.
std::string percent(const char* format, int value) {
  char text[8];
  std::snprintf(text, sizeof text, format, static_cast<unsigned>(value));
  return text;
}

bool parses(std::string_view text) {
  std::error_code ec = errc::io;
  parameters::parse(text, ec);
  if (ec) CHECK(ec == errc::bad_request);
  return !ec;
}

parameters parsed(std::string_view text) {
  std::error_code ec;
  auto result = parameters::parse(text, ec);
  REQUIRE_FALSE(ec);
  return result;
}

struct text_case {
  std::string_view text;
  bool valid;
};

// One character each, at the edges of RFC 3629.
constexpr text_case utf8_cases[] = {
    {"\x01", true},
    {"\x7F", true},
    {"\x80", false},  // a continuation alone
    {"\xBF", false},
    {"\xC0\x80", false},  // overlong NUL
    {"\xC0\xAF", false},  // overlong slash
    {"\xC1\xBF", false},
    {"\xC2", false},  // cut
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

// -------------------------------------------------------------------------------------------- lines

TEST_CASE("of all bytes exactly those below 0x20 and 0x7F make a line unclean, in each place") {
  for (int value = 0; value < 256; ++value) {
    const bool clean = value >= 0x20 && value != 0x7F;
    CHECK(filexfer::is_clean_line(byte(value)) == clean);
    CHECK(filexfer::is_clean_line("ab" + byte(value)) == clean);
    CHECK(filexfer::is_clean_line("a" + byte(value) + "b") == clean);
  }
  CHECK(filexfer::is_clean_line(""));
}

// -------------------------------------------------------------------------------------------- sizes

TEST_CASE("a size is read exactly") {
  struct {
    std::string_view text;
    std::uint64_t size;
  } const cases[] = {
      {"0", 0},
      {"1", 1},
      {"9", 9},
      {"10", 10},
      {"4294967295", 4294967295u},
      {"4294967296", 4294967296u},
      {"9223372036854775799", 9223372036854775799u},
      {"9223372036854775806", 9223372036854775806u},
      {"9223372036854775807", 9223372036854775807u},
  };
  for (const auto& each : cases) {
    CAPTURE(each.text);
    const auto& [text, size] = each;
    CHECK(parse_size(text) == size);
    CHECK(std::to_string(size) == text);
  }
  CHECK(filexfer::max_file_size == 9223372036854775807u);
}

TEST_CASE("what is not a size by the letter is none") {
  for (const auto text : {""sv,
                          "00"sv,
                          "01"sv,
                          "007"sv,
                          "+1"sv,
                          "-0"sv,
                          "-1"sv,
                          " 1"sv,
                          "1 "sv,
                          "1\t"sv,
                          "1.0"sv,
                          "1e3"sv,
                          "0x1"sv,
                          "1K"sv,
                          "a"sv,
                          "1a"sv,
                          "a1"sv,
                          "1,000"sv,
                          "1_000"sv,
                          "1\0"sv,
                          "\xD9\xA1"sv,  // an Arabic one
                          "9223372036854775808"sv,
                          "9223372036854775810"sv,
                          "9223372036854775900"sv,
                          "18446744073709551615"sv,
                          "18446744073709551616"sv,
                          "18446744073709551617"sv,
                          "36893488147419103233"sv,
                          "92233720368547758070"sv,
                          "99999999999999999999999999999999999999999999999999"sv}) {
    CAPTURE(text);
    CHECK_FALSE(parse_size(text));
  }
}

TEST_CASE("of all bytes exactly the ten digits stand in a size") {
  for (int value = 0; value < 256; ++value) {
    const bool digit = value >= '0' && value <= '9';
    CHECK(parse_size("1" + byte(value)).has_value() == digit);
    CHECK(parse_size(byte(value)).has_value() == digit);
  }
}

// -------------------------------------------------------------------------------------------- names

TEST_CASE("a name has 1 to 255 bytes, however many characters those are") {
  CHECK_FALSE(is_name(""));
  CHECK(is_name("a"));
  CHECK(is_name(std::string(254, 'a')));
  CHECK(is_name(std::string(255, 'a')));
  CHECK_FALSE(is_name(std::string(256, 'a')));
  std::string wide;
  for (int i = 0; i < 127; ++i) wide += "\xC3\xA9";
  CHECK(is_name(wide));        // 254 bytes
  CHECK(is_name(wide + "a"));  // 255
  CHECK_FALSE(is_name(wide + "\xC3\xA9"));
}

TEST_CASE("no component of a name is empty, a dot or two dots") {
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

TEST_CASE("a name is UTF-8: no overlong forms, no surrogates, nothing cut or beyond Unicode") {
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

TEST_CASE("every code point is UTF-8 in its shortest form, but the surrogates") {
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

TEST_CASE("every byte but NUL and the slash can stand in a name if it is UTF-8 there") {
  for (int value = 0; value < 256; ++value) {
    CAPTURE(value);
    const bool valid = value != 0 && value != '/' && value < 0x80;
    CHECK(is_name("a" + byte(value)) == valid);
  }
}

TEST_CASE("on the wire exactly the control bytes, the semicolon and the percent sign are escaped") {
  for (int value = 1; value < 0x80; ++value) {
    CAPTURE(value);
    const bool escaped = value < 0x20 || value == 0x7F || value == ';' || value == '%';
    CHECK(escape_name(byte(value)) == (escaped ? percent("%%%02X", value) : byte(value)));
  }
  CHECK(escape_name("a;b%c\n\x7F") == "a%3Bb%25c%0A%7F");
  CHECK(escape_name("caf\xC3\xA9/x y\\\"'") == "caf\xC3\xA9/x y\\\"'");
  CHECK(escape_name("").empty());
}

TEST_CASE("every byte can be read escaped, in either case, and is judged as if it were not") {
  for (int value = 0; value < 256; ++value) {
    CAPTURE(value);
    const std::string plain = "a" + byte(value);
    const std::optional<std::string> expected =
        is_name(plain) ? std::optional{plain} : std::nullopt;
    CHECK(unescape_name("a" + percent("%%%02X", value)) == expected);
    CHECK(unescape_name("a" + percent("%%%02x", value)) == expected);
  }
  CHECK(unescape_name("%41%2f%42%2F%c3%A9") == "A/B/\xC3\xA9");
  CHECK(unescape_name("\xC3%A9") == "\xC3\xA9");
  CHECK(unescape_name("%253B") == "%3B");  // once, not twice
}

TEST_CASE("what escapes hide is refused as it is when plain") {
  for (const auto text : {"%2E%2E", "a%2F..", "a%2F%2E%2E/b", "%2Fetc", "a/%2F/b", "a%00b", "%00",
                          "%C0%AF", "%ED%A0%80", "%FF", "..%2Fx", "%2e"}) {
    CAPTURE(text);
    CHECK_FALSE(unescape_name(text));
  }
}

TEST_CASE("a percent sign without two hexadecimal digits is refused") {
  for (const auto text :
       {"%"sv, "a%"sv, "%4"sv, "a%4"sv, "%%"sv, "%%41"sv, "%G1"sv, "%1G"sv, "%-1"sv, "%+1"sv,
        "% 1"sv, "%1 "sv, "%0x41"sv, "%x1"sv, "%4\0"sv, "a%25%"sv, "%u0041"sv, "%\xC3\xA9"sv}) {
    CAPTURE(text);
    CHECK_FALSE(unescape_name(text));
  }
}

TEST_CASE("a name's length is judged once it is decoded") {
  std::string escaped;
  for (int i = 0; i < 255; ++i) escaped += "%41";
  CHECK(unescape_name(escaped) == std::string(255, 'A'));
  CHECK_FALSE(unescape_name(escaped + "%41"));
  CHECK_FALSE(unescape_name(std::string(4000, 'a')));
  CHECK_FALSE(unescape_name(""));
}

TEST_CASE("every name that is written can be read back, and its line is clean") {
  std::minstd_rand random{2};
  std::size_t names = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string name;
    for (auto length = random() % 24 + 1; length > 0; --length) {
      // Mostly what is escaped, and what it is escaped with.
      constexpr std::string_view likely =
          ";%/.\n\r\t 0123456789ABCDEFabcdef\x7F\xC3\xA9\xE2\x82\xAC";
      name +=
          random() % 4 != 0 ? likely[random() % likely.size()] : static_cast<char>(random() % 256);
    }
    const auto wire = escape_name(name);
    if (name.find('\0') == std::string::npos) CHECK(filexfer::is_clean_line(wire));
    CHECK(wire.find(';') == std::string::npos);
    const auto back = unescape_name(wire);
    REQUIRE(back.has_value() == is_name(name));
    if (back) {
      CHECK(*back == name);
      ++names;
    }
    // And whatever is read from any text can be written and read again.
    if (const auto read = unescape_name(name)) CHECK(unescape_name(escape_name(*read)) == read);
  }
  CHECK(names > 1000);
}

// --------------------------------------------------------------------------------------- parameters

TEST_CASE("parameters are flags or have values, and stand in any order") {
  const auto all = parsed(";resume;offset=12;x-1=a=b;prefix=%3B/ \xC3\xA9");
  REQUIRE(all.find("resume"));
  CHECK_FALSE(all.find("resume")->value);
  CHECK(all.find("offset")->value == "12");
  CHECK(all.find("x-1")->value == "a=b");
  CHECK(all.find("prefix")->value == "%3B/ \xC3\xA9");
  for (const auto* absent : {"", "res", "resumes", "ffset", "offset=12", "12", "RESUME"}) {
    CHECK_FALSE(all.find(absent));
  }
  CHECK_FALSE(parsed("").find(""));
}

TEST_CASE("an empty parameter, a key twice and a value missing are bad-request") {
  for (const auto text : {";"sv, ";;"sv, ";a;"sv, ";a;;b"sv, ";;a"sv, ";="sv, ";=1"sv, ";a="sv,
                          ";a;b="sv, ";a=1;b=;c"sv, ";a;a"sv, ";a=1;a"sv, ";a;a=1"sv, ";a=1;a=1"sv,
                          ";a=1;a=2"sv, ";a;b;c;b"sv, ";a;b;c;d=1;e=2;a=3"sv}) {
    CAPTURE(text);
    CHECK_FALSE(parses(text));
  }
}

TEST_CASE("keys that only begin alike are not the same") {
  CHECK(parses(";a;aa;aaa;ab;b;a-;a1;a-b"));
  CHECK(parses(";ab=1;a=b;b=ab"));
}

TEST_CASE("a key is a small letter, then small letters, digits and hyphens") {
  for (int value = 0; value < 256; ++value) {
    if (value == ';' || value == '=') continue;
    CAPTURE(value);
    const bool letter = value >= 'a' && value <= 'z';
    const bool digit = value >= '0' && value <= '9';
    CHECK(parses(";" + byte(value)) == letter);
    CHECK(parses(";" + byte(value) + "=1") == letter);
    CHECK(parses(";x" + byte(value)) == (letter || digit || value == '-'));
  }
}

TEST_CASE("every byte but the semicolon can stand in a value") {
  for (int value = 0x20; value < 256; ++value) {
    CAPTURE(value);
    const std::string text = ";k=a" + byte(value) + "b";
    if (value == ';') {
      CHECK(parses(text));  // two parameters
      CHECK(parsed(text).find("b"));
    } else {
      CHECK(parsed(text).find("k")->value == text.substr(3));
    }
  }
}

TEST_CASE("a key twice is found wherever the two stand among very many") {
  std::string many;
  std::size_t count = 0;
  for (char a = 'a'; a <= 'z'; ++a) {
    for (char b = '0'; b <= '9'; ++b, ++count) many += std::string{';', a, b};
    for (char b = 'a'; b <= 'z'; ++b, ++count) many += std::string{';', a, b};
  }
  CHECK(parses(many));
  for (std::size_t i = 0; i < count; i += 31) {
    const auto twin = many.substr(3 * i, 3);
    CHECK_FALSE(parses(many + twin));
    CHECK_FALSE(parses(twin + "=1" + many));
  }
  CHECK(parses(many + ";a"));
  CHECK(parsed(many).find("z9"));
}

TEST_CASE("a line's worth of parameters is the most that is read") {
  const std::string key = ";k=";
  const std::string longest = key + std::string(filexfer::max_line_length - key.size(), 'v');
  CHECK(parses(longest));
  CHECK_FALSE(parses(longest + "v"));
}

TEST_CASE("the value of a flag is bad-request, of an absent key nothing") {
  const auto all = parsed(";a;b=1");
  std::error_code ec;
  CHECK_FALSE(all.value("c", ec));
  CHECK_FALSE(ec);
  CHECK(all.value("b", ec) == "1");
  CHECK_FALSE(ec);
  CHECK_FALSE(all.value("a", ec));
  CHECK(ec == errc::bad_request);
}

TEST_CASE("what is bad leaves no parameters behind") {
  std::error_code ec;
  CHECK_FALSE(parameters::parse(";a=1;", ec).find("a"));
  CHECK(ec == errc::bad_request);
  CHECK(parameters::parse(";a=1", ec).find("a"));
  CHECK_FALSE(ec);
}

TEST_CASE("any text behind a semicolon is parameters or is not, and what is found was there") {
  std::minstd_rand random{3};
  std::size_t good = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string text;
    for (auto length = random() % 16; length > 0; --length) text += ";ab=1-"[random() % 6];
    if (!text.empty()) text.front() = ';';
    std::error_code ec;
    const auto all = parameters::parse(text, ec);
    if (ec) {
      CHECK(ec == errc::bad_request);
      continue;
    }
    ++good;
    // By the grammar, not by our code: split, and compare each with each.
    for (std::size_t at = 0; at < text.size();) {
      const auto end = std::min(text.find(';', at + 1), text.size());
      const auto one = text.substr(at + 1, end - at - 1);
      const auto equals = std::min(one.find('='), one.size());
      const auto found = all.find(one.substr(0, equals));
      REQUIRE(found);
      CHECK(found->value.has_value() == (equals < one.size()));
      if (found->value) CHECK(*found->value == one.substr(equals + 1));
      at = end;
    }
  }
  CHECK(good > 1000);
}

}  // namespace fields_tests
