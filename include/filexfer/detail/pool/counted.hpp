#ifndef FILEXFER_DETAIL_POOL_COUNTED_HPP
#define FILEXFER_DETAIL_POOL_COUNTED_HPP

// The sources that a job gives to its clients: they count bytes, and fail once the job is
// cancelled.

#include <filexfer/detail/pool/elements.hpp>
#include <filexfer/transfer_progress.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

namespace filexfer::detail {

/// Wraps a source. The source, its file's progress and the job's flag must outlive it.
class counted_source {
 public:
  counted_source(any_source& source, file_progress& progress, const std::atomic<bool>& cancelled)
      : source_{source}, progress_{progress}, cancelled_{cancelled} {}

  std::uint64_t size() const { return source_.size(); }

  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    if (cancelled_) {
      ec = std::make_error_code(std::errc::operation_canceled);
      return 0;
    }
    const std::size_t bytes = source_.read(to, ec);
    progress_.add(bytes);
    return bytes;
  }

  bool may_block() const noexcept { return source_.may_block(); }

  void seek(std::uint64_t offset, std::error_code& ec) {
    source_.seek(offset, ec);
    progress_.seek(offset);
  }

  void check_unchanged(std::error_code& ec) { source_.check_unchanged(ec); }

 private:
  any_source& source_;
  file_progress& progress_;
  const std::atomic<bool>& cancelled_;
};

/// A `counted_source` without `seek`. Refers to the other, which must outlive it.
class streamed_source {
 public:
  explicit streamed_source(counted_source& source) : source_{source} {}

  std::uint64_t size() const { return source_.size(); }
  std::size_t read(std::span<std::byte> to, std::error_code& ec) { return source_.read(to, ec); }
  bool may_block() const noexcept { return source_.may_block(); }
  void check_unchanged(std::error_code& ec) { source_.check_unchanged(ec); }

 private:
  counted_source& source_;
};

}  // namespace filexfer::detail

#endif
