#ifndef FILEXFER_MD5_HPP
#define FILEXFER_MD5_HPP

/// \file
/// MD5, the protocol's default digest, from Crypto++.

#include <filexfer/detail/cryptopp_hasher.hpp>
#include <filexfer/digest.hpp>

#ifndef CRYPTOPP_ENABLE_NAMESPACE_WEAK
#define CRYPTOPP_ENABLE_NAMESPACE_WEAK 1  // Crypto++ asks for it: MD5 is weak against attackers.
#endif
#include <cryptopp/md5.h>

#include <string_view>

namespace filexfer {

/// Computes MD5. It finds accidents, not attackers (the protocol's section 9).
class md5 : public detail::cryptopp_hasher<CryptoPP::Weak::MD5> {
 public:
  static constexpr std::string_view name() noexcept { return "md5"; }
};

static_assert(hasher<md5>);

}  // namespace filexfer

#endif
