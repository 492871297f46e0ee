#ifndef FILEXFER_CLIENT_HPP
#define FILEXFER_CLIENT_HPP

/// \file
/// The client side of a connection.

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
#include <filexfer/stream_layer.hpp>

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
/// Each operation has a blocking form that reports its error in a trailing `std::error_code&`, or
/// throws it as `std::system_error` if that argument is omitted; and an asynchronous form for any
/// completion token, by default that of the stream's executor. Both speak the same protocol, but
/// the blocking form has no deadlines, and sees an early refusal of an upload only when a write
/// fails. One operation at a time.
///
/// Errors of every operation:
/// - `errc::operation_in_progress`: another operation has not ended yet.
/// - `errc::connection_unusable`: an earlier operation left `usable()` false.
/// - a refusal (`condition::refused`): the server replied with an ERROR line; see `last_reply()`.
/// - `errc::truncated`: the server ended the stream before its reply was complete.
/// - `errc::malformed_reply`: a reply breaks the protocol.
/// - `errc::timed_out`: a deadline of `client_options::limits` passed (asynchronous only).
/// - `asio::error::operation_aborted`: the operation was cancelled (asynchronous only).
/// - errors of the stream, of a source or of a sink.
/// - the code of an exception that a source, a sink, a range or a callback threw: that of a
///   `std::system_error`, `std::errc::not_enough_memory`, or else `errc::store_failed`.
///
/// `last_failure()` says where an error arose. After an error the client is `usable()` if the
/// server's reply was complete; otherwise the position in the stream is unknown, and the stream can
/// only be closed.
///
/// Terminal cancellation cancels the stream's operation, waits for work in progress, then
/// completes; in general it leaves the client unusable. A file that was being uploaded is listed by
/// the server only if all of its bytes had been sent; a sink is committed only if all bytes had
/// arrived. Other types of cancellation have no effect.
///
/// Asynchronous operations use their handler's associated executor (by default the stream's),
/// allocator and cancellation slot. The executor must not run two handlers at once (one thread, or
/// a strand), as for every composed operation of Asio's. The client must live until they complete.
/// \snippet client.cpp client
///
/// \tparam Stream  owned (`client<tcp::socket>`) or referred to (`client<tcp::socket&>`).
/// \tparam Hasher  computes the digests that are the server's ids.
/// \tparam Timer   measures the deadlines.
template <class Stream, hasher Hasher = md5, class Timer = asio::steady_timer>
class client : detail::client_operations<Hasher>, public stream_layer<Stream, Timer> {
  using operations = detail::client_operations<Hasher>;
  using operations::state_;
  using layer = stream_layer<Stream, Timer>;

 public:
  using typename layer::default_token;
  using typename layer::next_layer_type;
  using hasher_type = Hasher;                                        ///< Computes ids.
  using digest_type = typename Hasher::digest_type;                  ///< An id.
  using file_info = filexfer::file_info<digest_type>;                ///< An entry of a list.
  using upload_request = filexfer::upload_request<digest_type>;      ///< Taken by `upload`.
  using upload_result = filexfer::upload_result<digest_type>;        ///< Of `upload`.
  using download_result = filexfer::download_result<digest_type>;    ///< Of `download`.
  using download_request = filexfer::download_request<digest_type>;  ///< Taken by `download_range`.
  using download_entry = filexfer::download_entry<digest_type>;      ///< Of `download_range`.
  using name_request = filexfer::name_request<digest_type>;          ///< Taken by `add_names`.

  /// Whether `list_files` can call `OnEntry` for an entry.
  template <class OnEntry>
  static constexpr bool takes_entries = std::is_invocable_v<OnEntry&, file_info> ||
                                        std::is_invocable_v<OnEntry&, file_info, std::error_code&>;

  /// Takes or refers to a stream.
  ///
  /// \param stream   connected, and at the start of a dialogue.
  /// \param options  limits and buffer sizes.
  explicit client(Stream&& stream, const client_options& options = {})
      : layer{std::forward<Stream>(stream)} {
    this->configure(state_, options);
  }

  /// \return whether another operation can be started.
  [[nodiscard]] bool usable() const noexcept { return state_.synchronized && !state_.running; }

  /// \return the last reply line, escaped by `printable` and cut after 512 bytes; empty if the last
  /// operation got none.
  [[nodiscard]] const std::string& last_reply() const noexcept { return state_.last_reply; }

