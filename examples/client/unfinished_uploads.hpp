#ifndef PROGRAMS_CLIENT_UNFINISHED_UPLOADS_HPP
#define PROGRAMS_CLIENT_UNFINISHED_UPLOADS_HPP

/// \file
/// What one run of the client keeps for the next one, so that it resumes uploads.

#include <filexfer/detail/posix/descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <sys/stat.h>

namespace programs {

/// The user's uploads to one server that have begun and not ended, each known by its resume token.
///
/// The folder `$XDG_STATE_HOME/filexfer`, or `~/.local/state/filexfer`, has an empty file per
/// upload, named by the token, and a secret, from which tokens are derived: so the next run finds
/// them again, and nobody else can guess them. If the folder can't be used, there are no tokens.
///
/// Thread-safe.
class unfinished_uploads {
 public:
  /// \param server  Its address, or the command that leads to it.
  explicit unfinished_uploads(std::string server);
  unfinished_uploads(const unfinished_uploads&) = delete;
  unfinished_uploads& operator=(const unfinished_uploads&) = delete;

  /// Whether an earlier run has left any uploads, to whatever server.
  bool has_earlier() const noexcept { return !earlier_.empty(); }

  /// Whether an earlier run has left the upload of this file under this name.
  bool was_interrupted(const struct stat& file, const std::string& name) const;

  /// Whether the upload of a file of `size` bytes is resumed; a smaller one is sent again.
  static constexpr bool is_resumed(std::uint64_t size) noexcept { return size >= 1024 * 1024; }

  /// Notes that an upload begins that `is_resumed`, and returns its token; none if another process
  /// is uploading the file, or the folder can't be used.
  std::string begin(const struct stat& file, const std::string& name);

  /// Notes that an upload has ended, and need not be resumed.
  void end(const std::string& token);

  /// Whether there are uploads that have begun and not ended.
  bool has_begun() const;

 private:
  bool prepare(bool creates);
  void open_folder(bool creates);
  bool read_secret();
  void make_secret();
  void find_earlier();
  bool lock(const std::string& token, short type);
  std::string token_of(const struct stat& file, const std::string& name) const;

  std::string server_;
  std::filesystem::path path_;  ///< Empty if there is none.
  std::vector<std::byte> secret_;
  filexfer::detail::descriptor folder_;
  filexfer::detail::descriptor locks_;  ///< Of this file each upload in flight locks a byte.
  std::set<std::string> earlier_;
  mutable std::mutex mutex_;  ///< For what is below, and for `prepare`.
  std::set<std::string> begun_;
  bool is_unusable_ = false;
};

}  // namespace programs

#endif
