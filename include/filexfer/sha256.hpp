#ifndef FILEXFER_SHA256_HPP
#define FILEXFER_SHA256_HPP

/// \file
/// SHA-256, for ids that resist attackers, from Crypto++.

#include <filexfer/detail/cryptopp_hasher.hpp>
#include <filexfer/digest.hpp>

#include <cryptopp/sha.h>

#include <string_view>

namespace filexfer {

/// Computes SHA-256, a `hasher`. Ids have 64 hex digits; no two files with the same id are known.
/// \snippet digests.cpp sha256
class sha256 : public detail::cryptopp_hasher<CryptoPP::SHA256> {
 public:
  /// \return The name of the digest in a FEATURES reply.
  static constexpr std::string_view name() noexcept { return "sha256"; }
};

static_assert(hasher<sha256>);

}  // namespace filexfer

#endif
