#ifndef FILEXFER_DETAIL_POOL_CORE_HPP
#define FILEXFER_DETAIL_POOL_CORE_HPP

// State shared by a pool and its jobs: the connector, settings, idle connections.

#include <filexfer/detail/pool/digests.hpp>
#include <filexfer/detail/pool/element_queue.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/detail/stream/limited_stream.hpp>
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
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
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

/// The options with deadlines that waiting for a limited rate can't exceed. A transfer waits for up
/// to one read and one write on each connection.
template <class Limit>
pool_options allow_for(pool_options options, const Limit* limit) {
  if (limit == nullptr) return options;
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(
      limit->time_of(2 * limit->max_transfer() * std::max<std::size_t>(options.connections, 1)));
  time_limits& limits = options.client.limits;
  for (auto* time : {&limits.line, &limits.idle, &limits.reply, &limits.linger}) {
    *time = std::min(*time, std::chrono::milliseconds::max() - wait) + wait;
  }
  limits.least_rate = 0;
  return options;
}

/// A connection to the server, with a client for the server's kind of digest.
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
    auto& created = std::get<type>(*client_);
    created.work_executor(work_executor);
    return created;
  }

  /// Selects the client for the digest `name`, which the server reported in FEATURES; false if it
  /// is of no known kind.
  bool use_digest(const server_features& known, std::string_view name,
                  const client_options& options, const asio::any_io_executor& work_executor) {
    answers_queries_ = known.have;
    return ((Hashers::name() == name &&
             (use<Hashers>(options, work_executor).known_features(known), true)) ||
            ...);
  }

  /// Calls `call(client)`. `use` must have been called.
  template <class Call>
  decltype(auto) visit(Call call) {
    return std::visit(call, *client_);
  }

  /// Whether its server can be asked whether it holds a file.
  bool answers_queries() const noexcept { return answers_queries_; }

  bool usable() {
    return visit([](auto& c) { return c.usable(); });
  }

  /// Whether an operation has succeeded on it, or it was idle.
  bool was_used = false;

 private:
  Stream stream_;
  bool answers_queries_ = false;
  std::optional<std::variant<client<Stream&, Hashers, Timer>...>> client_;
};

/// A job, as its pool sees it.
class job_base {
 public:
  /// Called once, on the strand.
  virtual void start() = 0;
  /// Called on the strand.
  virtual void cancel(asio::cancellation_type type) = 0;

 protected:
  ~job_base() = default;
};

inline void post_start(const pool_strand& strand, std::shared_ptr<job_base> job) {
  asio::post(strand, [job = std::move(job)] { job->start(); });
}

inline void dispatch_cancel(const pool_strand& strand, std::weak_ptr<job_base> job,
                            asio::cancellation_type type) {
  asio::dispatch(strand, [job = std::move(job), type] {
    if (const auto alive = job.lock()) alive->cancel(type);
  });
}

/// Whether `ec` means that the peer has ended the stream.
inline bool is_end(std::error_code ec) noexcept {
  return ec == errc::end_of_stream || ec == errc::truncated || ec == asio::error::broken_pipe ||
         ec == asio::error::connection_reset;
}

/// The failure of the last operation on a connection, which ended with `ec`.
template <class Connection>
transfer_failure failure_of(Connection& c, std::error_code ec) {
  transfer_failure failure{ec};
  if (!ec) return failure;
  c.visit([&](auto& client) {
    failure.origin = client.last_failure();
    failure.reply = client.last_reply();
  });
  if (is_end(ec) && failure.origin != failure_origin::local) {
    failure.end_reason = stream_end_reason(c.stream());
  }
  return failure;
}

/// Cancels a call that is still running when a time has passed.
template <class Timer>
class call_deadline {
 public:
  call_deadline(const pool_strand& strand, std::chrono::milliseconds time, call_base& call)
      : timer_{strand}, state_{std::make_shared<state>(state{&call})} {
    timer_.expires_after(time);
    timer_.async_wait([shared = state_](std::error_code ec) {
      if (ec || shared->call == nullptr) return;
      shared->has_passed = true;
      shared->call->cancel();
    });
  }
  call_deadline(const call_deadline&) = delete;
  call_deadline& operator=(const call_deadline&) = delete;
  ~call_deadline() { state_->call = nullptr; }

  bool has_passed() const noexcept { return state_->has_passed; }

 private:
  struct state {
    call_base* call;  ///< Null once the deadline is destroyed.
    bool has_passed = false;
  };

  Timer timer_;
  std::shared_ptr<state> state_;
};

template <class Connector, class FirstHasher, class... Hashers>
struct pool_core : std::enable_shared_from_this<pool_core<Connector, FirstHasher, Hashers...>> {
  using first_hasher = FirstHasher;
  using stream_type = typename Connector::stream_type;
  using timer_type = typename timer_of<Connector>::type;
  using clock = typename timer_type::clock_type;
  using limited_type = limited_stream<stream_type, timer_type>;
  using limit_type = typename limited_type::limit_type;
  using connection = pool_connection<limited_type, timer_type, FirstHasher, Hashers...>;

  pool_core(Connector c, const pool_options& o)
      : connector{std::move(c)},
        limit{o.max_rate > 0 ? std::make_shared<limit_type>(o.max_rate) : nullptr},
        options{allow_for(o, limit.get())},
        strand{connector.get_executor()} {}

