#ifndef FILEXFER_DETAIL_STORE_VERIFICATION_HPP
#define FILEXFER_DETAIL_STORE_VERIFICATION_HPP

/// \file
/// How the files of a `directory_store` are verified.

#include <filexfer/detail/posix/regular_file.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/detail/store/id_folder.hpp>
#include <filexfer/detail/store/quarantine.hpp>
#include <filexfer/detail/store/store_folder.hpp>
#include <filexfer/detail/store/store_walk.hpp>
#include <filexfer/detail/store/stored_bytes.hpp>
#include <filexfer/detail/store/verify_pace.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/verification.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// Makes the next read of a file come from the disk, which is to be verified, not from memory; or
/// gives back the memory that reading it took.
inline void drop_cached([[maybe_unused]] int fd) noexcept {
#if defined(POSIX_FADV_DONTNEED)
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
#endif
}

/// Hashes the files of a store, and sets aside those that do not hash to their id.
///
/// Nothing is locked while a file is hashed: writers never change a file that has a name, and one
/// that is removed meanwhile can be read to its end. The id's lock is held only while a damaged
/// file is moved.
template <hasher Hasher>
class verification {
 public:
  using digest_type = typename Hasher::digest_type;

  verification(const store_folder& store, const verify_options& options)
      : store_{store}, pace_{options}, buffer_(pace_.chunk_size()) {}

  /// Calls `on_file` with each `verified_file`. `ec` is cleared, or set to `operation_canceled` if
  /// the verification was stopped, or to the system's code if a folder can't be read.
  template <class OnFile>
  verify_totals run(OnFile& on_file, std::error_code& ec) {
    verify_totals totals;
    store_walk<digest_type> walk{store_.root(), ec};
    while (!ec && walk.next(ec)) {
      if (is_to_be_verified(walk.id(), walk.file().status())) verify(walk, on_file, totals, ec);
    }
    return totals;
  }

 private:
  using clock = verify_pace::clock;

  /// Whether a file is in the part to be verified, and was not found under another name before.
  bool is_to_be_verified(const digest_type& id, const struct stat& status) {
    if (!pace_.is_in_part(id)) return false;
    if (id_ != id) {
      id_ = id;
      seen_.clear();
    }
    return status.st_nlink == 1 || seen_.insert(status.st_ino).second;
  }

  template <class OnFile>
  void verify(const store_walk<digest_type>& walk, OnFile& on_file, verify_totals& totals,
              std::error_code& ec) {
    const name_walk& found = walk.file();
    verified_file<digest_type> result;
    result.info = {walk.id(), found.name(), found.size(), modified_time(found.status()),
                   is_executable(found.status())};
    auto opened = open_at(found.folder(), found.leaf(), file_flags, result.error);
    regular_file file;
    if (opened) file = regular_file{std::move(opened), result.error};
    if (is_absent(result.error) || is_not_regular(result.error)) return;  // removed or replaced
    bool is_intact = !result.error && has_digest(file, walk.id(), result.error);
    // Once more, as a cable or memory may have failed only for a moment.
    if (!is_intact && file.native_handle() >= 0 && !is_canceled(result.error)) {
      is_intact = has_digest(file, walk.id(), result.error);
    }
    if (is_canceled(result.error)) {
      ec = result.error;
      return;
    }
    ++totals.files;
    totals.bytes += file.size();
    if (result.error) {
      result.state = stored_state::unreadable;
      ++totals.unreadable;
    } else if (!is_intact) {
      result.state = stored_state::damaged;
      ++totals.damaged;
      set_aside(walk.id(), file.opened(), result.error);
    }
    on_file(std::as_const(result));
  }

  static bool is_canceled(std::error_code ec) noexcept {
    return ec == std::errc::operation_canceled;
  }

  /// Whether the file hashes to `id`; `operation_canceled` if the verification is to stop.
  bool has_digest(regular_file& file, const digest_type& id, std::error_code& ec) {
    drop_cached(file.native_handle());
    file.seek(0, ec);
    Hasher hash;
    std::size_t got = buffer_.size();
    while (!ec && got == buffer_.size()) {
      got = file.read(buffer_, ec);
      hash.update(std::span{buffer_}.first(got));
      if (!ec && !pace_.keep_rate(got)) ec = std::make_error_code(std::errc::operation_canceled);
    }
    drop_cached(file.native_handle());
    return !ec && hash.finish() == id;
  }

  /// Moves the damaged file, under all its names, unless another process has done so.
  void set_aside(const digest_type& id, const struct stat& damaged, std::error_code& ec) {
    const auto root = reopen_folder(store_.root(), ec);
    if (ec) return;
    std::optional<id_folder> folder;
    const auto deadline = clock::now() + std::chrono::minutes{5};
    do {
      folder.emplace(store_, root.get(), id.to_string(), if_missing::leave, ec);
    } while (ec == std::errc::operation_would_block && clock::now() < deadline &&
             pace_.wait_until(clock::now() + verify_pace::pause));
    if (ec || !*folder) return;
    quarantine(store_, *folder, id.to_string(), damaged, ec);
    folder->remove_empty();
    if (!ec) folder->flush_up(ec);
  }

  const store_folder& store_;
  verify_pace pace_;
  std::vector<std::byte> buffer_;
  digest_type id_{};        ///< That of `seen_`.
  std::set<::ino_t> seen_;  ///< Files of that id which have several names.
};

}  // namespace filexfer::detail

#endif
