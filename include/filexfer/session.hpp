#ifndef FILEXFER_SESSION_HPP
#define FILEXFER_SESSION_HPP

/// \file
/// The server side of one connection.

#include <filexfer/detail/driver/async_run.hpp>
#include <filexfer/detail/driver/run.hpp>
#include <filexfer/detail/flow/session_flow.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>
#include <filexfer/session_event.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/steady_timer.hpp>

#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer {

/// Serves a store's files to one client, over a stream that is connected to it.
///
/// \tparam Stream  owned (`tcp::socket`) or referred to (`tcp::socket&`).
/// \tparam Store   referred to; may serve many sessions at once.
/// \tparam Hasher  computes the ids.
/// \tparam Timer   measures the deadlines, and how long a command takes.
template <class Stream, class Store, hasher Hasher = md5, class Timer = asio::steady_timer>
  requires file_store<Store, typename Hasher::digest_type>
class session {
 public:
  using next_layer_type = std::remove_reference_t<Stream>;  ///< The stream.
  /// The stream's executor.
  using executor_type = typename detail::executor_of<next_layer_type>::type;
  /// The completion token of `async_run`, unless another is given.
  using default_token = asio::default_completion_token_t<executor_type>;

  /// Takes or refers to a stream.
  ///
  /// \param stream   connected; nothing has been read or written yet.
  /// \param store    must outlive the session.
  /// \param options  limits, buffer sizes and what the client may do.
  session(Stream&& stream, Store& store, const session_options& options = {})
      : stream_{std::forward<Stream>(stream)}, flow_{state_, store} {
    state_.options = options;
    state_.connection.chunk_size = options.chunk_size;
    state_.connection.small_file_size = options.small_file_size;
    state_.connection.sends_files = file_sending_stream<next_layer_type>;
  }

  /// Neither copied nor moved: its operation refers to the session.
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  /// \return the stream.
  next_layer_type& next_layer() noexcept { return stream_; }
  /// \return the stream.
  const next_layer_type& next_layer() const noexcept { return stream_; }

  /// \return the stream's executor, where the handler runs if it has no associated one.
  executor_type get_executor() noexcept
    requires async_stream<next_layer_type>
  {
    return stream_.get_executor();
  }

  /// Sets where `async_run` hashes, and does disk work that can stall. Without it that is done on
  /// the handler's executor. To be called before `async_run`.
  ///
  /// \param executor  a thread pool's. Join the pool before the stream's context is destroyed.
  void work_executor(asio::any_io_executor executor) { work_executor_ = std::move(executor); }

  /// Sets a callback for commands. To be called before `run` or `async_run`.
  ///
  /// \param observer  called for every command that has ended, and for an error between commands.
  void observe(session_observer observer) {
    state_.on_start = [this] { started_ = Timer::clock_type::now(); };
    state_.on_end = [this, observer = std::move(observer)](session_event event) {
      event.elapsed = Timer::clock_type::now() - started_;
      observer(event);
    };
  }

  /// Serves the client until it ends the connection, then closes a `closable_stream`. Has no
  /// deadlines. To be called once. Throws `std::system_error` if `ec` is omitted.
  ///
  /// Errors, each of which ends the connection:
  /// - a refusal that ends it (section 8 of the protocol): `errc::bad_request`,
  ///   `errc::line_too_long`, `errc::superseded`, or `errc::timeout` (asynchronous only); or any
  ///   refusal of an upload whose remaining bytes are not read, as their number is unknown or above
  ///   `session_options::max_drain_size`.
  /// - `errc::truncated`: the client ended the stream in the middle of a command.
  /// - `errc::timed_out`: a deadline passed within a line, or while replies or a file were written
  ///   (asynchronous only).
  /// - what the stream reported.
  /// - what the store's reader reported in the middle of a download's bytes, or
  ///   `errc::source_changed` or `errc::short_source` there.
  /// - `std::errc::not_enough_memory`.
  ///
  /// Other refusals are not errors here: the connection continues.
  ///
  /// \param ec  receives the error.
  void run(std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    const auto call = [this](std::error_code& error) { detail::run(stream_, make_flow(), error); };
    detail::call_or_throw(call, ec);
  }

  /// Asynchronous form of `run`, with the deadlines of `session_options::limits`. The session and
  /// the store must live until it completes.
  ///
  /// Total or partial cancellation lets the command in progress end, then sends `ERROR
  /// shutting-down` and closes, without an error. Terminal cancellation cancels the stream's
  /// operation, waits for work in progress, and completes with `asio::error::operation_aborted`. An
  /// upload whose bytes were not all stored is then not listed (what arrived under a resume token
  /// may be kept); one whose reply was about to be sent may be.
  ///
  /// \param token  for a handler `void(std::error_code)`, whose associated executor, allocator and
  ///        cancellation slot are used.
  /// \return as the token determines.
  template <class Token = default_token>
  auto async_run(Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return detail::async_run<Timer>(stream_, {state_.options.limits, work_executor_}, make_flow(),
                                    std::forward<Token>(token));
  }

 private:
  auto make_flow() {
    return [this](std::error_code& ec) { return flow_.serve(ec); };
  }

  Stream stream_;
  detail::session_state state_;
  detail::session_flow<Store, Hasher> flow_;
  asio::any_io_executor work_executor_;
  typename Timer::time_point started_{};
};

/// Owns an rvalue stream, refers to an lvalue.
template <class Stream, class Store>
session(Stream&&, Store&) -> session<Stream, Store>;
/// Owns an rvalue stream, refers to an lvalue.
template <class Stream, class Store>
session(Stream&&, Store&, session_options) -> session<Stream, Store>;

}  // namespace filexfer

#endif
