#ifndef FILEXFER_REMOTE_FILE_HPP
#define FILEXFER_REMOTE_FILE_HPP

/// \file
/// A file at a server as something to read, and to send to another server.

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

/// Reads a file at the server of a `transfer_pool`, part by part: the next one is on its way while
/// one is used. Reading waits for the server, and so has to be done on a thread that neither the
/// pool's context nor its work executor has. What is read is not verified; whoever reads all of it
/// can compare its digest with the file's id.
template <class Pool>
class remote_source {
 public:
  /// Bytes that are asked for at a time; two of them are held.
  static constexpr std::size_t part_size = std::size_t{1024} * 1024;

  /// \param pool  must outlive this.
  remote_source(Pool& pool, const listed_file& file)
      : pool_{&pool}, id_{file.id}, size_{file.size}, modified_{file.modified} {}

  std::uint64_t size() const noexcept { return size_; }
  static bool waits() noexcept { return true; }
  std::optional<file_time> modified() const noexcept { return modified_; }

  /// Fails as `transfer_pool::async_read_at` does, and with `errc::short_source`.
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    ec.clear();
    std::size_t bytes = 0;
    while (bytes < to.size() && position_ < size_) {
      if (used_ == part_.size()) take_next(ec);
      if (ec) break;
      const std::size_t some = std::min(to.size() - bytes, part_.size() - used_);
      std::copy_n(part_.begin() + static_cast<std::ptrdiff_t>(used_), some,
                  to.begin() + static_cast<std::ptrdiff_t>(bytes));
      used_ += some;
      position_ += some;
      bytes += some;
    }
    return bytes;
  }

  /// Goes on reading at `offset`. `errc::bad_range` if that is past the end.
  void seek(std::uint64_t offset, std::error_code& ec) {
    ec.clear();
    if (offset > size_) ec = errc::bad_range;
    if (ec || offset == position_) return;
    position_ = asked_ = offset;
    part_.clear();
    used_ = 0;
    next_ = {};
  }

 private:
  struct read_result {
    std::error_code error;
    std::vector<std::byte> bytes;
  };

  void take_next(std::error_code& ec) {
    if (!next_.valid()) ask();
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
    if (!ec && asked_ < size_) ask();
  }

  void ask() {
    const auto length =
        static_cast<std::size_t>(std::min<std::uint64_t>(size_ - asked_, part_size));
    // Not asio::use_future: an error need not be thrown from one thread to another.
    std::promise<read_result> promise;
    next_ = promise.get_future();
    pool_->async_read_at(
        id_, asked_, length,
        [p = std::move(promise)](std::error_code ec, std::vector<std::byte> bytes) mutable {
          p.set_value({ec, std::move(bytes)});
        });
    asked_ += length;
  }

  Pool* pool_;
  any_digest id_;
  std::uint64_t size_;
  std::optional<file_time> modified_;
  std::uint64_t position_ = 0;
  std::uint64_t asked_ = 0;  ///< Up to here parts are had, or on their way.
  std::vector<std::byte> part_;
  std::size_t used_ = 0;
  std::future<read_result> next_;
};

/// A file at the server of `Pool`, as an `upload_element` for the pool of another server.
template <class Pool>
class remote_file {
 public:
  /// \param pool  must outlive this, and what it opens.
  remote_file(Pool& pool, listed_file file) : pool_{&pool}, file_{std::move(file)} {}

  const std::string& name() const noexcept { return file_.name; }
  const any_digest& id() const noexcept { return file_.id; }
  std::uint64_t size() const noexcept { return file_.size; }

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
