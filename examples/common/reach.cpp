#include "common/reach.hpp"

#include "common/child_process.hpp"
#include "common/connect.hpp"
#ifdef PROGRAMS_WITH_TLS
#include "common/tls.hpp"
#endif

#include <filexfer/pipe_stream.hpp>

#include <chrono>
#include <memory>
#include <system_error>
#include <utility>
#include <variant>

namespace programs {
namespace {

/// Pipes to a command and from it.
class command_layer final : public stream_layer {
 public:
  command_layer(const asio::any_io_executor& executor, const std::string& command)
      : child_{command},
        descriptor_{child_.from_child()},
        stream_{executor, child_.from_child(), child_.to_child()} {}

  asio::any_io_executor get_executor() override { return stream_.get_executor(); }

  void async_read_some(asio::mutable_buffer to, io_completion handler) override {
    stream_.async_read_some(to, std::move(handler));
  }

  void async_write_some(const some_buffers& from, io_completion handler) override {
    stream_.async_write_some(from, std::move(handler));
  }

  void shutdown_send(std::error_code& ec) override {
    stream_.shutdown(asio::socket_base::shutdown_send, ec);
  }

  void close(std::error_code& ec) override { stream_.close(ec); }

  int descriptor() override { return descriptor_; }

  std::optional<std::string> why_ended() override {
    std::error_code ignored;
    stream_.close(ignored);
    auto how = child_.wait(std::chrono::seconds{2});
    if (how) how = "the command ended (" + *how + ')';
    return how;
  }

 private:
  child_process child_;  // waited for once the stream is closed
  int descriptor_;
  filexfer::pipe_stream stream_;
};

any_stream run(foreground& operations, const std::string& command, failure& why) try {
  return any_stream{std::make_unique<command_layer>(operations.context().get_executor(), command)};
} catch (const std::system_error& e) {
  why = {broken, "the command could not be started: " + e.code().message()};
  return {};
}

}  // namespace

any_stream reach(foreground& operations, const server_place& place, failure& why) {
  if (place.command) return run(operations, *place.command, why);
  std::error_code ec;
  any_socket socket = connect(operations, place.where, ec);
  if (ec) {
    why = {broken, "no connection to " + to_string(place.where) + ": " + ec.message()};
    return {};
  }
#ifdef PROGRAMS_WITH_TLS
  if (const auto* where = std::get_if<tls_address>(&place.where)) {
    return shake_hands(operations, std::move(socket), *where, place.trusted, why);
  }
#endif
  return any_stream{std::make_unique<layer_of<any_socket>>(std::move(socket))};
}

}  // namespace programs
