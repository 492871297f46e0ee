#include <filexfer/sha256.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace sha256_tests {

using filexfer::sha256;

namespace {

std::string sha256_of(std::string_view text) {
  sha256 hash;
  hash.update(std::as_bytes(std::span{text}));
  return hash.finish().to_string();
}

struct vector {
  std::string_view text;
  std::string_view digest;
};

// NIST's examples for FIPS 180-4.
constexpr std::array fips_180{
    vector{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    vector{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    vector{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};

}  // namespace

TEST_CASE("SHA-256 gives the digests of FIPS 180") {
  for (const auto& each : fips_180) {
    CAPTURE(each.text);
    CHECK(sha256_of(each.text) == each.digest);
  }
  CHECK(sha256_of(std::string(1'000'000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 does not depend on how the bytes are split, and its hasher can be reused") {
  sha256 hash;
  for (const auto& [text, digest] : fips_180) {
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      hash.update(std::as_bytes(std::span{text.substr(0, cut)}));
      hash.update({});
      hash.update(std::as_bytes(std::span{text.substr(cut)}));
      CHECK(hash.finish().to_string() == digest);
    }
  }
}

TEST_CASE("the name of SHA-256 on the wire is sha256, and its ids have 64 digits") {
  CHECK(sha256::name() == "sha256");
  CHECK(sha256::digest_type::hex_digits == 64);
}

}  // namespace sha256_tests
