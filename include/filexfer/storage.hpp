#ifndef FILEXFER_STORAGE_HPP
#define FILEXFER_STORAGE_HPP

/// \file
/// The concepts of sources, sinks and a server's store.
///
/// A client reads a `byte_source` to upload and writes to a `byte_sink` to download. A server
/// serves a `file_store`. Files, memory, databases and object stores can model them; the library
/// provides `file.hpp`, `memory.hpp`, `directory_store.hpp` and `memory_store.hpp`.
///
/// All functions report failure in their `std::error_code&`, which they clear on success, or throw
/// `std::system_error`. They may block, and may be called from another thread than the one that
/// created the object, but never from two threads at once (except those of a `file_store`).
///
/// A store may not wait for a lock that somebody else holds, as a thread would wait with it. Its
/// `create`, `resume`, `add_name` and `remove`, and an upload's `commit`, then change nothing and
/// set `std::errc::operation_would_block`, and a session calls them again a little later.

#include <filexfer/protocol.hpp>
#include <filexfer/publication.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

namespace filexfer {

/// A file's bytes, read once from front to back.
///
/// - `size()`: the total number of bytes.
/// - `read(to, ec)`: fills `to` with the next bytes and returns their number; fewer than
///   `to.size()` only at the end.
///
/// It may have `may_block()`, which returns whether a read may block for as long as a peer likes,
/// as on a pipe or a connection to another server. Such a source is read on the work executor, even
/// if it is small.
///
/// \tparam S  The source.
template <class S>
concept byte_source = requires(S& s, const S& c, std::span<std::byte> to, std::error_code& ec) {
  { c.size() } -> std::same_as<std::uint64_t>;
  { s.read(to, ec) } -> std::same_as<std::size_t>;
};

namespace detail {

template <byte_source S>
bool may_block(const S& source) noexcept {
  if constexpr (requires { source.may_block(); }) return source.may_block();
  else return false;
}

}  // namespace detail

/// A source that can be read from any offset.
///
/// `seek(offset, ec)` sets where the next `read` begins, from 0 to `size()`.
///
/// \tparam S  The source.
template <class S>
concept seekable_source =
    byte_source<S> && requires(S& s, std::uint64_t offset, std::error_code& ec) {
      { s.seek(offset, ec) } -> std::same_as<void>;
    };

/// A source that detects that its file was changed while it was read.
///
/// `check_unchanged(ec)` sets `errc::source_changed` then. It is called before the last bytes are
/// sent, so that an inconsistent file is never sent completely. A file system tells it by the
/// file's times: a write that was in progress when the file was opened is not detected.
///
/// \tparam S  The source.
template <class S>
concept guarded_source = byte_source<S> && requires(S& s, std::error_code& ec) {
  { s.check_unchanged(ec) } -> std::same_as<void>;
};

/// A source that is a regular file, which the kernel can send (`sendfile`).
///
/// `native_handle()` returns its descriptor, which remains the source's.
///
/// \tparam S  The source.
template <class S>
concept descriptor_source = seekable_source<S> && requires(const S& c) {
  { c.native_handle() } -> std::same_as<int>;
};

/// Takes a file's bytes in order, and publishes the file only when it is committed.
///
/// - `write(bytes, ec)`: takes the next bytes.
/// - `commit(ec)`: called after all bytes were written and their digest was verified. The file may
///   become visible only now. A sink that is destroyed without it leaves nothing behind.
///
/// \tparam S  The sink.
template <class S>
concept byte_sink = requires(S& s, std::span<const std::byte> bytes, std::error_code& ec) {
  { s.write(bytes, ec) } -> std::same_as<void>;
  { s.commit(ec) } -> std::same_as<void>;
};

/// A sink that can be committed in steps, so that many are flushed together.
///
/// `begin_commit(ec)` does what `commit` does before it flushes, and returns what is left, which is
/// valid as long as the sink; or null, if it has done all, or has failed.
///
/// \tparam S  The sink.
template <class S>
concept group_commit_sink = byte_sink<S> && requires(S& s, std::error_code& ec) {
  { s.begin_commit(ec) } -> std::same_as<publication*>;
};

/// A sink that receives the file's entry before its bytes.
///
/// `announce(file, ec)` is called once, before the first byte, with the entry that the server sent.
///
/// \tparam S       The sink.
/// \tparam Digest  The digest that is the file's id.
template <class S, class Digest>
concept announced_sink =
    byte_sink<S> && requires(S& s, const file_info<Digest>& file, std::error_code& ec) {
      { s.announce(file, ec) } -> std::same_as<void>;
    };

/// A sink that may already hold the first bytes of the file, from an earlier attempt.
///
/// - `held()`: the number of these bytes.
/// - `read_held(to, offset, ec)`: fills `to` with them from `offset` on, and returns how many.
/// - `discard_held(ec)`: discards them; `held()` is 0 afterwards.
///
/// A download requests the bytes behind them, and hashes all bytes before it commits.
///
/// \tparam S  The sink.
template <class S>
concept resumable_sink = byte_sink<S> && requires(S& s, const S& c, std::span<std::byte> to,
                                                  std::uint64_t offset, std::error_code& ec) {
  { c.held() } -> std::same_as<std::uint64_t>;
  { s.read_held(to, offset, ec) } -> std::same_as<std::size_t>;
  { s.discard_held(ec) } -> std::same_as<void>;
};

/// A stored file that is open for reading.
///
/// \tparam Digest  The digest that is the file's id.
/// \tparam Reader  The store's reader.
template <class Digest, class Reader>
struct opened_file {
  file_info<Digest> info;  ///< Its entry.
  Reader reader;           ///< Its bytes.
};

/// Takes an upload's bytes in order.
///
/// - `write(bytes, ec)`: takes the next bytes.
/// - `commit(id, ec)`: called after all bytes were written; `id` is their digest. When it returns
///   without an error the file is listed under its name, with its time, and remains so after a
///   crash. It may fail with `errc::collision`, `errc::bad_name`, `errc::no_space`, `errc::io` or a
///   system error; with `std::errc::operation_would_block` or `std::errc::too_many_files_open` if
///   it has changed nothing and can be called again.
///
/// An upload that is destroyed without a successful `commit` leaves nothing behind.
///
/// \tparam U       The upload.
/// \tparam Digest  The digest that is the file's id.
template <class U, class Digest>
concept store_upload = std::movable<U> && requires(U& u, std::span<const std::byte> bytes,
                                                   const Digest& id, std::error_code& ec) {
  { u.write(bytes, ec) } -> std::same_as<void>;
  { u.commit(id, ec) } -> std::same_as<void>;
};

/// An upload of several that are to be committed together.
///
/// \tparam U       The upload.
/// \tparam Digest  The digest that is the file's id.
template <class U, class Digest>
struct upload_commit {
  U* upload;                ///< An upload whose bytes were written.
  Digest id;                ///< Their digest.
  std::error_code error{};  ///< Is set as by the upload's `commit`.
};

/// Iterates over a store's entries: `next(ec)` returns the next one, or nothing at the end.
///
/// \tparam C       The cursor.
/// \tparam Digest  The digest that is a file's id.
template <class C, class Digest>
concept store_cursor = std::movable<C> && requires(C& c, std::error_code& ec) {
  { c.next(ec) } -> std::same_as<std::optional<file_info<Digest>>>;
};

/// A server's files, by id. The store's own functions may be called from several threads at once.
///
/// - `list(ec)`: returns a cursor over all (id, name) pairs, each once, in any order (section 4 of
///   the protocol). Files that are added or removed meanwhile may be listed or not; all others are.
///   An entry has the modification time that the upload gave, else the time of the upload, as
///   precisely as the store keeps it, and says whether the file is executable.
/// - `open(id, ec)`: opens the file with that id, under any of its names (section 6); returns
///   nothing, without an error, if there is none.
/// - `create(details, ec)`: begins an upload of `details.size` bytes under `details.name`, with the
///   attributes that `details` has (section 5); a new name is executable only if they say so. On
///   failure it returns nothing and sets `errc::bad_name`, `errc::no_space`, `errc::io` or a system
///   error.
/// - `add_name(id, size, name, attributes, ec)`: if the store holds a file of that id and size,
///   adds the name to it, durably, and returns true (section 5, `id` and `have`); returns false,
///   without an error, if it holds none. If the file has the name already, sets the attributes that
///   are given.
///
/// The store must outlive its cursors, readers and uploads.
///
/// \tparam S       The store.
/// \tparam Digest  The digest that is a file's id.
template <class S, class Digest>
concept file_store =
    store_cursor<typename S::cursor, Digest> && seekable_source<typename S::reader> &&
    store_upload<typename S::upload, Digest> &&
    requires(S& s, const Digest& id, const upload_details<Digest>& details, std::uint64_t size,
             std::string_view name, const file_attributes& attributes, std::error_code& ec) {
      { s.list(ec) } -> std::same_as<typename S::cursor>;
      { s.open(id, ec) } -> std::same_as<std::optional<opened_file<Digest, typename S::reader>>>;
      { s.create(details, ec) } -> std::same_as<std::optional<typename S::upload>>;
      { s.add_name(id, size, name, attributes, ec) } -> std::same_as<bool>;
    };

/// A store that can keep an upload whose connection was lost (section 5 of the protocol, `resume`).
///
/// - `resume(details, ec)`: as `create`, for an upload with the token `details.resume`. With
///   `details.id` it begins with the bytes that an earlier upload of that token and size left;
///   without, these are discarded. If another upload holds the token, that one is revoked, and `ec`
///   set to `std::errc::operation_would_block`.
/// - An upload's `held()`: the number of bytes that it began with; `read_held(to, offset, ec)`
///   fills `to` with them from `offset` on, and returns how many.
/// - An upload's `revoked()`: set once another upload wants its token. An upload that has all its
///   bytes may still be committed.
/// - An upload's `keep()`: called before it is destroyed, if it may be resumed. It does not fail;
///   bytes that can't be kept are discarded.
///
/// \tparam S       The store.
/// \tparam Digest  The digest that is a file's id.
template <class S, class Digest>
concept resumable_store =
    file_store<S, Digest> &&
    requires(S& s, const upload_details<Digest>& details, typename S::upload& u,
             const typename S::upload& c, std::span<std::byte> to, std::uint64_t offset,
             std::error_code& ec) {
      { s.resume(details, ec) } -> std::same_as<std::optional<typename S::upload>>;
      { c.held() } -> std::same_as<std::uint64_t>;
      { u.read_held(to, offset, ec) } -> std::same_as<std::size_t>;
      { c.revoked() } -> std::same_as<const std::atomic<bool>&>;
      { u.keep() } -> std::same_as<void>;
    };

/// A store that commits several uploads together, at less cost than one after the other.
///
/// `commit_all(uploads)`: as each one's `commit`, in this order; sets each one's `error`. Several
/// uploads of one id are tried in their order: if one can't be committed now
/// (`std::errc::operation_would_block`), those after it can't either.
///
/// \tparam S       The store.
/// \tparam Digest  The digest that is a file's id.
template <class S, class Digest>
concept group_commit_store =
    file_store<S, Digest> &&
    requires(S& s, std::span<upload_commit<typename S::upload, Digest>> uploads) {
      { s.commit_all(uploads) } -> std::same_as<void>;
    };

/// A store from which names can be removed (section 7a of the protocol).
///
/// - `remove(id, name, ec)`: takes the name off the file, durably, and returns true; the file's
///   last name takes the file with it. Readers that are open can still read it. Returns false,
///   without an error, if the file does not have the name: that, too, is durable then.
///
/// \tparam S       The store.
/// \tparam Digest  The digest that is a file's id.
template <class S, class Digest>
concept removing_store =
    file_store<S, Digest> &&
    requires(S& s, const Digest& id, std::string_view name, std::error_code& ec) {
      { s.remove(id, name, ec) } -> std::same_as<bool>;
    };

}  // namespace filexfer

#endif
