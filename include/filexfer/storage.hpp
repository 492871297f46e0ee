#ifndef FILEXFER_STORAGE_HPP
#define FILEXFER_STORAGE_HPP

/// \file
/// Where bytes come from and go to: sources, sinks, and the server's store.
///
/// A client reads a `byte_source` to upload and fills a `byte_sink` to download. A server serves a
/// `file_store`. Files, memory, databases and object stores can all be these; the library brings
/// `file.hpp`, `directory_store.hpp` and `memory_store.hpp`.
///
/// All functions report failure in their `std::error_code&`, which they clear on success, or throw
/// `std::system_error`. They may block, and may be called from another thread than the one that
/// made the object, but never from two at once (a store is the exception: see there).

#include <filexfer/protocol.hpp>

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
/// - `size()`: how many bytes there are in all.
/// - `read(to, ec)`: fills `to` with the next bytes and returns how many; fewer than asked for
///   only at the end.
///
/// It may have `waits()`: whether reading takes as long as somebody else likes, as from a pipe or
/// from another server. Then it is done on the work executor, however little there is to read.
template <class S>
concept byte_source = requires(S& s, const S& c, std::span<std::byte> to, std::error_code& ec) {
  { c.size() } -> std::same_as<std::uint64_t>;
  { s.read(to, ec) } -> std::same_as<std::size_t>;
};

namespace detail {

template <byte_source S>
bool waits(const S& source) noexcept {
  if constexpr (requires { source.waits(); }) return source.waits();
  else return false;
}

}  // namespace detail

/// A source that can start elsewhere: `seek(offset, ec)`, with `offset` from 0 to `size()`.
template <class S>
concept seekable_source =
    byte_source<S> && requires(S& s, std::uint64_t offset, std::error_code& ec) {
      { s.seek(offset, ec) } -> std::same_as<void>;
    };

/// A source that notices when what it reads was changed by somebody else.
///
/// `check_unchanged(ec)` sets `errc::source_changed` if so. It is called before the last bytes
/// leave, so that a torn file is never finished.
template <class S>
concept guarded_source = byte_source<S> && requires(S& s, std::error_code& ec) {
  { s.check_unchanged(ec) } -> std::same_as<void>;
};

/// A source that is a regular file, whose bytes the kernel may send by itself.
template <class S>
concept descriptor_source = seekable_source<S> && requires(const S& c) {
  { c.native_handle() } -> std::same_as<int>;
};

/// Takes a file's bytes in order, and shows the file only when told that it is whole.
///
/// - `write(bytes, ec)`: the next bytes.
/// - `commit(ec)`: called once all bytes are there and their digest is right. Only now may the
///   file be seen. A sink that is destroyed without it leaves nothing behind.
template <class S>
concept byte_sink = requires(S& s, std::span<const std::byte> bytes, std::error_code& ec) {
  { s.write(bytes, ec) } -> std::same_as<void>;
  { s.commit(ec) } -> std::same_as<void>;
};

/// A sink that wants to know which file is coming: `announce(file, ec)` is called once, before the
/// first byte, with the entry that the server sent.
template <class S, class Digest>
concept announced_sink =
    byte_sink<S> && requires(S& s, const file_info<Digest>& file, std::error_code& ec) {
      { s.announce(file, ec) } -> std::same_as<void>;
    };

/// A sink that may hold the first bytes of the file already, from an earlier attempt.
///
/// - `held()`: how many; `read_held(to, offset, ec)` reads them.
/// - `drop_held(ec)`: forgets them; `held()` is 0 then.
/// A download asks for what is behind them, and hashes all before it commits.
template <class S>
concept resumable_sink = byte_sink<S> && requires(S& s, const S& c, std::span<std::byte> to,
                                                  std::uint64_t offset, std::error_code& ec) {
  { c.held() } -> std::same_as<std::uint64_t>;
  { s.read_held(to, offset, ec) } -> std::same_as<std::size_t>;
  { s.drop_held(ec) } -> std::same_as<void>;
};

/// A stored file, opened: which it is, and its bytes.
template <class Digest, class Reader>
struct opened_file {
  file_info<Digest> info;
  Reader reader;
};

/// Takes an upload's bytes in order.
///
/// - `write(bytes, ec)`: the next bytes.
/// - `commit(id, ec)`: all bytes are there, and `id` is their digest. When it returns without an
///   error the file is listed under its name, with its time, and stays so after a crash. It may
///   fail with `errc::collision`, `errc::bad_name`, `errc::no_space`, `errc::io` or a system error.
/// An upload that is destroyed without a successful `commit` leaves nothing behind.
template <class U, class Digest>
concept store_upload = std::movable<U> && requires(U& u, std::span<const std::byte> bytes,
                                                   const Digest& id, std::error_code& ec) {
  { u.write(bytes, ec) } -> std::same_as<void>;
  { u.commit(id, ec) } -> std::same_as<void>;
};

/// Walks over a store's entries. `next(ec)` returns the next one, or nothing at the end.
template <class C, class Digest>
concept store_cursor = std::movable<C> && requires(C& c, std::error_code& ec) {
  { c.next(ec) } -> std::same_as<std::optional<file_info<Digest>>>;
};

/// A server's files, by id. Its own functions may be called from several threads at once.
///
/// - `list(ec)`: a cursor over all (id, name) pairs, each once, in any order. Files that come or go
///   meanwhile may be shown or not; what was there all the time is shown. Entries tell when files
///   were modified, as nearly as the store keeps it: as their upload said, else when it came.
/// - `open(id, ec)`: the file with that id, under any of its names; nothing, without an error, if
///   there is none.
/// - `create(details, ec)`: an upload of `details.size` bytes under `details.name`, which was
///   `details.modified`; nothing, with an error, if it can't be: `errc::bad_name`,
///   `errc::no_space`, `errc::io`, a system error.
/// - `add_name(id, size, name, modified, ec)`: if the store holds a file of that id and size,
///   stores it under that name too, durably, and returns true; false, without an error, if it holds
///   none. A name that the file has already is given that time, if there is one.
///
/// The store outlives its cursors, readers and uploads.
template <class S, class Digest>
concept file_store =
    store_cursor<typename S::cursor, Digest> && seekable_source<typename S::reader> &&
    store_upload<typename S::upload, Digest> &&
    requires(S& s, const Digest& id, const upload_details<Digest>& details, std::uint64_t size,
             std::string_view name, std::optional<file_time> modified, std::error_code& ec) {
      { s.list(ec) } -> std::same_as<typename S::cursor>;
      { s.open(id, ec) } -> std::same_as<std::optional<opened_file<Digest, typename S::reader>>>;
      { s.create(details, ec) } -> std::same_as<std::optional<typename S::upload>>;
      { s.add_name(id, size, name, modified, ec) } -> std::same_as<bool>;
    };

/// A store that can keep what arrived of an upload whose connection was lost.
///
/// - `resume(details, ec)`: as `create`, for an upload that the client calls `details.resume`. With
///   `details.id` it begins with what an earlier one of that token and size left, else afresh, and
///   what was left is dropped. Nothing, without an error, if another upload has that token: that
///   one is revoked, and the caller asks again a little later.
/// - An upload's `held()`: how many bytes it began with; `read_held(to, offset, ec)` reads them.
/// - An upload's `revoked()`: set once another wants its token. Whoever has all bytes goes on.
/// - An upload's `keep()`: called before it is destroyed, if it may be gone on with. It does not
///   fail; what can't be kept is dropped.
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

}  // namespace filexfer

#endif
