#ifndef FILEXFER_CLIENT_HPP
#define FILEXFER_CLIENT_HPP

/// \file
/// The client's side of a connection.

#include <filexfer/detail/driver/async_run.hpp>
#include <filexfer/detail/driver/run.hpp>
#include <filexfer/detail/flow/client_operations.hpp>
#include <filexfer/batch.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/steady_timer.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace filexfer {

/// Lists, uploads and downloads files over a stream that is connected to a server.
///
/// `Stream` is owned (`client<tcp::socket>`) or referred to (`client<tcp::socket&>`). `Hasher`
/// computes the server's kind of digest. `Timer` measures the deadlines.
///
/// Every operation comes three ways: with an `std::error_code&`; throwing `std::system_error` with
/// that code, where none is given; and asynchronous, for any completion token, by default that of
/// the stream's executor. All three speak the same protocol, but the blocking ones know no
/// deadlines, and see an early refusal of an upload only when a write fails. One operation at a
/// time: a second one gets `errc::operation_in_progress`.
///
/// Errors of every operation:
/// - a refusal, `condition::refused`: the server answered with an ERROR line, which is in
///   `last_reply()`.
/// - `errc::truncated`: the server ended the stream before it had answered.
/// - `errc::malformed_reply`: an answer breaks the protocol.
/// - `errc::timed_out`: a deadline of `client_options::limits` passed (asynchronous only).
/// - `asio::error::operation_aborted`: the operation was cancelled (asynchronous only).
/// - `errc::operation_in_progress`, `errc::connection_unusable`.
/// - whatever the stream, a source or a sink reports.
/// `last_failure()` tells which side an error is from. After an error the client is `usable()` if
/// the server has answered in full; otherwise the stream's position is unknown, and closing it is
/// all that is left.
///
/// Cancelling (terminal) cancels the stream's operation, waits for work that is under way, then
/// completes. It leaves the client unusable. Asynchronous operations heed their handler's
/// associated executor, by default the stream's; allocator; and cancellation slot. The executor
/// must not run two handlers at once (one thread, or a strand), as Asio asks for every composed
/// operation.
template <class Stream, hasher Hasher = md5, class Timer = asio::steady_timer>
class client : detail::client_operations<Hasher> {
  using operations = detail::client_operations<Hasher>;
  using operations::state_;

 public:
  using executor_type = typename detail::executor_of<std::remove_reference_t<Stream>>::type;
  using default_token = asio::default_completion_token_t<executor_type>;
  using next_layer_type = std::remove_reference_t<Stream>;
  using hasher_type = Hasher;
  using digest_type = typename Hasher::digest_type;
  using file_info = filexfer::file_info<digest_type>;
  using upload_request = filexfer::upload_request<digest_type>;
  using upload_result = filexfer::upload_result<digest_type>;
  using download_result = filexfer::download_result<digest_type>;
  using download_request = filexfer::download_request<digest_type>;
  using download_entry = filexfer::download_entry<digest_type>;
  using name_request = filexfer::name_request<digest_type>;

  /// Whether `list_files` can call it for an entry.
  template <class OnEntry>
  static constexpr bool takes_entries = std::is_invocable_v<OnEntry&, file_info> ||
                                        std::is_invocable_v<OnEntry&, file_info, std::error_code&>;

  /// Takes or refers to a connected stream, at the start of a dialogue.
  explicit client(Stream&& stream, const client_options& options = {})
      : stream_{std::forward<Stream>(stream)} {
    state_.options = options;
    state_.connection.chunk_size = options.chunk_size;
    state_.connection.small_file_size = options.small_file_size;
    state_.connection.sends_files = file_sending_stream<next_layer_type>;
  }

  /// A client stays where it is: operations refer to it.
  client(const client&) = delete;
  client& operator=(const client&) = delete;

  next_layer_type& next_layer() noexcept { return stream_; }
  const next_layer_type& next_layer() const noexcept { return stream_; }

  /// Gives asynchronous operations an executor for hashing and file access (a thread pool's, of two
  /// threads best), so that these overlap with the stream. Without one they are done in place. Join
  /// the pool before the context, or a source or sink that it works on, is destroyed: declare it
  /// behind all of them.
  void work_executor(asio::any_io_executor executor) { work_executor_ = std::move(executor); }

  /// The stream's executor, where handlers run that have none associated.
  executor_type get_executor() noexcept
    requires async_stream<next_layer_type>
  {
    return stream_.get_executor();
  }

