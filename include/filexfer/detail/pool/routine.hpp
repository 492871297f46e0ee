#ifndef FILEXFER_DETAIL_POOL_ROUTINE_HPP
#define FILEXFER_DETAIL_POOL_ROUTINE_HPP

// The third driver of flows: a routine runs a flow that awaits complete asynchronous operations
// ("calls"), such as connecting, a client's upload, or a timer's wait. A pool's job consists of
// routines on one strand.

#include <filexfer/detail/driver/work_guard.hpp>
#include <filexfer/detail/flow/flow.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

namespace filexfer::detail {

using pool_strand = asio::strand<asio::any_io_executor>;

class routine;

/// An operation that a routine's flow awaits.
class call_base : public action {
 public:
  call_base(const call_base&) = delete;
  call_base& operator=(const call_base&) = delete;

  /// Cancels the operation if it is running. Called on the strand.
  void cancel() { cancel_.emit(asio::cancellation_type::terminal); }

 protected:
  friend class routine;

  explicit call_base(bool (*start_call)(call_base&, routine&)) noexcept : start_{start_call} {}
  ~call_base() = default;

  /// Starts the operation; false if it has completed already, without resuming `caller`.
  bool start(routine& caller) { return start_(*this, caller); }

  asio::cancellation_signal cancel_;

 private:
  bool (*start_)(call_base&, routine&);
};

/// Runs one flow on a strand. It is owned by the operation that its flow awaits, and by nothing
/// else: if a context destroys that operation, it destroys the routine and its flow.
class routine : public std::enable_shared_from_this<routine> {
 public:
  /// \param owner  Kept alive until the flow has ended.
  routine(pool_strand strand, std::shared_ptr<void> owner)
      : owner_{std::move(owner)}, strand_{std::move(strand)} {}
  routine(const routine&) = delete;
  routine& operator=(const routine&) = delete;

  const pool_strand& strand() const noexcept { return strand_; }

  /// Posts the start of the flow that `make_flow()` returns. Once it has ended, `on_end` is called
  /// with what it threw, as an error code.
  template <class MakeFlow, class OnEnd>
  static std::weak_ptr<routine> start(const pool_strand& strand, std::shared_ptr<void> owner,
                                      MakeFlow make_flow, OnEnd on_end) {
    auto created = std::make_shared<routine_of<OnEnd>>(strand, std::move(owner), std::move(on_end));
    created->flow_.emplace(make_flow());
    created->flow_->start(created->context_);
    asio::post(strand, [created] { created->step(); });
    return created;
  }

  /// Cancels the call that the flow awaits, if any. Called on the strand.
  void cancel_call() {
    if (current_ != nullptr) current_->cancel();
  }

  /// Cancels that call, and all later ones except work. Called on the strand.
  void terminate() {
    terminated_ = true;
    cancel_call();
  }

  bool terminated() const noexcept { return terminated_; }

  /// Called on the strand when the awaited operation has completed.
  void resume() { step(); }

 protected:
  ~routine() = default;

  virtual void ended(std::error_code thrown) = 0;

 private:
  template <class OnEnd>
  struct routine_of;

  void step() {
    for (;;) {
      current_ = nullptr;
      action* const next = advance(context_);
      if (next == nullptr) break;
      current_ = static_cast<call_base*>(next);
      if (current_->start(*this)) return;
    }
    std::error_code thrown;
    flow_->take(thrown);
    flow_.reset();
    ended(thrown);
    owner_.reset();
  }

  std::shared_ptr<void> owner_;
  pool_strand strand_;
  flow_context context_;
  call_base* current_ = nullptr;
  bool terminated_ = false;
  std::optional<flow<void>> flow_;
};

template <class OnEnd>
struct routine::routine_of final : routine {
  routine_of(const pool_strand& strand, std::shared_ptr<void> owner, OnEnd call)
      : routine{strand, std::move(owner)}, on_end{std::move(call)} {}
  void ended(std::error_code thrown) override { on_end(thrown); }
  OnEnd on_end;
};

/// The results of a call. All calls with the same results share a handler type, so an operation is
/// instantiated once for all of them.
template <class... Results>
class call_results : public call_base {
 public:
  std::error_code error() const noexcept { return error_; }

