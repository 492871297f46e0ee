#ifndef FILEXFER_DETAIL_POOL_ELEMENT_QUEUE_HPP
#define FILEXFER_DETAIL_POOL_ELEMENT_QUEUE_HPP

// The files that a job takes from the caller's range, and those that wait to be taken again.

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/pool/elements.hpp>
#include <filexfer/error.hpp>
#include <filexfer/transfer_types.hpp>

#include <atomic>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

/// The caller's range of files and result callback.
template <class Record>
class job_files {
 public:
  virtual ~job_files() = default;
  /// The next file; null at the end. Throws what the range throws.
  virtual std::unique_ptr<Record> next() = 0;
  /// Calls the callback. Throws what it throws.
  virtual void report(Record& file, transfer_outcome outcome) = 0;
};

/// How a record holds its element: a pointer to an element of a container, any other by value.
template <class Range>
using element_holder_t =
    std::conditional_t<refers_to_elements<Range>,
                       std::remove_reference_t<std::ranges::range_reference_t<Range>>*,
                       range_element_t<Range>>;

/// \tparam Range  An lvalue reference, to what must outlive this; any other type is owned.
template <class Record, class ElementRecord, class Range, class OnResult>
class files_of_range final : public job_files<Record> {
  using element_type = range_element_t<Range>;
  using holder = element_holder_t<Range>;

 public:
  files_of_range(Range&& range, OnResult on_result)
      : range_{std::forward<Range>(range)}, on_result_{std::move(on_result)} {}

  std::unique_ptr<Record> next() override {
    if (!position_) position_.emplace(std::ranges::begin(range_));
    else ++*position_;
    if (*position_ == std::ranges::end(range_)) return nullptr;
    if constexpr (refers_to_elements<Range>) {
      return std::make_unique<ElementRecord>(&**position_, count_++);
    } else {
      return std::make_unique<ElementRecord>(holder(std::move(**position_)), count_++);
    }
  }

  void report(Record& file, transfer_outcome outcome) override {
    const file_result<element_type> result{std::move(outcome),
                                           static_cast<ElementRecord&>(file).element()};
    on_result_(result);
  }

 private:
  Range range_;
  std::optional<std::ranges::iterator_t<std::remove_reference_t<Range>>> position_;
  std::size_t count_ = 0;
  OnResult on_result_;
};

template <class Record, class Range, class OnResult>
std::unique_ptr<job_files<Record>> files_to_upload(Range&& range, OnResult on_result) {
  using element_record_type =
      upload_element_record<Record, range_element_t<Range>, element_holder_t<Range>>;
  return std::make_unique<files_of_range<Record, element_record_type, Range, OnResult>>(
      std::forward<Range>(range), std::move(on_result));
}

template <class Record, class... Digests, class Range, class OnResult>
std::unique_ptr<job_files<Record>> files_to_download(Range&& range, OnResult on_result) {
  using element_record_type =
      download_element_record<Record, range_element_t<Range>, element_holder_t<Range>, Digests...>;
  return std::make_unique<files_of_range<Record, element_record_type, Range, OnResult>>(
      std::forward<Range>(range), std::move(on_result));
}

/// A queue of a job's files. Thread-safe; only one thread at a time uses the range.
template <class Record>
class element_queue {
 public:
  using pointer = std::unique_ptr<Record>;

  explicit element_queue(job_files<Record>& files) : files_{files} {}

  /// The next file: one that was put back, else the range's next. Null at the end, after the
  /// range's first exception, and after `stop`.
  pointer next() {
    if (stopped_) return nullptr;
    if (auto file = take_returned()) return file;
    const std::lock_guard lock{range_mutex_};
    if (ended_) return nullptr;
    pointer file;
    try {
      file = files_.next();
    } catch (...) {
      error_ = error_of(std::current_exception());
    }
    ended_ = !file;
    return file;
  }

  /// The exception that has ended the range, if any.
  std::error_code error() {
    const std::lock_guard lock{range_mutex_};
    return error_;
  }

  /// Puts a file in front of all others.
  void put_back(pointer file) {
    const std::lock_guard lock{mutex_};
    returned_.push_front(std::move(file));
  }

  bool has_returned() {
    const std::lock_guard lock{mutex_};
    return !returned_.empty();
  }

  /// Takes the first file that was put back; null if there is none.
  pointer take_returned() {
    const std::lock_guard lock{mutex_};
    if (returned_.empty()) return nullptr;
    auto file = std::move(returned_.front());
    returned_.pop_front();
    return file;
  }

  /// From now on `next` returns null.
  void stop() noexcept { stopped_ = true; }
  bool stopped() const noexcept { return stopped_; }

 private:
  job_files<Record>& files_;
  std::atomic<bool> stopped_{false};
  std::mutex range_mutex_;
  bool ended_ = false;
  std::error_code error_;

  std::mutex mutex_;
  std::deque<pointer> returned_;
};

}  // namespace filexfer::detail

#endif
