#ifndef FILEXFER_DETAIL_POOL_CORE_HPP
#define FILEXFER_DETAIL_POOL_CORE_HPP

// What a pool and its jobs share: the connector, and idle connections.

#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/client.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/stream.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace filexfer::detail {

template <class Connector, class = void>
struct timer_of {
  using type = asio::steady_timer;
};
template <class Connector>
struct timer_of<Connector, std::void_t<typename Connector::timer_type>> {
  using type = typename Connector::timer_type;
};

/// A connection to the server, with the client for its kind of digest.
template <class Stream, class Timer, class... Hashers>
class pool_connection {
 public:
  explicit pool_connection(Stream stream) : stream_{std::move(stream)} {}

  Stream& stream() noexcept { return stream_; }

  template <class Hasher>
  client<Stream&, Hasher, Timer>& use(const client_options& options,
                                      const asio::any_io_executor& work_executor) {
    using type = client<Stream&, Hasher, Timer>;
    client_.emplace(std::in_place_type<type>, stream_, options);
    auto& made = std::get<type>(*client_);
    made.work_executor(work_executor);
    return made;
  }

  /// Has the client compute the digest of that name, which FEATURES has told; false if that is of
  /// no known kind.
  bool use_digest(const server_features& known, std::string_view name,
                  const client_options& options, const asio::any_io_executor& work_executor) {
    return ((Hashers::name() == name &&
             (use<Hashers>(options, work_executor).known_features(known), true)) ||
            ...);
  }

  /// Calls `call(client)`, once `use` was called.
  template <class Call>
  decltype(auto) visit(Call call) {
    return std::visit(call, *client_);
  }

  bool usable() {
    return visit([](auto& c) { return c.usable(); });
  }

  /// Whether an operation has succeeded on it since it was connected.
  bool was_used = false;

 private:
  Stream stream_;
  std::optional<std::variant<client<Stream&, Hashers, Timer>...>> client_;
};

/// A job, as its pool sees it.
class job_base {
 public:
  virtual void cancel(asio::cancellation_type type) = 0;

 protected:
  ~job_base() = default;
};

template <class Connector, class FirstHasher, class... Hashers>
struct pool_core {
  using first_hasher = FirstHasher;
  using stream_type = typename Connector::stream_type;
  using timer_type = typename timer_of<Connector>::type;
  using clock = typename timer_type::clock_type;
  using connection = pool_connection<stream_type, timer_type, FirstHasher, Hashers...>;

  pool_core(Connector c, const pool_options& o)
      : connector{std::move(c)}, options{o}, strand{connector.get_executor()} {}

  Connector connector;
  pool_options options;
  pool_strand strand;
  asio::any_io_executor work_executor;
  std::function<void(const pool_event&)> on_event;
  transfer_progress progress;

  // Used on the strand.
  std::vector<std::unique_ptr<connection>> idle;
  bool was_connected = false;
  std::string digest;  ///< The name of the server's digest, once it is known.
  std::vector<std::weak_ptr<job_base>> jobs;
};

/// What the stream knows of why its other end has ended it, with a stream that can know.
template <class Stream>
std::optional<std::string> end_reason_of(Stream& stream) {
  if constexpr (requires { stream.end_reason(); }) return stream.end_reason();
  else return std::nullopt;
}

/// Whether `ec` says that the other side has ended the stream.
inline bool is_end(std::error_code ec) noexcept {
  return ec == errc::end_of_stream || ec == errc::truncated || ec == asio::error::broken_pipe ||
         ec == asio::error::connection_reset;
}

/// What the last operation of a connection's client has failed with.
template <class Connection>
transfer_failure failure_of(Connection& c, std::error_code ec) {
  transfer_failure why{ec};
  if (!ec) return why;
  c.visit([&](auto& client) {
    why.origin = client.last_failure();
    why.reply = client.last_reply();
  });
  if (is_end(ec) && why.origin != failure_origin::local) why.end_reason = end_reason_of(c.stream());
  return why;
}

/// Learns, on a fresh connection, which digest the server's ids are.
template <class Core, class Connection>
flow<void> learn_digest(Core& core, Connection& fresh, transfer_failure& why) {
  auto& asking =
      fresh.template use<typename Core::first_hasher>(core.options.client, core.work_executor);
  auto features = make_call<server_features>(
      [&asking](auto handler) { asking.async_features(std::move(handler)); });
  co_await features;
  if (features.error()) {
    why = failure_of(fresh, features.error());
    co_return;
  }
  const server_features known = features.value();
  const std::string reply = asking.last_reply();
  const std::string digest{known.digest.empty() ? Core::first_hasher::name()
                                                : std::string_view{known.digest}};
  if (known.version == 0 && !reply.starts_with("ERROR")) {  // HTTP, most likely
    why = {errc::malformed_reply, failure_origin::peer, false, reply};
  } else if (!core.digest.empty() && digest != core.digest) {
    why = {errc::digest_changed, failure_origin::peer};
  } else if (!fresh.use_digest(known, digest, core.options.client, core.work_executor)) {
    why = {errc::wrong_digest_kind, failure_origin::peer, false, known.digest};
  } else {
    core.digest = digest;
    core.was_connected = true;
  }
}

/// Connects, and learns the server's digest; else says why that could not be.
template <class Core>
flow<void> connect_to(Core& core, std::unique_ptr<typename Core::connection>& made,
                      transfer_failure& why) {
  auto connecting = make_call<typename Core::stream_type>(
      [&core](auto handler) { core.connector.async_connect(std::move(handler)); });
  co_await connecting;
  if (connecting.error()) {
    why = {connecting.error(), failure_origin::stream, true};
    co_return;
  }
  made = std::make_unique<typename Core::connection>(std::move(std::get<0>(*connecting.results())));
  co_await learn_digest(core, *made, why);
  if (why) made.reset();
}

}  // namespace filexfer::detail

#endif
