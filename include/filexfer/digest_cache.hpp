#ifndef FILEXFER_DIGEST_CACHE_HPP
#define FILEXFER_DIGEST_CACHE_HPP

/// \file
/// Digests of local files, cached between runs.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/regular_file.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/md5.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace filexfer {

/// Caches the digests of open files. Any thread may call it. `kind` is a hasher's `name()`.
///
/// - `find(descriptor, kind)`: returns the file's digest, if it is known and the file has not
///   changed since.
/// - `add(descriptor, kind, started, digest)`: stores a digest that was computed from `started` on.
/// - `forget(descriptor, kind)`: removes a digest that turned out to be wrong.
///
/// \tparam C  The cache.
template <class C>
concept digest_cache =
    requires(C& cache, const C& known, int descriptor, std::string_view kind,
             std::chrono::system_clock::time_point started, const any_digest& digest) {
      { known.find(descriptor, kind) } -> std::convertible_to<std::optional<any_digest>>;
      cache.add(descriptor, kind, started, digest);
      cache.forget(descriptor, kind);
    };

/// A cache in a file. A file is identified by its device, inode, size, modification time and status
/// change time.
///
/// Any number of processes may share it: each digest is appended as a line that ends with a
/// checksum, and lines without a valid one are ignored. Failing to write is no error: the digest is
/// computed again in another run.
/// \snippet files.cpp file_digest_cache
class file_digest_cache {
 public:
  /// Opens and reads the file; creates it, for its owner only, if it does not exist.
  ///
  /// \param path  The file.
  /// \param ec  Cleared, or set to the system's code if it can't be opened or read, to `EISDIR` or
  ///   `ENOTSUP` if it is not a regular file, to `errc::not_private` if it belongs to another user,
  ///   has another hard link, or can be written by others, who could make wrong digests believed.
  ///   The cache works in memory only then.
  file_digest_cache(const std::filesystem::path& path, std::error_code& ec) {
    file_ = detail::open_at(AT_FDCWD, path.c_str(),
                            O_RDWR | O_CREAT | O_APPEND | O_NOCTTY | O_NONBLOCK, ec, 0600);
    if (ec) return;
    const auto status = detail::status_of(file_.get(), ec);
    if (!ec) detail::require_regular(status, ec);
    if (!ec && !detail::is_private(status)) ec = errc::not_private;
    if (!ec) read(ec);
    if (ec) file_.reset();
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param path  The file.
  explicit file_digest_cache(const std::filesystem::path& path)
      : file_digest_cache{path, std::error_code{}} {}

  file_digest_cache(const file_digest_cache&) = delete;
  file_digest_cache& operator=(const file_digest_cache&) = delete;

  /// Looks a file up.
  /// \param descriptor  The open file.
  /// \param kind  The name of the digest's hasher.
  /// \return The digest, if it is known and the file has not changed since.
  std::optional<any_digest> find(int descriptor, std::string_view kind) const {
    const auto file_key = key_of(descriptor, kind);
    const std::lock_guard lock{mutex_};
    const auto found = file_key ? digests_.find(*file_key) : digests_.end();
    return found != digests_.end() ? std::optional{found->second} : std::nullopt;
  }

  /// Stores a digest, unless the file was changed less than two seconds before its computation
  /// began: another change might leave the file's times the same then.
  /// \param descriptor  The open file.
  /// \param kind  The name of the digest's hasher.
  /// \param started  When the computation began.
  /// \param digest  The digest.
  void add(int descriptor, std::string_view kind, std::chrono::system_clock::time_point started,
           const any_digest& digest) {
    const auto file_key = key_of(descriptor, kind);
    if (!file_key) return;
    const auto newest = std::max(std::get<4>(*file_key), std::get<5>(*file_key));
    if (newest > started - std::chrono::seconds{2}) return;
    const std::string line = line_of(*file_key, digest.to_string());
    const std::lock_guard lock{mutex_};
    const auto [entry, is_new] = digests_.try_emplace(*file_key);
    if (!is_new && entry->second == digest) return;
    entry->second = digest;
    append(line);
  }

  /// Removes a file's digest, for later runs too.
  /// \param descriptor  The open file.
  /// \param kind  The name of the digest's hasher.
  void forget(int descriptor, std::string_view kind) {
    const auto file_key = key_of(descriptor, kind);
    const std::lock_guard lock{mutex_};
    if (file_key && digests_.erase(*file_key) > 0) append(line_of(*file_key, no_digest));
  }

 private:
  /// Kind, device, inode, size, and the times of modification and status change.
  using key =
      std::tuple<std::string, std::uint64_t, std::uint64_t, std::uint64_t, file_time, file_time>;

  /// In place of a digest: cancels the file's earlier lines.
  static constexpr std::string_view no_digest = "-";

  file_digest_cache(const std::filesystem::path& path, std::error_code&& ec)
      : file_digest_cache{path, ec} {
    if (ec) throw std::system_error{ec, path.string()};
  }

  static std::optional<key> key_of(int descriptor, std::string_view kind) {
    std::error_code ec;
    const auto status = detail::status_of(descriptor, ec);
    if (ec) return std::nullopt;
    return key{std::string{kind},
               status.st_dev,
               status.st_ino,
               static_cast<std::uint64_t>(status.st_size),
               detail::modified_time(status),
               detail::to_file_time(detail::status_changed(status))};
  }

  static std::string checksum_of(std::string_view line) {
    md5 hash;
    hash.update(std::as_bytes(std::span{line}));
    return hash.finish().to_string();
  }

  static std::string line_of(const key& file_key, std::string_view digest) {
    const auto& [kind, device, inode, size, modified, changed] = file_key;
    std::ostringstream line;
    line << digest << ' ' << kind << ' ' << device << ' ' << inode << ' ' << size << ' '
         << format_time(modified) << ' ' << format_time(changed) << ' ';
    return line.str() + checksum_of(line.str()) + '\n';
  }

  void read(std::error_code& ec) {
    std::array<std::byte, std::size_t{64} * 1024> chunk;
    std::string text;
    for (std::uint64_t offset = 0;;) {
      const std::size_t got = detail::read_at(file_.get(), chunk, offset, ec);
      if (ec || got == 0) break;
      offset += got;
      text.append(reinterpret_cast<const char*>(chunk.data()), got);
      std::size_t line = 0;
      for (auto end = text.find('\n'); end != text.npos; end = text.find('\n', line)) {
        read_line(text.substr(line, end - line));
        line = end + 1;
      }
      text.erase(0, line);
    }
    if (!ec && !text.empty()) append("\n");  // ends an incomplete line
  }

  void read_line(const std::string& line) {
    const std::size_t checksum = line.rfind(' ') + 1;
    const std::string_view text{line};
    if (text.substr(checksum) != checksum_of(text.substr(0, checksum))) return;
    std::istringstream fields{line};
    std::string digest;
    std::string modified_text;
    std::string changed_text;
    key file_key;
    auto& [kind, device, inode, size, modified, changed] = file_key;
    fields >> digest >> kind >> device >> inode >> size >> modified_text >> changed_text;
    const auto modified_time = parse_time(modified_text);
    const auto changed_time = parse_time(changed_text);
    if (!fields || !modified_time || !changed_time) return;
    modified = *modified_time;
    changed = *changed_time;
    if (digest == no_digest) digests_.erase(file_key);
    else if (const auto read = any_digest::from_hex(digest)) {
      digests_.insert_or_assign(std::move(file_key), *read);
    }
  }

  /// With one `write`, since other processes append too.
  void append(std::string_view line) {
    if (!file_) return;
    [[maybe_unused]] const auto written = ::write(file_.get(), line.data(), line.size());
  }

  mutable std::mutex mutex_;
  std::map<key, any_digest> digests_;
  detail::descriptor file_;
};

static_assert(digest_cache<file_digest_cache>);

}  // namespace filexfer

#endif
