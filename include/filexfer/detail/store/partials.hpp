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

/// How much of uploads that broke is kept.
struct partial_limits {
  std::chrono::seconds age;
  std::uint64_t bytes;
};

/// What arrived of uploads whose connections were lost, in a folder of a store: a file for each
/// token and size. Whoever writes one holds its lock, as with other temporary files, and in this
/// process its claim.
class partials {
 public:
  /// In the store's `root`; does nothing where that is not open.
  partials(int root, partial_limits limits, std::error_code& ec) : limits_{limits} {
    if (!ec) folder_ = make_and_open_folder(root, ".partial", ec);
    if (!ec) remove_old();
  }

  /// Takes the claim on a token; false if somebody in this process has it, who is told to give up.
  token_claims::claim take(const std::string& key) { return claims_.take(key); }

  /// What the file is called. In hex, for some file systems take different names for the same.
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

  /// Opens the file of a claimed token, or creates it. Fails with `EWOULDBLOCK` if another process
  /// is writing it.
  temporary open(const std::string& key, std::error_code& ec) const {
    return temporary{folder_.get(), key, ec};
  }

  /// Removes what is too old, or the oldest of what is too much. Looks once a minute at most;
  /// failures are left to the next time.
  void remove_old() {
    const auto now = std::chrono::steady_clock::now();
    {
      const std::lock_guard lock{mutex_};
      if (now < next_look_) return;
      next_look_ = now + std::chrono::minutes{1};
    }
    enforce_limits(limits_);
  }

  /// Removes all that nobody is writing: it gives way to what arrives.
  void remove_all() { enforce_limits({std::chrono::seconds::max(), 0}); }

  /// Bytes of what is kept, but not of what is arriving in this process.
  std::uint64_t count_bytes(std::error_code& ec) {
    std::uint64_t bytes = 0;
    for (const auto& one : find_all(ec)) bytes += one.bytes;
    return bytes;
  }

 private:
  struct kept {
    std::string key;
    file_time modified;
    std::uint64_t bytes;
  };

  std::vector<kept> find_all(std::error_code& ec) {
    std::vector<kept> all;
    folder_reader reader{reopen_folder(folder_.get(), ec), ec};
    while (reader && !ec) {
      const auto entry = reader.next(ec);
      if (entry.name == nullptr) break;
      std::error_code gone;
      const auto status = status_at(reader.handle(), entry.name, gone);
      if (gone || !S_ISREG(status.st_mode) || claims_.holds(entry.name)) continue;
      all.push_back(
          {entry.name, modified_time(status), static_cast<std::uint64_t>(status.st_size)});
    }
    return all;
  }

  void enforce_limits(const partial_limits& limits) {
    std::error_code ec;
    auto all = find_all(ec);
    if (ec) return;
    const auto newest_first = [](const kept& a, const kept& b) { return a.modified > b.modified; };
    std::sort(all.begin(), all.end(), newest_first);
    const auto now = std::chrono::system_clock::now();
    std::uint64_t bytes = 0;
    for (const kept& one : all) {
      bytes += one.bytes;
      const auto age = std::chrono::floor<std::chrono::seconds>(now - one.modified);
      if (bytes > limits.bytes || age > limits.age) {
        remove_if_abandoned(folder_.get(), one.key.c_str());
      }
    }
  }

  const partial_limits limits_;
  token_claims claims_;
  descriptor folder_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point next_look_{};
};

}  // namespace filexfer::detail

#endif
