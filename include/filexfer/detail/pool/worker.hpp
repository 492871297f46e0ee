#ifndef FILEXFER_DETAIL_POOL_WORKER_HPP
#define FILEXFER_DETAIL_POOL_WORKER_HPP

// A job's state: per file in flight, and per connection.

#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_progress.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// A job's state of a file besides its element, from its turn until its result.
template <class Element, class Clock>
struct file_record : Element {
  std::size_t index = 0;     ///< Position in the range.
  bool is_prepared = false;  ///< `prepare` was called, as the element blocks.
  /// Transferred by itself, so that it can be resumed where an attempt stopped.
  bool alone = false;
  std::optional<retry_schedule<Clock>> schedule{};  ///< Set by its first retry.
  std::optional<file_progress> progress{};

  /// The offset that the latest attempt has reached.
  std::uint64_t position() const noexcept { return progress ? progress->position() : 0; }
};

/// One of a job's connections, and its files in flight.
template <class Core, class Record>
struct pool_worker {
  using pointer = std::unique_ptr<Record>;

  struct in_flight {
    pointer file;
    std::error_code error{};  ///< Set if the file failed locally and was not sent.
  };

  explicit pool_worker(const Core& core) : timer{core.strand} {}

  std::weak_ptr<routine> running;
  std::unique_ptr<typename Core::connection> connected;
  typename Core::timer_type timer;
  /// Set when the connection fails, reset when an operation succeeds.
  std::optional<retry_schedule<typename Core::clock>> outage;
  std::size_t limit = 1;     ///< Most files of the next operation.
  bool holds_files = false;  ///< Has files, or is looking for one.
  bool has_ended = false;

  // State of the current operation.
  std::mutex mutex;  ///< For `files`: the work executor adds to them.
  std::deque<in_flight> files;
  bool answered = false;  ///< The server has replied to a file.
  std::uint64_t bytes_moved = 0;

  void add(pointer file, std::error_code error = {}) {
    const std::lock_guard lock{mutex};
    files.push_back({std::move(file), error});
  }
  void put_first(in_flight entry) {
    const std::lock_guard lock{mutex};
    files.push_front(std::move(entry));
  }
  std::optional<in_flight> take_first() {
    const std::lock_guard lock{mutex};
    if (files.empty()) return std::nullopt;
    std::optional<in_flight> first{std::move(files.front())};
    files.pop_front();
    return first;
  }
};

}  // namespace filexfer::detail

#endif
