#ifndef FILEXFER_DETAIL_FLOW_TRANSFER_HPP
#define FILEXFER_DETAIL_FLOW_TRANSFER_HPP

// Transfers a file's bytes: they are read, hashed, and stored or sent in one pass. A large file
// goes through a ring of buffers, so that the stream, the digest and the disk each work on one, and
// a stall of one of them does not stop the others at once.

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

/// Size in bytes of a chunk, except in small and in very large transfers.
inline constexpr std::size_t usual_chunk_size = std::size_t{256} * 1024;

/// Buffers of a large transfer.
inline constexpr std::size_t ring_chunks = 4;

class chunk {
 public:
  explicit chunk(std::size_t bytes)
      : bytes_{std::make_unique_for_overwrite<std::byte[]>(bytes)}, size_{bytes} {}
  std::span<std::byte> first(std::uint64_t max_bytes) noexcept {
    return {bytes_.get(), static_cast<std::size_t>(std::min<std::uint64_t>(max_bytes, size_))};
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_;
};

/// The size of each buffer for a transfer of `count` bytes. Each chunk costs hand-overs between
/// threads, so a large transfer has large ones; with few of them little would overlap.
inline std::size_t buffer_size_for(const connection& c, std::uint64_t count) noexcept {
  const std::uint64_t max_size = std::max<std::uint64_t>({c.chunk_size, c.small_file_size, 1});
  constexpr std::uint64_t page_size = 4096;  // a hasher, too, is slower with odd sizes
  const std::uint64_t pages = count / 32 / page_size;
  const std::uint64_t share =
      std::max<std::uint64_t>({pages * page_size, usual_chunk_size, c.small_file_size});
  return static_cast<std::size_t>(std::min({count, max_size, share}));
}

/// Small files that a client has received are committed in batches, which saves flushes and
/// hand-overs to the work executor, but of at most this many: each file holds a descriptor, and
/// while one batch is committed, the next one arrives.
inline constexpr std::size_t max_commit_batch = 32;

/// The result of a transfer. If it failed, one of the errors is set; both, if the stream failed
/// before the sink's failure was noticed.
struct transfer {
  std::uint64_t bytes = 0;  ///< Transferred on the stream.
  std::error_code stream_error;
  std::error_code local_error;  ///< Of the source or the sink.
};

/// The number of buffers for a transfer of `count` bytes.
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
  std::error_code& failed;  ///< Shared by all chunks: a sink that has failed is not called again.
  void operator()(std::error_code& ec) const {
    try {
      if (!failed && !bytes.empty()) sink.write(bytes, failed);
    } catch (...) {
      failed = error_of(std::current_exception());
    }
    ec = failed;
  }
};

/// A buffer for bytes that have been received.
template <class Sink, class Hasher>
struct incoming_chunk {
  incoming_chunk(std::size_t size, Sink& sink, Hasher& hash, std::error_code& failed)
      : memory{size}, hashing{{hash, bytes}}, storing{{sink, bytes, failed}} {}
  std::error_code error() const noexcept {
    return storing.error() ? storing.error() : hashing.error();
  }

  chunk memory;
  std::span<const std::byte> bytes;
  work<hash_call<Hasher>> hashing;
  work<store_call<Sink>> storing;
};

