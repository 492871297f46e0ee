#ifndef FILEXFER_COMMAND_STREAM_HPP
#define FILEXFER_COMMAND_STREAM_HPP

/// \file
/// A command that leads to the server by its standard input and output, such as `ssh`.

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

/// Pipes to a command that the shell runs, and from it.
///
/// The command belongs to this process's group, so that a Ctrl-C reaches it, too. Closing the
/// stream, or destroying it, tells the command that its input has ended, and waits for it: after
/// five seconds it is sent SIGTERM, after ten it is killed. SIGCHLD must not be ignored.
///
///     filexfer::command_stream stream{executor, "ssh host filexfer-server --listen stdio"};
class command_stream {
 public:
  using executor_type = pipe_stream::executor_type;

  /// Starts `/bin/sh -c command`. Throws `std::system_error` if that can't be.
  command_stream(const executor_type& executor, const std::string& command)
      : child_{std::make_unique<detail::child_process>(command)},
        stream_{executor, child_->from_child.release(), child_->to_child.release()} {}

  /// One that is closed, without a command.
  explicit command_stream(const executor_type& executor) : stream_{executor} {}

  command_stream(command_stream&&) noexcept = default;
  command_stream& operator=(command_stream&& other) noexcept {
    stream_ = std::move(other.stream_);  // the earlier one is closed, and its command waited for
    child_ = std::move(other.child_);
    return *this;
  }

  executor_type get_executor() const noexcept { return stream_.get_executor(); }

  /// As `pipe_stream` has it, and so are the others.
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& to, Token&& token) {
    return stream_.async_read_some(to, std::forward<Token>(token));
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& from, Token&& token) {
    return stream_.async_write_some(from, std::forward<Token>(token));
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& to, std::error_code& ec) {
    return stream_.read_some(to, ec);
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& from, std::error_code& ec) {
    return stream_.write_some(from, ec);
  }
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    stream_.shutdown(what, ec);
  }
  void close(std::error_code& ec) { stream_.close(ec); }

  /// How the command has ended, in words; closes the stream, and waits for up to two seconds.
  std::optional<std::string> end_reason() {
    std::error_code ignored;
    stream_.close(ignored);
    auto how = child_ ? child_->wait(std::chrono::seconds{2}) : std::nullopt;
    if (how) how = "the command ended (" + *how + ')';
    return how;
  }

 private:
  std::unique_ptr<detail::child_process> child_;  // waited for once the stream is closed
  pipe_stream stream_;
};

static_assert(sync_stream<command_stream> && async_stream<command_stream>);
static_assert(half_closable_stream<command_stream> && closable_stream<command_stream>);

/// Runs a command for each connection.
class command_connector {
 public:
  using stream_type = command_stream;
  using executor_type = stream_type::executor_type;

  /// \param command  for the shell, as `command_stream` takes it.
  command_connector(executor_type executor, std::string command)
      : executor_{std::move(executor)}, command_{std::move(command)} {}

  executor_type get_executor() const noexcept { return executor_; }

  /// Starts the command. Whether that leads to a server is known from its first reply.
  ///
  /// Handler: `void(std::error_code, command_stream)`. Errors: the system's, where no process or
  /// pipe can be had.
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
          const auto wanted = asio::get_associated_executor(handler, executor);
          asio::post(wanted, [handler = std::move(handler), ec, s = std::move(started)]() mutable {
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
