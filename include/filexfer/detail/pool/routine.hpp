#ifndef FILEXFER_DETAIL_POOL_ROUTINE_HPP
#define FILEXFER_DETAIL_POOL_ROUTINE_HPP

// The third driver of flows: a routine runs a flow that awaits whole asynchronous operations
// ("calls"), such as connecting, an upload of a client, or a wait of a timer. A job of the pool is
// a few routines on one strand, each of which reads from top to bottom.

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

/// What a routine's flow awaits.
class call_base : public action {
 public:
  call_base(const call_base&) = delete;
  call_base& operator=(const call_base&) = delete;

  /// On the strand, while it is under way; else nothing happens.
  void cancel() { cancel_.emit(asio::cancellation_type::terminal); }

 protected:
  friend class routine;

  explicit call_base(bool (*start_call)(call_base&, routine&)) noexcept : start_{start_call} {}
  ~call_base() = default;

  /// Starts the operation; false if it has ended at once.
  bool start(routine& by) { return start_(*this, by); }

  asio::cancellation_signal cancel_;

 private:
  bool (*start_)(call_base&, routine&);
};

/// Runs one flow on a strand. It is held alive by the operation that its flow awaits, and nothing
/// else: where a context drops that, the routine and all that its flow holds go, too.
class routine : public std::enable_shared_from_this<routine> {
 public:
  /// \param owner  is held until the flow has ended.
  routine(pool_strand strand, std::shared_ptr<void> owner)
      : owner_{std::move(owner)}, strand_{std::move(strand)} {}
  routine(const routine&) = delete;
  routine& operator=(const routine&) = delete;

  const pool_strand& strand() const noexcept { return strand_; }

  /// Starts `make_flow()`'s flow, on the strand, later. `on_end` is called once it has ended, with
  /// what the flow threw, if it did.
  template <class MakeFlow, class OnEnd>
  static std::weak_ptr<routine> start(const pool_strand& strand, std::shared_ptr<void> owner,
                                      MakeFlow make_flow, OnEnd on_end) {
    auto made = std::make_shared<routine_of<OnEnd>>(strand, std::move(owner), std::move(on_end));
    made->flow_.emplace(make_flow());
    made->flow_->start(made->context_);
    asio::post(strand, [made] { made->step(); });
    return made;
  }

  /// Cancels the call that the flow awaits, if it awaits one. On the strand.
  void cancel_call() {
    if (current_ != nullptr) current_->cancel();
  }

  /// Cancels it, and all that the flow awaits from now on but work. On the strand.
  void terminate() {
    terminated_ = true;
    cancel_call();
  }

  bool terminated() const noexcept { return terminated_; }

  /// The operation has ended. On the strand.
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
      action* const wanted = advance(context_);
      if (wanted == nullptr) break;
      current_ = static_cast<call_base*>(wanted);
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

/// What a call has ended with. Its handler is one type for all calls with such results, so that the
/// operations that it is given to are compiled once for them.
template <class... Results>
class call_results : public call_base {
 public:
  std::error_code error() const noexcept { return error_; }

  /// What came beside the error; none if the operation could not be started.
  std::optional<std::tuple<Results...>>& results() noexcept { return results_; }

  /// The only result, or one made anew.
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
    executor_type get_executor() const noexcept { return by->strand(); }
    cancellation_slot_type get_cancellation_slot() const noexcept { return slot; }

    void operator()(std::error_code ec, Results... results) {
      const std::shared_ptr<routine> kept = std::move(by);
      which->error_ = ec;
      which->results_.emplace(std::move(results)...);
      kept->resume();
    }

    std::shared_ptr<routine> by;
    call_results* which;
    asio::cancellation_slot slot;
  };

  std::error_code error_;
  std::optional<std::tuple<Results...>> results_;
};

/// A call of `initiate(handler)`, whose handler is `void(std::error_code, Results...)`, runs on the
/// routine's strand and can be cancelled.
template <class Initiate, class... Results>
class call final : public call_results<Results...> {
  using base = call_results<Results...>;

 public:
  explicit call(Initiate initiate) : base{&call::do_start}, initiate_{std::move(initiate)} {}

 private:
  static bool do_start(call_base& started, routine& by) {
    auto& self = static_cast<call&>(started);
    self.error_.clear();
    self.results_.reset();
    if (by.terminated()) {
      self.error_ = asio::error::operation_aborted;
      return false;
    }
    try {
      self.initiate_(typename base::handler{by.shared_from_this(), &self, self.cancel_.slot()});
      return true;
    } catch (...) {
      self.error_ = error_of(std::current_exception());
      return false;
    }
  }

  Initiate initiate_;
};

/// An asynchronous operation to await: name it, then `co_await` the name.
template <class... Results, class Initiate>
call<Initiate, Results...> make_call(Initiate initiate) {
  return call<Initiate, Results...>{std::move(initiate)};
}

/// A call of a function on the work executor, which may block; in place if there is none. It can't
/// be cancelled.
class any_work_call : public call_base {
 public:
  std::error_code error() const noexcept { return error_; }

 protected:
  any_work_call(const asio::any_io_executor& work_executor,
                void (*function)(any_work_call&, std::error_code&))
      : call_base{&any_work_call::do_start}, work_executor_{work_executor}, function_{function} {}
  ~any_work_call() = default;

 private:
  static bool do_start(call_base& base, routine& by) {
    auto& self = static_cast<any_work_call&>(base);
    if (self.work_executor_) {
      try {
        self.post(by);
        return true;
      } catch (...) {  // then it is done here
      }
    }
    self.run();
    return false;
  }

  void post(routine& by) {
    work_guard<pool_strand> guard{by.strand()};
    asio::post(work_executor_,
               [this, kept = by.shared_from_this(), guard = std::move(guard)]() mutable {
                 run();
                 const pool_strand strand = kept->strand();
                 asio::post(strand, [kept = std::move(kept)] { kept->resume(); });
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
