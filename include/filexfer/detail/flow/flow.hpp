#ifndef FILEXFER_DETAIL_FLOW_FLOW_HPP
#define FILEXFER_DETAIL_FLOW_FLOW_HPP

// A flow is a part of the protocol, written as a coroutine that does no I/O and has no stream. It
// awaits actions: a driver (run.hpp, async_run.hpp) performs an action, and resumes the flow with
// the outcome. Flows can await flows.
//
// Awaiting does not recurse: the context refers to the innermost suspended flow, and the driver's
// loop resumes that one. (Symmetric transfer would overflow the stack in builds without
// optimisation, where it is an ordinary call.)

#include <filexfer/error.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

// ---------------------------------------------------------------------------------------- actions

/// The deadline of an I/O: one of `time_limits`, or none.
enum class deadline {
  line,    ///< `line`, absolute.
  reply,   ///< `reply`, absolute.
  idle,    ///< `idle`, restarted at each progress, and `least_rate` for the whole action.
  linger,  ///< `linger`, absolute.
  none,
};

enum class io_kind {
  none,
  read_some,      ///< At least one byte into `read_buffer`.
  read_full,      ///< All of `read_buffer`.
  write,          ///< All of `write_buffers`.
  read_write,     ///< Writes all of `write_buffers` and reads into `read_buffer`, until either has
                  ///< ended, or the work has, with `or_work`.
  cancel_write,   ///< Cancels a write that a `read_write` has left pending, and waits for its end.
  send_file,      ///< Sends `file`; only if `connection::sends_files`.
  pause,          ///< Waits for `pause`.
  call,           ///< Calls `call`, and waits for the answer, which is the outcome's error.
  shutdown_send,  ///< Ends the sending side, if the stream can.
  close,          ///< Closes the stream, if it can.
};

/// Where work runs. The pieces in a queue run one after another, in parallel with those of the
/// other queue.
enum queue : std::size_t {
  computing,  ///< Work that only computes.
  blocking,   ///< Work that may block: it opens, reads, writes or flushes files.
};
inline constexpr std::size_t queue_count = 2;

struct file_segment {
  int descriptor = -1;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

/// Calls the user's code, which answers by one call of the argument, from any thread. If all copies
/// of that are destroyed without one, the answer is `std::errc::operation_canceled`.
using external_call = std::function<void(std::function<void(std::error_code)>)>;

/// A call that may block or compute for long. It lives in a flow, which must not end, nor start the
/// call again, before it has awaited it, or a call that it started later in the same queue.
class work_base {
 public:
  work_base(const work_base&) = delete;
  work_base& operator=(const work_base&) = delete;

  void run() noexcept { run_(*this); }
  /// Instead of `run`: fails with `std::errc::operation_canceled`.
  void cancel() noexcept { error_ = make_error_code(std::errc::operation_canceled); }
  /// The error of the last call; clear before the first.
  std::error_code error() const noexcept { return error_; }

 protected:
  explicit work_base(void (*call)(work_base&) noexcept) noexcept : run_{call} {}
  ~work_base() = default;
  std::error_code error_;

 private:
  friend class work_queue;
  work_base* next_ = nullptr;
  bool ended_ = true;
  bool awaited_ = false;
  void (*run_)(work_base&) noexcept;
};

/// What a flow awaits from its driver: I/O, or work, or both at the same time.
///
/// A `read_write` ends as soon as its read or its write has ended, and leaves the other pending if
/// that has started. A pending write continues during later actions, until a `read_write` with the
/// same `write_buffers` joins it; one without any leaves it alone. A pending read is joined by the
/// next `read_write` or read, which must have the same `read_buffer`. A `read_write` that fails
/// leaves no write pending; no flow may end while its write is pending. The blocking driver can't
/// do both, and only writes.
struct action {
  io_kind io = io_kind::none;
  std::span<std::byte> read_buffer;
  std::array<std::span<const std::byte>, 2> write_buffers;
  file_segment file;

  detail::deadline deadline = deadline::idle;
  /// Continue the previous action's deadline (a line read in pieces has only one).
  bool continues_deadline = false;
  /// Stopping the server ends this read with `errc::shutting_down`; or, if it is that of a
  /// `read_write`, keeps it from being started.
  bool interruptible = false;
  /// Once this is set the I/O soon ends with `errc::superseded`.
  const std::atomic<bool>* revoked = nullptr;
  std::chrono::milliseconds pause{};
  const external_call* call = nullptr;

  /// Work that this action starts, one piece for each `queue`; it may outlive the action.
  std::array<work_base*, queue_count> starts{};
  /// Work of that queue, started by this action or an earlier one, that this action waits for.
  std::array<work_base*, queue_count> waits_for{};
  /// A `read_write` ends as soon as its `blocking` work has ended, too; what has not ended then
  /// stays pending. The blocking driver does the work, and nothing else.
  bool or_work = false;

