#ifndef FILEXFER_DETAIL_POOL_RESULT_TAKER_HPP
#define FILEXFER_DETAIL_POOL_RESULT_TAKER_HPP

#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Passes the results of one operation to its job, whose type is erased, so that all jobs share the
/// instantiations of the client's flows.
template <class Result>
class result_taker {
 public:
  template <class Job>
  result_taker(Job& job, typename Job::worker& w) noexcept
      : job_{&job}, worker_{&w}, call_{&result_taker::take<Job>} {}

  /// Closes the sink, if there is one, before its result is reported.
  template <class Item>
  void operator()(Item& item, std::error_code ec, const Result& result) const {
    if constexpr (requires { item.sink.close(); }) item.sink.close();
    call_(job_, worker_, ec, result);
  }

 private:
  template <class Job>
  static void take(void* job_pointer, void* worker_pointer, std::error_code ec,
                   const Result& result) {
    auto& job = *static_cast<Job*>(job_pointer);
    auto& w = *static_cast<typename Job::worker*>(worker_pointer);
    w.bytes_moved += result.bytes;
    if (auto file = job.take_answered(w)) job.conclude(w, std::move(file), ec, result);
  }

  void* job_;
  void* worker_;
  void (*call_)(void*, void*, std::error_code, const Result&);
};

}  // namespace filexfer::detail

#endif
