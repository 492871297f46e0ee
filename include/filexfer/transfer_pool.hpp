#ifndef FILEXFER_TRANSFER_POOL_HPP
#define FILEXFER_TRANSFER_POOL_HPP

/// \file
/// Transfers of many files over several connections, with retries.

#include <filexfer/detail/pool/core.hpp>
#include <filexfer/detail/pool/download_job.hpp>
#include <filexfer/detail/pool/job_operation.hpp>
#include <filexfer/detail/pool/mirror.hpp>
#include <filexfer/detail/pool/query_job.hpp>
#include <filexfer/detail/pool/request_job.hpp>
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
#include <asio/async_result.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/compose.hpp>
#include <asio/dispatch.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <ranges>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer {

/// Transfers many files to and from one server, over several connections.
///
/// Each operation is a job; several may run at a time. A job starts on one connection, idle or new,
/// and adds others while there is work. A connection that breaks is made again, and its files are
/// retried, resuming where possible, until no byte has moved for `pool_options::retry_for`. If it
/// can't be made, the others take its files; if none can, the job fails.
///
/// A pool runs on a strand of the connector's executor, whose context any number of threads may
/// run. Callbacks are called on the strand, one at a time; while one runs, the pool does nothing
/// else. Hashing and file access are done on the work executor.
///
/// A job that is cancelled ends with `asio::error::operation_aborted`. If no connection can be made
/// it ends with a "connection error":
/// - the connector's error, or `asio::error::timed_out` after `pool_options::connect_timeout`;
/// - an error of `client::async_features`, such as the refusal `errc::busy`, or
///   `errc::malformed_reply` if the server speaks another protocol;
/// - `errc::wrong_digest_kind` if the server's ids are digests of none of `Hashers`;
/// - `errc::digest_changed` if they are of another kind than on an earlier connection.
///
/// An exception of a range, of `on_result` or of `on_entry` ends the job: `std::system_error` with
/// its code, `std::bad_alloc` with `std::errc::not_enough_memory`, others with
/// `errc::store_failed`.
///
/// Destroying a pool cancels its jobs; their handlers get `asio::error::operation_aborted`. The
/// ranges and callbacks of a job must live until its handler is called.
/// \snippet transfer_pool.cpp transfer_pool
///
/// \tparam Connector  Makes the connections.
/// \tparam Hashers    For the kinds of digest that a server may have; MD5 and SHA-256 if empty.
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
  using executor_type = detail::pool_strand;  ///< The type of the strand.
  using connector_type = Connector;           ///< What makes the connections.
  /// The default completion token of the connector's executor.
  using default_token =
      asio::default_completion_token_t<typename detail::executor_of<Connector>::type>;

  /// Connects nothing yet.
  /// \param connector  Makes the connections.
  /// \param options    Limits and deadlines.
  explicit transfer_pool(Connector connector, const pool_options& options = {})
      : core_{std::make_shared<core_type>(std::move(connector), options)} {}

  transfer_pool(transfer_pool&&) noexcept = default;  ///< Moves the pool; its jobs continue.
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

  /// \return The strand on which the pool runs.
  executor_type get_executor() const noexcept { return core_->strand; }

  /// Sets the executor for hashing and file access, before the first job. Without one, these are
  /// done on the strand.
  /// \snippet transfer_pool.cpp work_executor
  /// \param executor  That of a thread pool with two or more threads, which must be joined before
  ///                  the context is destroyed.
  void work_executor(asio::any_io_executor executor) { core_->work_executor = std::move(executor); }

  /// \return The executor for hashing and file access; empty if none was set.
  [[nodiscard]] const asio::any_io_executor& work_executor() const noexcept {
    return core_->work_executor;
  }

  /// Sets a cache for the digests of local files whose source has a `native_handle()`, before the
  /// first job.
  /// \snippet transfer_pool.cpp use_digest_cache
  /// \param cache  Must outlive the pool's jobs.
  template <digest_cache Cache>
  void use_digest_cache(Cache& cache) {
    core_->digests = std::make_unique<detail::digest_cache_ref<Cache>>(cache);
  }

  /// Sets a callback for retries and missing connections, before the first job.
  /// \snippet transfer_pool.cpp on_event
  /// \param callback  `void(const pool_event&)`, called on the strand.
  void on_event(std::function<void(const pool_event&)> callback) {
    core_->on_event = std::move(callback);
  }

  /// Sets a callback for the progress of the jobs, before the first job.
  /// \snippet transfer_pool.cpp on_progress
  /// \param period    The time between two calls while jobs are running. One more call follows when
  ///                  the last job has ended.
  /// \param callback  `void(const transfer_progress::snapshot&)`, called on the strand.
  void on_progress(std::chrono::milliseconds period,
                   std::function<void(const transfer_progress::snapshot&)> callback) {
    core_->progress_period = period;
    core_->on_progress = std::move(callback);
  }

  /// \return The progress of the pool's jobs, for any thread. It knows the totals only as far as
  /// they are announced, by `async_count` or `transfer_progress::expect`.
  [[nodiscard]] transfer_progress& progress() noexcept { return core_->progress; }

  /// Uploads files (section 5 of the protocol). Small files are pipelined; one that was interrupted
  /// is resumed on whichever connection takes it.
  ///
  /// Succeeds if every file's result was reported, whatever it was. Otherwise the error is
  /// - `asio::error::operation_aborted` after a cancellation: `partial` and `total` let files in
  ///   flight finish, and start no others; `terminal` interrupts those, too. Unfinished files may
  ///   be unreported;
  /// - a connection error: the files that were taken from the range and have not arrived were
  ///   reported with it, the others are not reported;
  /// - what `files` or `on_result` threw.
  ///
  /// \snippet transfer_pool.cpp async_upload
  ///
  /// \param files      `upload_elements`: an lvalue must live, with its elements, until the handler
  ///                   is called; anything else is moved in.
  /// \param on_result  `void(const file_result<Element>&)`, called on the strand as each file ends.
  /// \param token      For a handler `void(std::error_code, transfer_totals)`, called last. Its
  ///                   associated executor (by default the strand), allocator and cancellation
  ///                   slot are used.
  /// \return As the token determines.
  template <class Files, class OnResult, class Token = default_token>
    requires upload_elements<std::remove_reference_t<Files>>
  auto async_upload(Files&& files, OnResult on_result, Token&& token = default_token()) {
    using record = typename upload_job::record;
    return start<upload_job>(
        std::forward<Token>(token), detail::upload_scope::all,
        detail::files_to_upload<record>(std::forward<Files>(files), std::move(on_result)));
  }

  /// Uploads those files that the server does not hold. For the others it only adds the name
  /// (`have`, section 5 of the protocol), and they are reported as not transferred. Otherwise
  /// as `async_upload`.
  ///
  /// Each file is hashed first, unless its element or the digest cache knows the digest; while the
  /// server is asked for some, the next ones are hashed. A file whose source is not seekable is
  /// sent unhashed, as all are to a server that can't be asked (`server_features::have`). If a
  /// file has changed since it was hashed, it is hashed again, once.
  /// \snippet transfer_pool.cpp async_upload_missing
  ///
  /// \param files,on_result,token  As for `async_upload`.
  /// \return As the token determines.
  template <class Files, class OnResult, class Token = default_token>
    requires upload_elements<std::remove_reference_t<Files>>
  auto async_upload_missing(Files&& files, OnResult on_result, Token&& token = default_token()) {
    using record = typename upload_job::record;
    return start<upload_job>(
        std::forward<Token>(token), detail::upload_scope::missing,
        detail::files_to_upload<record>(std::forward<Files>(files), std::move(on_result)));
  }

  /// Downloads files (section 6 of the protocol). A file that already exists at its target (see
  /// `download_element`) is not fetched, and is reported as not transferred. An interrupted
  /// attempt, also one that is cancelled, calls the sink's `keep()`. Otherwise as `async_upload`.
  /// \snippet transfer_pool.cpp async_download
  ///
  /// \param files            `download_elements`, otherwise as for `async_upload`.
  /// \param on_result,token  As for `async_upload`.
  /// \return As the token determines.
  template <class Files, class OnResult, class Token = default_token>
    requires download_elements<std::remove_reference_t<Files>>
  auto async_download(Files&& files, OnResult on_result, Token&& token = default_token()) {
    return start<download_job>(std::forward<Token>(token),
                               core_type::template files_to_download<typename download_job::record>(
                                   std::forward<Files>(files), std::move(on_result)));
  }

  /// Reports for each file whether the server holds it, that is, its digest under its name. The
  /// server is asked for its list only, which is held in memory. Files are read, unless the digest
  /// cache knows them. The list is retried. Any cancellation is terminal.
  ///
  /// A file that the server lacks is reported with `errc::not_found`, and `local_digest` set.
  /// Errors: those of `async_list_files`; `errc::too_many_entries` for a list of more than
  /// `client_options::max_entries`; what `files` or `on_result` threw.
  /// \snippet transfer_pool.cpp async_verify
  ///
  /// \param files,on_result,token  As for `async_upload`.
  /// \return As the token determines.
  template <class Files, class OnResult, class Token = default_token>
    requires upload_elements<std::remove_reference_t<Files>>
  auto async_verify(Files&& files, OnResult on_result, Token&& token = default_token()) {
    using job = detail::verify_job<core_type>;
    return start<job>(std::forward<Token>(token),
                      detail::files_to_upload<typename job::record>(std::forward<Files>(files),
                                                                    std::move(on_result)));
  }

  /// Uploads those files of another server that this one does not hold, as `async_upload_missing`.
  /// Nothing is stored on this side: each file is read in parts and sent on, and verified by this
  /// server's digest. A file that can't be read is reported with `failure_origin::local`.
  ///
  /// Errors besides those of `async_upload_missing`: `std::errc::invalid_argument` if this pool has
  /// no work executor, or the same as `from`; those of `async_list_files` of `from`;
  /// `errc::wrong_digest_kind` if the two servers' digests differ in kind; `errc::too_many_entries`
  /// if the list, which is held in memory, exceeds `client_options::max_entries`.
  /// \snippet transfer_pool.cpp async_mirror
  ///
  /// \param from       The pool of the other server. Both pools must live, and not be moved, until
  ///                   the handler is called. This pool's work executor waits for the other pool.
  /// \param wanted     Which of its files. Their attributes are always included.
  /// \param on_result  As for `async_upload`; the elements are `remote_file`s.
  /// \param token      As for `async_upload`.
  /// \return As the token determines.
  template <class From, class OnResult, class Token = default_token>
  auto async_mirror(From& from, list_request wanted, OnResult on_result,
                    Token&& token = default_token()) {
    wanted.mtime = wanted.exec = true;
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

  /// Reads a range of a file (section 6 of the protocol, `offset` and `length`), with retries. A
  /// range can't be verified. Any cancellation is terminal.
  ///
  /// Errors: connection errors; `errc::digest_changed` if `id` is not of the server's kind of
  /// digest; those of `client::async_download_range`.
  /// \snippet transfer_pool.cpp async_read_at
  ///
  /// \param id      The file's id.
  /// \param offset  The first byte.
  /// \param length  In bytes; fewer are returned at the end of the file.
  /// \param token   For a handler `void(std::error_code, std::vector<std::byte>)`, otherwise as for
  ///                `async_upload`.
  /// \return As the token determines.
  template <class Token = default_token>
  auto async_read_at(const any_digest& id, std::uint64_t offset, std::size_t length,
                     Token&& token = default_token()) {
    return start<detail::read_job<core_type>>(std::forward<Token>(token), any_digest{id},
                                              std::uint64_t{offset}, std::size_t{length});
  }

  /// Takes a name off a file (section 7a of the protocol), with retries; the file's last name takes
  /// the file with it. Any cancellation is terminal.
  ///
  /// Errors: connection errors; `errc::digest_changed` if `id` is not of the server's kind of
  /// digest; those of `client::async_remove`.
  /// \snippet removals.cpp pool_async_remove
  ///
  /// \param id     The file's id.
  /// \param name   The name to remove.
  /// \param token  For a handler `void(std::error_code, bool found)`, otherwise as for
  ///               `async_upload`. If a retry was needed, `found` is false although the name may
  ///               have been removed by the first attempt.
  /// \return As the token determines.
  template <class Token = default_token>
  auto async_remove(const any_digest& id, std::string name, Token&& token = default_token()) {
    return start<detail::remove_job<core_type>>(std::forward<Token>(token), any_digest{id},
                                                std::move(name));
  }

  /// Lists the server's files (section 4 of the protocol), without holding the list, with retries
  /// until the first entry has arrived. Any cancellation is terminal.
  ///
  /// Errors: connection errors; those of `client::async_list_files`; what `on_entry` set or threw.
  /// \snippet transfer_pool.cpp async_list_files
  ///
  /// \param wanted    Which files, and whether with their times.
  /// \param on_entry  `void(const listed_file&)` or `void(const listed_file&, std::error_code&)`,
  ///                  called on the strand. An error that it sets ends the operation.
  /// \param token     For a handler `void(std::error_code, std::uint64_t entries)`, otherwise as
  ///                  for `async_upload`.
  /// \return As the token determines.
  template <class OnEntry, class Token = default_token>
  auto async_list_files(list_request wanted, OnEntry on_entry, Token&& token = default_token()) {
    std::unique_ptr<detail::entry_callback> callback =
        std::make_unique<detail::entry_callback_of<OnEntry>>(std::move(on_entry));
    return start<detail::list_job<core_type>>(std::forward<Token>(token), std::move(wanted),
                                              std::move(callback));
  }

  /// Makes a connection unless one is idle, with retries, and returns the features that the server
  /// reported on the latest one (section 7 of the protocol). Any cancellation is terminal.
  ///
  /// Errors: connection errors.
  /// \snippet transfer_pool.cpp async_features
  ///
  /// \param token  For a handler `void(std::error_code, server_features)`, otherwise as for
  ///               `async_upload`.
  /// \return As the token determines.
  template <class Token = default_token>
  auto async_features(Token&& token = default_token()) {
    return start<detail::features_job<core_type>>(std::forward<Token>(token));
  }

  /// Announces to `progress()` all files that can be opened, and then that there are no others. The
  /// job that uploads or verifies these files, before or after, has a range of its own. Any
  /// cancellation is terminal.
  ///
  /// Errors: what `files` threw.
  /// \snippet transfer_pool.cpp async_count
  ///
  /// \param files  As for `async_upload`.
  /// \param token  For a handler `void(std::error_code, std::uint64_t files)`, otherwise as for
  ///               `async_upload`.
  /// \return As the token determines.
  template <class Files, class Token = default_token>
    requires upload_elements<std::remove_reference_t<Files>>
  auto async_count(Files&& files, Token&& token = default_token()) {
    using job = detail::count_job<core_type>;
    const auto ignore = [](const auto&) {};
    return start<job>(std::forward<Token>(token), detail::files_to_upload<typename job::record>(
                                                      std::forward<Files>(files), ignore));
  }

  /// \return Why the job that ended last has failed; no error if it succeeded. Only to be called on
  /// the strand, such as in the job's handler.
  [[nodiscard]] const transfer_failure& last_failure() const noexcept {
    return core_->last_failure;
  }

 private:
  template <class Job, class Token, class... Args>
  auto start(Token&& token, Args&&... args) {
    return detail::start_job<Job>(core_, std::forward<Token>(token), std::forward<Args>(args)...);
  }

  std::shared_ptr<core_type> core_;
};

/// A pool for MD5 and SHA-256.
template <class Connector>
transfer_pool(Connector) -> transfer_pool<Connector>;
/// A pool for MD5 and SHA-256.
template <class Connector>
transfer_pool(Connector, pool_options) -> transfer_pool<Connector>;

}  // namespace filexfer

#endif
