#ifndef FILEXFER_DETAIL_DRIVER_WORK_QUEUE_HPP
#define FILEXFER_DETAIL_DRIVER_WORK_QUEUE_HPP

#include <filexfer/detail/flow/flow.hpp>

#include <mutex>
#include <utility>

namespace filexfer::detail {

/// Runs pieces of work one at a time, in the order in which they were pushed.
class work_queue {
 public:
  /// Appends `piece`. True if the queue was idle: the caller then arranges a call of `run_next`.
  bool push(work_base& piece) {
    const std::lock_guard lock{mutex_};
    piece.next_ = nullptr;
    piece.ended_ = piece.awaited_ = false;
    (first_ != nullptr ? last_->next_ : first_) = &piece;
    last_ = &piece;
    return !std::exchange(running_, true);
  }

  /// Whether `piece` is done. If not, the `run_next` that runs it reports `awaited`.
  bool done_or_notify(work_base& piece) {
    const std::lock_guard lock{mutex_};
    piece.awaited_ = !piece.ended_;
    return piece.ended_;
  }

  /// Takes back what `done_or_notify` asked for. False if the piece has ended meanwhile, and its
  /// `run_next` reports `awaited` all the same.
  bool forget(work_base& piece) {
    const std::lock_guard lock{mutex_};
    piece.awaited_ = false;
    return !piece.ended_;
  }

  /// From now on pieces are cancelled instead of started.
  void cancel() {
    const std::lock_guard lock{mutex_};
    cancelled_ = true;
  }

  struct progress {
    bool awaited;  ///< An action waits for the piece that was run.
    bool more;     ///< There are more pieces: call `run_next` again.
  };

  /// Runs the first piece.
  progress run_next() noexcept {
    bool skip = false;
    {
      const std::lock_guard lock{mutex_};
      skip = cancelled_;
    }
    work_base& piece = *first_;  // only this function removes pieces
    if (skip) piece.cancel();
    else piece.run();
    const std::lock_guard lock{mutex_};
    first_ = piece.next_;
    running_ = first_ != nullptr;
    piece.ended_ = true;
    return {piece.awaited_, running_};
  }

 private:
  std::mutex mutex_;
  work_base* first_ = nullptr;  ///< Stays here while it runs.
  work_base* last_ = nullptr;
  bool running_ = false;
  bool cancelled_ = false;
};

}  // namespace filexfer::detail

#endif
