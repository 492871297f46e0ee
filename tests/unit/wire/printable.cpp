#include "support/bytes.hpp"

#include <filexfer/printable.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <random>
#include <string>
#include <string_view>

namespace printable_tests {

using namespace test;
using filexfer::printable;

namespace {

std::string hex(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string result;
  for (const char c : text) {
    const auto value = static_cast<unsigned char>(c);
    result += "\\x";
    result += digits[value / 16];
    result += digits[value % 16];
  }
  return result;
}

// Undoes the escapes of `printable`.
std::string unescaped(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      result += text[i];
    } else if (text[i + 1] == '\\') {
      result += '\\';
      i += 1;
    } else {
      result += static_cast<char>(std::stoi(std::string{text.substr(i + 2, 2)}, nullptr, 16));
      i += 3;
    }
  }
  return result;
}

std::string between_letters(const std::string& text) {
  std::string result = "a";
  result += text;
  result += 'b';
  return result;
}

}  // namespace

TEST_CASE("ordinary text is not changed") {
  for (const std::string_view text :
       {"", "a", "photos/2021/cat.jpg", "a b;c%d~", "caf\xC3\xA9", "\xE2\x82\xAC 5",
        "\xF0\x9F\x90\xB1", "\xE6\x97\xA5\xE6\x9C\xAC", "\xC2\xA0", "'\"`$(){}"}) {
    CHECK(printable(text) == text);
  }
}

TEST_CASE("below 0x80 exactly the control characters and the backslash are escaped") {
  for (int value = 0; value < 0x80; ++value) {
    CAPTURE(value);
    const bool control = value < 0x20 || value == 0x7F;
    const std::string expected = control         ? hex(single_byte(value))
                                 : value == '\\' ? "\\\\"
                                                 : single_byte(value);
    CHECK(printable(single_byte(value)) == expected);
    CHECK(printable(between_letters(single_byte(value))) == between_letters(expected));
  }
}

TEST_CASE("a single byte above 0x7F is escaped") {
  for (int value = 0x80; value < 0x100; ++value) {
    CHECK(printable(single_byte(value)) == hex(single_byte(value)));
    CHECK(printable(between_letters(single_byte(value))) ==
          between_letters(hex(single_byte(value))));
  }
}

TEST_CASE(
    "characters that control a terminal or the text direction are escaped, similar ones not") {
  for (const std::string_view text :
       {"\xC2\x80", "\xC2\x85", "\xC2\x9B", "\xC2\x9F",  // C1
        "\xE2\x80\xA8", "\xE2\x80\xA9",                  // line and paragraph separators
        "\xD8\x9C", "\xE2\x80\x8E", "\xE2\x80\x8F",      // direction marks
        "\xE2\x80\xAA", "\xE2\x80\xAB", "\xE2\x80\xAC", "\xE2\x80\xAD", "\xE2\x80\xAE",
        "\xE2\x81\xA6", "\xE2\x81\xA7", "\xE2\x81\xA8", "\xE2\x81\xA9"}) {
    CHECK(printable(text) == hex(text));
  }
  for (const std::string_view text : {"\xC2\xA0", "\xE2\x80\x8D", "\xE2\x80\x90", "\xE2\x80\xA7",
                                      "\xE2\x80\xAF", "\xE2\x81\xA5", "\xD8\x9B", "\xD8\x9D"}) {
    CHECK(printable(text) == text);
  }
}

TEST_CASE("invalid UTF-8 is escaped byte by byte, and the text after it is not") {
  CHECK(printable("a\xC0\xAF"
                  "b") == "a\\xc0\\xafb");
  CHECK(printable("\xED\xA0\x80!") == "\\xed\\xa0\\x80!");
  CHECK(printable("\xF4\x90\x80\x80!") == "\\xf4\\x90\\x80\\x80!");
  CHECK(printable("\xE2\x82\xC3\xA9") == "\\xe2\\x82\xC3\xA9");
  CHECK(printable("\xE2\x1B[2J") == "\\xe2\\x1b[2J");
}

TEST_CASE("a terminal escape sequence becomes plain, readable text") {
  CHECK(printable("\x1B]0;title\x07\r\n") == "\\x1b]0;title\\x07\\x0d\\x0a");
  CHECK(printable("\\x1b") == "\\\\x1b");
}

TEST_CASE("input past the limit is dropped, and the cut is marked") {
  CHECK(printable("abcdef", 6) == "abcdef");
  CHECK(printable("abcdef", 5) == "abcde...");
  CHECK(printable("abcdef", 0) == "...");
  CHECK(printable("", 0).empty());
  CHECK(printable("a\x01\x02", 2) == "a\\x01...");
  CHECK(printable(std::string(4096, 'a')) == std::string(4096, 'a'));
  const std::string cut = printable(std::string(4097, 'a'));
  CHECK(cut.substr(0, 4096) == std::string(4096, 'a'));
  CHECK(cut.substr(4096) == "...");
}

TEST_CASE("the result holds no control character, is valid UTF-8, and can be unescaped") {
  std::minstd_rand random{6};
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (auto length = random() % 20; length > 0; --length) {
      constexpr std::string_view likely = "\\x\x1B\x9B\xC2\x80\xE2\xAE\xA8 a\xF0\x9F\x90\xB1";
      text +=
          random() % 3 != 0 ? likely[random() % likely.size()] : static_cast<char>(random() % 256);
    }
    const auto escaped = printable(text);
    CHECK(unescaped(escaped) == text);
    CHECK(filexfer::detail::is_utf8(escaped));
    for (const char c : escaped) {
      const auto value = static_cast<unsigned char>(c);
      REQUIRE((value >= 0x20 && value != 0x7F));
    }
    for (const std::string_view c1 : {"\xC2\x80", "\xC2\x9B", "\xE2\x80\xAE", "\xE2\x80\xA8"}) {
      CHECK(escaped.find(c1) == std::string::npos);
    }
  }
}

}  // namespace printable_tests
