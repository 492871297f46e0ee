#ifndef PROGRAMS_REMOTE_HPP
#define PROGRAMS_REMOTE_HPP

/// \file
/// The server that a program talks to.

#include "common/arguments.hpp"
#include "common/connect.hpp"
#include "common/failure.hpp"
#include "common/foreground.hpp"

#include <filexfer/client.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/thread_pool.hpp>

#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include <poll.h>

namespace programs {

/// Connects when that is needed: at first, and after a connection has become of no more use.
class remote {
 public:
  using client = filexfer::client<any_socket>;

  remote(foreground& operations, address where)
      : operations_{operations}, where_{std::move(where)} {}

  /// A client that is connected, or null and `ec`.
  client* connected(std::error_code& ec) {
    ec.clear();
    if (client_ && client_->usable() && !has_ended()) return client_.get();
    client_.reset();
    any_socket connection = connect(operations_, where_, ec);
    if (ec) return nullptr;
    client_ = std::make_unique<client>(std::move(connection));
    client_->work_executor(work_.get_executor());
    return client_.get();
  }

  /// Where hashing and the disk's work are done.
  asio::any_io_executor work_executor() { return work_.get_executor(); }

  /// Why there is no connection.
  failure explain_connecting(std::error_code ec) const {
    return {broken, "no connection to " + to_string(where_) + ": " + ec.message()};
  }

  /// Why the last operation failed.
  failure explain(std::error_code ec) const {
    return programs::explain(ec, client_->last_failure(), client_->last_reply());
  }

 private:
  /// Between two commands a server says nothing, unless it ends the connection.
  bool has_ended() {
    struct pollfd socket = {client_->next_layer().native_handle(), POLLIN, 0};
    return ::poll(&socket, 1, 0) != 0;
  }

  foreground& operations_;
  address where_;
  asio::thread_pool work_{2};  // one hashes, one writes, while the octets move
  std::unique_ptr<client> client_;
};

}  // namespace programs

#endif
