#ifndef FILEXFER_DETAIL_RADOS_CHUNKS_HPP
#define FILEXFER_DETAIL_RADOS_CHUNKS_HPP

// The bytes of a file in a `rados_store`: objects `<bytes>.<n>` of one size, but for the last one.
//
// An object is written once, as a whole, and never changed: whoever makes it a second time must
// have the same bytes. The first object is the gate to the others. Before a file is published it is
// given the file's id, if it has none; who removes the objects removes the first one first, and
// only if it has no id, or the one that he expects. So of those who want to publish, to continue,
// or to remove the same bytes, one has his way, whatever becomes of the others.

#include <filexfer/detail/rados/operation.hpp>
#include <filexfer/error.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <rados/librados.h>

namespace filexfer::detail {

/// Objects of one transfer that are written or read at a time.
inline constexpr std::size_t chunks_in_flight = 4;

/// How often the first object of an upload is changed, so that it is not taken for a leftover.
inline constexpr std::chrono::minutes touch_interval{30};

/// The attribute of the first object that has the file's id.
inline constexpr const char* id_attribute = "id";

inline std::string chunk_object(std::string_view bytes, std::uint64_t number) {
  return std::string{bytes}.append(".") += std::to_string(number);
}

inline std::uint64_t chunk_count(std::uint64_t size, std::uint64_t chunk_size) noexcept {
  return size / chunk_size + (size % chunk_size != 0 ? 1 : 0);
}

/// Whether all objects up to a number are to be removed, even if the first of them is missing: then
/// others may still need these.
enum class removal { of_upload, of_garbage };

/// Removes `count` objects at most, if the first of them has the id `id`, or none if that is empty.
/// Returns what is to be reported: not that some did not exist.
inline std::error_code remove_chunks(rados_ioctx_t pool, std::string_view bytes,
                                     std::uint64_t count, std::string_view id, removal what) {
  if (count == 0) return {};
  rados_write gate;
  gate.assert_exists().expect_attribute(id_attribute, id).remove();
  const int opened = gate.perform(pool, chunk_object(bytes, 0));
  if (is_unexpected(opened)) return {};                            // they are somebody else's
  if (opened == -ENOENT && what == removal::of_upload) return {};  // `rados_leftovers` finds them
  if (opened < 0 && opened != -ENOENT) return rados_error(opened);
  std::error_code failed;
  std::list<rados_operation> running;
  std::size_t missing = 0;  // one after another
  const auto end_first = [&] {
    const int result = running.front().wait();
    running.pop_front();
    missing = result == -ENOENT ? missing + 1 : 0;
    if (result < 0 && result != -ENOENT) failed = rados_error(result);
  };
  // An upload was declared to be of any size; what was written has no larger holes.
  const auto at_end = [&] { return what == removal::of_upload && missing > chunks_in_flight; };
  for (std::uint64_t number = 1; number < count && !at_end() && !failed; ++number) {
    if (running.size() == 4 * chunks_in_flight) end_first();
    running.emplace_back().start([&](rados_completion_t completion) {
      return rados_aio_remove(pool, chunk_object(bytes, number).c_str(), completion);
    });
  }
  while (!running.empty()) end_first();
  return failed;
}

/// Reads the bytes of a file, some objects ahead of its user once he has read from one to the next.
class chunk_reader {
 public:
  chunk_reader(rados_ioctx_t pool, std::string bytes, std::uint64_t size, std::uint64_t chunk_size)
      : pool_{pool}, bytes_{std::move(bytes)}, size_{size}, chunk_size_{chunk_size} {}

  std::uint64_t size() const noexcept { return size_; }

  /// `errc::bad_range` behind the end.
  void seek(std::uint64_t offset, std::error_code& ec) noexcept {
    ec.clear();
    if (offset > size_) ec = errc::bad_range;
    else offset_ = offset;
  }

  /// Fails with `ENOENT` if an object is missing, with `errc::io` if one is too short.
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    ec.clear();
    std::size_t done = 0;
    while (done < to.size() && offset_ < size_) {
      const part& current = part_at(offset_, ec);
      if (ec) return done;
      const auto skipped = static_cast<std::size_t>(offset_ - current.begin);
      const auto count = std::min(to.size() - done, current.size - skipped);
      std::copy_n(current.memory.get() + skipped, count, to.data() + done);
      done += count;
      offset_ += count;
    }
    return done;
  }

 private:
  /// What is read of one object: from an offset in the file to the object's end.
  struct part {
    std::uint64_t begin = 0;
    std::size_t size = 0;
    std::unique_ptr<std::byte[]> memory;
    rados_operation reading;  ///< Into the memory, so it ends before that is freed.

