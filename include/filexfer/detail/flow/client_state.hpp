#ifndef FILEXFER_DETAIL_FLOW_CLIENT_STATE_HPP
#define FILEXFER_DETAIL_FLOW_CLIENT_STATE_HPP

// Shared by the client's flows: the client's state, its lock by an operation, requests, replies.

#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>

#include <cerrno>
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace filexfer::detail {

class operation;

/// The state that a client keeps between operations.
struct client_state {
  client_state() = default;
  client_state(const client_state&) = delete;
  client_state& operator=(const client_state&) = delete;
  inline ~client_state();

  detail::connection connection;
  client_options options;
  operation* running = nullptr;
  /// Whether the next byte on the stream starts the reply to the next command. Cleared when an
  /// operation starts, set again once its final reply has been read.
  bool synchronized = true;
  std::optional<server_features> features;
  std::string last_reply;
  failure_origin origin = failure_origin::none;
};

/// An operation's lock on the client. If the client is destroyed before the context that still
/// holds the operation, the operation does not access the client any more.
class operation {
 public:
  operation(client_state& state, std::error_code& ec) noexcept : ec_{ec} {
    ec.clear();
    if (state.running != nullptr) ec = errc::operation_in_progress;
    else if (!state.synchronized) ec = errc::connection_unusable;
    if (ec) return;
    state_ = &state;
    state.running = this;
    state.synchronized = false;
    state.last_reply.clear();
    state.origin = failure_origin::none;
  }
  operation(const operation&) = delete;
  operation& operator=(const operation&) = delete;
  ~operation() {
    if (state_ == nullptr) return;
    state_->running = nullptr;
    auto& origin = state_->origin;
    const bool cancelled = ec_.value() == ECANCELED && ec_.category() != error_category();
    if (std::uncaught_exceptions() > exceptions_) origin = failure_origin::local;
    else if (cancelled || (ec_ && origin == failure_origin::none)) origin = failure_origin::stream;
  }

  explicit operator bool() const noexcept { return state_ != nullptr; }
  void client_destroyed() noexcept { state_ = nullptr; }

 private:
  client_state* state_ = nullptr;
  std::error_code& ec_;
  const int exceptions_ = std::uncaught_exceptions();
};

client_state::~client_state() {
  if (running != nullptr) running->client_destroyed();
}

inline void fail(client_state& state, failure_origin origin, std::error_code error,
                 std::error_code& ec) noexcept {
  state.origin = origin;
  ec = error;
}

/// Fails an operation when everything sent has been answered: the connection stays usable.
inline void fail_synchronized(client_state& state, failure_origin origin, std::error_code error,
                              std::error_code& ec) noexcept {
  fail(state, origin, error, ec);
  state.synchronized = true;
}

/// Whether the server keeps the connection after refusing a line (section 8).
inline bool connection_survives(errc refusal, bool command_line) noexcept {
  switch (refusal) {
    case errc::line_too_long:
    case errc::superseded:
    case errc::busy:
    case errc::timeout:
    case errc::shutting_down: return false;
    case errc::bad_request: return !command_line;
    default: return true;
  }
}

/// What a reply answers.
enum class reply_to { command, argument, bytes };

/// Checks a reply line. A refusal becomes `ec`; the client is then synchronized if the server keeps
/// the connection.
inline void check_reply(client_state& state, std::string_view line, reply_to answered,
                        std::error_code& ec) {
  constexpr std::size_t max_length = 512;
  state.last_reply = printable(line, max_length);
  if (!is_clean_line(line)) {
    fail(state, failure_origin::peer, errc::malformed_reply, ec);
    return;
  }
  if (const auto refusal = parse_error(line)) {
    fail(state, failure_origin::peer, *refusal, ec);
    state.synchronized = connection_survives(*refusal, answered == reply_to::command);
  }
}

/// Reads a reply line and checks it.
inline flow<std::string_view> read_reply(client_state& state, deadline limit, reply_to answered,
                                         std::error_code& ec) {
  const std::string_view line = co_await read_line(state.connection, limit, interruptible::no, ec);
  if (ec == errc::end_of_stream) ec = errc::truncated;
  if (ec == errc::line_too_long) {
    state.last_reply.clear();
    ec = errc::malformed_reply;
  }
  if (ec == errc::truncated || ec == errc::malformed_reply) state.origin = failure_origin::peer;
  if (ec) co_return std::string_view{};
  check_reply(state, line, answered, ec);
  co_return line;
}

/// Whether the server accepts names of that length, as far as is known.
inline bool accepts_name(const client_state& state, std::string_view name) noexcept {
  const server_features unknown;
  return name.size() <= (state.features ? *state.features : unknown).max_name_length;
}

inline void fail_protocol(client_state& state, std::error_code& ec) noexcept {
  fail(state, failure_origin::peer, errc::malformed_reply, ec);
}

/// Whether a command is sent after the reply to the previous one, or earlier.
enum class pace { one_by_one, pipelined };

/// Writes `lines`, which end in LF. If that fails, a received ERROR line replaces the error.
inline flow<void> request(client_state& state, std::string_view lines, std::error_code& ec,
                          pace sending = pace::one_by_one) {
  if (sending == pace::pipelined) co_await write_pipelined(state.connection, lines, ec);
  else co_await write_text(state.connection, lines, ec);
  if (!ec) co_return;
  const std::error_code write_error = ec;
  co_await read_reply(state, deadline::linger, reply_to::bytes, ec);
  if (ec != condition::refused) fail(state, failure_origin::stream, write_error, ec);
  state.synchronized = false;
}

/// Sends a command, reads the prompt, and sends `argument`, a line without its end: together with
/// the command if the server accepts pipelining and knows the command. Returns the reply to the
/// argument; valid until the next read.
inline flow<std::string_view> ask(client_state& state, command verb, std::string argument,
                                  std::error_code& ec) {
  const bool at_once = state.connection.can_pipeline && state.features &&
                       state.features->version > 0 &&
                       (verb != command::remove || state.features->remove);
  std::string line = std::string{to_string(verb)} + '\n';
  argument += '\n';
  if (at_once) line += argument;
  co_await request(state, line, ec, at_once ? pace::pipelined : pace::one_by_one);
  if (!ec) co_await read_reply(state, deadline::reply, reply_to::command, ec);
  if (ec) {
    state.synchronized = state.synchronized && !at_once;
    co_return std::string_view{};
  }
  if (!at_once) co_await request(state, argument, ec);
  if (ec) co_return std::string_view{};
  co_return co_await read_reply(state, deadline::reply, reply_to::argument, ec);
}

}  // namespace filexfer::detail

#endif
