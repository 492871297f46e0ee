#ifndef FILEXFER_TRANSFER_PROGRESS_HPP
#define FILEXFER_TRANSFER_PROGRESS_HPP

/// \file
/// The progress of a job of many files.

#include <filexfer/detail/units.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace filexfer {

/// Counts a job's files and bytes, over all of its connections. Thread-safe.
/// \snippet values.cpp format_progress
class transfer_progress {
 public:
  /// The counters at one time.
  struct snapshot {
    std::uint64_t files = 0;        ///< Files that have ended, whatever their result.
    std::uint64_t files_known = 0;  ///< Files of the job, as far as known.
    std::uint64_t bytes = 0;        ///< Bytes moved; those that a retry moves again count once.
    std::uint64_t bytes_known = 0;  ///< Bytes to move in all, as far as known.
    bool all_known = false;         ///< `files_known` and `bytes_known` are complete.
  };

  /// Announces a file.
  ///
  /// \param bytes  Its size, if known.
  void expect(std::optional<std::uint64_t> bytes) {
    const std::lock_guard lock{mutex_};
    ++files_known_;
    if (bytes) bytes_known_ += static_cast<std::int64_t>(*bytes);
    else ++sizes_unknown_;
  }

  /// Declares that all files have been announced.
  void expect_no_more() {
    const std::lock_guard lock{mutex_};
    no_more_ = true;
  }

  /// \return The counters, consistent with each other.
  snapshot now() const {
    const std::lock_guard lock{mutex_};
    const auto known = static_cast<std::uint64_t>(std::max<std::int64_t>(bytes_known_, 0));
    return {files_, std::max(files_, files_known_), bytes_, std::max(bytes_, known),
            no_more_ && sizes_unknown_ == 0};
  }

 private:
  friend class file_progress;

  void change_size(std::optional<std::uint64_t> expected, std::uint64_t bytes) {
    const std::lock_guard lock{mutex_};
    bytes_known_ += static_cast<std::int64_t>(bytes);
    if (expected) bytes_known_ -= static_cast<std::int64_t>(*expected);
    else --sizes_unknown_;
  }
  void add_bytes(std::uint64_t bytes) {
    const std::lock_guard lock{mutex_};
    bytes_ += bytes;
  }
  void skip(std::uint64_t bytes) {
    const std::lock_guard lock{mutex_};
    bytes_known_ -= static_cast<std::int64_t>(bytes);
  }
  void finish_file(std::optional<std::uint64_t> expected, std::uint64_t furthest) {
    const std::lock_guard lock{mutex_};
    ++files_;
    if (expected) bytes_known_ -= static_cast<std::int64_t>(*expected - furthest);
    else --sizes_unknown_;
  }

  mutable std::mutex mutex_;
  std::uint64_t files_ = 0;
  std::uint64_t files_known_ = 0;
  std::uint64_t bytes_ = 0;
  std::int64_t bytes_known_ = 0;  ///< Negative if a file has ended before it was announced.
  std::int64_t sizes_unknown_ = 0;
  bool no_more_ = false;
};

/// The rate of a job over the last five seconds. To be updated regularly.
/// \snippet values.cpp format_progress
class transfer_rate {
 public:
  /// \param bytes  Bytes moved already.
  explicit transfer_rate(std::uint64_t bytes = 0) : samples_{{clock::now(), bytes}} {}

  /// Adds a sample.
  ///
  /// \param bytes  Bytes moved so far, including those before the construction.
  /// \return The rate in bytes per second.
  double after(std::uint64_t bytes) {
    const auto now = clock::now();
    while (samples_.size() > 1 && now - samples_.front().first > std::chrono::seconds{5}) {
      samples_.pop_front();
    }
    samples_.emplace_back(now, bytes);
    const auto& [first_time, first_bytes] = samples_.front();
    const double time = detail::seconds(now - first_time);
    return time > 0 ? static_cast<double>(bytes - first_bytes) / time : 0;
  }

 private:
  using clock = std::chrono::steady_clock;

  std::deque<std::pair<clock::time_point, std::uint64_t>> samples_;
};

/// Formats a line for people: `12 of 150 files  3.4 MB of 80.1 MB  12 MB/s  0:06 left`. A `+` marks
/// totals that are not complete yet. For a single file the number of files is left out.
/// \snippet values.cpp format_progress
///
/// \param now               The counters.
/// \param bytes_per_second  The current rate; 0 if unknown.
/// \return The line, without a line end.
inline std::string format_progress(const transfer_progress::snapshot& now,
                                   double bytes_per_second) {
  const char* more = now.all_known ? "" : "+";
  std::string line;
  if (now.files_known > 1) {
    line = std::to_string(now.files) + " of " + std::to_string(now.files_known) + more + " files  ";
  }
  line += detail::megabytes(now.bytes) + " of " + detail::megabytes(now.bytes_known) + more + "  " +
          detail::rate_text(bytes_per_second);
  if (now.all_known && bytes_per_second > 0) {
    const double left = static_cast<double>(now.bytes_known - now.bytes) / bytes_per_second;
    line += "  " + detail::clock_time(static_cast<std::uint64_t>(left)) + " left";
  }
  return line;
}

/// Counts one file in a `transfer_progress`, over all attempts at it. The file has ended when this
/// is destroyed. Not thread-safe.
/// \snippet values.cpp file_progress
class file_progress {
 public:
  /// \param job       Must outlive this.
  /// \param expected  The size with which `transfer_progress::expect` announces the file, before or
  ///                  after this.
  file_progress(transfer_progress& job, std::optional<std::uint64_t> expected) noexcept
      : job_{job}, expected_{expected} {}
  file_progress(const file_progress&) = delete;
  file_progress& operator=(const file_progress&) = delete;
  ~file_progress() { job_.finish_file(expected_, furthest_); }

  /// Starts an attempt. Bytes that are read or written outside of attempts, to find out whether
  /// anything has to move, do not count.
  ///
  /// \param bytes  The file's size.
  void start(std::uint64_t bytes) {
    if (expected_ != bytes) job_.change_size(expected_, bytes);
    expected_ = bytes;
    active_ = true;
    position_ = 0;
  }
  /// Ends the attempt.
  void stop() noexcept { active_ = false; }

  /// \return The offset in bytes that the latest attempt has reached.
  std::uint64_t position() const noexcept { return position_; }

  /// Counts bytes that have moved, at the position. Ignored outside of attempts.
  ///
  /// \param bytes  How many.
  void add(std::size_t bytes) {
    if (!active_) return;
    position_ += bytes;
    if (position_ > furthest_) job_.add_bytes(position_ - std::exchange(furthest_, position_));
  }

  /// Sets the position; the bytes before it need not move. Ignored outside of attempts.
  ///
  /// \param bytes  The offset of the next byte.
  void seek(std::uint64_t bytes) {
    if (!active_) return;
    position_ = bytes;
    if (position_ > furthest_) job_.skip(position_ - std::exchange(furthest_, position_));
  }

 private:
  transfer_progress& job_;
  std::optional<std::uint64_t> expected_;
  bool active_ = false;
  std::uint64_t position_ = 0;
  std::uint64_t furthest_ = 0;  ///< The highest position of all attempts.
};

}  // namespace filexfer

#endif
