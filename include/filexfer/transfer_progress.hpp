#ifndef FILEXFER_TRANSFER_PROGRESS_HPP
#define FILEXFER_TRANSFER_PROGRESS_HPP

/// \file
/// How far a job of many files is.

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

/// Counts a job's files and bytes, over all of its connections. Any thread may call it.
class transfer_progress {
 public:
  struct snapshot {
    std::uint64_t files = 0;        ///< That are done with.
    std::uint64_t files_known = 0;  ///< That there are, as far as that is known.
    std::uint64_t bytes = 0;        ///< That have moved; what a retry moves again counts once.
    std::uint64_t bytes_known = 0;  ///< That move in all, as far as that is known.
    bool all_known = false;         ///< No more will get known.
  };

  /// One more file is to come, of that many bytes, if that is known.
  void expect(std::optional<std::uint64_t> bytes) {
    const std::lock_guard lock{mutex_};
    ++files_known_;
    if (bytes) bytes_known_ += static_cast<std::int64_t>(*bytes);
    else ++sizes_unknown_;
  }

  /// No more files are to come than were expected.
  void expect_no_more() {
    const std::lock_guard lock{mutex_};
    no_more_ = true;
  }

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
  void add_moved(std::uint64_t bytes) {
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
  std::int64_t bytes_known_ = 0;  ///< Below 0 while a file is done with before it is expected.
  std::int64_t sizes_unknown_ = 0;
  bool no_more_ = false;
};

/// How fast a job is: bytes per second, over the last few. Ask it regularly.
class transfer_rate {
 public:
  /// \param bytes  those that have moved already.
  explicit transfer_rate(std::uint64_t bytes = 0) : samples_{{clock::now(), bytes}} {}

  /// The rate now that so many bytes have moved, counted from the job's begin.
  double after(std::uint64_t bytes) {
    const auto now = clock::now();
    while (samples_.size() > 1 && now - samples_.front().first > std::chrono::seconds{5}) {
      samples_.pop_front();
    }
    samples_.emplace_back(now, bytes);
    const auto& [then, bytes_then] = samples_.front();
    const double time = detail::seconds(now - then);
    return time > 0 ? static_cast<double>(bytes - bytes_then) / time : 0;
  }

 private:
  using clock = std::chrono::steady_clock;

  std::deque<std::pair<clock::time_point, std::uint64_t>> samples_;
};

/// A line for people: `12 of 150 files  3.4 MB of 80.1 MB  12 MB/s  0:06 left`. A `+` is for what
/// is not known yet; of one file no number is told.
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

/// One file's part in a `transfer_progress`, over all attempts at it, until this is destroyed. For
/// one thread at a time.
class file_progress {
 public:
  /// \param job       must outlive this.
  /// \param expected  as it was, or is going to be, said to `transfer_progress::expect`.
  file_progress(transfer_progress& job, std::optional<std::uint64_t> expected) noexcept
      : job_{job}, expected_{expected} {}
  file_progress(const file_progress&) = delete;
  file_progress& operator=(const file_progress&) = delete;
  ~file_progress() { job_.finish_file(expected_, furthest_); }

  /// An attempt starts, at a file of `bytes`. What is read or written outside of attempts, to find
  /// out whether anything has to move, does not count.
  void start(std::uint64_t bytes) {
    if (expected_ != bytes) job_.change_size(expected_, bytes);
    expected_ = bytes;
    active_ = true;
    position_ = 0;
  }
  void stop() noexcept { active_ = false; }

  /// Bytes of the file that the latest attempt has come past.
  std::uint64_t position() const noexcept { return position_; }

  /// The next bytes have moved.
  void moved(std::size_t bytes) {
    if (!active_) return;
    position_ += bytes;
    if (position_ > furthest_) job_.add_moved(position_ - std::exchange(furthest_, position_));
  }

  /// The attempt goes on behind the first `bytes`.
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
  std::uint64_t furthest_ = 0;  ///< Of all attempts.
};

}  // namespace filexfer

#endif