  template <class Record, class Range, class OnResult>
  static auto files_to_download(Range&& range, OnResult on_result) {
    return detail::files_to_download<Record, typename FirstHasher::digest_type,
                                     typename Hashers::digest_type...>(std::forward<Range>(range),
                                                                       std::move(on_result));
  }

  void start_job(std::weak_ptr<job_base> job) {
    std::erase_if(jobs, [](const auto& weak) { return weak.expired(); });
    jobs.push_back(std::move(job));
    if (running_jobs++ == 0 && on_progress) report_progress_later();
  }

  void end_job() {
    if (--running_jobs > 0 || !on_progress) return;
    progress_timer.reset();
    on_progress(progress.now());
  }

  void report_progress_later() {
    if (!progress_timer) progress_timer.emplace(strand);
    progress_timer->expires_after(progress_period);
    progress_timer->async_wait([weak = this->weak_from_this()](std::error_code ec) {
      const auto self = weak.lock();
      if (ec || !self || self->running_jobs == 0) return;
      self->report_progress_later();
      self->on_progress(self->progress.now());
    });
  }

  /// Whether a retry can succeed. A server that has never answered is not retried.
  bool may_pass(const transfer_failure& failure) const {
    return is_retryable(failure.error, failure.origin) &&
           (was_connected || failure.error == condition::refused);
  }

  /// Calls `call(std::type_identity<Hasher>{})` for the server's kind of digest, which must be
  /// known.
  template <class Call>
  void with_hasher(Call call) {
    const auto call_if_matching = [&]<class Hasher>(std::type_identity<Hasher> type) {
      if (Hasher::name() == digest) call(type);
    };
    call_if_matching(std::type_identity<FirstHasher>{});
    (call_if_matching(std::type_identity<Hashers>{}), ...);
  }

  Connector connector;
  std::shared_ptr<limit_type> limit;  ///< Of all connections; null for none.
  pool_options options;
  pool_strand strand;
  asio::any_io_executor work_executor;
  std::function<void(const pool_event&)> on_event;
  std::function<void(const transfer_progress::snapshot&)> on_progress;
  std::chrono::milliseconds progress_period{};
  transfer_progress progress;
  std::unique_ptr<any_digest_cache> digests;  ///< May be null.

  // Only used on the strand.
  std::vector<std::unique_ptr<connection>> idle;
  bool was_connected = false;
  std::string digest;        ///< Name of the server's digest; empty until known. Set once.
  server_features features;  ///< As the server reported them on the latest connection.
  transfer_failure last_failure;
  std::vector<std::weak_ptr<job_base>> jobs;
  std::size_t running_jobs = 0;
  std::optional<timer_type> progress_timer;  ///< While jobs run, if progress is reported.

  // Flows. They are members because g++ warns about the coroutine frames of free functions if a
  // type is in an unnamed namespace.

  /// Asks a new connection for its features, and learns which kind of digest the server has.
  flow<void> learn_digest(connection& created, transfer_failure& failure) {
    auto& client = created.template use<first_hasher>(options.client, work_executor);
    auto greeting = make_call<server_features>(
        [&client](auto handler) { client.async_features(std::move(handler)); });
    co_await greeting;
    const std::string reply = client.last_reply();
    if (greeting.error()) {
      failure = failure_of(created, greeting.error());
      failure.phase = transfer_phase::greeting;
      co_return;
    }
    const server_features known = greeting.value();
    const std::string kind{known.digest.empty() ? first_hasher::name()
                                                : std::string_view{known.digest}};
    const auto fail = [&failure](errc error, std::string text) {
      failure = {error, failure_origin::peer, transfer_phase::greeting, std::move(text)};
    };
    if (known.version == 0 && !reply.starts_with("ERROR")) {  // HTTP, most likely
      fail(errc::malformed_reply, reply);
    } else if (!digest.empty() && kind != digest) {
      fail(errc::digest_changed, {});
    } else if (!created.use_digest(known, kind, options.client, work_executor)) {
      fail(errc::wrong_digest_kind, known.digest);
    } else {
      if (digest.empty()) digest = kind;  // never written again: the work executor reads it
      features = known;
      was_connected = true;
    }
  }

  /// Makes a connection and learns the server's digest. On failure sets `failure`.
  flow<void> connect_to(std::unique_ptr<connection>& created, transfer_failure& failure) {
    auto connecting = make_call<stream_type>(
        [this](auto handler) { connector.async_connect(std::move(handler)); });
    {
      const call_deadline<timer_type> deadline{strand, options.connect_timeout, connecting};
      co_await connecting;
      if (connecting.error()) {
        const bool late = deadline.has_passed();
        failure = {late ? asio::error::timed_out : connecting.error(), failure_origin::stream,
                   transfer_phase::connecting};
        co_return;
      }
    }
    auto& stream = std::get<0>(*connecting.results());
    created = std::make_unique<connection>(limited_type{std::move(stream), limit});
    co_await learn_digest(*created, failure);
    if (failure) created.reset();
  }

  void put_idle(std::unique_ptr<connection> c) {
    c->was_used = true;  // it may break while idle
    idle.push_back(std::move(c));
  }

  /// Takes an idle connection, or makes one. On failure sets `failure`.
  flow<void> take_connection(std::unique_ptr<connection>& taken, transfer_failure& failure) {
    if (idle.empty()) {
      co_await connect_to(taken, failure);
    } else {
      taken = std::move(idle.back());
      idle.pop_back();
    }
  }
};

}  // namespace filexfer::detail

#endif
