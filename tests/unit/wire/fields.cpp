#include "support/bytes.hpp"

#include <filexfer/fields.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <system_error>

namespace fields_tests {

using namespace test;
using namespace std::string_view_literals;
using filexfer::errc;
using filexfer::parameters;
using filexfer::parse_size;

namespace {

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

}  // namespace

// -------------------------------------------------------------------------------------------- lines

TEST_CASE("exactly the bytes below 0x20 and 0x7F make a line unclean, at every position") {
  for (int value = 0; value < 256; ++value) {
    const bool clean = value >= 0x20 && value != 0x7F;
    CHECK(filexfer::is_clean_line(single_byte(value)) == clean);
    CHECK(filexfer::is_clean_line("ab" + single_byte(value)) == clean);
    CHECK(filexfer::is_clean_line("a" + single_byte(value) + "b") == clean);
  }
  CHECK(filexfer::is_clean_line(""));
}

// -------------------------------------------------------------------------------------------- sizes

TEST_CASE("every size is parsed to its exact value") {
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

TEST_CASE("text that is not exactly a size is rejected") {
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

TEST_CASE("exactly the ten digits are allowed in a size") {
  for (int value = 0; value < 256; ++value) {
    const bool digit = value >= '0' && value <= '9';
    CHECK(parse_size("1" + single_byte(value)).has_value() == digit);
    CHECK(parse_size(single_byte(value)).has_value() == digit);
  }
}

// --------------------------------------------------------------------------------------- parameters

TEST_CASE("parameters are flags or have values, in any order") {
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

TEST_CASE("an empty parameter, a repeated key and a missing value are bad-request") {
  for (const auto text : {";"sv, ";;"sv, ";a;"sv, ";a;;b"sv, ";;a"sv, ";="sv, ";=1"sv, ";a="sv,
                          ";a;b="sv, ";a=1;b=;c"sv, ";a;a"sv, ";a=1;a"sv, ";a;a=1"sv, ";a=1;a=1"sv,
                          ";a=1;a=2"sv, ";a;b;c;b"sv, ";a;b;c;d=1;e=2;a=3"sv}) {
    CAPTURE(text);
    CHECK_FALSE(parses(text));
  }
}

TEST_CASE("keys with a common prefix are distinct") {
  CHECK(parses(";a;aa;aaa;ab;b;a-;a1;a-b"));
  CHECK(parses(";ab=1;a=b;b=ab"));
}

TEST_CASE("a key is a lower-case letter, followed by lower-case letters, digits and hyphens") {
  for (int value = 0; value < 256; ++value) {
    if (value == ';' || value == '=') continue;
    CAPTURE(value);
    const bool letter = value >= 'a' && value <= 'z';
    const bool digit = value >= '0' && value <= '9';
    CHECK(parses(";" + single_byte(value)) == letter);
    CHECK(parses(";" + single_byte(value) + "=1") == letter);
    CHECK(parses(";x" + single_byte(value)) == (letter || digit || value == '-'));
  }
}

TEST_CASE("every byte but the semicolon is allowed in a value") {
  for (int value = 0x20; value < 256; ++value) {
    CAPTURE(value);
    const std::string text = ";k=a" + single_byte(value) + "b";
    if (value == ';') {
      CHECK(parses(text));  // two parameters
      CHECK(parsed(text).find("b"));
    } else {
      CHECK(parsed(text).find("k")->value == text.substr(3));
    }
  }
}

TEST_CASE("a repeated key is found at any position among hundreds of keys") {
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

TEST_CASE("parameters longer than a line are rejected") {
  const std::string key = ";k=";
  const std::string longest = key + std::string(filexfer::max_line_length - key.size(), 'v');
  CHECK(parses(longest));
  CHECK_FALSE(parses(longest + "v"));
}

TEST_CASE("the value of a flag is bad-request, that of an absent key is empty") {
  const auto all = parsed(";a;b=1");
  std::error_code ec;
  CHECK_FALSE(all.value("c", ec));
  CHECK_FALSE(ec);
  CHECK(all.value("b", ec) == "1");
  CHECK_FALSE(ec);
  CHECK_FALSE(all.value("a", ec));
  CHECK(ec == errc::bad_request);
}

TEST_CASE("malformed text yields no parameters") {
  std::error_code ec;
  CHECK_FALSE(parameters::parse(";a=1;", ec).find("a"));
  CHECK(ec == errc::bad_request);
  CHECK(parameters::parse(";a=1", ec).find("a"));
  CHECK_FALSE(ec);
}

TEST_CASE("random text is rejected, or parsed to the parameters in it") {
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
    // Splits by the grammar, without the code under test.
    for (std::size_t start = 0; start < text.size();) {
      const auto end = std::min(text.find(';', start + 1), text.size());
      const auto parameter = text.substr(start + 1, end - start - 1);
      const auto equals = std::min(parameter.find('='), parameter.size());
      const auto found = all.find(parameter.substr(0, equals));
      REQUIRE(found);
      CHECK(found->value.has_value() == (equals < parameter.size()));
      if (found->value) CHECK(*found->value == parameter.substr(equals + 1));
      start = end;
    }
  }
  CHECK(good > 1000);
}

// ------------------------------------------------------------------------------------------ tokens

TEST_CASE("a resume token has 16 to 64 letters, digits, underscores and hyphens") {
  CHECK_FALSE(filexfer::is_resume_token(std::string(15, 'a')));
  CHECK(filexfer::is_resume_token(std::string(16, 'a')));
  CHECK(filexfer::is_resume_token(std::string(64, 'a')));
  CHECK_FALSE(filexfer::is_resume_token(std::string(65, 'a')));
  const auto allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"sv;
  for (int c = 0; c < 256; ++c) {
    CAPTURE(c);
    auto token = std::string(20, 'a');
    token[10] = static_cast<char>(c);
    CHECK(filexfer::is_resume_token(token) == (allowed.find(token[10]) != allowed.npos));
  }
}

}  // namespace fields_tests
