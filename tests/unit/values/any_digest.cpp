#include <filexfer/any_digest.hpp>
#include <filexfer/digest.hpp>

#include <doctest/doctest.h>

#include <set>
#include <sstream>
#include <string>
#include <unordered_set>

namespace any_digest_tests {

using filexfer::any_digest;
using filexfer::digest;

namespace {

const std::string md5_hex = "9e107d9d372bb6826bd81d3542a419d6";
const std::string sha256_hex = md5_hex + md5_hex;

}  // namespace

TEST_CASE("an any_digest keeps the bytes and the length of the digest in it") {
  for (const std::string& hex : {md5_hex, sha256_hex}) {
    const auto parsed = any_digest::from_hex(hex);
    REQUIRE(parsed);
    CHECK(parsed->to_string() == hex);
    CHECK(2 * parsed->size() == hex.size());
    std::ostringstream text;
    text << *parsed;
    CHECK(text.str() == hex);
  }
  const auto known = digest<16>::from_hex(md5_hex);
  CHECK(any_digest{*known} == *any_digest::from_hex(md5_hex));
  CHECK(any_digest{*known}.as<digest<16>>() == known);
  CHECK(!any_digest{*known}.as<digest<32>>());
}

TEST_CASE("text that is not the hex of an MD5 or a SHA-256 is rejected") {
  for (const char* hex :
       {"", "9e", "9e107d9d372bb6826bd81d3542a419dx", "9e107d9d372bb6826bd81d3542a419d6a"}) {
    CHECK(!any_digest::from_hex(hex));
  }
}

TEST_CASE("digests of different lengths compare unequal, and sets keep each once") {
  const any_digest none;
  const any_digest md5 = *any_digest::from_hex(md5_hex);
  const any_digest sha256 = *any_digest::from_hex(sha256_hex);
  const any_digest zeros{digest<16>{}};
  CHECK(none.empty());
  CHECK(none != zeros);
  CHECK(md5 != sha256);
  CHECK(std::set{none, zeros, md5, sha256, md5}.size() == 4);
  CHECK(std::unordered_set{none, zeros, md5, sha256, md5}.size() == 4);
}

}  // namespace any_digest_tests
