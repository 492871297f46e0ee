#ifndef FILEXFER_TRANSFER_POOL_HPP
#define FILEXFER_TRANSFER_POOL_HPP

/// \file
/// Many files over several connections, going on after breaks.

#include <filexfer/detail/pool/core.hpp>
#include <filexfer/detail/pool/download_job.hpp>
#include <filexfer/detail/pool/mirror.hpp>
#include <filexfer/detail/pool/query_job.hpp>
#include <filexfer/detail/pool/read_job.hpp>
#include <filexfer/detail/pool/upload_job.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/connector.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/digest_cache.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/protocol.hpp>
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
#include <asio/compose.hpp>
#include <asio/dispatch.hpp>
#include <asio/post.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <ranges>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer {

namespace detail {

/// An argument on its way through a completion token, some of which copy what they are given: an
/// lvalue is referred to, anything else is moved.
template <class T>
struct argument {
  T held;
  T&& take() { return std::forward<T>(held); }
};

/// A job together with the handler of the operation that it is.
template <class Job, class Handler>
class job_operation final : public Job {
 public:
  using executor = asio::associated_executor_t<Handler, pool_strand>;

  template <class Core, class... Args>
  job_operation(Handler&& handler, const Core& core, Args&&... args)
      : Job{core, std::forward<Args>(args)...},
        guard_{asio::get_associated_executor(handler, core->strand)},
        handler_{std::move(handler)} {}

  /// Cancels the job when the handler's slot says so, from whatever thread.
  void assign_slot(const pool_strand& strand) {
    auto slot = asio::get_associated_cancellation_slot(handler_);
    if (!slot.is_connected()) return;
    slot.assign([weak = std::weak_ptr<job_base>{this->shared_from_this()},
                 strand](asio::cancellation_type type) { dispatch_cancel(strand, weak, type); });
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
    void operator()() { std::move(handler)(ec, std::move(result)); }
    Handler handler;
    pool_strand fallback;
    std::error_code ec;
    typename Job::result_type result;
  };

