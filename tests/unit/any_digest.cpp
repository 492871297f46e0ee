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

TEST_CASE("a digest of a kind known at run time keeps its bytes and its length") {
  for (const std::string& hex : {md5_hex, sha256_hex}) {
    const auto read = any_digest::from_hex(hex);
    REQUIRE(read);
    CHECK(read->to_string() == hex);
    CHECK(2 * read->size() == hex.size());
    std::ostringstream text;
    text << *read;
    CHECK(text.str() == hex);
  }
  const auto known = digest<16>::from_hex(md5_hex);
  CHECK(any_digest{*known} == *any_digest::from_hex(md5_hex));
  CHECK(any_digest{*known}.as<digest<16>>() == known);
  CHECK(!any_digest{*known}.as<digest<32>>());
}

TEST_CASE("what is no digest in hex is refused") {
  for (const char* hex :
       {"", "9e", "9e107d9d372bb6826bd81d3542a419dx", "9e107d9d372bb6826bd81d3542a419d6a"}) {
    CHECK(!any_digest::from_hex(hex));
  }
}

TEST_CASE("digests of different kinds differ, and can be kept in sets") {
  const any_digest none;
  const any_digest one = *any_digest::from_hex(md5_hex);
  const any_digest other = *any_digest::from_hex(sha256_hex);
  const any_digest zeros{digest<16>{}};
  CHECK(none.empty());
  CHECK(none != zeros);
  CHECK(one != other);
  CHECK(std::set{none, zeros, one, other, one}.size() == 4);
  CHECK(std::unordered_set{none, zeros, one, other, one}.size() == 4);
}

}  // namespace any_digest_tests
