#ifndef FILEXFER_SESSION_HPP
#define FILEXFER_SESSION_HPP

/// \file
/// The server side of one connection.

#include <filexfer/detail/flow/session_flow.hpp>
#include <filexfer/authorizer.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>
#include <filexfer/session_event.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/stream.hpp>
#include <filexfer/stream_layer.hpp>

#include <asio/steady_timer.hpp>

#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer {

/// Serves a store's files to one client, over a stream that is connected to it. It reads and writes
/// at the same time: where several threads run the stream's executor, that has to be a strand.
///
/// \tparam Stream  owned (`tcp::socket`) or referred to (`tcp::socket&`).
/// \tparam Store   referred to; may serve many sessions at once.
/// \tparam Hasher  computes the ids.
/// \tparam Timer   measures the deadlines, and how long a command takes.
template <class Stream, class Store, hasher Hasher = md5, class Timer = asio::steady_timer>
  requires file_store<Store, typename Hasher::digest_type>
class session : public stream_layer<Stream, Timer> {
  using layer = stream_layer<Stream, Timer>;

 public:
  using typename layer::default_token;
  using typename layer::next_layer_type;

  /// Takes or refers to a stream.
  ///
  /// \param stream   connected; nothing has been read or written yet.
  /// \param store    must outlive the session.
  /// \param options  limits, buffer sizes and what the client may do.
  session(Stream&& stream, Store& store, const session_options& options = {})
      : layer{std::forward<Stream>(stream)}, flow_{state_, store} {
    this->configure(state_, options);
  }

  /// Sets a callback for commands. To be called before `run` or `async_run`.
  /// \snippet session.cpp observe
  ///
  /// \param observer  called for every command that has ended, and for an error between commands.
  void observe(session_observer observer) {
    state_.on_start = [this] {
      started_ = Timer::clock_type::now();
      has_received_line_ = true;
    };
    state_.on_end = [this, observer = std::move(observer)](session_event event) {
      event.elapsed = Timer::clock_type::now() - started_;
      event.from_silent_peer = !has_received_line_ && state_.connection.in.empty() &&
                               event.error != errc::line_too_long;  // which was dropped
      observer(event);
    };
  }

  /// Has each request allowed or refused by the owner. To be called before `run` or `async_run`.
  /// \snippet session.cpp authorize
  ///
  /// \param decide  called on the session's executor, with what is known of the peer at its first
  ///        request.
  void authorize(authorizer decide) {
    state_.authorize = [this, decide = std::move(decide)](const access_request& request,
                                                          access_answer answer) {
      if (!peer_) peer_ = identify_peer(this->next_layer());
      decide(*peer_, request, std::move(answer));
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
  /// \snippet session.cpp run
  ///
  /// \param ec  receives the error.
  void run(std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    this->run_flow(make_flow(), ec);
  }

  /// Asynchronous form of `run`, with the deadlines of `session_options::limits`. The session and
  /// the store must live until it completes.
  ///
  /// Total or partial cancellation lets the command in progress end, then sends `ERROR
  /// shutting-down` and closes, without an error. Terminal cancellation cancels the stream's
  /// operation, waits for work in progress, and completes with `asio::error::operation_aborted`. An
  /// upload whose bytes were not all stored is then not listed (what arrived under a resume token
  /// may be kept); one whose reply was about to be sent may be.
  /// \snippet session.cpp async_run
  ///
  /// \param token  for a handler `void(std::error_code)`, whose associated executor, allocator and
  ///        cancellation slot are used.
  /// \return as the token determines.
  template <class Token = default_token>
  auto async_run(Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return this->async_run_flow(make_flow(), state_.options.limits, std::forward<Token>(token));
  }

 private:
  auto make_flow() {
    return [this](std::error_code& ec) { return flow_.serve(ec); };
  }

  std::optional<peer_identity> peer_;  ///< Set when it is first needed.
  detail::session_state state_;
  detail::session_flow<Store, Hasher> flow_;
  typename Timer::time_point started_{};
  bool has_received_line_ = false;
};

/// Owns an rvalue stream, refers to an lvalue.
template <class Stream, class Store>
session(Stream&&, Store&) -> session<Stream, Store>;
/// Owns an rvalue stream, refers to an lvalue.
template <class Stream, class Store>
session(Stream&&, Store&, session_options) -> session<Stream, Store>;

}  // namespace filexfer

#endif