  /// The handler's other arguments; none if the operation was not started.
  std::optional<std::tuple<Results...>>& results() noexcept { return results_; }

  /// The only result; value-initialized if there is none.
  auto value() {
    using type = std::tuple_element_t<0, std::tuple<Results...>>;
    return results_ ? std::move(std::get<0>(*results_)) : type();
  }

 protected:
  using call_base::call_base;
  ~call_results() = default;

  struct handler {
    using executor_type = pool_strand;
    using cancellation_slot_type = asio::cancellation_slot;
    executor_type get_executor() const noexcept { return caller->strand(); }
    cancellation_slot_type get_cancellation_slot() const noexcept { return slot; }

    void operator()(std::error_code ec, Results... results) {
      const std::shared_ptr<routine> resumed = std::move(caller);
      called->error_ = ec;
      called->results_.emplace(std::move(results)...);
      resumed->resume();
    }

    std::shared_ptr<routine> caller;
    call_results* called;
    asio::cancellation_slot slot;
  };

  std::error_code error_;
  std::optional<std::tuple<Results...>> results_;
};

/// A call of `initiate(handler)`. The handler is `void(std::error_code, Results...)`, runs on the
/// routine's strand, and has a cancellation slot.
template <class Initiate, class... Results>
class call final : public call_results<Results...> {
  using base = call_results<Results...>;

 public:
  explicit call(Initiate initiate) : base{&call::do_start}, initiate_{std::move(initiate)} {}

 private:
  static bool do_start(call_base& started, routine& caller) {
    auto& self = static_cast<call&>(started);
    self.error_.clear();
    self.results_.reset();
    if (caller.terminated()) {
      self.error_ = asio::error::operation_aborted;
      return false;
    }
    try {
      self.initiate_(typename base::handler{caller.shared_from_this(), &self, self.cancel_.slot()});
      return true;
    } catch (...) {
      self.error_ = error_of(std::current_exception());
      return false;
    }
  }

  Initiate initiate_;
};

/// Makes a call to await. Give it a name, then `co_await` the name.
template <class... Results, class Initiate>
call<Initiate, Results...> make_call(Initiate initiate) {
  return call<Initiate, Results...>{std::move(initiate)};
}

/// A call of a function that may block, on the work executor, or in place if there is none. It
/// can't be cancelled.
class any_work_call : public call_base {
 public:
  std::error_code error() const noexcept { return error_; }

 protected:
  any_work_call(const asio::any_io_executor& work_executor,
                void (*function)(any_work_call&, std::error_code&))
      : call_base{&any_work_call::do_start}, work_executor_{work_executor}, function_{function} {}
  ~any_work_call() = default;

 private:
  static bool do_start(call_base& base, routine& caller) {
    auto& self = static_cast<any_work_call&>(base);
    if (self.work_executor_) {
      try {
        self.post(caller);
        return true;
      } catch (...) {  // not posted: runs in place
      }
    }
    self.run();
    return false;
  }

  void post(routine& caller) {
    work_guard<pool_strand> guard{caller.strand()};
    asio::post(work_executor_,
               [this, shared = caller.shared_from_this(), guard = std::move(guard)]() mutable {
                 run();
                 const pool_strand strand = shared->strand();
                 asio::post(strand, [shared = std::move(shared)] { shared->resume(); });
               });
  }

  void run() noexcept {
    error_.clear();
    try {
      function_(*this, error_);
    } catch (...) {
      error_ = error_of(std::current_exception());
    }
  }

  asio::any_io_executor work_executor_;
  void (*function_)(any_work_call&, std::error_code&);
  std::error_code error_;
};

/// A call of `f(ec)`.
template <class F>
class work_call final : public any_work_call {
 public:
  work_call(const asio::any_io_executor& work_executor, F f)
      : any_work_call{work_executor, &work_call::do_call}, f_{std::move(f)} {}

 private:
  static void do_call(any_work_call& base, std::error_code& ec) {
    static_cast<work_call&>(base).f_(ec);
  }

  F f_;
};

}  // namespace filexfer::detail

#endif
