#include <filexfer/md5.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace md5_tests {

using filexfer::md5;

namespace {

std::string md5_of(std::string_view text) {
  md5 hash;
  hash.update(std::as_bytes(std::span{text}));
  return hash.finish().to_string();
}

struct vector {
  std::string_view text;
  std::string_view digest;
};

// The test suite of RFC 1321, A.5.
constexpr std::array rfc_1321{
    vector{"", "d41d8cd98f00b204e9800998ecf8427e"},
    vector{"a", "0cc175b9c0f1b6a831c399e269772661"},
    vector{"abc", "900150983cd24fb0d6963f7d28e17f72"},
    vector{"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
    vector{"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
    vector{"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
           "d174ab98d277d9f5a5611c2c9f419d9f"},
    vector{"1234567890123456789012345678901234567890"
           "1234567890123456789012345678901234567890",
           "57edf4a22be3c955ac49da2e2107b67a"},
};

}  // namespace

TEST_CASE("MD5 gives the digests of RFC 1321") {
  for (const auto& each : rfc_1321) {
    CAPTURE(each.text);
    const auto& [text, digest] = each;
    CHECK(md5_of(text) == digest);
  }
}

TEST_CASE("MD5 gives the digests that md5sum gives") {
  CHECK(md5_of("The quick brown fox jumps over the lazy dog") ==
        "9e107d9d372bb6826bd81d3542a419d6");
  CHECK(md5_of(std::string_view{"\0", 1}) == "93b885adfe0da089cdf634904fd59f71");
  CHECK(md5_of(std::string(1'000'000, 'a')) == "7707d6ae4e027c70eea2a935c2296f21");
}

TEST_CASE("MD5 does not depend on how the bytes are split into updates") {
  for (const auto& [text, digest] : rfc_1321) {
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      md5 hash;
      hash.update(std::as_bytes(std::span{text.substr(0, cut)}));
      hash.update({});
      hash.update(std::as_bytes(std::span{text.substr(cut)}));
      CHECK(hash.finish().to_string() == digest);
    }
  }
}

TEST_CASE("a hasher can be reused after finish()") {
  md5 hash;
  for (const auto& [text, digest] : rfc_1321) {
    hash.update(std::as_bytes(std::span{text}));
    CHECK(hash.finish().to_string() == digest);
  }
  CHECK(hash.finish().to_string() == "d41d8cd98f00b204e9800998ecf8427e");
}

TEST_CASE("a copied or moved hasher continues from the bytes hashed so far") {
  md5 hash;
  hash.update(std::as_bytes(std::span{std::string_view{"a"}}));
  md5 copy = hash;
  md5 moved = std::move(hash);
  for (md5* each : {&copy, &moved}) {
    each->update(std::as_bytes(std::span{std::string_view{"bc"}}));
    CHECK(each->finish().to_string() == "900150983cd24fb0d6963f7d28e17f72");
  }
}

TEST_CASE("the two files of a known collision have the same MD5") {
  // Wang and Yu, 2004: the reason why a server compares bytes and does not trust the digest alone.
  std::string first =
      "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
      "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
      "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
      "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70";
  const auto value = filexfer::digest<128>::from_hex(first);
  REQUIRE(value);
  auto bytes = value->value();
  auto other = bytes;
  for (const std::size_t i : {19u, 45u, 59u, 83u, 109u, 123u}) other[i] ^= std::byte{0x80};
  for (const auto& file : {bytes, other}) {
    md5 hash;
    hash.update(file);
    CHECK(hash.finish().to_string() == "79054025255fb1a26e4bc422aef54eb4");
  }
}

TEST_CASE("the name of MD5 on the wire is md5") { CHECK(md5::name() == "md5"); }

}  // namespace md5_tests
