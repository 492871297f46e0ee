#ifndef FILEXFER_SHA256_HPP
#define FILEXFER_SHA256_HPP

/// \file
/// SHA-256, for ids that withstand attackers, from Crypto++.

#include <filexfer/digest.hpp>

#include <cryptopp/sha.h>

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace filexfer {

/// Computes SHA-256. Ids have 64 digits; nobody knows two files with the same one.
class sha256 {
 public:
  using digest_type = digest<32>;

  static constexpr std::string_view name() noexcept { return "sha256"; }

  void update(std::span<const std::byte> octets) {
    hash_.Update(reinterpret_cast<const CryptoPP::byte*>(octets.data()), octets.size());
  }

  digest_type finish() {
    std::array<std::byte, digest_type::octets> value;
    hash_.Final(reinterpret_cast<CryptoPP::byte*>(value.data()));
    return digest_type{value};
  }

 private:
  CryptoPP::SHA256 hash_;
};

static_assert(hasher<sha256>);

}  // namespace filexfer

#endif