  /// Work that may block, and starts and ends with this action.
  void run_and_wait(work_base& piece) noexcept { starts[blocking] = waits_for[blocking] = &piece; }
};

/// The result of the read of a `read_write`. Not nested in `outcome`, where clang claims that an
/// optional of it can't be constructed.
struct read_result {
  std::error_code error;
  std::size_t bytes = 0;
};

/// The result of an action's I/O. The end of the stream is `errc::end_of_stream`.
struct outcome {
  std::error_code error;    ///< Of a `read_write`: of its write, its deadline or its cancellation.
  std::uint64_t bytes = 0;  ///< Transferred; not set by a `read_write`.
  bool written = false;     ///< A `read_write` has written all bytes.
  bool work_ended = false;  ///< It has ended with its work, see `action::or_work`.
  std::optional<read_result> read;  ///< Set once the read of a `read_write` has ended.
};

/// The error code for an exception that leaves a flow or a piece of work.
inline std::error_code error_of(const std::exception_ptr& thrown) noexcept {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::system_error& e) {
    return e.code();
  } catch (const std::bad_alloc&) {
    return make_error_code(std::errc::not_enough_memory);
  } catch (...) {
    return errc::store_failed;
  }
}

/// A call of `F`, which takes an `std::error_code&`.
template <class F>
class work final : public work_base {
 public:
  explicit work(F call) : work_base{&work::do_run}, call_{std::move(call)} {}

 private:
  static void do_run(work_base& base) noexcept {
    auto& self = static_cast<work&>(base);
    self.error_.clear();
    try {
      self.call_(self.error_);
    } catch (...) {
      self.error_ = error_of(std::current_exception());
    }
  }

  F call_;
};

// ------------------------------------------------------------------------------------------ flows

/// Shared by the flows of one operation and their driver.
struct flow_context {
  std::coroutine_handle<> top;  ///< The flow to resume; none when the outermost has ended.
  action* pending = nullptr;    ///< The action that it awaits.
  outcome result;               ///< Of that action; set by the driver.
};

/// Resumes the flow until it awaits an action, which is returned; nullptr once it has ended.
inline action* advance(flow_context& context) {
  context.pending = nullptr;
  while (context.top && context.pending == nullptr) context.top.resume();
  return context.pending;
}

template <class T>
class flow;

class flow_promise_base {
 public:
  std::suspend_always initial_suspend() const noexcept { return {}; }

  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
      flow_promise_base& promise = ended.promise();
      promise.context_->top = promise.parent_;
    }
    void await_resume() const noexcept {}
  };
  final_awaiter final_suspend() const noexcept { return {}; }

  void unhandled_exception() noexcept { thrown_ = std::current_exception(); }

  struct action_awaiter {
    flow_context& context;
    action& wanted;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const noexcept { context.pending = &wanted; }
    outcome await_resume() const noexcept { return std::exchange(context.result, {}); }
  };
  action_awaiter await_transform(action& wanted) noexcept { return {*context_, wanted}; }

  template <class T>
  auto await_transform(flow<T>&& child) noexcept {
    return child.await_from(*this);
  }

  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 protected:
  flow_context* context_ = nullptr;
  std::coroutine_handle<> parent_;
  std::exception_ptr thrown_;

  template <class T>
  friend class filexfer::detail::flow;
};

template <class T>
class flow_promise : public flow_promise_base {
 public:
  flow<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  T take() {
    rethrow();
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
};

template <>
class flow_promise<void> : public flow_promise_base {
 public:
  flow<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const { rethrow(); }
};

/// A lazy coroutine: runs when it is awaited, or driven through a `flow_context`.
template <class T>
class [[nodiscard]] flow {
 public:
  using promise_type = flow_promise<T>;
  using handle = std::coroutine_handle<promise_type>;

  explicit flow(handle h) noexcept : handle_{h} {}
  flow(flow&& other) noexcept : handle_{std::exchange(other.handle_, {})} {}
  flow& operator=(flow&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~flow() {
    if (handle_) handle_.destroy();
  }

  /// Makes this the outermost flow of `context`; `advance(context)` then runs it.
  void start(flow_context& context) noexcept {
    handle_.promise().context_ = &context;
    context.top = handle_;
  }

  /// The value of a flow that has ended. If it threw, `ec` is set, and the value is a default one.
  T take(std::error_code& ec) noexcept {
    try {
      return handle_.promise().take();
    } catch (...) {
      ec = error_of(std::current_exception());
      return T();
    }
  }

 private:
  friend class flow_promise_base;

  struct awaiter {
    handle child;
    flow_promise_base& parent;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> suspended) const noexcept {
      child.promise().context_ = parent.context_;
      child.promise().parent_ = suspended;
      parent.context_->top = child;
    }
    T await_resume() const { return child.promise().take(); }
  };
  awaiter await_from(flow_promise_base& parent) const noexcept { return {handle_, parent}; }

  handle handle_;
};

template <class T>
flow<T> flow_promise<T>::get_return_object() noexcept {
  return flow<T>{std::coroutine_handle<flow_promise>::from_promise(*this)};
}

inline flow<void> flow_promise<void>::get_return_object() noexcept {
  return flow<void>{std::coroutine_handle<flow_promise>::from_promise(*this)};
}

}  // namespace filexfer::detail

#endif
