#ifndef FILEXFER_DETAIL_WORK_LANE_HPP
#define FILEXFER_DETAIL_WORK_LANE_HPP

#include <filexfer/detail/flow.hpp>

#include <mutex>
#include <utility>

namespace filexfer::detail {

/// Work that is done piece by piece, in the order in which it was begun, on a thread of its own.
class work_lane {
 public:
  /// Puts `piece` at the end. True if nobody works here: the caller then has `work_on` called.
  bool begin(work_base& piece) {
    const std::lock_guard lock{mutex_};
    piece.next_ = nullptr;
    piece.ended_ = piece.awaited_ = false;
    (first_ != nullptr ? last_->next_ : first_) = &piece;
    last_ = &piece;
    return !std::exchange(at_work_, true);
  }

  /// Whether `piece` has ended. If not, `work_on` will tell when it does.
  bool ended_or_await(work_base& piece) {
    const std::lock_guard lock{mutex_};
    piece.awaited_ = !piece.ended_;
    return piece.ended_;
  }

  /// Pieces that were not yet started are cancelled in their turn.
  void cancel() {
    const std::lock_guard lock{mutex_};
    cancelled_ = true;
  }

  struct progress {
    bool awaited;  ///< The piece that was done is awaited.
    bool more;     ///< To be called again.
  };

  /// Does the first piece.
  progress work_on() noexcept {
    bool skip = false;
    {
      const std::lock_guard lock{mutex_};
      skip = cancelled_;
    }
    work_base& piece = *first_;  // only this function takes pieces away
    if (skip) piece.cancel();
    else piece.run();
    const std::lock_guard lock{mutex_};
    first_ = piece.next_;
    at_work_ = first_ != nullptr;
    piece.ended_ = true;
    return {piece.awaited_, at_work_};
  }

 private:
  std::mutex mutex_;
  work_base* first_ = nullptr;  ///< It stays here while it is done.
  work_base* last_ = nullptr;
  bool at_work_ = false;
  bool cancelled_ = false;
};

}  // namespace filexfer::detail

#endif
