#ifndef FILEXFER_DETAIL_FLOW_TRANSFER_HPP
#define FILEXFER_DETAIL_FLOW_TRANSFER_HPP

// A file's bytes on their way: read, hashed, stored and sent, each byte touched once. A large
// file goes through a ring of buffers, so that the stream, the digest and the disk each have one
// in hand, and a pause of one of them does not stop the others at once.

#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Buffers of a large transfer, each of `chunk_size`.
inline constexpr std::size_t ring_chunks = 4;

class chunk {
 public:
  explicit chunk(std::size_t bytes)
      : bytes_{std::make_unique_for_overwrite<std::byte[]>(bytes)}, size_{bytes} {}
  std::span<std::byte> first(std::uint64_t most) noexcept {
    return {bytes_.get(), static_cast<std::size_t>(std::min<std::uint64_t>(most, size_))};
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_;
};

/// Bytes of a buffer for what moves `count` bytes.
inline std::size_t buffer_size_for(const connection& c, std::uint64_t count) noexcept {
  const std::uint64_t most = std::max<std::uint64_t>({c.chunk_size, c.small_file_size, 1});
  return static_cast<std::size_t>(std::min(count, most));
}

/// Small files that have arrived are committed together, at most so many: each holds a descriptor.
/// (The hand-over to the work executor is what costs.)
inline constexpr std::size_t max_commit_batch = 16;
/// How long one piece of work goes on committing, before another connection's has its turn.
inline constexpr std::chrono::milliseconds commit_slice{10};

/// How far a transfer came. When it ends early one of the errors is set; both, if the stream broke
/// before it was seen that the sink had failed.
struct transfer {
  std::uint64_t bytes = 0;  ///< Moved on the stream.
  std::error_code stream_error;
  std::error_code local_error;  ///< Of the source or the sink.
};

/// Buffers for what moves `count` bytes.
inline std::size_t ring_size(const connection& c, std::uint64_t count) noexcept {
  if (count <= c.small_file_size) return 1;
  const std::uint64_t chunks = (count - 1) / buffer_size_for(c, count) + 1;
  return static_cast<std::size_t>(std::min<std::uint64_t>(chunks, ring_chunks));
}

template <class Hasher>
struct hash_call {
  Hasher& hash;
  const std::span<const std::byte>& bytes;
  void operator()(std::error_code&) const { hash.update(bytes); }
};

template <class Sink>
struct store_call {
  Sink& sink;
  const std::span<const std::byte>& bytes;
  std::error_code& failed;  ///< Of all chunks: a sink that has failed is left alone.
  void operator()(std::error_code& ec) const {
    try {
      if (!failed && !bytes.empty()) sink.write(bytes, failed);
    } catch (...) {
      failed = error_of(std::current_exception());
    }
    ec = failed;
  }
};

/// A buffer for bytes that have arrived.
template <class Sink, class Hasher>
struct arrival {
  arrival(std::size_t bytes_, Sink& sink, Hasher& hash, std::error_code& failed)
      : memory{bytes_}, hashing{{hash, bytes}}, storing{{sink, bytes, failed}} {}
  std::error_code error() const noexcept {
    return storing.error() ? storing.error() : hashing.error();
  }

