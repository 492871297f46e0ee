#ifndef PROGRAMS_STDIN_SOURCE_HPP
#define PROGRAMS_STDIN_SOURCE_HPP

/// \file
/// Standard input as something to upload.

#include <filexfer/file.hpp>
#include <filexfer/storage.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <system_error>

namespace programs {

/// Standard input whose size is known: read as it comes, and found out if the size is wrong.
class stdin_source {
 public:
  explicit stdin_source(std::uint64_t size) noexcept : size_{size} {}

  std::uint64_t size() const noexcept { return size_; }
  static bool may_block() noexcept { return true; }

  /// `errc::short_source` if standard input ends before its size.
  std::size_t read(std::span<std::byte> to, std::error_code& ec);

  /// `errc::bad_size` if standard input goes on behind its size. Waits for its end.
  void check_unchanged(std::error_code& ec);

 private:
  std::uint64_t size_;
};

static_assert(filexfer::guarded_source<stdin_source>);

/// What was standard input, in a temporary file without a name, which its copies share.
class spool {
 public:
  /// Copies standard input, so that its size gets known.
  explicit spool(std::error_code& ec);

  filexfer::file_source open(std::error_code& ec) const;

 private:
  std::shared_ptr<std::FILE> file_;
};

}  // namespace programs

#endif
