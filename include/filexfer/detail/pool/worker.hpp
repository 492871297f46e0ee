#ifndef FILEXFER_DETAIL_POOL_WORKER_HPP
#define FILEXFER_DETAIL_POOL_WORKER_HPP

// What a job keeps: of each file that is under way, and of each connection.

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

/// What every job keeps of a file beside its element, from its turn until its result.
template <class Element, class Clock>
struct file_record : Element {
  std::size_t index = 0;     ///< Place in the range.
  bool is_prepared = false;  ///< Where its element has to be.
  /// It is transferred by itself, so that it can go on where an attempt stopped.
  bool alone = false;
  std::optional<retry_schedule<Clock>> schedule{};  ///< Since it was refused for a while.
  std::optional<file_progress> progress{};

  /// Bytes that the latest attempt has come past.
  std::uint64_t position() const noexcept { return progress ? progress->position() : 0; }
};

/// One of a job's connections, and the files that it has in hand.
template <class Core, class Record>
struct pool_worker {
  using pointer = std::unique_ptr<Record>;

  /// A file in hand. `error`: it failed on this side before it was sent.
  struct in_flight {
    pointer file;
    std::error_code error{};
  };

  explicit pool_worker(const Core& core) : timer{core.strand} {}

  std::weak_ptr<routine> running;
  std::unique_ptr<typename Core::connection> connected;
  typename Core::timer_type timer;
  std::optional<retry_schedule<typename Core::clock>> outage;  ///< Since the connection was lost.
  std::size_t limit = 1;                                       ///< Files of the next operation.
  bool holds_files = false;
  bool has_left = false;

  // Of the operation under way.
  std::mutex mutex;  ///< Files are added by work.
  std::deque<in_flight> files;
  bool answered = false;
  std::uint64_t bytes_moved = 0;

  void add(pointer file, std::error_code error = {}) {
    const std::lock_guard lock{mutex};
    files.push_back({std::move(file), error});
  }
  void put_first(in_flight one) {
    const std::lock_guard lock{mutex};
    files.push_front(std::move(one));
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