  void complete(std::error_code ec, typename Job::result_type result) override {
    asio::get_associated_cancellation_slot(handler_).clear();
    const pool_strand strand = this->core().strand;
    asio::post(strand, completion{std::move(handler_), strand, ec, std::move(result)});
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
  using upload_job = detail::upload_job<core_type>;
  using download_job = detail::download_job<core_type>;

 public:
  using executor_type = detail::pool_strand;
  using connector_type = Connector;
  using default_token =
      asio::default_completion_token_t<typename detail::executor_of<Connector>::type>;

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

  /// That executor; empty if there is none.
  [[nodiscard]] const asio::any_io_executor& work_executor() const noexcept {
    return core_->work_executor;
  }

  /// Has digests of files that are read before they are sent looked up in `cache` and remembered
  /// there, if their source has a `native_handle()`. The cache must outlive the pool's jobs. Before
  /// the first job.
  template <digest_cache Cache>
  void use_digest_cache(Cache& cache) {
    core_->digests = std::make_unique<detail::digest_cache_ref<Cache>>(cache);
  }

  /// Has `callback(const pool_event&)` called, on the strand, when a connection or a file is tried
  /// again. Before the first job.
  void on_event(std::function<void(const pool_event&)> callback) {
    core_->on_event = std::move(callback);
  }

  /// Has `callback(const transfer_progress::snapshot&)` called, on the strand, at most once a
  /// `period` while there are jobs, and at the end of the last. Before the first job.
  void on_progress(std::chrono::milliseconds period,
                   std::function<void(const transfer_progress::snapshot&)> callback) {
    core_->progress_period = period;
    core_->on_progress = std::move(callback);
  }

  /// How far the jobs of this pool are; may be asked on any thread. How much there is to do is
  /// known as far as somebody has told it: see `transfer_progress::expect`.
  [[nodiscard]] transfer_progress& progress() noexcept { return core_->progress; }

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
  ///   and `total` let files that are under way end, and start no other;
  /// - why no connection could be had any more: files that were taken from the range and have not
  ///   arrived were told with that failure, those that were not taken are not told;
  /// - what `files` or `on_result` threw.
  template <class Files, class OnResult, class Token = default_token>
    requires upload_elements<std::remove_reference_t<Files>>
  auto async_upload(Files&& files, OnResult on_result, Token&& token = default_token()) {
    using record = typename upload_job::record;
    return start<upload_job>(
        std::forward<Token>(token), detail::upload_scope::all,
        detail::files_to_upload<record>(std::forward<Files>(files), std::move(on_result)));
  }

  /// Uploads what the server lacks of `files`: those that it holds are only named to it (`have`,
  /// the protocol's section 5), and told as not moved. Each file is read to find out its digest,
  /// unless that is known by its element or by the digest cache; up to 64 MiB are read before the
  /// server is asked for their files. Files of which the source is not seekable are sent.
  ///
  /// A file that turns out to be another than when it was read is read again, once. Otherwise all
  /// is as for `async_upload`.
  template <class Files, class OnResult, class Token = default_token>
    requires upload_elements<std::remove_reference_t<Files>>
  auto async_upload_missing(Files&& files, OnResult on_result, Token&& token = default_token()) {
    using record = typename upload_job::record;
    return start<upload_job>(
        std::forward<Token>(token), detail::upload_scope::missing,
        detail::files_to_upload<record>(std::forward<Files>(files), std::move(on_result)));
  }

  /// Downloads all that `files` has (the protocol's section 6), each seen only once it is whole.
  /// What is where it is to come to already, see `download_element`, is not fetched.
  ///
  /// \param files  `download_elements`; otherwise all is as for `async_upload`.
  template <class Files, class OnResult, class Token = default_token>
    requires download_elements<std::remove_reference_t<Files>>
  auto async_download(Files&& files, OnResult on_result, Token&& token = default_token()) {
    return start<download_job>(std::forward<Token>(token),
                               core_type::template files_to_download<typename download_job::record>(
                                   std::forward<Files>(files), std::move(on_result)));
  }

  /// Tells of each of `files` whether the server holds it, that is, its digest under its name, and
  /// changes nothing there. The server's list is held meanwhile, up to
  /// `client_options::max_entries`
  /// (`errc::too_many_entries`); files are read, unless the digest cache knows them.
  ///
  /// \param files  `upload_elements`; a file that the server lacks is told with `errc::not_found`.
  ///               Otherwise all is as for `async_upload`, but that nothing is tried again.
  template <class Files, class OnResult, class Token = default_token>
    requires upload_elements<std::remove_reference_t<Files>>
  auto async_verify(Files&& files, OnResult on_result, Token&& token = default_token()) {
    using job = detail::verify_job<core_type>;
    return start<job>(std::forward<Token>(token),
                      detail::files_to_upload<typename job::record>(std::forward<Files>(files),
                                                                    std::move(on_result)));
  }

  /// Sends what another server has and this one lacks, as `async_upload_missing` does. Nothing is
  /// kept here: each file is read part by part and sent on, and verified by this server's digest of
  /// it, which has to be of the other's kind (`errc::wrong_digest_kind`).
  ///
  /// \param from    the pool of the other server. Both have to live, and stay where they are, until
  ///                the handler is called. This pool needs a work executor, whose threads wait for
  ///                the other one, and so can't be that pool's too (`EINVAL`).
  /// \param wanted  which of the other's files. Their list is held meanwhile, up to
  ///                `client_options::max_entries` (`errc::too_many_entries`).
  ///
  /// A file that could not be read there is told as failed on this side; otherwise all is as for
  /// `async_upload_missing`.
  template <class From, class OnResult, class Token = default_token>
  auto async_mirror(From& from, list_request wanted, OnResult on_result,
                    Token&& token = default_token()) {
    wanted.mtime = true;
    const auto& work = core_->work_executor;
    const bool waits_for_itself = !work || work == from.work_executor();
    std::error_code refused;
    if (waits_for_itself) refused = std::make_error_code(std::errc::invalid_argument);
    return asio::async_compose<Token, void(std::error_code, transfer_totals)>(
        detail::mirror_operation<From, transfer_pool, OnResult>{from, *this, std::move(wanted),
                                                                core_->options.client.max_entries,
                                                                refused, std::move(on_result)},
        token, get_executor());
  }

  /// Reads a part of a file (the protocol's section 6, `offset` and `length`), which can't be
  /// verified by itself. It is tried again after breaks.
  ///
  /// \param length  in bytes; what comes is less where the file ends.
  /// \param token   for a handler `void(std::error_code, std::vector<std::byte>)`, otherwise as for
  ///                `async_list_files`.
  ///
  /// Fails as `client::async_download_range` does, or with why no connection could be had.
  template <class Token = default_token>
  auto async_read_at(const any_digest& id, std::uint64_t offset, std::size_t length,
                     Token&& token = default_token()) {
    return start<detail::read_job<core_type>>(std::forward<Token>(token), any_digest{id},
                                              std::uint64_t{offset}, std::size_t{length});
  }

  /// Lists the server's files (the protocol's section 4), which are not held here.
  ///
  /// \param on_entry  `void(const listed_file&)`, or `void(const listed_file&, std::error_code&)`
  ///                  to end the operation with an error; is called on the strand.
  /// \param token     for a handler `void(std::error_code, std::uint64_t entries)`, otherwise as
  ///                  for `async_upload`. Any cancellation breaks off.
  ///
  /// Fails as `client::async_list_files` does, or with why no connection could be had. Nothing is
  /// tried again: see `last_failure()`.
  template <class OnEntry, class Token = default_token>
  auto async_list_files(list_request wanted, OnEntry on_entry, Token&& token = default_token()) {
    std::unique_ptr<detail::entry_callback> callback =
        std::make_unique<detail::entry_callback_of<OnEntry>>(std::move(on_entry));
    return start<detail::list_job<core_type>>(std::forward<Token>(token), std::move(wanted),
                                              std::move(callback));
  }

  /// Sees to it that there is a connection, and tells what the server on it has said of itself.
  ///
  /// \param token  for a handler `void(std::error_code, server_features)`, otherwise as for
  ///               `async_list_files`.
  template <class Token = default_token>
  auto async_features(Token&& token = default_token()) {
    return start<detail::features_job<core_type>>(std::forward<Token>(token));
  }

  /// Tells `progress()` of all that `files` has and can be opened, for another range of the same
  /// files that is, or is going to be, uploaded or verified.
  ///
  /// \param files  `upload_elements`, as for `async_upload`.
  /// \param token  for a handler `void(std::error_code, std::uint64_t files)`, otherwise as for
  ///               `async_list_files`. Fails with what `files` threw.
  template <class Files, class Token = default_token>
    requires upload_elements<std::remove_reference_t<Files>>
  auto async_count(Files&& files, Token&& token = default_token()) {
    using job = detail::count_job<core_type>;
    const auto nobody = [](const auto&) {};
    return start<job>(std::forward<Token>(token), detail::files_to_upload<typename job::record>(
                                                      std::forward<Files>(files), nobody));
  }

  /// Why the job that ended last has failed, in all that is known; empty if it succeeded. To be
  /// asked on the strand, such as in the job's handler.
  [[nodiscard]] const transfer_failure& last_failure() const noexcept {
    return core_->last_failure;
  }

 private:
  template <class Job, class Token, class... Args>
  auto start(Token&& token, Args&&... args) {
    auto initiate = [core = core_](auto&& handler, auto... given) {
      using handler_type = std::decay_t<decltype(handler)>;
      using operation = detail::job_operation<Job, handler_type>;
      const auto allocator = asio::get_associated_allocator(handler);
      const auto job = std::allocate_shared<operation>(
          allocator, handler_type(std::forward<decltype(handler)>(handler)), core, given.take()...);
      job->assign_slot(core->strand);
      detail::post_start(core->strand, job);
    };
    return asio::async_initiate<Token, void(std::error_code, typename Job::result_type)>(
        std::move(initiate), token, detail::argument<Args>{std::forward<Args>(args)}...);
  }

  std::shared_ptr<core_type> core_;
};

template <class Connector>
transfer_pool(Connector) -> transfer_pool<Connector>;
template <class Connector>
transfer_pool(Connector, pool_options) -> transfer_pool<Connector>;

}  // namespace filexfer

#endif
