#ifndef FILEXFER_TRANSFER_POOL_HPP
#define FILEXFER_TRANSFER_POOL_HPP

/// \file
/// Many files over several connections, going on after breaks.

#include <filexfer/detail/pool/core.hpp>
#include <filexfer/detail/pool/download_job.hpp>
#include <filexfer/detail/pool/upload_job.hpp>
#include <filexfer/connector.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/sha256.hpp>
#include <filexfer/stream.hpp>
#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/post.hpp>

#include <functional>
#include <memory>
#include <ranges>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer {

namespace detail {

/// A job together with the handler of the operation that it is.
template <class Job, class Handler>
class job_operation final : public Job {
 public:
  using executor = asio::associated_executor_t<Handler, pool_strand>;

  template <class Core, class Range, class OnResult>
  job_operation(const Core& core, Range&& range, OnResult on_result, Handler&& handler)
      : Job{core, std::forward<Range>(range), std::move(on_result)},
        guard_{asio::get_associated_executor(handler, core->strand)},
        handler_{std::move(handler)} {}

  /// Cancels the job when the handler's slot says so, from whatever thread.
  void assign_slot(const pool_strand& strand) {
    auto slot = asio::get_associated_cancellation_slot(handler_);
    if (!slot.is_connected()) return;
    slot.assign([weak = std::weak_ptr<job_base>{this->shared_from_this()},
                 strand](asio::cancellation_type type) {
      asio::dispatch(strand, [weak, type] {
        if (const auto job = weak.lock()) job->cancel(type);
      });
    });
  }

 private:
  struct completion {
    using executor_type = executor;
    using allocator_type = asio::associated_allocator_t<Handler>;
    executor_type get_executor() const noexcept {
      return asio::get_associated_executor(handler, fallback);
    }
    allocator_type get_allocator() const noexcept {
      return asio::get_associated_allocator(handler);
    }
    void operator()() { std::move(handler)(ec, totals); }
    Handler handler;
    pool_strand fallback;
    std::error_code ec;
    transfer_totals totals;
  };

  void complete(std::error_code ec, const transfer_totals& totals) override {
    asio::get_associated_cancellation_slot(handler_).clear();
    const pool_strand strand = this->core().strand;
    asio::post(strand, completion{std::move(handler_), strand, ec, totals});
  }

  work_guard<executor> guard_;
  Handler handler_;
};

}  // namespace detail

/// Moves many files to and from one server, over as many connections as suit.
///
/// Which digest the server's ids are is learnt from the server, among `Hashers`: MD5 and SHA-256 if
/// none is named. Files go over the first connection at once; further ones join while there is
/// work, and one that can't be had, or is lost, leaves its files to the others. A connection that
/// breaks is made again, and what it had in hand goes on where it stopped, until no byte has moved
/// for `pool_options::retry_for`. Only when none of the connections can be had the server is taken
/// to be gone.
///
/// All of a pool runs on one strand of the connector's executor, whose context any number of
/// threads may run; callbacks are called there, one at a time. Hashing and file access are done by
/// the work executor.
///
/// Destroying a pool breaks off its jobs, whose handlers are called with
/// `asio::error::operation_aborted`. The ranges and callbacks of a job must live until then.
template <connector Connector, hasher... Hashers>
class transfer_pool {
  template <class C, class... H>
  struct core_for {
    using type = detail::pool_core<C, H...>;
  };
  template <class C>
  struct core_for<C> {
    using type = detail::pool_core<C, md5, sha256>;
  };
  using core_type = typename core_for<Connector, Hashers...>::type;

 public:
  using executor_type = detail::pool_strand;
  using connector_type = Connector;

  /// Nothing is connected before a job needs it.
  explicit transfer_pool(Connector connector, const pool_options& options = {})
      : core_{std::make_shared<core_type>(std::move(connector), options)} {}

  transfer_pool(transfer_pool&&) noexcept = default;
  transfer_pool(const transfer_pool&) = delete;
  transfer_pool& operator=(const transfer_pool&) = delete;

  ~transfer_pool() {
    if (!core_) return;
    const auto strand = core_->strand;
    asio::dispatch(strand, [core = std::move(core_)] {
      core->idle.clear();
      for (const auto& weak : core->jobs) {
        if (const auto job = weak.lock()) job->cancel(asio::cancellation_type::terminal);
      }
    });
  }

