#ifndef FILEXFER_DETAIL_DRIVER_WORK_GUARD_HPP
#define FILEXFER_DETAIL_DRIVER_WORK_GUARD_HPP

#include <asio/execution/executor.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/prefer.hpp>

#include <type_traits>

namespace filexfer::detail {

/// Keeps an executor's context running for as long as it lives. `asio::executor_work_guard` does
/// not compile for a strand of `asio::any_io_executor` in Asio 1.22.
template <class Executor>
class work_guard {
 public:
  using executor_type = std::decay_t<
      typename asio::prefer_result<Executor, asio::execution::outstanding_work_t::tracked_t>::type>;

  explicit work_guard(const Executor& executor)
      : tracked_{asio::prefer(executor, asio::execution::outstanding_work.tracked)} {}

  const executor_type& get_executor() const noexcept { return tracked_; }

 private:
  executor_type tracked_;
};

/// For executors of the Networking TS, which do not have that property.
template <class Executor>
  requires(!asio::execution::is_executor<Executor>::value)
class work_guard<Executor> : public asio::executor_work_guard<Executor> {
 public:
  using asio::executor_work_guard<Executor>::executor_work_guard;
};

}  // namespace filexfer::detail

#endif
