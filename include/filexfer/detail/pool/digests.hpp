#ifndef FILEXFER_DETAIL_POOL_DIGESTS_HPP
#define FILEXFER_DETAIL_POOL_DIGESTS_HPP

// Digests of local files: the pool's cache, type-erased, and computing what it does not have.

#include <filexfer/detail/pool/counted.hpp>
#include <filexfer/detail/pool/elements.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/digest_cache.hpp>
#include <filexfer/transfer.hpp>

#include <chrono>
#include <optional>
#include <string_view>
#include <system_error>

namespace filexfer::detail {

class any_digest_cache {
 public:
  using time_point = std::chrono::system_clock::time_point;

  virtual ~any_digest_cache() = default;
  virtual std::optional<any_digest> find(int descriptor, std::string_view kind) const = 0;
  virtual void add(int descriptor, std::string_view kind, time_point started,
                   const any_digest& digest) = 0;
  virtual void forget(int descriptor, std::string_view kind) = 0;
};

/// Refers to a cache, which must outlive it.
template <digest_cache Cache>
class digest_cache_ref final : public any_digest_cache {
 public:
  explicit digest_cache_ref(Cache& cache) noexcept : cache_{cache} {}

  std::optional<any_digest> find(int descriptor, std::string_view kind) const override {
    return cache_.find(descriptor, kind);
  }
  void add(int descriptor, std::string_view kind, time_point started,
           const any_digest& digest) override {
    cache_.add(descriptor, kind, started, digest);
  }
  void forget(int descriptor, std::string_view kind) override { cache_.forget(descriptor, kind); }

 private:
  Cache& cache_;
};

/// The digest of a file: from `cache`, which may be null, or computed by reading `counted`, which
/// wraps `source`.
template <class Hasher>
any_digest digest_of(any_digest_cache* cache, const any_source& source, counted_source& counted,
                     std::error_code& ec) {
  const auto handle = source.native_handle();
  if (!handle) cache = nullptr;
  const auto known = cache ? cache->find(*handle, Hasher::name()) : std::nullopt;
  if (known) return *known;
  const auto started = std::chrono::system_clock::now();
  const any_digest digest = hash_of<Hasher>(counted, ec);
  if (ec) return {};
  if (cache) cache->add(*handle, Hasher::name(), started, digest);
  return digest;
}

}  // namespace filexfer::detail

#endif
