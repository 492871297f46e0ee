#ifndef FILEXFER_DETAIL_STREAM_TRANSFER_OPERATION_HPP
#define FILEXFER_DETAIL_STREAM_TRANSFER_OPERATION_HPP

// What memory_pipe and pipe_stream share: how a transfer is started, completed and cancelled.

#include <asio/any_io_executor.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace filexfer::detail {

enum class io_direction { read, write };

struct io_result {
  std::error_code ec;
  std::size_t bytes = 0;
};

/// Reads or writes, blocking; `side` is null if the stream was moved from.
template <io_direction Direction, class Side, class Buffers>
std::size_t blocking_transfer(const std::shared_ptr<Side>& side, const Buffers& buffers,
                              std::error_code& ec) {
  const auto result =
      side ? side->template transfer<Direction>(buffers) : io_result{asio::error::bad_descriptor};
  ec = result.ec;
  return result.bytes;
}

/// An asynchronous read or write, an implementation for `asio::async_compose`. It never completes
/// inside the initiating function, and shares its `Side` with the stream, which may be gone sooner.
///
/// `side.attempt_or_wait<Direction>(buffers, executor, woken, self)` transfers what is possible
/// without blocking. If nothing is, it returns nothing, and has moved `self` into a wait. `woken`
/// is the error of the wait that precedes the attempt, and empty for the first one.
template <io_direction Direction, class Side, class Buffers>
class transfer_operation {
 public:
  transfer_operation(std::shared_ptr<Side> side, asio::any_io_executor executor,
                     const Buffers& buffers)
      : side_{std::move(side)}, executor_{std::move(executor)}, buffers_{buffers} {}

  template <class Self>
  void operator()(Self& self, std::error_code wait_error = {}) {
    switch (stage_) {
      case stage::starting: return start(self);
      case stage::posted: return finish(self, result_);
      case stage::waiting: break;
    }
    if (self.get_cancellation_state().cancelled() != asio::cancellation_type::none) {
      return finish(self, {asio::error::operation_aborted});
    }
    const auto side = side_;  // keeps it alive when this object moves away
    const auto result =
        side->template attempt_or_wait<Direction>(buffers_, executor_, wait_error, self);
    if (!result) return;
    const bool closed_meanwhile = result->ec == asio::error::bad_descriptor;
    finish(self, closed_meanwhile ? io_result{asio::error::operation_aborted} : *result);
  }

 private:
  enum class stage { starting, waiting, posted };

  template <class Self>
  void start(Self& self) {
    self.reset_cancellation_state(asio::enable_total_cancellation());
    const auto side = side_;
    if (!side) return post(self, {asio::error::bad_descriptor});
    stage_ = stage::waiting;
    const auto result =
        side->template attempt_or_wait<Direction>(buffers_, executor_, std::nullopt, self);
    if (result) post(self, *result);
  }

  template <class Self>
  void post(Self& self, io_result result) {
    stage_ = stage::posted;
    result_ = result;
    const auto executor = executor_;
    asio::post(executor, std::move(self));
  }

  template <class Self>
  void finish(Self& self, io_result result) {
    side_.reset();
    self.complete(result.ec, result.bytes);
  }

  std::shared_ptr<Side> side_;
  asio::any_io_executor executor_;
  Buffers buffers_;
  stage stage_ = stage::starting;
  io_result result_;
};

template <io_direction Direction, class Side, class Buffers, class CompletionToken>
auto async_transfer(const std::shared_ptr<Side>& side, const asio::any_io_executor& executor,
                    const Buffers& buffers, CompletionToken& token) {
  return asio::async_compose<CompletionToken, void(std::error_code, std::size_t)>(
      transfer_operation<Direction, Side, Buffers>{side, executor, buffers}, token, executor);
}

}  // namespace filexfer::detail

#endif
