#ifndef FILEXFER_DETAIL_TRANSFER_HPP
#define FILEXFER_DETAIL_TRANSFER_HPP

// A file's octets on their way: read, hashed, stored and sent, each octet touched once. For files
// above one chunk there are two buffers, so that one is on the wire while the other is worked on.

#include <filexfer/detail/connection.hpp>
#include <filexfer/detail/flow.hpp>
#include <filexfer/error.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

namespace filexfer::detail {

class chunk {
 public:
  chunk() = default;
  explicit chunk(std::size_t octets)
      : octets_{std::make_unique_for_overwrite<std::byte[]>(octets)}, size_{octets} {}
  std::span<std::byte> first(std::uint64_t most) noexcept {
    return {octets_.get(), static_cast<std::size_t>(std::min<std::uint64_t>(most, size_))};
  }

 private:
  std::unique_ptr<std::byte[]> octets_;
  std::size_t size_ = 0;
};

/// Octets of a buffer for what moves `count` octets.
inline std::size_t chunk_size(const connection& c, std::uint64_t count) noexcept {
  const std::uint64_t most = std::max<std::uint64_t>({c.chunk_octets, c.small_octets, 1});
  return static_cast<std::size_t>(std::min(count, most));
}

/// How far a transfer came. At most one of the errors is set when it ends early, except that the
/// stream may break while octets are dropped that a sink could not take.
struct transfer {
  std::uint64_t octets = 0;  ///< Moved on the stream.
  std::error_code stream_error;
  std::error_code local_error;  ///< Of the source or the sink.
};

/// Reads `count` octets, hashes them with `hash` and writes them to `sink`. A sink's failure ends
/// it early: `count - octets` are then still to come.
template <class Sink, class Hasher>
flow<transfer> receive_octets(connection& c, Sink& sink, Hasher& hash, std::uint64_t count) {
  transfer t;
  std::span<const std::byte> arrived = c.in.take(count);
  t.octets = arrived.size();
  work storing{[&](std::error_code& ec) {
    hash.update(arrived);
    if (!arrived.empty()) sink.write(arrived, ec);
  }};
  const bool small = count <= c.small_octets;
  if (small) {
    storing.run();
    t.local_error = storing.error();
    if (t.local_error || t.octets == count) co_return t;
  }
  const std::size_t chunk_octets = chunk_size(c, count - t.octets);
  chunk front{chunk_octets};
  chunk back;
  action moving;
  moving.io = io_kind::read_full;
  moving.work = small ? nullptr : &storing;
  for (;;) {
    moving.into = front.first(count - t.octets);
    const outcome read = co_await moving;
    t.octets += read.octets;
    if (moving.work != nullptr) t.local_error = storing.error();
    if (t.local_error) co_return t;
    arrived = moving.into.first(static_cast<std::size_t>(read.octets));
    if (read.error || t.octets == count) {
      t.stream_error = read.error;
      break;
    }
    if (back.first(1).empty()) back = chunk{chunk_octets};
    std::swap(front, back);
  }
  if (moving.work != nullptr) {
    co_await perform(storing);
  } else {
    storing.run();
  }
  t.local_error = storing.error();
  co_return t;
}

/// Reads and drops `count` octets.
inline flow<void> drop_octets(connection& c, std::uint64_t count, std::error_code& ec) {
  ec.clear();
  count -= c.in.take(count).size();
  chunk dropped{static_cast<std::size_t>(std::min<std::uint64_t>(count, default_small_octets))};
  action reading;
  reading.io = io_kind::read_full;
  while (count > 0 && !ec) {
    reading.into = dropped.first(count);
    const outcome read = co_await reading;
    count -= read.octets;
    ec = read.error;
  }
}

/// Whether the receiver may say something while the octets leave.
enum class watch { no, yes };

/// Writes `header`, then the next `count` octets of `source`, which `see` is shown on the way. With
/// `watch::yes` it stops early, without an error, when something has arrived before or meanwhile.
template <class Source, class See>
flow<transfer> send_octets(connection& c, std::span<const std::byte> header, Source& source,
                           See see, std::uint64_t count, watch watching) {
  transfer t;
  if (watching == watch::yes && !c.in.empty()) co_return t;
  const bool small = count <= c.small_octets;
  const std::size_t chunk_octets = chunk_size(c, count);
  chunk front{chunk_octets};
  chunk back;
  if (!small) back = chunk{chunk_octets};
  std::uint64_t fetched = 0;
  std::span<std::byte> target = front.first(count);
  work fetching{[&](std::error_code& ec) {
    if (target.empty()) return;
    const std::size_t got = source.read(target, ec);
    if (ec) return;
    if (got != target.size()) {
      ec = errc::short_source;
      return;
    }
    see(std::span<const std::byte>{target});
    fetched += got;
    if constexpr (guarded_source<Source>) {
      if (fetched == count) source.check_unchanged(ec);
    }
  }};
  if (small) {
    fetching.run();
  } else {
    co_await perform(fetching);
  }
  t.local_error = fetching.error();
  action moving;
  moving.io = io_kind::write;
  while (!t.local_error && (t.octets < count || !header.empty())) {
    moving.from = {header, std::span<const std::byte>{target}};
    const std::size_t sent_octets = target.size();
    std::swap(front, back);
    target = small ? std::span<std::byte>{} : front.first(count - fetched);
    moving.work = target.empty() ? nullptr : &fetching;
    if (watching == watch::yes) moving.watch = c.in.space();
    const outcome written = co_await moving;
    t.stream_error = written.error;
    if (written.watched) {
      c.in.filled(written.watched->octets);
      if (!written.error) t.stream_error = written.watched->error;
    }
    if (written.error) break;
    t.octets += sent_octets;
    header = {};
    if (moving.work != nullptr) t.local_error = fetching.error();
    if (written.watched) break;
  }
  co_return t;
}

/// Writes `header`, then `range` of a file that the stream's system sends by itself.
template <class Source>
flow<transfer> send_file_octets(connection& c, std::span<const std::byte> header, Source& source,
                                file_range range) {
  transfer t;
  action moving;
  moving.io = io_kind::write;
  moving.from = {header, {}};
  outcome moved = co_await moving;
  moving.io = io_kind::send_file;
  // The last part leaves only after the file was found unchanged.
  const auto last = std::min<std::uint64_t>(range.octets, c.small_octets);
  for (const std::uint64_t part : {range.octets - last, last}) {
    if (moved.error || t.local_error || part == 0) continue;
    if constexpr (guarded_source<Source>) {
      if (t.octets + part == range.octets) source.check_unchanged(t.local_error);
      if (t.local_error) continue;
    }
    moving.file = {range.descriptor, range.offset + t.octets, part};
    moved = co_await moving;
    t.octets += moved.octets;
  }
  t.stream_error = moved.error;
  co_return t;
}

}  // namespace filexfer::detail

#endif
