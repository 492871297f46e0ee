#ifndef FILEXFER_DETAIL_POOL_COUNTED_HPP
#define FILEXFER_DETAIL_POOL_COUNTED_HPP

// The sources of a job's files, which count what moves, and end once the job is cancelled.

#include <filexfer/error.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer_progress.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

namespace filexfer::detail {

/// Refers to a source, to its file's progress and to the job's flag, which outlive it.
template <byte_source Source>
class counted_source {
 public:
  counted_source(Source& source, file_progress& progress, const std::atomic<bool>& cancelled)
      : source_{source}, progress_{progress}, cancelled_{cancelled} {}

  std::uint64_t size() const noexcept { return source_.size(); }

  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    if (cancelled_) {
      ec = std::make_error_code(std::errc::operation_canceled);
      return 0;
    }
    const std::size_t bytes = source_.read(to, ec);
    progress_.moved(bytes);
    return bytes;
  }

  void seek(std::uint64_t offset, std::error_code& ec)
    requires seekable_source<Source>
  {
    source_.seek(offset, ec);
    progress_.seek(offset);
  }

  void check_unchanged(std::error_code& ec)
    requires guarded_source<Source>
  {
    source_.check_unchanged(ec);
  }

 private:
  Source& source_;
  file_progress& progress_;
  const std::atomic<bool>& cancelled_;
};

}  // namespace filexfer::detail

#endif
