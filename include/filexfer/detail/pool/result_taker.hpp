#ifndef FILEXFER_DETAIL_POOL_RESULT_TAKER_HPP
#define FILEXFER_DETAIL_POOL_RESULT_TAKER_HPP

#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Hands the results of one operation to its job, whose type it does not tell: so the client's
/// flows are the same for all jobs.
template <class Result>
class result_taker {
 public:
  template <class Job>
  result_taker(Job& job, typename Job::worker& w) noexcept
      : job_{&job}, worker_{&w}, call_{&result_taker::take<Job>} {}

  /// A sink is closed before its result is told.
  template <class Item>
  void operator()(Item& item, std::error_code ec, const Result& result) const {
    if constexpr (requires { item.sink.close(); }) item.sink.close();
    call_(job_, worker_, ec, result);
  }

 private:
  template <class Job>
  static void take(void* to, void* by, std::error_code ec, const Result& result) {
    auto& job = *static_cast<Job*>(to);
    auto& w = *static_cast<typename Job::worker*>(by);
    w.bytes_moved += result.bytes;
    if (auto file = job.take_answered(w)) job.conclude(w, std::move(file), ec, result);
  }

  void* job_;
  void* worker_;
  void (*call_)(void*, void*, std::error_code, const Result&);
};

}  // namespace filexfer::detail

#endif