    bool holds(std::uint64_t offset) const noexcept {
      return offset >= begin && offset - begin < size;
    }
  };

  const part& part_at(std::uint64_t offset, std::error_code& ec) {
    while (!parts_.empty() && !parts_.front().holds(offset)) {
      const part& first = parts_.front();
      if (first.begin + first.size == offset) ahead_ = std::min(ahead_ + 1, chunks_in_flight);
      else ahead_ = 0;
      parts_.pop_front();
    }
    if (parts_.empty()) start(offset);
    while (parts_.size() < ahead_) {
      const std::uint64_t next = parts_.back().begin + parts_.back().size;
      if (next >= size_) break;
      start(next);
    }
    part& current = parts_.front();
    const int result = current.reading.wait();
    if (result < 0) ec = rados_error(result);
    else if (static_cast<std::size_t>(result) != current.size) ec = errc::io;
    if (ec) parts_.clear();
    return current;
  }

  void start(std::uint64_t begin) {
    part& next = parts_.emplace_back();
    next.begin = begin;
    const std::uint64_t skipped = begin % chunk_size_;
    next.size = static_cast<std::size_t>(std::min(chunk_size_ - skipped, size_ - begin));
    if (ahead_ == 0) next.size = std::min(next.size, first_part_size);
    next.memory = std::make_unique_for_overwrite<std::byte[]>(next.size);
    const std::string object = chunk_object(bytes_, begin / chunk_size_);
    next.reading.start([&](rados_completion_t completion) {
      return rados_aio_read(pool_, object.c_str(), completion,
                            reinterpret_cast<char*>(next.memory.get()), next.size, skipped);
    });
  }

  rados_ioctx_t pool_;
  std::string bytes_;
  std::uint64_t size_;
  std::uint64_t chunk_size_;
  std::uint64_t offset_ = 0;
  /// What is read first: most of the bytes of an object are not, where a few are wanted.
  static constexpr std::size_t first_part_size = std::size_t{256} * 1024;

  std::list<part> parts_;  ///< One after another.
  std::size_t ahead_ = 0;  ///< Parts that are read at a time; 0 for a first one.
};

/// Writes the bytes of a file.
class chunk_writer {
 public:
  /// With `held` bytes in objects already, which are whole ones.
  chunk_writer(rados_ioctx_t pool, std::string bytes, std::uint64_t size, std::uint64_t chunk_size,
               std::uint64_t held)
      : pool_{pool},
        bytes_{std::move(bytes)},
        size_{size},
        chunk_size_{chunk_size},
        written_{held},
        started_{held / chunk_size} {}

  const std::string& bytes() const noexcept { return bytes_; }
  std::uint64_t size() const noexcept { return size_; }
  std::uint64_t chunk_size() const noexcept { return chunk_size_; }
  bool is_complete() const noexcept { return written_ == size_; }

  /// Fails with `errc::bad_size` if more than `size()` are written; after another failure the bytes
  /// are incomplete.
  void write(std::span<const std::byte> from, std::error_code& ec) {
    ec = failed_;
    if (!ec && from.size() > size_ - written_) ec = errc::bad_size;
    if (ec) {
      failed_ = ec;
      return;
    }
    failed_ = make_error_code(std::errc::not_enough_memory);  // if one of these throws
    while (!ec && !from.empty()) {
      if (buffer_.empty()) buffer_.reserve(std::min(chunk_size_, size_ - written_));
      const auto count = std::min<std::size_t>(from.size(), chunk_size_ - buffer_.size());
      const auto taken = from.first(count);
      buffer_.insert(buffer_.end(), taken.begin(), taken.end());
      from = from.subspan(count);
      written_ += count;
      if (buffer_.size() == chunk_size_ && !is_single()) ec = start_chunk();
    }
    failed_ = ec;
  }

  /// Starts to write what is left, once all bytes were written, and gives the first object the id.
  /// May be repeated.
  void start_claim(const std::string& id) {
    if (size_ == 0 || claimed_) return;
    id_ = id;
    if (is_single()) {
      rados_write whole;
      whole.create(buffer_).set_attribute(id_attribute, id);
      whole.start(claiming_, pool_, chunk_object(bytes_, 0));
      started_ = 1;
    } else if (!buffer_.empty() && !failed_) {
      failed_ = start_chunk();
    }
  }