  chunk memory;
  std::span<const std::byte> bytes;
  work<hash_call<Hasher>> hashing;
  work<store_call<Sink>> storing;
};

/// Reads `count` bytes, hashes them with `hash` and writes them to `sink`, each on its own: while
/// one chunk arrives, those before are hashed and written. A failure of the sink ends it early:
/// `count - bytes` are then still to come; so does `revoked`, once it is set.
template <class Sink, class Hasher>
flow<transfer> receive_bytes(connection& c, Sink& sink, Hasher& hash, std::uint64_t count,
                             const std::atomic<bool>* revoked = nullptr) {
  transfer t;
  std::error_code failed;
  const std::size_t chunk_size = buffer_size_for(c, count);
  std::deque<arrival<Sink, Hasher>> ring;
  for (auto n = ring_size(c, count); n > 0; --n) {
    ring.emplace_back(chunk_size, sink, hash, failed);
  }

  // What came with the line before, at most a line buffer of it.
  auto* last = &ring.front();
  last->bytes = c.in.take(count);
  last->hashing.run();
  last->storing.run();
  t.bytes = last->bytes.size();
  t.local_error = last->error();
  if (t.bytes == count || t.local_error) co_return t;

  // Nothing below may throw, for work under way refers to this frame.
  action moving;
  moving.io = io_kind::read_full;
  moving.revoked = revoked;
  for (std::size_t n = 0; moving.io != io_kind::none; ++n) {
    last = &ring[n % ring.size()];
    auto& next = ring[(n + 1) % ring.size()];
    moving.read_buffer = last->memory.first(count - t.bytes);
    moving.waits_for = {&next.hashing, &next.storing};
    const outcome read = co_await moving;
    last->bytes = moving.read_buffer.first(static_cast<std::size_t>(read.bytes));
    moving.starts = {&last->hashing, &last->storing};
    t.bytes += read.bytes;
    t.stream_error = read.error;
    if (read.error || t.bytes == count || next.error()) moving.io = io_kind::none;
  }
  if (count <= c.small_file_size) {
    last->hashing.run();
    last->storing.run();
  } else {
    moving.waits_for = moving.starts;
    co_await moving;
  }
  for (const auto& one : ring) {
    if (!t.local_error) t.local_error = one.error();
  }
  co_return t;
}

/// Hashes what an earlier attempt has left, which has `held()` and `read_held()`; how many bytes
/// that is. What has `take_hash` and `leave_hash` may keep the hash for another attempt.
template <class Kept, class Hasher>
flow<std::uint64_t> hash_held(connection& c, Kept& kept, Hasher& hash, std::error_code& ec) {
  ec.clear();
  chunk memory{buffer_size_for(c, kept.held())};
  std::uint64_t hashed = 0;
  if constexpr (requires { kept.take_hash(hash); }) hashed = kept.take_hash(hash);
  work hashing{[&](std::error_code& failed) {
    const auto part = memory.first(kept.held() - hashed);
    const auto got = kept.read_held(part, hashed, failed);
    if (!failed && got < part.size()) failed = std::make_error_code(std::errc::io_error);
    if (failed) return;
    hash.update(part);
    hashed += got;
  }};
  while (hashed < kept.held() && !ec) {
    co_await perform(hashing);
    ec = hashing.error();
  }
  if constexpr (requires { kept.leave_hash(hash); }) {
    if (!ec) kept.leave_hash(hash);
  }
  co_return hashed;
}

/// Reads and drops `count` bytes.
inline flow<void> drop_bytes(connection& c, std::uint64_t count, std::error_code& ec) {
  ec.clear();
  count -= c.in.take(count).size();
  chunk dropped{static_cast<std::size_t>(std::min<std::uint64_t>(count, default_small_file_size))};
  action reading;
  reading.io = io_kind::read_full;
  while (count > 0 && !ec) {
    reading.read_buffer = dropped.first(count);
    const outcome read = co_await reading;
    count -= read.bytes;
    ec = read.error;
  }
}

/// Whether the receiver may say something while the bytes leave.
enum class watch { no, yes };

/// Where the bytes of a source come from, chunk by chunk.
template <class Source, class See>
struct fetching_state {
  Source& source;
  See see;
  std::uint64_t left;      ///< Not yet read.
  std::error_code failed;  ///< A source that has failed is left alone.

  void fetch(std::span<std::byte> into) {
    const std::size_t got = into.empty() ? 0 : source.read(into, failed);
    if (!failed && got != into.size()) failed = errc::short_source;
    if (failed) return;
    see(std::span<const std::byte>{into});
    left -= got;
    if constexpr (guarded_source<Source>) {
      if (left == 0) source.check_unchanged(failed);
    }
  }
};

template <class State>
struct fetch_call {
  State& state;
  const std::span<std::byte>& into;
  void operator()(std::error_code& ec) const {
    try {
      if (!state.failed) state.fetch(into);
    } catch (...) {
      state.failed = error_of(std::current_exception());
    }
    ec = state.failed;
  }
};

/// A buffer for bytes that are to leave.
template <class State>
struct departure {
  departure(std::size_t bytes_, State& state) : memory{bytes_}, fetching{{state, bytes}} {}

