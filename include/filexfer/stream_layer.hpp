#ifndef FILEXFER_STREAM_LAYER_HPP
#define FILEXFER_STREAM_LAYER_HPP

/// \file
/// The base of `client` and `session`.

#include <filexfer/detail/driver/async_run.hpp>
#include <filexfer/detail/driver/run.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>

#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer {

/// A layer over a stream: what a `client` and a `session` have in common.
///
/// \tparam Stream  owned (`tcp::socket`) or referred to (`tcp::socket&`).
/// \tparam Timer   measures the deadlines.
template <class Stream, class Timer>
class stream_layer {
 public:
  using next_layer_type = std::remove_reference_t<Stream>;  ///< The stream.
  /// The stream's executor.
  using executor_type = typename detail::executor_of<next_layer_type>::type;
  /// The completion token of the asynchronous operations, unless another is given.
  using default_token = asio::default_completion_token_t<executor_type>;

  /// Neither copied nor moved: operations refer to it.
  stream_layer(const stream_layer&) = delete;
  stream_layer& operator=(const stream_layer&) = delete;

  /// \return the stream.
  next_layer_type& next_layer() noexcept { return stream_; }
  /// \return the stream.
  const next_layer_type& next_layer() const noexcept { return stream_; }

  /// \return the stream's executor, where handlers run that have no associated one.
  executor_type get_executor() noexcept
    requires async_stream<next_layer_type>
  {
    return stream_.get_executor();
  }

  /// Sets where asynchronous operations hash and access files, so that this overlaps with the
  /// stream's I/O, and disk work that stalls delays nobody else. Without it they do so on the
  /// handler's executor. No operation may be in progress.
  /// \snippet client.cpp work_executor
  /// \snippet session.cpp work_executor
  ///
  /// \param executor  a thread pool's, best with two threads. Join the pool before the context, or
  ///        a source, sink or store that it works on, is destroyed: declare it after all of them.
  void work_executor(asio::any_io_executor executor) { work_executor_ = std::move(executor); }

  /// Sets where asynchronous operations access files, if not on the work executor: a disk that
  /// stalls holds a thread for each operation that needs it, at most, and hashing goes on. No
  /// operation may be in progress.
  /// \snippet session.cpp blocking_executor
  ///
  /// \param executor  a thread pool's, with many threads. As for `work_executor`.
  void blocking_executor(asio::any_io_executor executor) {
    blocking_executor_ = std::move(executor);
  }

 protected:
  /// Takes or refers to a stream.
  /// \param stream  connected.
  explicit stream_layer(Stream&& stream) : stream_{std::forward<Stream>(stream)} {}
  ~stream_layer() = default;

  /// Sets the options of a client or a session.
  /// \param state    its `detail::client_state` or `detail::session_state`.
  /// \param options  limits and buffer sizes.
  template <class State, class Options>
  static void configure(State& state, const Options& options) {
    state.options = options;
    state.connection.chunk_size = options.chunk_size;
    state.connection.small_file_size = options.small_file_size;
    state.connection.sends_files = file_sending_stream<next_layer_type>;
  }

  /// Runs a flow, blocking.
  /// \param make_flow  called with the operation's `std::error_code&`.
  /// \param ec         receives the error.
  /// \return the flow's result.
  template <class MakeFlow>
  auto run_flow(MakeFlow make_flow, std::error_code& ec) {
    const auto call = [&](std::error_code& error) {
      return detail::run(stream_, std::move(make_flow), error);
    };
    return detail::call_or_throw(call, ec);
  }

  /// Starts a flow.
  /// \param make_flow  called with the operation's `std::error_code&`.
  /// \param limits     the deadlines.
  /// \param token      for a handler `void(std::error_code, the flow's result)`.
  /// \return as the token determines.
  template <class MakeFlow, class Token>
  auto async_run_flow(MakeFlow make_flow, const time_limits& limits, Token&& token) {
    return detail::async_run<Timer>(stream_, {limits, work_executor_, blocking_executor_},
                                    std::move(make_flow), std::forward<Token>(token));
  }

 private:
  Stream stream_;
  asio::any_io_executor work_executor_;
  asio::any_io_executor blocking_executor_;
};

}  // namespace filexfer

#endif
