#ifndef FILEXFER_DETAIL_POOL_JOB_OPERATION_HPP
#define FILEXFER_DETAIL_POOL_JOB_OPERATION_HPP

// How an operation of a pool starts its job, and completes.

#include <filexfer/detail/driver/work_guard.hpp>
#include <filexfer/detail/pool/core.hpp>

#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/post.hpp>

#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

/// Passes an argument through a completion token: some tokens copy what they are given. An lvalue
/// is referred to, anything else is moved.
template <class T>
struct argument {
  T held;
  T&& take() { return std::forward<T>(held); }
};

/// A job with the completion handler of its operation.
template <class Job, class Handler>
class job_operation final : public Job {
 public:
  using executor = asio::associated_executor_t<Handler, pool_strand>;

  template <class Core, class... Args>
  job_operation(Handler&& handler, const Core& core, Args&&... args)
      : Job{core, std::forward<Args>(args)...},
        guard_{asio::get_associated_executor(handler, core->strand)},
        handler_{std::move(handler)} {}

  /// Connects the handler's cancellation slot to the job. Its signal may be emitted on any thread.
  void assign_slot(const pool_strand& strand) {
    auto slot = asio::get_associated_cancellation_slot(handler_);
    if (!slot.is_connected()) return;
    slot.assign([weak = std::weak_ptr<job_base>{this->shared_from_this()},
                 strand](asio::cancellation_type type) { dispatch_cancel(strand, weak, type); });
  }

 private:
  struct completion {
    using executor_type = executor;
    using allocator_type = asio::associated_allocator_t<Handler>;
    executor_type get_executor() const noexcept {
      return asio::get_associated_executor(handler, fallback);
    }
    allocator_type get_allocator() const noexcept {
      return asio::get_associated_allocator(handler);
    }
    void operator()() { std::move(handler)(ec, std::move(result)); }
    Handler handler;
    pool_strand fallback;
    std::error_code ec;
    typename Job::result_type result;
  };

  void complete(std::error_code ec, typename Job::result_type result) override {
    asio::get_associated_cancellation_slot(handler_).clear();
    const pool_strand strand = this->core().strand;
    asio::post(strand, completion{std::move(handler_), strand, ec, std::move(result)});
  }

  work_guard<executor> guard_;
  Handler handler_;
};

/// Starts a `Job`, constructed from `core` and `args`, on the pool's strand.
template <class Job, class Core, class Token, class... Args>
auto start_job(const std::shared_ptr<Core>& core, Token&& token, Args&&... args) {
  auto initiate = [core](auto&& handler, auto... arguments) {
    using handler_type = std::decay_t<decltype(handler)>;
    using job_type = job_operation<Job, handler_type>;
    const auto allocator = asio::get_associated_allocator(handler);
    const auto job = std::allocate_shared<job_type>(
        allocator, handler_type(std::forward<decltype(handler)>(handler)), core,
        arguments.take()...);
    job->assign_slot(core->strand);
    post_start(core->strand, job);
  };
  return asio::async_initiate<Token, void(std::error_code, typename Job::result_type)>(
      std::move(initiate), token, argument<Args>{std::forward<Args>(args)}...);
}

}  // namespace filexfer::detail

#endif
