#include <filexfer/digest.hpp>

#include <doctest/doctest.h>

#include <array>
#include <compare>
#include <cstddef>
#include <optional>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>

namespace digest_tests {

using filexfer::digest;
using tiny = digest<2>;

namespace {

constexpr tiny ab_cd{{std::byte{0xAB}, std::byte{0xCD}}};

static_assert(tiny::size == 2 && tiny::hex_digits == 4);
static_assert(tiny::from_hex("abcd") == ab_cd);
static_assert(std::is_trivially_copyable_v<tiny>);

// Types that fall short of a hasher by one member each, beside one that does not.
struct complete {
  using digest_type = tiny;
  static std::string_view name() { return "complete"; }
  void update(std::span<const std::byte>) {}
  tiny finish() { return {}; }
};
struct without_name {
  using digest_type = tiny;
  void update(std::span<const std::byte>) {}
  tiny finish() { return {}; }
};
struct without_digest_type {
  static std::string_view name() { return ""; }
  void update(std::span<const std::byte>) {}
  tiny finish() { return {}; }
};
struct with_another_digest : complete {
  digest<3> finish() { return {}; }
};

static_assert(filexfer::hasher<complete>);
static_assert(!filexfer::hasher<without_name>);
static_assert(!filexfer::hasher<without_digest_type>);
static_assert(!filexfer::hasher<with_another_digest>);

}  // namespace

TEST_CASE("a digest is formatted in lower case, with two digits per byte and leading zeros") {
  CHECK(ab_cd.to_string() == "abcd");
  CHECK(tiny{{std::byte{0}, std::byte{1}}}.to_string() == "0001");
  CHECK(tiny{}.to_string() == "0000");
  std::ostringstream out;
  out << ab_cd;
  CHECK(out.str() == "abcd");
}

TEST_CASE("hex is parsed in either case, and any other text is rejected") {
  for (const auto* text : {"abcd", "ABCD", "aBCd"}) CHECK(tiny::from_hex(text) == ab_cd);
  CHECK(tiny::from_hex("0000") == tiny{});
  const std::string wide_a = "\xEF\xBC\xA1";  // U+FF21
  for (const std::string& text : {std::string{}, wide_a + "b"}) CHECK_FALSE(tiny::from_hex(text));
  for (const auto* text : {"a", "abc", "abcde", "abcd ", " abcd", "abcdabcd", "0xab", "ab d",
                           "abcg", "gbcd", "+bcd", "-bcd", "ab-d"}) {
    CAPTURE(text);
    CHECK_FALSE(tiny::from_hex(text));
  }
  CHECK_FALSE(tiny::from_hex(std::string_view{"abc\0", 4}));
}

TEST_CASE("exactly the hexadecimal digits are accepted, at every position") {
  constexpr std::string_view digits = "0123456789abcdefABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool is_digit = digits.find(c) != std::string_view::npos;
    for (std::size_t position = 0; position < 4; ++position) {
      std::string text = "0000";
      text[position] = c;
      CHECK(tiny::from_hex(text).has_value() == is_digit);
    }
  }
}

TEST_CASE("a digest survives formatting and parsing") {
  std::minstd_rand random{1};
  for (int i = 0; i < 1000; ++i) {
    std::array<std::byte, 16> value;
    for (auto& byte : value) byte = static_cast<std::byte>(random() & 0xFFu);
    const digest<16> d{value};
    CHECK(d.to_string().size() == 32);
    CHECK(digest<16>::from_hex(d.to_string()) == d);
    CHECK(d.value() == value);
  }
}

TEST_CASE("digests are ordered by their bytes, the first byte first, like their hex") {
  const auto a = *tiny::from_hex("00ff");
  const auto b = *tiny::from_hex("0100");
  const auto c = *tiny::from_hex("80ff");
  CHECK(a < b);
  CHECK(b < c);
  CHECK(a != b);
  CHECK(a == a);
}

}  // namespace digest_tests
