#ifndef PROGRAMS_STDIN_SOURCE_HPP
#define PROGRAMS_STDIN_SOURCE_HPP

/// \file
/// Standard input as a source of uploads.

#include <filexfer/file.hpp>
#include <filexfer/storage.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <system_error>

namespace programs {

/// Standard input of a known size, read without spooling. Detects a wrong size.
class stdin_source {
 public:
  explicit stdin_source(std::uint64_t size) noexcept : size_{size} {}

  std::uint64_t size() const noexcept { return size_; }
  static bool may_block() noexcept { return true; }

  /// Sets `errc::short_source` if standard input ends before `size()`.
  std::size_t read(std::span<std::byte> buffer, std::error_code& ec);

  /// Sets `errc::bad_size` if standard input has more than `size()` bytes. Waits for its end.
  void check_unchanged(std::error_code& ec);

 private:
  std::uint64_t size_;
};

static_assert(filexfer::guarded_source<stdin_source>);

/// Standard input, spooled to an unlinked temporary file. Copies of this object share the file.
class stdin_spool {
 public:
  /// Copies standard input up to its end, so that its size is known.
  explicit stdin_spool(std::error_code& ec);

  filexfer::file_source open(std::error_code& ec) const;

 private:
  std::shared_ptr<std::FILE> file_;
};

}  // namespace programs

#endif