  /// \return where the last operation's error arose.
  [[nodiscard]] failure_origin last_failure() const noexcept { return state_.origin; }

  // ---------------------------------------------------------------------------------------- features

  /// Asks what the server supports (section 7 of the protocol). A server without FEATURES is not an
  /// error: its version is 0.
  /// \snippet client.cpp features
  ///
  /// \param ec  receives the error.
  /// \return the features, which later operations use without asking again.
  server_features features(std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->features_flow(), ec);
  }
  /// Asynchronous form of `features`.
  /// \snippet client.cpp async_features
  /// \param token  for a handler `void(std::error_code, server_features)`.
  /// \return as the token determines.
  template <class Token = default_token>
  auto async_features(Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->features_flow(), std::forward<Token>(token));
  }

  /// Sets the server's features, so that no operation asks for them again. No operation may be in
  /// progress.
  /// \snippet client.cpp known_features
  ///
  /// \param features  what another client, perhaps of another digest, got on this connection.
  void known_features(server_features features) { state_.features = std::move(features); }

  // ------------------------------------------------------------------------------------------- lists

  /// Lists the server's files (section 4 of the protocol), and calls `on_entry` for each as it
  /// arrives, in the server's order. The number of entries is not limited.
  ///
  /// Errors beside those of every operation:
  /// - `errc::bad_name`: the prefix is longer than a name can be.
  /// - `errc::wrong_digest_kind`: only with a prefix or times, before anything is listed.
  /// - what `on_entry` sets.
  ///
  /// \snippet client.cpp list_files_each
  ///
  /// \param wanted  which files, and whether with times. For either, FEATURES is asked for first
  ///        unless known. If the server does not filter by prefix, the client does; if it keeps no
  ///        times, entries have none.
  /// \param on_entry  `void(file_info)` or `void(file_info, std::error_code&)`. The latter may set
  ///        the code to stop, which leaves the client unusable.
  /// \param ec  receives the error.
  template <class OnEntry>
  void list_files(list_request wanted, OnEntry on_entry, std::error_code& ec = throws())
    requires sync_stream<next_layer_type> && takes_entries<OnEntry>
  {
    run(this->list_flow(std::move(wanted), std::move(on_entry)), ec);
  }
  /// Lists all files, without times.
  /// \param on_entry,ec  as above.
  template <class OnEntry>
  void list_files(OnEntry on_entry, std::error_code& ec = throws())
    requires sync_stream<next_layer_type> && takes_entries<OnEntry>
  {
    list_files(list_request{}, std::move(on_entry), ec);
  }
  /// Asynchronous form of `list_files`; `on_entry` is called on the handler's executor.
  /// \param wanted,on_entry  as above.
  /// \param token  for a handler `void(std::error_code)`.
  /// \return as the token determines.
  template <class OnEntry, class Token = default_token>
  auto async_list_files(list_request wanted, OnEntry on_entry, Token&& token = default_token())
    requires async_stream<next_layer_type> && takes_entries<OnEntry>
  {
    return async_run(this->list_flow(std::move(wanted), std::move(on_entry)),
                     std::forward<Token>(token));
  }
  /// Lists all files, without times.
  /// \snippet client.cpp async_list_files_each
  /// \param on_entry,token  as above.
  /// \return as the token determines.
  template <class OnEntry, class Token = default_token>
  auto async_list_files(OnEntry on_entry, Token&& token = default_token())
    requires async_stream<next_layer_type> && takes_entries<OnEntry>
  {
    return async_list_files(list_request{}, std::move(on_entry), std::forward<Token>(token));
  }

  /// Lists the server's files. Errors as above, and `errc::too_many_entries` if the server sends
  /// more than `client_options::max_entries`, which leaves the client unusable.
  /// \snippet client.cpp list_files
  ///
  /// \param wanted,ec  as above.
  /// \return the entries; after an error those that had arrived.
  std::vector<file_info> list_files(list_request wanted, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->bounded_list_flow(std::move(wanted)), ec);
  }
  /// Lists all files, without times.
  /// \param ec  receives the error.
  /// \return the entries.
  std::vector<file_info> list_files(std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return list_files(list_request{}, ec);
  }
  /// Asynchronous form of `list_files`.
  /// \snippet client.cpp async_list_files
  /// \param wanted  as above.
  /// \param token  for a handler `void(std::error_code, std::vector<file_info>)`.
  /// \return as the token determines.
  template <class Token = default_token>
  auto async_list_files(list_request wanted, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->bounded_list_flow(std::move(wanted)), std::forward<Token>(token));
  }
  /// Lists all files, without times.
  /// \param token  as above.
  /// \return as the token determines.
  template <class Token = default_token>
  auto async_list_files(Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_list_files(list_request{}, std::forward<Token>(token));
  }

  // ----------------------------------------------------------------------------------------- uploads

  /// Uploads `source`, and compares the server's digest with the one computed here (section 5 of
  /// the protocol). Returns once the server has stored the file and the digests agree.
  ///
  /// Errors beside those of every operation:
  /// - `errc::bad_name`: `wanted.name` is not a valid name.
  /// - `errc::wrong_digest_kind`: only if `wanted` holds more than a name, before anything is sent.
  /// - `errc::short_source`: the source ended before its size.
  /// - `errc::source_changed`: the source changed while it was sent, or it does not hash to
  ///   `wanted.expected` and the server could not check that.
  /// - `errc::digest_mismatch`: the two digests differ; both are in the result.
  ///
  /// \snippet client_transfers.cpp upload_request
  ///
  /// \param source  read once, from front to back; must live until the operation has ended.
  /// \param wanted  the name, and what else is known of the file. For more than the name, FEATURES
  ///        is asked for first unless known.
  /// \param ec  receives the error.
  /// \return the digests, and how much was sent.
  template <byte_source Source>
  upload_result upload(Source& source, upload_request wanted, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->upload_flow(source, std::move(wanted)), ec);
  }
  /// Uploads `source` as `name`.
  /// \snippet client_transfers.cpp upload
  /// \param source,name,ec  as above.
  /// \return as above.
  template <byte_source Source>
  upload_result upload(Source& source, std::string name, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return upload(source, upload_request{std::move(name)}, ec);
  }
  /// Asynchronous form of `upload`.
  /// \snippet client_transfers.cpp async_upload_request
  /// \param source,wanted  as above.
  /// \param token  for a handler `void(std::error_code, upload_result)`.
  /// \return as the token determines.
  template <byte_source Source, class Token = default_token>
  auto async_upload(Source& source, upload_request wanted, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->upload_flow(source, std::move(wanted)), std::forward<Token>(token));
  }
  /// Uploads `source` as `name`.
  /// \snippet client_transfers.cpp async_upload
  /// \param source,name,token  as above.
  /// \return as the token determines.
  template <byte_source Source, class Token = default_token>
  auto async_upload(Source& source, std::string name, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_upload(source, upload_request{std::move(name)}, std::forward<Token>(token));
  }

  /// Adds `name` to a file if the server holds it already (section 5 of the protocol, `have`). The
  /// file is then stored under that name too, durably. No bytes are sent, so none are compared:
  /// where others make up files, MD5 is not enough. Asks for FEATURES first unless known.
  ///
  /// Errors beside those of every operation: `errc::bad_name` if `name` is not a valid name;
  /// `errc::wrong_digest_kind`.
  /// \snippet client_transfers.cpp add_name
  ///
  /// \param id,size  the file's digest, and its size in bytes.
  /// \param name  decoded.
  /// \param attributes  kept with the name, as far as the server keeps them.
  /// \param ec  receives the error.
  /// \return whether the server holds the file; false if it has no `have`.
  bool add_name(const digest_type& id, std::uint64_t size, std::string name,
                const file_attributes& attributes = {}, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->add_name_flow(id, size, std::move(name), attributes), ec);
  }
  /// Asynchronous form of `add_name`.
  /// \snippet client_transfers.cpp async_add_name
  /// \param id,size,name,attributes  as above.
  /// \param token  for a handler `void(std::error_code, bool)`.
  /// \return as the token determines.
  template <class Token = default_token>
  auto async_add_name(const digest_type& id, std::uint64_t size, std::string name,
                      const file_attributes& attributes, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->add_name_flow(id, size, std::move(name), attributes),
                     std::forward<Token>(token));
  }

  // --------------------------------------------------------------------------------------- downloads

  /// Downloads a file into `sink`, and commits the sink once the digest is right (section 6 of the
  /// protocol). The result has the file's attributes if FEATURES is known and the server keeps
  /// them.
  ///
  /// Errors beside those of every operation: `errc::digest_mismatch` if the bytes do not hash to
  /// `id` (the result has what they hash to); `errc::bad_range` if the sink holds more bytes than
  /// the file has.
  /// \snippet client_transfers.cpp download
  ///
  /// \param id  of the file.
  /// \param sink  must live until the operation has ended. An `announced_sink` first gets the
  ///        file's entry. A `resumable_sink` that holds bytes gets what follows them if the server
  ///        is known to have FEATURES, else the whole file. After an error the sink was not
  ///        committed, or its commit failed.
  /// \param ec  receives the error.
  /// \return the file's entry, the digest, and how many bytes arrived.
  template <byte_sink Sink>
  download_result download(const digest_type& id, Sink& sink, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->download_flow(id, sink), ec);
  }
  /// Asynchronous form of `download`.
  /// \snippet client_transfers.cpp async_download
  /// \param id,sink  as above.
  /// \param token  for a handler `void(std::error_code, download_result)`.
  /// \return as the token determines.
  template <byte_sink Sink, class Token = default_token>
  auto async_download(const digest_type& id, Sink& sink, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->download_flow(id, sink), std::forward<Token>(token));
  }

  /// Downloads a part of a file into `sink`, which is not committed: a part can't be verified
  /// alone. The caller must hash the assembled file, and compare with `wanted.id`.
  ///
  /// Errors beside those of every operation: `errc::bad_range`; `errc::wrong_digest_kind`;
  /// `errc::unknown_command` if the server has no FEATURES, and so no ranges.
  /// \snippet client_transfers.cpp download_range
  ///
  /// \param wanted  the file's id and the part.
  /// \param sink  must live until the operation has ended.
  /// \param ec  receives the error.
  /// \return the entry line; its `bytes()` have arrived.
  template <byte_sink Sink>
  download_entry download_range(const download_request& wanted, Sink& sink,
                                std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->range_flow(wanted, sink), ec);
  }
  /// Asynchronous form of `download_range`.
  /// \snippet client_transfers.cpp async_download_range
  /// \param wanted,sink  as above.
  /// \param token  for a handler `void(std::error_code, download_entry)`.
  /// \return as the token determines.
  template <byte_sink Sink, class Token = default_token>
  auto async_download_range(const download_request& wanted, Sink& sink,
                            Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->range_flow(wanted, sink), std::forward<Token>(token));
  }

  // ---------------------------------------------------------------------------------------- removals

  /// Takes a name off a file (section 7a of the protocol); its last name takes the file with it.
  /// Durable once it returns. To be tried again after a failure: a name that is gone is no error.
  ///
  /// Errors beside those of every operation: `errc::bad_name`, `errc::wrong_digest_kind` before
  /// anything is sent; `errc::unknown_command` if the server has no REMOVE; `errc::read_only` if it
  /// does not allow it.
  /// \snippet removals.cpp remove
  ///
  /// \param id    of the file.
  /// \param name  the name to remove.
  /// \param ec    receives the error.
  /// \return whether the file had the name.
  bool remove(const digest_type& id, std::string name, std::error_code& ec = throws())
    requires sync_stream<next_layer_type>
  {
    return run(this->remove_flow(id, std::move(name)), ec);
  }
  /// Asynchronous form of `remove`.
  /// \snippet removals.cpp async_remove
  /// \param id,name  as above.
  /// \param token    for a handler `void(std::error_code, bool found)`.
  /// \return as the token determines.
  template <class Token = default_token>
  auto async_remove(const digest_type& id, std::string name, Token&& token = default_token())
    requires async_stream<next_layer_type>
  {
    return async_run(this->remove_flow(id, std::move(name)), std::forward<Token>(token));
  }

  // -------------------------------------------------------------------------------------- many files

  /// Uploads all of `files`, and calls `on_result` for each in their order, once its result is
  /// known.
  ///
  /// The asynchronous form asks for FEATURES first unless known. If the server supports it, files
  /// are sent before earlier ones have been answered (section 5 of the protocol, `nowait`, and
  /// section 7, "pipelining"), so that thousands of small ones cost a few round trips; this takes
  /// about 1 MiB of memory. A file above `client_options::max_nowait_size` is sent alone, in its
  /// turn. The blocking form sends each file after the reply to the one before.
  ///
  /// Succeeds if `on_result` was called for each file, whatever its error. Otherwise the error is
  /// one of `upload`; a file without a result was not sent, or its result is unknown, and sending
  /// it again is safe. The client is then unusable, unless nothing was sent because FEATURES failed
  /// or showed another kind of digest (`errc::wrong_digest_kind`).
  /// \snippet client_transfers.cpp upload_all
  ///
  /// \param files  an `upload_range`; must live until the operation has ended. It is iterated on
  ///        the work executor, ahead of the results. A file of up to 256 KiB, or
  ///        `client_options::chunk_size` if that is less, is read completely in its turn, so a
  ///        range may open each file when it is incremented.
  /// \param on_result  `void(const upload_request&, std::error_code, const upload_result&)`, called
  ///        on the handler's executor, with an error of `upload`. During the call `last_failure()`
  ///        and `last_reply()` refer to that file. An exception ends the operation.
  /// \param ec  receives the error.
  template <class Files, class OnResult>
  void upload_all(Files& files, OnResult on_result, std::error_code& ec = throws())
    requires sync_stream<next_layer_type> && upload_range<Files, digest_type>
  {
    run(this->uploads_flow(files, std::move(on_result)), ec);
  }
  /// Asynchronous form of `upload_all`.
  /// \snippet client_transfers.cpp async_upload_all
  /// \param files,on_result  as above.
  /// \param token  for a handler `void(std::error_code)`.
  /// \return as the token determines.
  template <class Files, class OnResult, class Token = default_token>
  auto async_upload_all(Files& files, OnResult on_result, Token&& token = default_token())
    requires async_stream<next_layer_type> && upload_range<Files, digest_type>
  {
    return async_run(this->uploads_flow(files, std::move(on_result)), std::forward<Token>(token));
  }

  /// Calls `add_name` for each of `files`, and `on_result` in their order. Otherwise as
  /// `upload_all`.
  /// \snippet client_transfers.cpp add_names
  ///
  /// \param files  a `name_range`; must live until the operation has ended.
  /// \param on_result  `void(const name_request&, std::error_code, bool held)`.
  /// \param ec  receives the error.
  template <class Files, class OnResult>
  void add_names(Files& files, OnResult on_result, std::error_code& ec = throws())
    requires sync_stream<next_layer_type> && name_range<Files, digest_type>
  {
    run(this->names_flow(files, std::move(on_result)), ec);
  }
  /// Asynchronous form of `add_names`.
  /// \snippet client_transfers.cpp async_add_names
  /// \param files,on_result  as above.
  /// \param token  for a handler `void(std::error_code)`.
  /// \return as the token determines.
  template <class Files, class OnResult, class Token = default_token>
  auto async_add_names(Files& files, OnResult on_result, Token&& token = default_token())
    requires async_stream<next_layer_type> && name_range<Files, digest_type>
  {
    return async_run(this->names_flow(files, std::move(on_result)), std::forward<Token>(token));
  }

  /// Downloads all of `files`, and calls `on_result` for each in their order, with an error of
  /// `download`. Whole files are fetched: what a sink holds is not asked about. Otherwise as
  /// `upload_all`.
  /// \snippet client_transfers.cpp download_all
  ///
  /// \param files  a `download_range`; must live until the operation has ended, and its elements
  ///        until their result has come. An `announced_sink` gets its file's entry just before the
  ///        bytes, and may open its place only then. Up to 16 small files are committed together,
  ///        so that many sinks may be open at a time.
  /// \param on_result  `void(element&, std::error_code, const download_result&)`.
  /// \param ec  receives the error.
  template <class Files, class OnResult>
  void download_all(Files& files, OnResult on_result, std::error_code& ec = throws())
    requires sync_stream<next_layer_type> && filexfer::download_range<Files, digest_type>
  {
    run(this->downloads_flow(files, std::move(on_result)), ec);
  }
  /// Asynchronous form of `download_all`.
  /// \snippet client_transfers.cpp async_download_all
  /// \param files,on_result  as above.
  /// \param token  for a handler `void(std::error_code)`.
  /// \return as the token determines.
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
    return this->run_flow(std::move(make_flow), ec);
  }

  template <class MakeFlow, class Token>
  auto async_run(MakeFlow make_flow, Token&& token) {
    state_.connection.can_pipeline = true;
    return this->async_run_flow(std::move(make_flow), state_.options.limits,
                                std::forward<Token>(token));
  }
};

/// Owns an rvalue stream, refers to an lvalue.
template <class Stream>
client(Stream&&) -> client<Stream>;
/// Owns an rvalue stream, refers to an lvalue.
template <class Stream>
client(Stream&&, client_options) -> client<Stream>;

}  // namespace filexfer

#endif
