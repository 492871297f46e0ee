#ifndef FILEXFER_REMOTE_FILE_HPP
#define FILEXFER_REMOTE_FILE_HPP

/// \file
/// A file at a server as a source to read from, and as an element to upload to another server.

#include <filexfer/any_digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer_types.hpp>

#include <asio/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <future>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer {

/// Reads a file at the server of a `transfer_pool` in parts. The next part is requested while one
/// is used. It models `seekable_source`.
///
/// Reading blocks until the server has answered, so it must not be done on a thread of the pool's
/// context or of its work executor. The bytes are not verified; a caller that reads all of them can
/// compare their digest with the file's id.
/// \snippet files.cpp remote_source
///
/// \tparam Pool  A `transfer_pool`.
template <class Pool>
class remote_source {
 public:
  /// Bytes of a part. Up to two parts are held.
  static constexpr std::size_t part_size = std::size_t{1024} * 1024;

  /// \param pool  Must outlive the source.
  /// \param file  The file's entry in the server's list.
  remote_source(Pool& pool, const listed_file& file)
      : pool_{&pool},
        id_{file.id},
        size_{file.size},
        modified_{file.modified},
        executable_{file.executable} {}

  /// \return The size in bytes, according to the list.
  std::uint64_t size() const noexcept { return size_; }
  /// \return True: reading may block indefinitely.
  static bool may_block() noexcept { return true; }
  /// \return The modification time, if the list had it.
  std::optional<file_time> modified() const noexcept { return modified_; }
  /// \return Whether the file may be executed, if the list had it.
  std::optional<bool> executable() const noexcept { return executable_; }

  /// Reads the next bytes.
  ///
  /// \param to  Buffer to fill.
  /// \param ec  Cleared, or set to `errc::short_source` if the file ends before `size()`; to
  ///            `asio::error::operation_aborted` if the pool's context has ended; else as by
  ///            `transfer_pool::async_read_at`.
  /// \return The number of bytes read; less than `to.size()` only at the end or if `ec` is set.
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    ec.clear();
    std::size_t bytes = 0;
    while (bytes < to.size() && position_ < size_) {
      if (used_ == part_.size()) take_part(ec);
      if (ec) break;
      const std::size_t count = std::min(to.size() - bytes, part_.size() - used_);
      std::copy_n(part_.begin() + static_cast<std::ptrdiff_t>(used_), count,
                  to.begin() + static_cast<std::ptrdiff_t>(bytes));
      used_ += count;
      position_ += count;
      bytes += count;
    }
    return bytes;
  }

  /// Continues at another offset.
  ///
  /// \param offset  In bytes, from 0 to `size()`.
  /// \param ec      Cleared, or set to `errc::bad_range` if the offset is past the end.
  void seek(std::uint64_t offset, std::error_code& ec) {
    ec.clear();
    if (offset > size_) ec = errc::bad_range;
    if (ec || offset == position_) return;
    position_ = requested_ = offset;
    part_.clear();
    used_ = 0;
    next_ = {};
  }

 private:
  struct read_result {
    std::error_code error;
    std::vector<std::byte> bytes;
  };

  /// Waits for the next part, and requests the one after it.
  void take_part(std::error_code& ec) {
    if (!next_.valid()) request_part();
    try {
      auto result = next_.get();
      ec = result.error;
      part_ = std::move(result.bytes);
    } catch (const std::future_error&) {  // the pool's context has ended
      ec = asio::error::operation_aborted;
    }
    used_ = 0;
    if (ec) part_.clear();
    else if (part_.empty()) ec = errc::short_source;
    if (!ec && requested_ < size_) request_part();
  }

  void request_part() {
    const auto length =
        static_cast<std::size_t>(std::min<std::uint64_t>(size_ - requested_, part_size));
    // Not asio::use_future, which would throw errors from one thread to another.
    std::promise<read_result> promise;
    next_ = promise.get_future();
    pool_->async_read_at(
        id_, requested_, length,
        [p = std::move(promise)](std::error_code ec, std::vector<std::byte> bytes) mutable {
          p.set_value({ec, std::move(bytes)});
        });
    requested_ += length;
  }

  Pool* pool_;
  any_digest id_;
  std::uint64_t size_;
  std::optional<file_time> modified_;
  std::optional<bool> executable_;
  std::uint64_t position_ = 0;
  std::uint64_t requested_ = 0;  ///< Offset of the first byte that was not requested yet.
  std::vector<std::byte> part_;
  std::size_t used_ = 0;           ///< Bytes of `part_` that were read.
  std::future<read_result> next_;  ///< The part after `part_`, if requested.
};

/// A file at the server of one pool as an `upload_element` for the pool of another server.
/// \snippet files.cpp remote_file
///
/// \tparam Pool  The `transfer_pool` to read from.
template <class Pool>
class remote_file {
 public:
  /// \param pool  Must outlive this, and the sources that it opens.
  /// \param file  The file's entry in the server's list.
  remote_file(Pool& pool, listed_file file) : pool_{&pool}, file_{std::move(file)} {}

  /// \return The file's name.
  const std::string& name() const noexcept { return file_.name; }
  /// \return Its digest.
  const any_digest& id() const noexcept { return file_.id; }
  /// \return Its size in bytes.
  std::uint64_t size() const noexcept { return file_.size; }

  /// \param ec  Cleared.
  /// \return A source for the file. Nothing is requested before it is read.
  remote_source<Pool> open(std::error_code& ec) const {
    ec.clear();
    return {*pool_, file_};
  }

 private:
  Pool* pool_;
  listed_file file_;
};

}  // namespace filexfer

#endif
