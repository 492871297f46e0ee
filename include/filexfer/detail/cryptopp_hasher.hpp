#ifndef FILEXFER_DETAIL_CRYPTOPP_HASHER_HPP
#define FILEXFER_DETAIL_CRYPTOPP_HASHER_HPP

#include <filexfer/digest.hpp>

#include <array>
#include <cstddef>
#include <span>

namespace filexfer::detail {

/// Adapts a hash of Crypto++ to `hasher`; the derived class adds `name()`.
template <class Hash>
class cryptopp_hasher {
 public:
  using digest_type = digest<Hash::DIGESTSIZE>;

  void update(std::span<const std::byte> bytes) {
    hash_.Update(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  }

  digest_type finish() {
    std::array<std::byte, digest_type::size> value;
    hash_.Final(reinterpret_cast<unsigned char*>(value.data()));
    return digest_type{value};
  }

 private:
  Hash hash_;
};

}  // namespace filexfer::detail

#endif