  chunk memory;
  std::span<std::byte> bytes;
  work<fetch_call<State>> fetching;
};

/// Writes `header`, then the next `count` bytes of `source`, which `see` is shown on the way. With
/// `watch::yes` it stops early, without an error, when something has arrived before or meanwhile.
template <class Source, class See>
flow<transfer> send_bytes(connection& c, std::span<const std::byte> header, Source& source, See see,
                          std::uint64_t count, watch watching) {
  transfer t;
  if (watching == watch::yes && !c.in.empty()) co_return t;
  fetching_state<Source, See> state{source, std::move(see), count, {}};
  std::deque<departure<fetching_state<Source, See>>> ring;
  for (auto n = ring_size(c, count); n > 0; --n)
    ring.emplace_back(buffer_size_for(c, count), state);

  // Nothing below may throw, for work under way refers to this frame.
  const bool small = count <= c.small_file_size && !waits(source);
  std::uint64_t given = 0;
  const auto next_part = [&](chunk& memory) {
    const auto part = memory.first(count - given);
    given += part.size();
    return part;
  };
  action moving;
  for (auto& filling : ring) {
    filling.bytes = next_part(filling.memory);
    moving.starts[0] = &filling.fetching;
    moving.waits_for[0] = &filling == &ring.back() ? &ring.front().fetching : nullptr;
    if (small) {
      filling.fetching.run();
    } else {
      co_await moving;
    }
  }
  work_base* last_started = std::exchange(moving.starts[0], nullptr);
  t.local_error = ring.front().fetching.error();
  moving.io = watching == watch::yes ? io_kind::read_write : io_kind::write;
  for (std::size_t n = 0; !t.local_error && (t.bytes < count || !header.empty()); ++n) {
    auto& leaving = ring[n % ring.size()];
    auto& next = ring[(n + 1) % ring.size()];
    moving.write_buffers = {header, std::span<const std::byte>{leaving.bytes}};
    moving.waits_for[0] = small ? nullptr : &next.fetching;
    if (moving.starts[0] != nullptr) last_started = moving.starts[0];
    if (watching == watch::yes) moving.read_buffer = read_target(c);
    outcome written = co_await moving;
    const auto came = written.read;
    take_read(c, moving.read_buffer, written);
    if (came && !written.error && !written.written) {
      // The peer has spoken, or left, before it had everything: it may never take the rest.
      action last;
      last.io = io_kind::read_write;
      last.write_buffers = moving.write_buffers;
      last.deadline = deadline::linger;
      written = co_await last;
    }
    t.stream_error = written.error;
    if (written.error) break;
    if (came) t.stream_error = came->error;
    t.bytes += leaving.bytes.size();
    header = {};
    t.local_error = next.fetching.error();
    if (came) break;
    leaving.bytes = next_part(leaving.memory);
    moving.starts[0] = leaving.bytes.empty() ? nullptr : &leaving.fetching;
  }
  if (!small) {
    moving = {};
    moving.waits_for[0] = last_started;
    co_await moving;
  }
  co_return t;
}

/// Writes `header`, then `range` of a file that the stream's system sends by itself.
template <class Source>
flow<transfer> send_file_bytes(connection& c, std::span<const std::byte> header, Source& source,
                               file_range range) {
  transfer t;
  action moving;
  moving.io = io_kind::write;
  moving.write_buffers = {header, {}};
  outcome moved = co_await moving;
  moving.io = io_kind::send_file;
  // The last part leaves only after the file was found unchanged.
  const auto last = std::min<std::uint64_t>(range.bytes, c.small_file_size);
  for (const std::uint64_t part : {range.bytes - last, last}) {
    if (moved.error || t.local_error || part == 0) continue;
    if constexpr (guarded_source<Source>) {
      if (t.bytes + part == range.bytes) source.check_unchanged(t.local_error);
      if (t.local_error) continue;
    }
    moving.file = {range.descriptor, range.offset + t.bytes, part};
    moved = co_await moving;
    t.bytes += moved.bytes;
  }
  t.stream_error = moved.error;
  co_return t;
}

}  // namespace filexfer::detail

#endif
