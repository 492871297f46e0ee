#ifndef FILEXFER_DETAIL_DRIVER_ANY_HANDLER_HPP
#define FILEXFER_DETAIL_DRIVER_ANY_HANDLER_HPP

#include <asio/any_io_executor.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/cancellation_signal.hpp>

#include <memory>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// A type-erased handler of signature `void(std::error_code, Result)`, with its associated executor
/// and cancellation slot. Its memory is freed before the handler is called.
template <class Result>
class any_handler {
 public:
  using executor_type = asio::any_io_executor;
  using cancellation_slot_type = asio::cancellation_slot;

  template <class Handler>
  any_handler(Handler handler, const executor_type& fallback)
      : executor_{asio::get_associated_executor(handler, fallback)},
        slot_{asio::get_associated_cancellation_slot(handler)},
        held_{std::make_unique<held_as<Handler>>(std::move(handler))} {}

  executor_type get_executor() const noexcept { return executor_; }
  cancellation_slot_type get_cancellation_slot() const noexcept { return slot_; }

  void operator()(std::error_code ec, Result result) {
    held& called = *held_;
    called.call(std::move(held_), ec, std::move(result));
  }

 private:
  struct held {
    virtual ~held() = default;
    virtual void call(std::unique_ptr<held> self, std::error_code ec, Result result) = 0;
  };

  template <class Handler>
  struct held_as final : held {
    explicit held_as(Handler&& h) : handler{std::move(h)} {}
    void call(std::unique_ptr<held> self, std::error_code ec, Result result) override {
      Handler local{std::move(handler)};
      self.reset();
      std::move(local)(ec, std::move(result));
    }
    Handler handler;
  };

  executor_type executor_;
  cancellation_slot_type slot_;
  std::unique_ptr<held> held_;
};

}  // namespace filexfer::detail

#endif
