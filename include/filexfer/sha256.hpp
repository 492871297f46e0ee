#ifndef FILEXFER_SHA256_HPP
#define FILEXFER_SHA256_HPP

/// \file
/// SHA-256, for ids that withstand attackers, from Crypto++.

#include <filexfer/detail/cryptopp_hasher.hpp>
#include <filexfer/digest.hpp>

#include <cryptopp/sha.h>

#include <string_view>

namespace filexfer {

/// Computes SHA-256. Ids have 64 digits; nobody knows two files with the same one.
class sha256 : public detail::cryptopp_hasher<CryptoPP::SHA256> {
 public:
  static constexpr std::string_view name() noexcept { return "sha256"; }
};

static_assert(hasher<sha256>);

}  // namespace filexfer

#endif
