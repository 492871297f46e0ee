#ifndef FILEXFER_DETAIL_DRIVER_ASYNC_RUN_HPP
#define FILEXFER_DETAIL_DRIVER_ASYNC_RUN_HPP

// The asynchronous driver: runs a flow on a stream as one Asio operation, for any completion token.
// flow_runner performs the actions; this file adds the flow's value and the handler.

#include <filexfer/detail/driver/flow_runner.hpp>
#include <filexfer/detail/flow/flow.hpp>

#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>

#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

template <class T>
struct flow_value;
template <class T>
struct flow_value<flow<T>> {
  using type = T;
};

/// The first base class, so that the handler is destroyed last: the other base may refer to what
/// the handler owns.
template <class Handler>
struct handler_holder {
  Handler handler;
};

template <class Stream, class Handler, class Timer>
using flow_runner_for =
    flow_runner<Stream, Timer, asio::associated_executor_t<Handler, typename Stream::executor_type>,
                asio::associated_allocator_t<Handler>>;

template <class Stream, class T, class Handler, class Timer>
class async_operation final : handler_holder<Handler>,
                              public flow_runner_for<Stream, Handler, Timer> {
  using base = flow_runner_for<Stream, Handler, Timer>;
  using holder = handler_holder<Handler>;

 public:
  template <class MakeFlow, class AnyHandler>
  async_operation(Stream& stream, const driver_settings& settings, MakeFlow& make_flow,
                  AnyHandler&& completion_handler)
      : holder{std::forward<AnyHandler>(completion_handler)},
        base{stream, settings,
             asio::get_associated_executor(holder::handler, stream.get_executor()),
             asio::get_associated_allocator(holder::handler)},
        flow_{make_flow(ec_)} {}

  /// Starts the flow on the handler's executor, never inside the initiating function.
  void start() {
    auto slot = asio::get_associated_cancellation_slot(holder::handler);
    if (slot.is_connected()) {
      // The slot is cleared on completion, but not if the context is destroyed before that.
      auto on_cancel = [weak = this->weak_from_this()](asio::cancellation_type type) {
        if (const auto operation = weak.lock()) operation->cancel(type);
      };
      slot.assign(std::move(on_cancel));
    }
    flow_->start(this->context());
    this->post_first_step();
  }

 private:
  struct completion : base::part_handler {
    using base::part_handler::part_handler;
    void operator()() {
      auto operation = std::static_pointer_cast<async_operation>(std::move(this->self));
      std::error_code ec = operation->ec_;
      if constexpr (std::is_void_v<T>) {
        operation->flow_->take(ec);
        call_handler(std::move(operation), ec);
      } else {
        T value = operation->flow_->take(ec);
        call_handler(std::move(operation), ec, std::move(value));
      }
    }
  };

  /// Frees all memory of the operation before the handler runs.
  template <class... Value>
  static void call_handler(std::shared_ptr<async_operation> self, std::error_code ec,
                           Value... value) {
    if (self->cancelled() && ec) ec = asio::error::operation_aborted;
    Handler call{std::move(self->holder::handler)};
    self->flow_.reset();
    self.reset();
    std::move(call)(ec, std::move(value)...);
  }

  /// Dispatches the handler. It may run inside this call, but never inside the initiating function:
  /// only this operation's own handlers call this.
  void complete(typename base::pointer self) override {
    asio::get_associated_cancellation_slot(holder::handler).clear();
    asio::dispatch(completion{std::move(self)});
  }

  std::error_code ec_;
  std::optional<flow<T>> flow_;
};

template <class T>
struct completion_signature {
  using type = void(std::error_code, T);
};
template <>
struct completion_signature<void> {
  using type = void(std::error_code);
};

/// Runs the flow that `make_flow(ec)` returns on `stream`, as an asynchronous operation. The
/// stream, and what the flow refers to, must live until it completes.
template <class Timer, class Stream, class MakeFlow, class Token>
auto async_run(Stream& stream, const driver_settings& settings, MakeFlow make_flow, Token&& token) {
  using value = typename flow_value<std::invoke_result_t<MakeFlow&, std::error_code&>>::type;
  auto initiate = [](auto&& handler, Stream* target, driver_settings options, MakeFlow factory) {
    using handler_type = std::decay_t<decltype(handler)>;
    using operation_type = async_operation<Stream, value, handler_type, Timer>;
    const auto allocator = asio::get_associated_allocator(handler);
    const auto operation = std::allocate_shared<operation_type>(
        allocator, *target, options, factory, std::forward<decltype(handler)>(handler));
    operation->start();
  };
  return asio::async_initiate<Token, typename completion_signature<value>::type>(
      std::move(initiate), token, &stream, settings, std::move(make_flow));
}

}  // namespace filexfer::detail

#endif
