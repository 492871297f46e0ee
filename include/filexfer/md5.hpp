#ifndef FILEXFER_MD5_HPP
#define FILEXFER_MD5_HPP

/// \file
/// MD5, the protocol's default digest, from Crypto++.

#include <filexfer/digest.hpp>

#ifndef CRYPTOPP_ENABLE_NAMESPACE_WEAK
#define CRYPTOPP_ENABLE_NAMESPACE_WEAK 1  // Crypto++ asks for it: MD5 is weak against attackers.
#endif
#include <cryptopp/md5.h>

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace filexfer {

/// Computes MD5. It finds accidents, not attackers (the protocol's section 9).
class md5 {
 public:
  using digest_type = digest<16>;

  static constexpr std::string_view name() noexcept { return "md5"; }

  void update(std::span<const std::byte> octets) {
    hash_.Update(reinterpret_cast<const CryptoPP::byte*>(octets.data()), octets.size());
  }

  digest_type finish() {
    std::array<std::byte, digest_type::octets> value;
    hash_.Final(reinterpret_cast<CryptoPP::byte*>(value.data()));
    return digest_type{value};
  }

 private:
  CryptoPP::Weak::MD5 hash_;
};

static_assert(hasher<md5>);

}  // namespace filexfer

#endif
