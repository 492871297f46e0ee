#ifndef PROGRAMS_REMOTE_HPP
#define PROGRAMS_REMOTE_HPP

/// \file
/// The server that a program talks to.

#include "common/any_stream.hpp"
#include "common/failure.hpp"
#include "common/foreground.hpp"
#include "common/interruption.hpp"
#include "common/reach.hpp"

#include <filexfer/client.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/sha256.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/error.hpp>
#include <asio/thread_pool.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <poll.h>

namespace programs {

/// Connects when that is needed: at first, and after a connection has become of no more use. The
/// server tells which digest its ids are; this is where the programs choose their hasher.
class remote {
 public:
  template <class Hasher>
  using client = filexfer::client<any_stream, Hasher>;

  remote(foreground& operations, server_place place)
      : operations_{operations}, place_{std::move(place)} {}

  /// Sees to it that there is a client; if not, says why.
  failure connect() {
    if (std::visit([](auto& c) { return c && c->usable() && !has_ended(*c); }, client_)) {
      return {};
    }
    failure none;
    any_stream connection = reach(operations_, place_, none);
    none.may_pass = was_connected_;  // a server that never answered is not waited for
    if (none.code != done) return none;
    std::error_code ec;
    auto& asking = make_client<filexfer::md5>(std::move(connection));
    filexfer::server_features known;
    std::tie(ec, known) = operations_.run<filexfer::server_features>(
        [&](auto handler) { asking.async_features(std::move(handler)); });
    if (const auto why = why_ended(asking, ec)) {
      const std::string& said = asking.last_reply();  // a login's greeting, most likely
      return {broken, *why + (said.empty() ? " before it answered" : " after \"" + said + '"'),
              was_connected_};
    }
    if (ec) {
      failure why = explain(ec);
      why.may_pass = why.may_pass && (was_connected_ || why.code == refused);
      return why;
    }
    was_connected_ = true;
    if (known.version == 0 && !asking.last_reply().starts_with("ERROR")) {  // HTTP, most likely
      client_ = {};
      return {broken, "the other side does not speak the protocol"};
    }
    if (known.digest == filexfer::sha256::name()) {
      make_client<filexfer::sha256>(std::move(asking.next_layer())).known_features(known);
    } else if (!known.digest.empty() && known.digest != filexfer::md5::name()) {
      client_ = {};
      return {broken, "the server's ids are digests of a kind unknown here: " +
                          filexfer::printable(known.digest)};
    }
    return {};
  }

  /// Calls `use` with the client, which is connected.
  template <class Use>
  auto with_client(Use use) {
    return std::visit([&](auto& c) { return use(*c); }, client_);
  }

  /// Digits of the server's ids.
  std::size_t digits() {
    return with_client(
        [](auto& c) { return std::remove_reference_t<decltype(c)>::digest_type::hex_digits; });
  }

  /// Where hashing and the disk's work are done.
  asio::any_io_executor work_executor() { return work_.get_executor(); }

  /// Why the last operation failed.
  failure explain(std::error_code ec) {
    return with_client([&](auto& c) {
      if (const auto why = why_ended(c, ec))
        return failure{broken, *why + trying_again_is_safe, true};
      return programs::explain(ec, c.last_failure(), c.last_reply());
    });
  }

 private:
  /// Between two commands a server says nothing, unless it ends the connection.
  template <class Client>
  static bool has_ended(Client& connected) {
    struct pollfd end = {connected.next_layer().layer().descriptor(), POLLIN, 0};
    return ::poll(&end, 1, 0) != 0;
  }

  /// What the stream knows of its end, if that is what `ec` says of the last operation.
  template <class Client>
  static std::optional<std::string> why_ended(Client& c, std::error_code ec) {
    using filexfer::errc;
    const bool has_ended = ec == errc::end_of_stream || ec == errc::truncated ||
                           ec == asio::error::broken_pipe || ec == asio::error::connection_reset;
    const bool here = c.last_failure() == filexfer::failure_origin::local;
    if (!has_ended || here || interruption::came()) return std::nullopt;
    return c.next_layer().layer().why_ended();
  }

  template <class Hasher>
  client<Hasher>& make_client(any_stream connection) {
    auto made = std::make_unique<client<Hasher>>(std::move(connection));
    made->work_executor(work_.get_executor());
    return *client_.emplace<std::unique_ptr<client<Hasher>>>(std::move(made));
  }

  foreground& operations_;
  server_place place_;
  bool was_connected_ = false;
  asio::thread_pool work_{2};  // one hashes, one writes, while the octets move
  std::variant<std::unique_ptr<client<filexfer::md5>>, std::unique_ptr<client<filexfer::sha256>>>
      client_;
};

}  // namespace programs

#endif