  /// Waits until all bytes are stored and the first object has the id.
  std::error_code finish_claim() {
    if (size_ == 0 || claimed_) return failed_;
    finish_chunks();
    if (failed_) return failed_;
    int result = 0;
    if (is_single()) {
      result = claiming_.wait();
      if (result == -EEXIST && holds(0, buffer_)) result = 0;
    } else {
      rados_write claim;
      claim.assert_exists().expect_attribute(id_attribute, {}).set_attribute(id_attribute, id_);
      result = claim.perform(pool_, chunk_object(bytes_, 0));
      if (is_unexpected(result)) result = -EEXIST;  // somebody else publishes these bytes
    }
    failed_ = rados_error(result);
    claimed_ = !failed_;
    return failed_;
  }

  /// Whether the bytes are, or may have become, those of a file: then they are not removed.
  bool may_be_published() const noexcept { return may_be_published_; }
  void may_be_published(bool may_be) noexcept { may_be_published_ = may_be; }

  /// The bytes, if they are still in memory; after `finish_claim`.
  std::span<const std::byte> in_memory() const noexcept {
    return is_single() ? std::span<const std::byte>{buffer_} : std::span<const std::byte>{};
  }
  bool is_in_memory() const noexcept { return is_single() || size_ == 0; }

  chunk_reader reader() const { return reader_of_first(size_); }
  chunk_reader reader_of_first(std::uint64_t count) const {
    return {pool_, bytes_, count, chunk_size_};
  }

  bool has_timed_out() const noexcept { return failed_ == std::errc::timed_out; }

  /// Waits until what was written is stored.
  void finish_chunks() {
    while (!running_.empty()) {
      const std::error_code ec = end_first();
      if (!failed_) failed_ = ec;
    }
  }

  /// Removes what was written, unless somebody else has taken it over, or it may be published.
  void remove() noexcept {
    if (may_be_published_) return;
    try {
      finish_chunks();
      claiming_.wait();
      static_cast<void>(remove_chunks(pool_, bytes_, started_, claimed_ ? id_ : std::string{},
                                      removal::of_upload));
    } catch (...) {  // there is no memory; they are removed as leftovers
    }
  }

 private:
  /// An object that is being written, with its bytes.
  struct running_chunk {
    std::uint64_t number = 0;
    std::vector<std::byte> bytes;
    rados_operation writing;
  };

  bool is_single() const noexcept { return size_ <= chunk_size_; }

  std::error_code start_chunk() {
    std::error_code ec;
    if (running_.size() == chunks_in_flight) ec = end_first();
    const auto now = std::chrono::steady_clock::now();
    if (started_ > 0 && now - touched_ >= touch_interval) {
      rados_write touch;
      touch.assert_exists().set_attribute("touched", {});
      if (!ec) ec = rados_error(touch.perform(pool_, chunk_object(bytes_, 0)));
      touched_ = now;
    }
    if (ec) return ec;
    running_chunk& next = running_.emplace_back();
    next.number = started_;
    next.bytes = std::exchange(buffer_, {});
    rados_write write;
    write.create(next.bytes);
    write.start(next.writing, pool_, chunk_object(bytes_, started_));
    ++started_;
    return {};
  }

  std::error_code end_first() {
    running_chunk& first = running_.front();
    int result = first.writing.wait();
    if (result == -EEXIST && holds(first.number, first.bytes)) result = 0;
    running_.pop_front();
    return rados_error(result);
  }

  /// Whether an object has these bytes: it was written by this upload before it was interrupted, or
  /// by an operation that librados has sent again.
  bool holds(std::uint64_t number, std::span<const std::byte> bytes) const {
    std::vector<std::byte> stored(bytes.size() + 1);
    const int result = rados_read(pool_, chunk_object(bytes_, number).c_str(),
                                  reinterpret_cast<char*>(stored.data()), stored.size(), 0);
    return result >= 0 && static_cast<std::size_t>(result) == bytes.size() &&
           std::equal(bytes.begin(), bytes.end(), stored.begin());
  }

  rados_ioctx_t pool_;
  std::string bytes_;
  std::uint64_t size_;
  std::uint64_t chunk_size_;
  std::uint64_t written_;
  std::uint64_t started_;  ///< Objects.
  std::vector<std::byte> buffer_;
  std::list<running_chunk> running_;
  rados_operation claiming_;  ///< Of a file that is one object.
  std::string id_;
  bool claimed_ = false;
  bool may_be_published_ = false;
  std::chrono::steady_clock::time_point touched_ = std::chrono::steady_clock::now();
  std::error_code failed_;
};

}  // namespace filexfer::detail

#endif
