#ifndef FILEXFER_COMMAND_STREAM_HPP
#define FILEXFER_COMMAND_STREAM_HPP

/// \file
/// A stream to a command, such as `ssh`, that connects its standard input and output to a server.

#include <filexfer/detail/posix/child_process.hpp>
#include <filexfer/connector.hpp>
#include <filexfer/pipe_stream.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/post.hpp>
#include <asio/socket_base.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace filexfer {

/// Pipes to and from a command that the shell runs.
///
/// The command belongs to this process's group, so that a Ctrl-C reaches it, too. Closing the
/// stream closes both pipes, and so ends the command's input. Destroying it, or assigning to it,
/// also waits for the command: SIGTERM is sent after five seconds, SIGKILL after ten. SIGCHLD must
/// not be ignored.
///
///     filexfer::command_stream stream{executor, "ssh host filexfer-server --listen stdio"};
///
/// \snippet connectors.cpp command_stream
class command_stream {
 public:
  /// The executor type.
  using executor_type = pipe_stream::executor_type;

  /// Starts `/bin/sh -c command`.
  /// \param executor The stream's executor.
  /// \param command The command, which inherits standard error and the environment.
  /// \throws std::system_error No pipe or process can be made.
  command_stream(const executor_type& executor, const std::string& command)
      : child_{std::make_unique<detail::child_process>(command)},
        stream_{executor, child_->from_child.release(), child_->to_child.release()} {}

  /// Constructs a closed stream without a command.
  /// \param executor The stream's executor.
  explicit command_stream(const executor_type& executor) : stream_{executor} {}

  /// A moved-from stream is closed.
  command_stream(command_stream&&) noexcept = default;
  /// Closes this stream and waits for its command first, as the destructor does.
  /// \param other Closed afterwards.
  /// \return This stream.
  command_stream& operator=(command_stream&& other) noexcept {
    stream_ = std::move(other.stream_);  // first: the old command must see the end of its input
    child_ = std::move(other.child_);
    return *this;
  }

  /// \return The stream's executor.
  executor_type get_executor() const noexcept { return stream_.get_executor(); }

  /// As `pipe_stream::async_read_some`.
  /// \param to One or more buffers into which the data is read. Their memory must remain valid
  ///   until the handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& to, Token&& token) {
    return stream_.async_read_some(to, std::forward<Token>(token));
  }

  /// As `pipe_stream::async_write_some`.
  /// \param from One or more buffers to be written. Their memory must remain valid until the
  ///   handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& from, Token&& token) {
    return stream_.async_write_some(from, std::forward<Token>(token));
  }

  /// As `pipe_stream::read_some`.
  /// \param to One or more buffers into which the data is read.
  /// \param ec As there.
  /// \return The number of bytes read.
  template <class Buffers>
  std::size_t read_some(const Buffers& to, std::error_code& ec) {
    return stream_.read_some(to, ec);
  }

  /// As `pipe_stream::write_some`.
  /// \param from One or more buffers to be written.
  /// \param ec As there.
  /// \return The number of bytes written.
  template <class Buffers>
  std::size_t write_some(const Buffers& from, std::error_code& ec) {
    return stream_.write_some(from, ec);
  }

  /// As `pipe_stream::shutdown`.
  /// \param what The direction, or both.
  /// \param ec As there.
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    stream_.shutdown(what, ec);
  }

  /// Closes the pipes, as `pipe_stream::close`. Does not wait for the command.
  /// \param ec As there.
  void close(std::error_code& ec) { stream_.close(ec); }

  /// Closes the stream, and waits up to two seconds, blocking, for the command to end.
  /// \return How it ended, such as `the command ended (exit status 1)`; nothing if it still runs,
  ///   its status is unknown, or there is no command.
  std::optional<std::string> end_reason() {
    std::error_code ignored;
    stream_.close(ignored);
    auto reason = child_ ? child_->wait(std::chrono::seconds{2}) : std::nullopt;
    if (reason) reason = "the command ended (" + *reason + ')';
    return reason;
  }

 private:
  std::unique_ptr<detail::child_process> child_;  // waited for once the stream is closed
  pipe_stream stream_;
};

static_assert(sync_stream<command_stream> && async_stream<command_stream>);
static_assert(half_closable_stream<command_stream> && closable_stream<command_stream>);

/// A connector that runs a command for each connection.
/// \snippet connectors.cpp command_connector
class command_connector {
 public:
  /// The type of its streams.
  using stream_type = command_stream;
  /// The executor type.
  using executor_type = stream_type::executor_type;

  /// \param executor The executor of the streams.
  /// \param command The shell command, as for `command_stream`.
  command_connector(executor_type executor, std::string command)
      : executor_{std::move(executor)}, command_{std::move(command)} {}

  /// \return The executor of the streams.
  executor_type get_executor() const noexcept { return executor_; }

  /// Starts the command. Only the first reply shows whether it reached a server.
  ///
  /// Handler: `void(std::error_code, command_stream)`, with a closed stream on error. Errors: the
  /// system's, if no pipe or process can be made. Cancellation is not supported.
  ///
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Token>
  auto async_connect(Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, stream_type)>(
        [](auto handler, const executor_type& executor, const std::string& command) {
          std::error_code ec;
          stream_type started{executor};
          try {
            started = stream_type{executor, command};
          } catch (const std::system_error& e) {
            ec = e.code();
          }
          const auto target = asio::get_associated_executor(handler, executor);
          asio::post(target, [handler = std::move(handler), ec, s = std::move(started)]() mutable {
            std::move(handler)(ec, std::move(s));
          });
        },
        token, executor_, command_);
  }

 private:
  executor_type executor_;
  std::string command_;
};

static_assert(connector<command_connector>);

}  // namespace filexfer

#endif
