#ifndef FILEXFER_MD5_HPP
#define FILEXFER_MD5_HPP

/// \file
/// MD5, the protocol's default digest, from Crypto++.

#include <filexfer/detail/cryptopp_hasher.hpp>
#include <filexfer/digest.hpp>

#ifndef CRYPTOPP_ENABLE_NAMESPACE_WEAK
/// Required by Crypto++ for MD5, which is weak against attackers.
#define CRYPTOPP_ENABLE_NAMESPACE_WEAK 1
#endif
#include <cryptopp/md5.h>

#include <string_view>

namespace filexfer {

/// Computes MD5, a `hasher`. It detects accidents, not attacks (section 9 of the protocol).
/// \snippet digests.cpp md5
class md5 : public detail::cryptopp_hasher<CryptoPP::Weak::MD5> {
 public:
  /// \return The name of the digest in a FEATURES reply.
  static constexpr std::string_view name() noexcept { return "md5"; }
};

static_assert(hasher<md5>);

}  // namespace filexfer

#endif
