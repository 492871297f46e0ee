#ifndef FILEXFER_DETAIL_DRIVER_OPERATION_BASE_HPP
#define FILEXFER_DETAIL_DRIVER_OPERATION_BASE_HPP

// What keeps an asynchronous operation alive and its handlers in order.
//
// All state of an operation lives in one allocation, shared by all handlers in progress. A mutex
// serializes these. A strand can't be relied on: the executor of `asio::use_future`, for one, runs
// a handler on whichever thread has it.

#include <filexfer/detail/driver/work_guard.hpp>

#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

namespace filexfer::detail {

template <class Stream, class Executor, class Allocator>
class operation_base
    : public std::enable_shared_from_this<operation_base<Stream, Executor, Allocator>> {
 public:
  operation_base(const operation_base&) = delete;
  operation_base& operator=(const operation_base&) = delete;

  virtual void cancel(asio::cancellation_type type) = 0;

 protected:
  using pointer = std::shared_ptr<operation_base>;
  using call_type = void (operation_base::*)();
  using io_call_type = void (operation_base::*)(std::error_code, std::size_t);

  /// Handlers run on `executor`, and use `allocator`.
  operation_base(Stream& stream, Executor executor, const Allocator& allocator)
      : stream_{stream},
        executor_{std::move(executor)},
        allocator_{allocator},
        stream_guard_{stream.get_executor()},
        guard_{executor_} {}

  virtual ~operation_base() = default;

  /// Whether the flow has ended and nothing is in progress.
  virtual bool finished() const noexcept = 0;

  /// Called once, when `finished()`.
  virtual void complete(pointer self) = 0;

  /// A member function of a derived class as what a handler calls.
  template <class Derived, class... Args>
  static constexpr auto call_of(void (Derived::*call)(Args...)) noexcept {
    return static_cast<void (operation_base::*)(Args...)>(call);
  }

  // Handlers of this operation's parts: each keeps it alive, and runs on the user's executor.

  struct part_handler {
    using executor_type = Executor;
    using allocator_type = Allocator;
    part_handler(pointer p) noexcept : self{std::move(p)}, memory{self->allocator_} {}
    executor_type get_executor() const noexcept { return self->executor_; }
    // A copy: Asio 1.22 calls this on a dispatched handler after having moved from it.
    allocator_type get_allocator() const noexcept { return memory; }
    pointer self;
    Allocator memory;
  };

  struct plain_handler : part_handler {
    plain_handler(pointer p, call_type c) : part_handler{std::move(p)}, call{c} {}
    void operator()(std::error_code = {}) { enter(std::move(this->self), call); }
    call_type call;
  };

  /// Posted from another thread, so it does not use the user's allocator.
  struct worker_handler {
    using executor_type = Executor;
    executor_type get_executor() const noexcept { return self->executor_; }
    void operator()() { enter(std::move(self), call); }
    pointer self;
    call_type call;
  };

  /// Posted from any thread: the answer to the external call of that number.
  struct answer_handler {
    using executor_type = Executor;
    executor_type get_executor() const noexcept { return self->executor_; }
    void operator()() { enter(std::move(self), call, ec, number); }
    pointer self;
    io_call_type call;
    std::error_code ec;
    std::size_t number;
  };

  struct io_handler : part_handler {
    using cancellation_slot_type = asio::cancellation_slot;
    io_handler(pointer p, asio::cancellation_signal& signal, io_call_type c)
        : part_handler{std::move(p)}, slot{signal.slot()}, call{c} {}
    cancellation_slot_type get_cancellation_slot() const noexcept { return slot; }
    void operator()(std::error_code ec, std::size_t bytes = 0) {
      enter(std::move(this->self), call, ec, bytes);
    }
    asio::cancellation_slot slot;
    io_call_type call;
  };

  Stream& stream_;
  Executor executor_;
  Allocator allocator_;
  work_guard<typename Stream::executor_type> stream_guard_;
  work_guard<Executor> guard_;
  std::recursive_mutex mutex_;  // a flow may cancel its own operation

 private:
  /// The body of every handler: one step of the operation, and its completion if that was the last.
  template <class Call, class... Args>
  static void enter(pointer self, Call call, Args... args) {
    bool completes = false;
    {
      const std::lock_guard lock{self->mutex_};
      ((*self).*call)(args...);
      completes = self->finished();
    }
    if (!completes) return;
    operation_base& operation = *self;
    operation.complete(std::move(self));
  }
};

}  // namespace filexfer::detail

#endif
