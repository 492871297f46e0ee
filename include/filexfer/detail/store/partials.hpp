#ifndef FILEXFER_DETAIL_STORE_PARTIALS_HPP
#define FILEXFER_DETAIL_STORE_PARTIALS_HPP

#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/detail/store/token_claims.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// How long interrupted uploads are kept, and how many bytes of them in all.
struct partial_limits {
  std::chrono::seconds age;
  std::uint64_t bytes;
};

/// Interrupted uploads in a folder of a store: one file for each token and size. Its writer holds
/// the file's lock, as for other temporary files, and within this process the token's claim.
class partials {
 public:
  /// Opens or makes the folder in the store's `root`; does nothing if `ec` is set already.
  partials(int root, partial_limits limits, std::error_code& ec) : limits_{limits} {
    if (!ec) folder_ = make_and_open_folder(root, ".partial", ec);
    if (!ec) remove_old();
  }

  /// Claims a token; if another upload in this process holds it, returns false and revokes that
  /// one.
  token_claims::claim take(const std::string& key) { return claims_.take(key); }

  /// The file's name. In hex, since some file systems treat different names as one.
  static std::string key_of(std::string_view token, std::uint64_t size) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string key;
    for (const char c : token) {
      const auto byte = static_cast<unsigned char>(c);
      key += digits[byte >> 4];
      key += digits[byte & 0x0Fu];
    }
    return key + '-' + std::to_string(size);
  }

  /// Opens or creates the file of a claimed token. Fails with `EWOULDBLOCK` if another process is
  /// writing it.
  temporary open(const std::string& key, std::error_code& ec) const {
    return temporary{folder_.get(), key, ec};
  }

  /// Removes files that are too old, and the oldest ones above the size limit. Runs at most once a
  /// minute; failures are left to the next run.
  void remove_old() {
    const auto now = std::chrono::steady_clock::now();
    {
      const std::lock_guard lock{mutex_};
      if (now < next_cleanup_) return;
      next_cleanup_ = now + std::chrono::minutes{1};
    }
    enforce_limits(limits_);
  }

  /// Removes all files that are not being written, to make room for arriving ones.
  void remove_all() { enforce_limits({std::chrono::seconds::max(), 0}); }

  /// Bytes of the interrupted uploads, without those that this process is receiving.
  std::uint64_t count_bytes(std::error_code& ec) {
    std::uint64_t bytes = 0;
    for (const auto& file : find_all(ec)) bytes += file.bytes;
    return bytes;
  }

 private:
  struct partial {
    std::string key;
    file_time modified;
    std::uint64_t bytes;
    bool published;  ///< A killed writer left its name here: it can't be resumed.
  };

  std::vector<partial> find_all(std::error_code& ec) {
    std::vector<partial> all;
    folder_reader reader{reopen_folder(folder_.get(), ec), ec};
    while (reader && !ec) {
      const auto entry = reader.next(ec);
      if (entry.name == nullptr) break;
      std::error_code status_error;
      const auto status = status_at(reader.handle(), entry.name, status_error);
      if (status_error || !S_ISREG(status.st_mode) || claims_.holds(entry.name)) continue;
      all.push_back({entry.name, modified_time(status), static_cast<std::uint64_t>(status.st_size),
                     status.st_nlink > 1});
    }
    return all;
  }

  void enforce_limits(const partial_limits& limits) {
    std::error_code ec;
    auto all = find_all(ec);
    if (ec) return;
    const auto newest_first = [](const partial& a, const partial& b) {
      return a.modified > b.modified;
    };
    std::sort(all.begin(), all.end(), newest_first);
    // A second more than the age, as some file systems keep whole seconds. The age may be the
    // longest that there is.
    const file_time now = std::chrono::system_clock::now();
    const file_time oldest_kept{now.seconds() - limits.age.count() - 1, now.nanoseconds()};
    std::uint64_t bytes = 0;
    for (const partial& file : all) {
      bytes += file.bytes;
      if (bytes > limits.bytes || file.modified <= oldest_kept || file.published) {
        remove_if_abandoned(folder_.get(), file.key.c_str());
      }
    }
  }

  const partial_limits limits_;
  token_claims claims_;
  descriptor folder_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point next_cleanup_{};
};

}  // namespace filexfer::detail

#endif