  /// The strand that everything of this pool runs on.
  executor_type get_executor() const noexcept { return core_->strand; }

  /// Gives the pool an executor for hashing and file access: that of a thread pool of two threads
  /// or more. Without one these are done on the strand. Before the first job. Join the thread pool
  /// before the context is destroyed.
  void work_executor(asio::any_io_executor executor) { core_->work_executor = std::move(executor); }

  /// Has `callback(const pool_event&)` called, on the strand, when a connection or a file is tried
  /// again. Before the first job.
  void on_event(std::function<void(const pool_event&)> callback) {
    core_->on_event = std::move(callback);
  }

  /// How far the jobs of this pool are; may be asked on any thread. How much there is to do is
  /// known as far as somebody has told it: see `transfer_progress::expect`.
  transfer_progress& progress() noexcept { return core_->progress; }

  /// Uploads all that `files` has (the protocol's section 5).
  ///
  /// Returns at once. `on_result` is called as each file ends, and the handler last. Small files
  /// are sent one behind the other; a large one can go on over another connection where it broke.
  ///
  /// \param files      `upload_elements`: an lvalue must live, with its elements, until the handler
  ///                   is called; anything else is moved in.
  /// \param on_result  `void(const file_result<Element>&)`; is called on the strand, and as long as
  ///                   it runs nothing else of the pool does. What it throws ends the job.
  /// \param token      for a handler `void(std::error_code, transfer_totals)`, whose associated
  ///                   executor (by default the pool's), allocator and cancellation slot are
  ///                   heeded.
  ///
  /// Succeeds if each file's result was told, whatever it was. Otherwise the error is
  /// - `asio::error::operation_aborted` after it was cancelled: `terminal` breaks off, `partial`
  /// and
  ///   `total` let files that are under way end, and start no other;
  /// - why no connection could be had any more: files that were taken from the range and have not
  ///   arrived were told with that failure, those that were not taken are not told;
  /// - what `files` or `on_result` threw.
  template <class Files, class OnResult, class Token>
    requires upload_elements<std::remove_reference_t<Files>>
  auto async_upload(Files&& files, OnResult on_result, Token&& token) {
    return start<detail::upload_job<core_type, Files, OnResult>>(
        std::forward<Files>(files), std::move(on_result), std::forward<Token>(token));
  }

  /// Downloads all that `files` has (the protocol's section 6), each seen only once it is whole.
  /// What is where it is to come to already, see `download_element`, is not fetched.
  ///
  /// \param files  `download_elements`; otherwise all is as for `async_upload`.
  template <class Files, class OnResult, class Token>
    requires download_elements<std::remove_reference_t<Files>>
  auto async_download(Files&& files, OnResult on_result, Token&& token) {
    return start<detail::download_job<core_type, Files, OnResult>>(
        std::forward<Files>(files), std::move(on_result), std::forward<Token>(token));
  }

 private:
  template <class Job, class Files, class OnResult, class Token>
  auto start(Files&& files, OnResult on_result, Token&& token) {
    auto initiate = [](auto&& handler, std::shared_ptr<core_type> core, auto&& range,
                       OnResult call) {
      using handler_type = std::decay_t<decltype(handler)>;
      using operation = detail::job_operation<Job, handler_type>;
      const auto allocator = asio::get_associated_allocator(handler);
      const auto job = std::allocate_shared<operation>(
          allocator, core, std::forward<Files>(range), std::move(call),
          handler_type(std::forward<decltype(handler)>(handler)));
      job->assign_slot(core->strand);
      asio::post(core->strand, [job] { job->start(); });
    };
    return asio::async_initiate<Token, void(std::error_code, transfer_totals)>(
        std::move(initiate), token, core_, std::forward<Files>(files), std::move(on_result));
  }

  std::shared_ptr<core_type> core_;
};

template <class Connector>
transfer_pool(Connector) -> transfer_pool<Connector>;
template <class Connector>
transfer_pool(Connector, pool_options) -> transfer_pool<Connector>;

}  // namespace filexfer

#endif