/// Reads `count` bytes, hashes them with `hash` and writes them to `sink`, all in parallel: while
/// one chunk arrives, earlier ones are hashed and written; but a small file's, here. Ends early if
/// the sink fails or `revoked` is set; `count - bytes` are then still to be received.
template <class Sink, class Hasher>
flow<transfer> receive_bytes(connection& c, Sink& sink, Hasher& hash, std::uint64_t count,
                             const std::atomic<bool>* revoked = nullptr) {
  transfer t;
  std::error_code failed;
  const std::size_t chunk_size = buffer_size_for(c, count);
  std::deque<incoming_chunk<Sink, Hasher>> ring;
  for (auto n = ring_size(c, count); n > 0; --n) {
    ring.emplace_back(chunk_size, sink, hash, failed);
  }

  // Nothing below may throw: work in progress refers to this frame.
  const bool small = count <= c.small_file_size;
  const auto hash_and_store = [small](incoming_chunk<Sink, Hasher>& chunk) {
    action both;
    if (small) {
      chunk.hashing.run();
      chunk.storing.run();
    } else {
      both.starts = both.waits_for = {&chunk.hashing, &chunk.storing};
    }
    return both;
  };

  // Bytes that were received together with the line before, at most a line buffer.
  auto* last = &ring.front();
  last->bytes = c.in.take(count);
  action step;
  if (!last->bytes.empty()) step = hash_and_store(*last);
  co_await step;
  t.bytes = last->bytes.size();
  t.local_error = last->error();
  if (t.bytes == count || t.local_error) co_return t;

  step = {};
  step.io = io_kind::read_full;
  step.revoked = revoked;
  for (std::size_t n = 0; step.io != io_kind::none; ++n) {
    last = &ring[n % ring.size()];
    auto& next = ring[(n + 1) % ring.size()];
    step.read_buffer = last->memory.first(count - t.bytes);
    step.waits_for = {&next.hashing, &next.storing};
    const outcome read = co_await step;
    last->bytes = step.read_buffer.first(static_cast<std::size_t>(read.bytes));
    step.starts = {&last->hashing, &last->storing};
    t.bytes += read.bytes;
    t.stream_error = read.error;
    if (read.error || t.bytes == count || next.error()) step.io = io_kind::none;
  }
  step = hash_and_store(*last);
  co_await step;
  for (const auto& buffer : ring) {
    if (!t.local_error) t.local_error = buffer.error();
  }
  co_return t;
}

