#ifndef PROGRAMS_PROGRESS_HPP
#define PROGRAMS_PROGRESS_HPP

/// \file
/// How far a job is.

#include "common/interruption.hpp"

#include <filexfer/fields.hpp>
#include <filexfer/storage.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>

namespace programs {

/// Counts a job's files and octets, of all its connections. Any thread may call it.
class progress {
 public:
  struct figures {
    std::uint64_t files = 0;  ///< That are done with.
    std::uint64_t files_known = 0;
    std::uint64_t octets = 0;        ///< That have moved; what a retry moves again counts once.
    std::uint64_t octets_known = 0;  ///< That move in all, as far as that is known.
    bool all_known = false;          ///< No more will get known.
  };

  /// One more file is to come; of how many octets need not be known.
  void expect(std::optional<std::uint64_t> octets);

  /// No more files are to come than were expected.
  void expect_no_more();

  figures now() const;

 private:
  friend class file_progress;

  void change(const std::optional<std::uint64_t>& expected, std::uint64_t octets);
  void moved(std::uint64_t octets);
  void need_not_move(std::uint64_t octets);
  void done(const std::optional<std::uint64_t>& expected, std::uint64_t gone_past);

  mutable std::mutex mutex_;
  std::uint64_t files_ = 0;
  std::uint64_t files_known_ = 0;
  std::uint64_t octets_ = 0;
  std::int64_t octets_known_ = 0;  // below 0 while a file is done with before it is expected
  std::int64_t sizes_unknown_ = 0;
  bool no_more_ = false;
};

/// What one file has in it, by however many attempts, until this is destroyed. For one thread at a
/// time.
class file_progress {
 public:
  /// \param expected  as it was said to `progress::expect`, or is going to be.
  file_progress(progress& job, std::optional<std::uint64_t> expected) noexcept
      : job_{job}, expected_{expected} {}
  file_progress(const file_progress&) = delete;
  file_progress& operator=(const file_progress&) = delete;
  ~file_progress() { job_.done(expected_, furthest_); }

  /// An attempt begins, at a file of so many octets. What is read or written at other times, to
  /// find out whether anything has to move, does not count.
  void begin(std::uint64_t octets);
  void end() noexcept { under_way_ = false; }

  /// The next octets have moved.
  void moved(std::size_t octets);

  /// The attempt goes on behind the first `octets`.
  void goes_on_at(std::uint64_t octets);

 private:
  progress& job_;
  std::optional<std::uint64_t> expected_;
  bool under_way_ = false;
  std::uint64_t at_ = 0;
  std::uint64_t furthest_ = 0;  ///< Of all attempts.
};

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
    shown_.goes_on_at(offset);
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
