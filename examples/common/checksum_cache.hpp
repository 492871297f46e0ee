#ifndef PROGRAMS_CHECKSUM_CACHE_HPP
#define PROGRAMS_CHECKSUM_CACHE_HPP

/// \file
/// Digests of local files, remembered between runs.

#include <filexfer/file.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include <sys/stat.h>

namespace programs {

/// A file of digests, by what the system says of the files that they are of: device, inode, size,
/// and the times of the last modification and change. Any thread may use it, and several processes
/// may share one file: a line is appended for each digest, with a digest of its own at its end, and
/// what is no such line is passed over.
class checksum_cache {
 public:
  /// Reads the file; makes it if it is not there. Throws `std::runtime_error`, which says why not.
  explicit checksum_cache(const std::filesystem::path& path);
  ~checksum_cache();
  checksum_cache(const checksum_cache&) = delete;
  checksum_cache& operator=(const checksum_cache&) = delete;

  /// The digest of that kind (`Hasher::name()`), in hex, if it is known and the file has not
  /// changed since.
  std::optional<std::string> find(const filexfer::file_source& file, std::string_view kind) const;

  /// Remembers a digest that was computed from `begun` on, unless the file was modified within two
  /// seconds before: it may have been modified again without another time to tell by. What can't be
  /// written is computed again another time.
  void add(const filexfer::file_source& file, std::string_view kind,
           std::chrono::system_clock::time_point begun, const std::string& id);

  /// What is remembered of the file was wrong.
  void forget(const filexfer::file_source& file, std::string_view kind);

 private:
  /// Kind, device, inode, size, and the two times in nanoseconds.
  using key = std::tuple<std::string, std::uint64_t, std::uint64_t, std::uint64_t, std::int64_t,
                         std::int64_t>;

  static std::optional<key> key_of(const filexfer::file_source& file, std::string_view kind);
  static std::string line_of(const key& known, const std::string& id);
  void read_line(const std::string& line);
  void append(const std::string& line);

  mutable std::mutex mutex_;
  std::map<key, std::string> ids_;
  int descriptor_ = -1;
};

}  // namespace programs

#endif