/// Hashes the bytes that `kept` holds from an earlier attempt, by its `held()` and `read_held()`.
/// Returns their number. With `restore_hash` and `save_hash` it can keep the hash for a later
/// attempt.
template <class Kept, class Hasher>
flow<std::uint64_t> hash_held(connection& c, Kept& kept, Hasher& hash, std::error_code& ec) {
  ec.clear();
  chunk memory{buffer_size_for(c, kept.held())};
  std::uint64_t hashed = 0;
  if constexpr (requires { kept.restore_hash(hash); }) hashed = kept.restore_hash(hash);
  work hashing{[&](std::error_code& failed) {
    const auto part = memory.first(kept.held() - hashed);
    const auto bytes = kept.read_held(part, hashed, failed);
    if (!failed && bytes < part.size()) failed = std::make_error_code(std::errc::io_error);
    if (failed) return;
    hash.update(part);
    hashed += bytes;
  }};
  while (hashed < kept.held() && !ec) {
    co_await perform(hashing);
    ec = hashing.error();
  }
  if constexpr (requires { kept.save_hash(hash); }) {
    if (!ec) kept.save_hash(hash);
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

/// Whether to watch for a reply while bytes are sent.
enum class watch { no, yes };

/// Reads a source chunk by chunk.
template <class Source, class OnBytes>
struct fetching_state {
  Source& source;
  OnBytes on_bytes;
  std::uint64_t left;      ///< Bytes not yet read.
  std::error_code failed;  ///< A source that has failed is not called again.

  void fetch(std::span<std::byte> buffer) {
    const std::size_t bytes = buffer.empty() ? 0 : source.read(buffer, failed);
    if (!failed && bytes != buffer.size()) failed = errc::short_source;
    if (failed) return;
    on_bytes(std::span<const std::byte>{buffer});
    left -= bytes;
    if constexpr (guarded_source<Source>) {
      if (left == 0) source.check_unchanged(failed);
    }
  }
};

template <class State>
struct fetch_call {
  State& state;
  const std::span<std::byte>& buffer;
  void operator()(std::error_code& ec) const {
    try {
      if (!state.failed) state.fetch(buffer);
    } catch (...) {
      state.failed = error_of(std::current_exception());
    }
    ec = state.failed;
  }
};

/// A buffer for bytes to send.
template <class State>
struct outgoing_chunk {
  outgoing_chunk(std::size_t size, State& state) : memory{size}, fetching{{state, bytes}} {}

  chunk memory;
  std::span<std::byte> bytes;
  work<fetch_call<State>> fetching;
};

/// Writes `header`, then the next `count` bytes of `source`, and passes these to `on_bytes`. With
/// `watch::yes` it stops early, without an error, when bytes have been received before or
/// meanwhile.
template <class Source, class OnBytes>
flow<transfer> send_bytes(connection& c, std::span<const std::byte> header, Source& source,
                          OnBytes on_bytes, std::uint64_t count, watch watching) {
  transfer t;
  // Before an empty file's bytes the final reply may have come; its source is checked all the same.
  if (watching == watch::yes && count > 0 && !c.in.empty()) co_return t;
  fetching_state<Source, OnBytes> state{source, std::move(on_bytes), count, {}};
  std::deque<outgoing_chunk<fetching_state<Source, OnBytes>>> ring;
  for (auto n = ring_size(c, count); n > 0; --n)
    ring.emplace_back(buffer_size_for(c, count), state);

  // Nothing below may throw: work in progress refers to this frame.
  const bool small = count <= c.small_file_size && !may_block(source);
  std::uint64_t assigned = 0;
  const auto next_part = [&](chunk& memory) {
    const auto part = memory.first(count - assigned);
    assigned += part.size();
    return part;
  };
  action step;
  for (auto& current : ring) {
    current.bytes = next_part(current.memory);
    step.starts[blocking] = &current.fetching;
    step.waits_for[blocking] = &current == &ring.back() ? &ring.front().fetching : nullptr;
    if (small) {
      current.fetching.run();
    } else {
      co_await step;
    }
  }
  work_base* last_started = std::exchange(step.starts[blocking], nullptr);
  t.local_error = ring.front().fetching.error();
  step.io = watching == watch::yes ? io_kind::read_write : io_kind::write;
  for (std::size_t n = 0; !t.local_error && (t.bytes < count || !header.empty()); ++n) {
    auto& current = ring[n % ring.size()];
    auto& next = ring[(n + 1) % ring.size()];
    step.write_buffers = {header, std::span<const std::byte>{current.bytes}};
    step.waits_for[blocking] = small ? nullptr : &next.fetching;
    if (step.starts[blocking] != nullptr) last_started = step.starts[blocking];
    if (watching == watch::yes) step.read_buffer = read_target(c);
    outcome written = co_await step;
    const auto early_reply = written.read;
    if (watching == watch::yes) take_read(c, step.read_buffer, written);
    if (early_reply && !written.error && !written.written) {
      // The peer has replied, or ended the stream, too early: it may never read the rest.
      action last;
      last.io = io_kind::read_write;
      last.write_buffers = step.write_buffers;
      last.deadline = deadline::linger;
      written = co_await last;
    }
    t.stream_error = written.error;
    if (written.error) break;
    if (early_reply) t.stream_error = early_reply->error;
    t.bytes += current.bytes.size();
    header = {};
    t.local_error = next.fetching.error();
    if (early_reply) break;
    current.bytes = next_part(current.memory);
    step.starts[blocking] = current.bytes.empty() ? nullptr : &current.fetching;
  }
  if (!small) {
    step = {};
    step.waits_for[blocking] = last_started;
    co_await step;
  }
  co_return t;
}

/// Writes `header`, then has the system send `range` of a file.
template <class Source>
flow<transfer> send_file_bytes(connection& c, std::span<const std::byte> header, Source& source,
                               file_segment range) {
  transfer t;
  action step;
  step.io = io_kind::write;
  step.write_buffers = {header, {}};
  outcome result = co_await step;
  step.io = io_kind::send_file;
  // The last part is sent only after the file was found unchanged.
  const auto last = std::min<std::uint64_t>(range.bytes, c.small_file_size);
  for (const std::uint64_t part : {range.bytes - last, last}) {
    if (result.error || t.local_error || part == 0) continue;
    if constexpr (guarded_source<Source>) {
      if (t.bytes + part == range.bytes) {
        work checking{[&](std::error_code& ec) { source.check_unchanged(ec); }};
        co_await perform(checking);
        t.local_error = checking.error();
        if (t.local_error) continue;
      }
    }
    step.file = {range.descriptor, range.offset + t.bytes, part};
    result = co_await step;
    t.bytes += result.bytes;
  }
  t.stream_error = result.error;
  co_return t;
}

}  // namespace filexfer::detail

#endif
