#ifndef PROGRAMS_PROGRESS_HPP
#define PROGRAMS_PROGRESS_HPP

/// \file
/// How far a job is.

#include "common/interruption.hpp"

#include <filexfer/fields.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer_progress.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

namespace programs {

using progress = filexfer::transfer_progress;
using filexfer::file_progress;

/// A source that tells how far it was read, and ends at an interruption.
template <filexfer::byte_source Source>
class counted_source {
 public:
  counted_source(Source& source, file_progress& shown) : source_{source}, shown_{shown} {}

  std::uint64_t size() const noexcept { return source_.size(); }

  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    if (interruption::came()) {
      ec = std::make_error_code(std::errc::operation_canceled);
      return 0;
    }
    const std::size_t octets = source_.read(to, ec);
    shown_.moved(octets);
    return octets;
  }

  void seek(std::uint64_t offset, std::error_code& ec)
    requires filexfer::seekable_source<Source>
  {
    source_.seek(offset, ec);
    shown_.seek(offset);
  }

  filexfer::file_time modified() const noexcept
    requires requires(const Source& s) { s.modified(); }
  {
    return source_.modified();
  }

  void check_unchanged(std::error_code& ec)
    requires filexfer::guarded_source<Source>
  {
    source_.check_unchanged(ec);
  }

 private:
  Source& source_;
  file_progress& shown_;
};

}  // namespace programs

#endif
