// Examples for the reference: digests and hashers.

#include "support.hpp"

#include <filexfer/any_digest.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/sha256.hpp>

#include <doctest/doctest.h>

#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

namespace digest_snippets {

using snippets::captured_output;

TEST_CASE("md5 hashes bytes") {
  captured_output output;
  //! [md5]
  const std::string_view text = "hello";
  filexfer::md5 hash;
  hash.update(std::as_bytes(std::span{text}));
  std::cout << hash.finish() << '\n';  // as md5sum prints it
  //! [md5]
  CHECK(output.take() == "5d41402abc4b2a76b9719d911017c592\n");
}

TEST_CASE("sha256 hashes bytes") {
  captured_output output;
  //! [sha256]
  const std::string_view text = "hello";
  filexfer::sha256 hash;
  hash.update(std::as_bytes(std::span{text}));
  const filexfer::digest<32> id = hash.finish();
  std::cout << id << '\n';  // as sha256sum prints it
  //! [sha256]
  CHECK(output.take() == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\n");
}

TEST_CASE("a digest is a value") {
  //! [digest]
  using digest = filexfer::md5::digest_type;
  std::unordered_map<digest, std::string> names;
  if (const auto id = digest::from_hex("5d41402abc4b2a76b9719d911017c592")) {
    names[*id] = "hello.txt";
  }
  //! [digest]
  REQUIRE(names.size() == 1);
  CHECK(names.begin()->first == snippets::id_of("hello"));
}

TEST_CASE("an any_digest has the length that it was parsed with") {
  captured_output output;
  //! [any_digest]
  const auto id = filexfer::any_digest::from_hex("5d41402abc4b2a76b9719d911017c592");
  if (id && id->as<filexfer::md5::digest_type>()) std::cout << "an MD5 digest\n";
  if (id && id->as<filexfer::sha256::digest_type>()) std::cout << "a SHA-256 digest\n";
  //! [any_digest]
  CHECK(output.take() == "an MD5 digest\n");
}

}  // namespace digest_snippets
