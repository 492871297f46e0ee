#ifndef PROGRAMS_PROGRESS_HPP
#define PROGRAMS_PROGRESS_HPP

/// \file
/// How far a transfer is, on a terminal.

#include "common/interruption.hpp"

#include <filexfer/fields.hpp>
#include <filexfer/storage.hpp>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace programs {

/// Shows a transfer that takes longer than half a second, in one line on stderr that is gone when
/// it ends.
class progress {
 public:
  enum class shown { never, on_terminal };

  progress(asio::io_context& context, shown when);

  void begin(std::string_view name, std::uint64_t octets);
  void end();

  /// `octets` have moved, on any thread.
  void moved(std::size_t octets) noexcept { moved_ += octets; }

  /// The first `octets` are there already.
  void begins_at(std::uint64_t octets) noexcept { moved_ = octets; }

 private:
  using clock = std::chrono::steady_clock;

  void draw_after(std::chrono::milliseconds pause);
  void draw();

  asio::steady_timer timer_;
  bool wanted_;
  bool running_ = false;
  bool drawn_ = false;
  std::string name_;
  std::uint64_t all_ = 0;
  std::atomic<std::uint64_t> moved_{0};
  clock::time_point begun_{};
};

/// A source that tells how far it was read, and ends at an interruption.
template <filexfer::byte_source Source>
class counted_source {
 public:
  counted_source(Source& source, progress& shown) : source_{source}, shown_{shown} {}

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
    shown_.begins_at(offset);
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
  progress& shown_;
};

}  // namespace programs

#endif
