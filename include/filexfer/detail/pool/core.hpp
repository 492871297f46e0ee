#ifndef FILEXFER_DETAIL_POOL_CORE_HPP
#define FILEXFER_DETAIL_POOL_CORE_HPP

// What a pool and its jobs share: the connector, idle connections, the digest cache.

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

template <class Connector, class... Hashers>
struct pool_core {
  using stream_type = typename Connector::stream_type;
  using timer_type = typename timer_of<Connector>::type;
  using clock = typename timer_type::clock_type;
  using connection = pool_connection<stream_type, timer_type, Hashers...>;

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

/// Chooses, by the name that FEATURES has told, the client's hasher; false if there is none of that
/// name.
template <class Connection, class... Hashers>
struct hasher_choice {
  static bool choose(Connection& c, std::string_view name, const server_features& known,
                     const client_options& options, const asio::any_io_executor& work_executor) {
    return ((Hashers::name() == name &&
             (c.template use<Hashers>(options, work_executor).known_features(known), true)) ||
            ...);
  }
};

/// Connects, and learns the server's digest.
template <class Connector, class First, class... Others>
flow<void> connect_to(
    pool_core<Connector, First, Others...>& core,
    std::unique_ptr<typename pool_core<Connector, First, Others...>::connection>& made,
    transfer_failure& why) {
  using core_type = pool_core<Connector, First, Others...>;
  using made_type = typename core_type::connection;
  using stream_type = typename core_type::stream_type;
  why = {};
  auto connecting = make_call<stream_type>(
      [&core](auto handler) { core.connector.async_connect(std::move(handler)); });
  co_await connecting;
  if (connecting.error() || !connecting.results()) {
    why = {connecting.error(), failure_origin::stream, true};
    co_return;
  }
  made = std::make_unique<made_type>(std::move(std::get<0>(*connecting.results())));
  auto& asking = made->template use<First>(core.options.client, core.work_executor);
  auto features = make_call<server_features>(
      [&asking](auto handler) { asking.async_features(std::move(handler)); });
  co_await features;
  if (features.error()) {
    why = failure_of(*made, features.error());
    made.reset();
    co_return;
  }
  const server_features known = features.value();
  const bool answered = asking.last_reply().starts_with("ERROR");
  if (known.version == 0 && !answered) {  // HTTP, most likely
    why = {errc::malformed_reply, failure_origin::peer, false, asking.last_reply()};
    made.reset();
    co_return;
  }
  const std::string digest = known.digest.empty() ? std::string{First::name()} : known.digest;
  if (!core.digest.empty() && digest != core.digest) {
    why = {errc::digest_changed, failure_origin::peer};
    made.reset();
    co_return;
  }
  if (!hasher_choice<made_type, First, Others...>::choose(*made, digest, known, core.options.client,
                                                          core.work_executor)) {
    why = {errc::wrong_digest_kind, failure_origin::peer, false, known.digest};
    made.reset();
    co_return;
  }
  core.digest = digest;
  core.was_connected = true;
}

}  // namespace filexfer::detail

#endif
