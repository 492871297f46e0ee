#ifndef FILEXFER_SESSION_HPP
#define FILEXFER_SESSION_HPP

/// \file
/// The server's side of one connection.

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
/// `Stream` is owned (`session<tcp::socket, ...>`) or referred to (`session<tcp::socket&, ...>`).
/// The store is referred to, and may serve many sessions at once.
template <class Stream, class Store, hasher Hasher = md5, class Timer = asio::steady_timer>
  requires file_store<Store, typename Hasher::digest_type>
class session {
 public:
  using next_layer_type = std::remove_reference_t<Stream>;
  using executor_type = typename detail::executor_of<next_layer_type>::type;
  using default_token = asio::default_completion_token_t<executor_type>;

  session(Stream&& stream, Store& store, const session_options& options = {})
      : stream_{std::forward<Stream>(stream)}, flow_{state_, store} {
    state_.options = options;
    state_.connection.chunk_size = options.chunk_size;
    state_.connection.small_file_size = options.small_file_size;
    state_.connection.sends_files = file_sending_stream<next_layer_type>;
  }

  /// A session stays where it is: its operation refers to it.
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  next_layer_type& next_layer() noexcept { return stream_; }
  const next_layer_type& next_layer() const noexcept { return stream_; }

  /// The stream's executor, where the handler runs if it has none associated.
  executor_type get_executor() noexcept
    requires async_stream<next_layer_type>
  {
    return stream_.get_executor();
  }

  /// Gives `async_run` an executor for hashing and for disk work that can stall (a thread pool's).
  /// Without one it is done in place. Join the pool before the stream's context is destroyed.
  void work_executor(asio::any_io_executor executor) { work_executor_ = std::move(executor); }

  /// Has `observer` told of every command that ended.
  void observe(session_observer observer) {
    state_.on_start = [this] { started_ = Timer::clock_type::now(); };
    state_.on_end = [this, observer = std::move(observer)](session_event event) {
      event.elapsed = Timer::clock_type::now() - started_;
      observer(event);
    };
  }

  /// Serves the client until it ends the connection, then closes the stream where that is in the
  /// library's power (`closable_stream`). Knows no deadlines. To be called once.
  ///
  /// Errors, after all of which the connection is over: the refusal that ended it
  /// (`errc::bad_request`, `errc::line_too_long`, `errc::timeout`), `errc::truncated` if the client
  /// left in the middle of a command, what the stream reported, or, from the middle of a download,
  /// what the store reported. Refusals after which the protocol goes on are no errors here.
  void run(std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    const auto call = [this](std::error_code& into) { detail::run(stream_, make_flow(), into); };
    detail::call_or_throw(call, ec);
  }

  /// The same, asynchronous and with deadlines. Handler: `void(std::error_code)`, whose associated
  /// executor, allocator and cancellation slot are heeded.
  ///
  /// Cancelling of type total or partial lets the command under way end, then tells the client
  /// `ERROR shutting-down` and closes; that is no error. Cancelling of type terminal breaks off: it
  /// cancels the stream's operation, waits for work that is under way, and completes with
  /// `asio::error::operation_aborted`. An upload whose bytes were not all stored leaves nothing;
  /// one that was about to be answered may stay.
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

template <class Stream, class Store>
session(Stream&&, Store&) -> session<Stream, Store>;
template <class Stream, class Store>
session(Stream&&, Store&, session_options) -> session<Stream, Store>;

}  // namespace filexfer

#endif