  /// Whether another operation may follow.
  [[nodiscard]] bool usable() const noexcept { return state_.synchronized && !state_.running; }

  /// The server's last reply line, escaped by `printable` and cut after 512 bytes.
  [[nodiscard]] const std::string& last_reply() const noexcept { return state_.last_reply; }

  /// Where the last operation's error arose.
  [[nodiscard]] failure_origin last_failure() const noexcept { return state_.origin; }

  // ---------------------------------------------------------------------------------------- features

  /// Asks what the server can do (the protocol's section 7). A server without FEATURES is not an
  /// error: it has version 0.
  server_features features(std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->features_flow(), ec);
  }
  /// Handler: `void(std::error_code, server_features)`.
  template <class Token = default_token>
  auto async_features(Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->features_flow(), std::forward<Token>(token));
  }

  /// What FEATURES has told to another client on this connection, of another digest perhaps, so
  /// that it need not be asked for again. No operation may be under way.
  void known_features(server_features features) { state_.features = std::move(features); }

  // ------------------------------------------------------------------------------------------- lists

  /// Lists the server's files (the protocol's section 4) and calls `on_entry(file_info)` for each
  /// as it comes, in the server's order. Nothing is bounded but the line. `on_entry` may set the
  /// code it gets as a second argument, if it takes one, to break off.
  ///
  /// \param wanted  which files, and whether with times; for either, FEATURES is asked for first
  ///        if that was not done. What a server without prefixes lists beyond one is passed over
  ///        here; a server without times tells none.
  ///
  /// Errors beside those of every operation, with either: `errc::bad_name` if the prefix is longer
  /// than a name; `errc::wrong_digest_kind`.
  template <class OnEntry>
  void list_files(list_request wanted, OnEntry on_entry, std::error_code& ec = throws())
    requires sync_stream<next_layer_type> && takes_entries<OnEntry>
  {
    run(this->list_flow(std::move(wanted), std::move(on_entry)), ec);
  }
  template <class OnEntry>
  void list_files(OnEntry on_entry, std::error_code& ec = throws())
    requires sync_stream<next_layer_type> && takes_entries<OnEntry>
  {
    list_files(list_request{}, std::move(on_entry), ec);
  }
  /// Handler: `void(std::error_code)`. `on_entry` is called on the handler's executor.
  template <class OnEntry, class Token = default_token>
  auto async_list_files(list_request wanted, OnEntry on_entry, Token&& token = default_token())
    requires async_stream<next_layer_type> && takes_entries<OnEntry>
  {
    return async_run(this->list_flow(std::move(wanted), std::move(on_entry)),
                     std::forward<Token>(token));
  }
  template <class OnEntry, class Token = default_token>
  auto async_list_files(OnEntry on_entry, Token&& token = default_token())
    requires async_stream<next_layer_type> && takes_entries<OnEntry>
  {
    return async_list_files(list_request{}, std::move(on_entry), std::forward<Token>(token));
  }

  /// Lists the server's files; `errc::too_many_entries` beyond `client_options::max_entries`.
  std::vector<file_info> list_files(list_request wanted, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->bounded_list_flow(std::move(wanted)), ec);
  }
  std::vector<file_info> list_files(std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return list_files(list_request{}, ec);
  }
  /// Handler: `void(std::error_code, std::vector<file_info>)`.
  template <class Token = default_token>
  auto async_list_files(list_request wanted, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->bounded_list_flow(std::move(wanted)), std::forward<Token>(token));
  }
  template <class Token = default_token>
  auto async_list_files(Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_list_files(list_request{}, std::forward<Token>(token));
  }

  // ----------------------------------------------------------------------------------------- uploads

  /// Uploads what `source` holds, and compares the server's digest with its own (the protocol's
  /// section 5). Returns when the server has stored the file and the digests agree.
  ///
  /// \param source  read once, from front to back; must live until the operation has ended.
  /// \param wanted  under which name, and what else is known of the file; for more than the name,
  ///        FEATURES is asked for first if that was not done.
  ///
  /// Errors beside those of every operation: `errc::digest_mismatch` if the digests differ (both
  /// are in the result); `errc::bad_name` if the name is none; `errc::wrong_digest_kind`;
  /// `errc::source_changed`, `errc::short_source`.
  template <byte_source Source>
  upload_result upload(Source& source, upload_request wanted, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->upload_flow(source, std::move(wanted)), ec);
  }
  template <byte_source Source>
  upload_result upload(Source& source, std::string name, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return upload(source, upload_request{std::move(name)}, ec);
  }
  /// Handler: `void(std::error_code, upload_result)`.
  template <byte_source Source, class Token = default_token>
  auto async_upload(Source& source, upload_request wanted, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->upload_flow(source, std::move(wanted)), std::forward<Token>(token));
  }
  template <byte_source Source, class Token = default_token>
  auto async_upload(Source& source, std::string name, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_upload(source, upload_request{std::move(name)}, std::forward<Token>(token));
  }

  /// Asks whether the server holds the file `id` of `size` bytes already (the protocol's section
  /// 5, `have`). If so it has that file under `name` too from then on, for good, with that time if
  /// one is given and the server keeps times, and this is true.
  /// No byte is sent, so nobody has compared any: where others make up files, MD5 is not enough.
  /// Asks for FEATURES first if that was not done; of a server that can't be asked it is false.
  ///
  /// Errors beside those of every operation: `errc::bad_name` if `name` is none;
  /// `errc::wrong_digest_kind`.
  bool add_name(const digest_type& id, std::uint64_t size, std::string name,
                std::optional<file_time> modified = std::nullopt, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->add_name_flow(id, size, std::move(name), modified), ec);
  }
  /// Handler: `void(std::error_code, bool)`.
  template <class Token = default_token>
  auto async_add_name(const digest_type& id, std::uint64_t size, std::string name,
                      std::optional<file_time> modified, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->add_name_flow(id, size, std::move(name), modified),
                     std::forward<Token>(token));
  }

  // --------------------------------------------------------------------------------------- downloads

  /// Downloads the file `id` into `sink`, and commits the sink once the digest of what arrived is
  /// `id` (the protocol's section 6). The time of modification comes with it if FEATURES was asked
  /// for before, and the server keeps times.
  ///
  /// \param sink  told of the file first if it is an `announced_sink`; must live until the
  ///        operation has ended. After an error it was not committed, or its commit failed.
  ///
  /// A `resumable_sink` that holds bytes gets what is behind them, from a server that is known to
  /// have FEATURES; from another it gets the whole file.
  ///
  /// Errors beside those of every operation: `errc::digest_mismatch` (the result tells what the
  /// bytes hash to); `errc::bad_range` if the sink holds more than the file has.
  template <byte_sink Sink>
  download_result download(const digest_type& id, Sink& sink, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->download_flow(id, sink), ec);
  }
  /// Handler: `void(std::error_code, download_result)`.
  template <byte_sink Sink, class Token = default_token>
  auto async_download(const digest_type& id, Sink& sink, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->download_flow(id, sink), std::forward<Token>(token));
  }

  /// Downloads a part of a file into `sink`, which is not committed: a part can't be verified by
  /// itself. Whoever assembles a file of parts must hash it and compare with `wanted.id`.
  ///
  /// \returns the entry line; its `bytes()` have arrived.
  ///
  /// Errors beside those of every operation: `errc::bad_range`; `errc::wrong_digest_kind`;
  /// `errc::unknown_command` if the server has no FEATURES, and so no ranges.
  template <byte_sink Sink>
  download_entry download_range(const download_request& wanted, Sink& sink,
                                std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->range_flow(wanted, sink), ec);
  }
  /// Handler: `void(std::error_code, download_entry)`.
  template <byte_sink Sink, class Token = default_token>
  auto async_download_range(const download_request& wanted, Sink& sink,
                            Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->range_flow(wanted, sink), std::forward<Token>(token));
  }

  // -------------------------------------------------------------------------------------- many files

  /// Uploads all that `files` has, and calls `on_result(request, error, result)` for each in its
  /// order, once it is known what became of it: `error` as of `upload`, which `last_failure()` and
  /// `last_reply()` tell of, too, as long as `on_result` runs.
  ///
  /// The asynchronous form sends files ahead of the replies to those before (the protocol's section
  /// 5, `nowait`, and section 7, "pipelining"), if the server takes that, so that thousands of
  /// small ones cost a handful of round trips. It asks for FEATURES first if that was not done, and
  /// holds about 1 MiB. Files above `client_options::max_nowait_size` are sent by themselves, in
  /// their turn. The blocking form sends each after the one before.
  ///
  /// \param files  an `upload_range`; must live until the operation has ended. It is gone through
  ///        on the work executor, ahead of the results, and a file of up to
  ///        `client_options::chunk_size` is read whole when it is its turn; so a range may open
  ///        each file when it is incremented.
  /// \param on_result  `void(const upload_request&, std::error_code, const upload_result&)`; runs
  ///        on the handler's executor. Its exceptions end the operation.
  ///
  /// Succeeds if `on_result` was called for each file, whatever it was told. Else the error, as of
  /// `upload`, is why the connection is of no more use: what `on_result` was not called for was not
  /// sent, or nobody knows; to send it again is safe.
  template <class Files, class OnResult>
  void upload_all(Files& files, OnResult on_result, std::error_code& ec = throws())
    requires sync_stream<next_layer_type> && upload_range<Files, digest_type>
  {
    run(this->uploads_flow(files, std::move(on_result)), ec);
  }
  /// Handler: `void(std::error_code)`.
  template <class Files, class OnResult, class Token = default_token>
  auto async_upload_all(Files& files, OnResult on_result, Token&& token = default_token())
    requires async_stream<next_layer_type> && upload_range<Files, digest_type>
  {
    return async_run(this->uploads_flow(files, std::move(on_result)), std::forward<Token>(token));
  }

  /// Asks for each of `files` whether the server holds it, as `add_name` does, and calls
  /// `on_result(asked, error, held)` in their order. Otherwise as `upload_all`.
  ///
  /// \param files  a `name_range`; must live until the operation has ended.
  /// \param on_result  `void(const name_request&, std::error_code, bool)`.
  template <class Files, class OnResult>
  void add_names(Files& files, OnResult on_result, std::error_code& ec = throws())
    requires sync_stream<next_layer_type> && name_range<Files, digest_type>
  {
    run(this->names_flow(files, std::move(on_result)), ec);
  }
  /// Handler: `void(std::error_code)`.
  template <class Files, class OnResult, class Token = default_token>
  auto async_add_names(Files& files, OnResult on_result, Token&& token = default_token())
    requires async_stream<next_layer_type> && name_range<Files, digest_type>
  {
    return async_run(this->names_flow(files, std::move(on_result)), std::forward<Token>(token));
  }

  /// Downloads all that `files` has, and calls `on_result(file, error, result)` for each in its
  /// order: `error` as of `download`. A sink is told of its file (`announced_sink`) when the bytes
  /// are about to come, and may open its place only then; what it holds already is not asked about.
  /// Up to 16 small files are committed together, so the next ones' sinks may be open by then.
  /// Whole files are fetched. Otherwise as `upload_all`.
  ///
  /// \param files  a `download_range`, whose elements must live until their result has come, and
  ///        which must live until the operation has ended.
  /// \param on_result  `void(element&, std::error_code, const download_result&)`.
  template <class Files, class OnResult>
  void download_all(Files& files, OnResult on_result, std::error_code& ec = throws())
    requires sync_stream<next_layer_type> && filexfer::download_range<Files, digest_type>
  {
    run(this->downloads_flow(files, std::move(on_result)), ec);
  }
  /// Handler: `void(std::error_code)`.
  template <class Files, class OnResult, class Token = default_token>
  auto async_download_all(Files& files, OnResult on_result, Token&& token = default_token())
    requires async_stream<next_layer_type> && filexfer::download_range<Files, digest_type>
  {
    return async_run(this->downloads_flow(files, std::move(on_result)), std::forward<Token>(token));
  }

 private:
  template <class MakeFlow>
  auto run(MakeFlow make_flow, std::error_code& ec) {
    state_.connection.can_pipeline = false;
    const auto call = [&](std::error_code& into) {
      return detail::run(next_layer(), std::move(make_flow), into);
    };
    return detail::call_or_throw(call, ec);
  }

  template <class MakeFlow, class Token>
  auto async_run(MakeFlow make_flow, Token&& token) {
    state_.connection.can_pipeline = true;
    return detail::async_run<Timer>(next_layer(), {state_.options.limits, work_executor_},
                                    std::move(make_flow), std::forward<Token>(token));
  }

  Stream stream_;
  asio::any_io_executor work_executor_;
};

template <class Stream>
client(Stream&&) -> client<Stream>;
template <class Stream>
client(Stream&&, client_options) -> client<Stream>;

}  // namespace filexfer

#endif
