#ifndef FILEXFER_DETAIL_RADOS_POOL_HPP
#define FILEXFER_DETAIL_RADOS_POOL_HPP

#include <filexfer/detail/rados/operation.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <rados/librados.h>

namespace filexfer::detail {

/// Where a pool is, and how long to wait for it.
struct rados_address {
  std::string conf_file;   ///< Empty for librados's own places.
  std::string user;        ///< Without `client.`; empty for librados's default.
  std::string pool;        ///< Must exist.
  std::string name_space;  ///< Empty for the default one.
  std::chrono::seconds reply_limit;
};

/// A connection to a namespace of a pool. May be used by several threads at once.
class rados_pool {
 public:
  rados_pool(const rados_address& address, std::error_code& ec) {
    ec = rados_error(connect(address));
  }
  rados_pool(const rados_pool&) = delete;
  rados_pool& operator=(const rados_pool&) = delete;
  ~rados_pool() {
    if (pool_ != nullptr) rados_ioctx_destroy(pool_);
    if (cluster_ != nullptr) rados_shutdown(cluster_);
  }

  rados_ioctx_t handle() const noexcept { return pool_; }

  /// Bytes that the cluster has room for, replicas included; not older than some seconds.
  std::uint64_t available() const {
    constexpr std::chrono::seconds kept{5};
    {
      const std::lock_guard lock{mutex_};
      if (is_asking_ || std::chrono::steady_clock::now() < available_until_) return available_;
      is_asking_ = true;
    }
    rados_cluster_stat_t status{};  // may take as long as an answer may
    const bool known = rados_cluster_stat(cluster_, &status) >= 0;
    const std::lock_guard lock{mutex_};
    available_ = known ? status.kb_avail * 1024 : unknown;
    available_until_ = std::chrono::steady_clock::now() + kept;
    is_asking_ = false;
    return available_;
  }

 private:
  int connect(const rados_address& address) {
    const auto limit = std::to_string(
        std::max<std::chrono::seconds::rep>(address.reply_limit.count(), 1));  // 0 would be none
    int result = rados_create(&cluster_, address.user.empty() ? nullptr : address.user.c_str());
    if (result < 0) {
      cluster_ = nullptr;
      return result;
    }
    const auto* const file = address.conf_file.empty() ? nullptr : address.conf_file.c_str();
    result = rados_conf_read_file(cluster_, file);
    for (const char* const option :
         {"rados_osd_op_timeout", "rados_mon_op_timeout", "client_mount_timeout"}) {
      if (result >= 0) result = rados_conf_set(cluster_, option, limit.c_str());
    }
    if (result >= 0) result = rados_connect(cluster_);
    if (result >= 0) result = rados_ioctx_create(cluster_, address.pool.c_str(), &pool_);
    if (result < 0) {
      pool_ = nullptr;
    } else {
      rados_ioctx_set_namespace(pool_, address.name_space.c_str());
      rados_set_pool_full_try(
          pool_);  // fail instead of waiting for space; and let files be removed
    }
    return result;
  }

  static constexpr std::uint64_t unknown = std::numeric_limits<std::uint64_t>::max();

  rados_t cluster_ = nullptr;
  rados_ioctx_t pool_ = nullptr;
  mutable std::mutex mutex_;
  mutable bool is_asking_ = false;
  mutable std::uint64_t available_ = unknown;
  mutable std::chrono::steady_clock::time_point available_until_{};
};

}  // namespace filexfer::detail

#endif
