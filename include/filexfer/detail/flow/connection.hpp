#ifndef FILEXFER_DETAIL_FLOW_CONNECTION_HPP
#define FILEXFER_DETAIL_FLOW_CONNECTION_HPP

// One end of a connection, for the flows of both sides: its line buffer, reading and writing lines.

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/options.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

inline std::span<const std::byte> as_bytes(std::string_view text) noexcept {
  return std::as_bytes(std::span{text});
}

/// Size in bytes of a line buffer for pipelined input.
inline constexpr std::size_t wide_buffer_size = std::size_t{64} * 1024;

/// Size in bytes of a line buffer that is empty: an idle connection has one, and most commands fit.
inline constexpr std::size_t narrow_buffer_size = 128;

/// Bytes that were received and not used yet. Once it was full, it has room for a line of maximum
/// length, or more.
class line_buffer {
 public:
  bool empty() const noexcept { return begin_ == end_; }
  std::size_t size() const noexcept { return end_ - begin_; }
  bool holds_line() const noexcept { return line_end() != std::string_view::npos; }

  /// Whether it begins with a line that is too long, complete or not.
  bool holds_long_line() const noexcept { return !holds_line() && size() >= max_line_length; }

  /// Whether it begins with a line that is complete or too long.
  bool has_line() const noexcept { return holds_line() || holds_long_line(); }

  /// Takes the first complete line, without its end; valid until the buffer is changed.
  std::optional<std::string_view> take_line() noexcept {
    const auto end = line_end();
    if (end == std::string_view::npos) return std::nullopt;
    auto line = unused().substr(0, end);
    begin_ += end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }

  /// Takes up to `max_bytes`; valid until the buffer is changed.
  std::span<const std::byte> take(std::uint64_t max_bytes) noexcept {
    const auto held = unused();
    const auto taken =
        held.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(held.size(), max_bytes)));
    begin_ += taken.size();
    return as_bytes(taken);
  }

  /// Free space for the next bytes. After `grow` not empty, unless a line, or one that is too long,
  /// is held.
  std::span<std::byte> space() noexcept {
    std::memmove(text_.data(), text_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    return std::as_writable_bytes(std::span{text_}).subspan(end_);
  }

  void clear() noexcept { begin_ = end_ = 0; }

  /// `bytes` were read into `space()`.
  void filled(std::size_t bytes) noexcept {
    end_ += bytes;
    was_filled_ = end_ == text_.size();
  }

  /// Makes room for a line of maximum length, if the last bytes have filled it to its end. No read
  /// into it may be pending.
  void grow() {
    if (std::exchange(was_filled_, false) && text_.size() < max_line_length) {
      text_.resize(max_line_length);
    }
  }

  /// Grows to `wide_buffer_size`, if there is memory.
  void widen() noexcept {
    if (text_.size() >= wide_buffer_size) return;
    try {
      text_.resize(wide_buffer_size);
    } catch (const std::bad_alloc&) {  // keeps its size
    }
  }

  /// Frees memory that an idle connection does not need, if the buffer is empty. No read into it
  /// may be pending.
  void narrow() noexcept {
    if (!empty() || text_.size() == narrow_buffer_size) return;
    clear();
    was_filled_ = false;
    text_.resize(narrow_buffer_size);
    text_.shrink_to_fit();
  }

 private:
  std::string_view unused() const noexcept { return {text_.data() + begin_, end_ - begin_}; }
  std::size_t line_end() const noexcept { return unused().substr(0, max_line_length).find('\n'); }

  std::vector<char> text_ = std::vector<char>(narrow_buffer_size);
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool was_filled_ = false;  ///< To its end: it will be larger.
};

/// One end of a connection, without its stream.
struct connection {
  line_buffer in;
  /// The error of a read that was not for a line: no line is read after it. (A socket that has
  /// reported a reset once may block in the next read.)
  std::error_code read_error;
  /// The buffer of the read that a `read_write` has left pending; empty if there is none.
  std::span<std::byte> pending_read;
  std::size_t chunk_size = default_chunk_size;
  /// Files up to this size are transferred in one piece, without the work executor: the hand-over
  /// would cost more. Also the minimum size of a chunk.
  std::size_t small_file_size = default_small_file_size;
  /// Set by the owner: the stream can do `io_kind::send_file`.
  bool sends_files = false;
  /// Set by the owner: a `read_write` reads while it writes, so commands can be pipelined.
  bool can_pipeline = true;
};

/// The buffer for the next read.
inline std::span<std::byte> read_target(connection& c) noexcept {
  return c.pending_read.empty() ? c.in.space() : c.pending_read;
}

/// As `read_target`, for a `read_write`; empty if it must not read: after an error, or if a line is
/// held. That line may be a reply that came before it was asked for, with a file's bytes behind it:
/// a read that is left pending would get some of these bytes.
inline std::span<std::byte> read_write_target(connection& c) noexcept {
  return c.read_error || c.in.holds_line() ? std::span<std::byte>{} : read_target(c);
}

/// Makes room for the next line. To be called before a wait for one.
inline void make_room(connection& c) {
  if (c.pending_read.empty()) c.in.grow();
}

/// Takes the result of a `read_write`'s read into `target`, or records that the read is pending.
inline void take_read(connection& c, std::span<std::byte> target, const outcome& result) noexcept {
  c.pending_read = result.read ? std::span<std::byte>{} : target;
  if (!result.read) return;
  c.in.filled(result.read->bytes);
  c.read_error = result.read->error;
}

/// Whether stopping the server may end the wait for this line.
enum class interruptible { no, yes };

/// Reads a line, without its end; valid until the next read. Errors: `errc::line_too_long`;
/// `errc::end_of_stream` before its first byte, `errc::truncated` after it.
inline flow<std::string_view> read_line(connection& c, deadline limit, interruptible stop,
                                        std::error_code& ec) {
  ec.clear();
  action reading;
  reading.io = io_kind::read_some;
  reading.deadline = limit;
  for (;;) {
    if (const auto line = c.in.take_line()) co_return *line;
    if (c.in.holds_long_line()) {
      ec = errc::line_too_long;
      co_return std::string_view{};
    }
    make_room(c);
    reading.read_buffer = read_target(c);
    reading.interruptible = stop == interruptible::yes && c.in.empty();
    outcome read;
    if (c.read_error) read.error = c.read_error;
    else read = co_await reading;
    c.pending_read = {};
    if (read.error) {
      ec = read.error;
      if (ec == errc::end_of_stream && !c.in.empty()) ec = errc::truncated;
      co_return std::string_view{};
    }
    c.in.filled(static_cast<std::size_t>(read.bytes));
    reading.continues_deadline = true;
  }
}

/// Writes `first` and then `second`; both must live until this has ended.
inline flow<void> write_bytes(connection&, std::span<const std::byte> first,
                              std::span<const std::byte> second, std::error_code& ec) {
  action writing;
  writing.io = io_kind::write;
  writing.write_buffers = {first, second};
  const outcome written = co_await writing;
  ec = written.error;
}

/// Writes whole lines (`text` ends in LF), which must live until this has ended.
inline flow<void> write_text(connection& c, std::string_view text, std::error_code& ec) {
  co_await write_bytes(c, as_bytes(text), {}, ec);
}

/// Writes lines, and reads replies to earlier ones meanwhile: the peer may not read the last line
/// before its replies to the first have been read.
inline flow<void> write_pipelined(connection& c, std::string_view text, std::error_code& ec) {
  action step;
  step.io = io_kind::read_write;
  step.write_buffers[0] = as_bytes(text);
  for (bool done = false; !done; step.continues_deadline = true) {
    step.read_buffer = read_write_target(c);
    const outcome result = co_await step;
    take_read(c, step.read_buffer, result);
    ec = result.error;
    done = result.written || ec;
  }
}

/// Runs a piece of work that may block, and waits for it.
inline flow<void> perform(work_base& work) {
  action working;
  working.run_and_wait(work);
  co_await working;
}

/// Starts a piece of work that may block.
inline flow<void> start(work_base& work) {
  action starting;
  starting.starts[blocking] = &work;
  co_await starting;
}

/// Waits for a piece of work that was started; for nothing if it is null.
inline flow<void> wait_for(work_base* work) {
  action waiting;
  waiting.waits_for[blocking] = work;
  co_await waiting;
}

/// Reads more into the line buffer until that has ended, or `work` has, which may be null; the
/// read is pending then. Returns whether the work has ended.
inline flow<bool> read_or_wait_for(connection& c, work_base* work, deadline limit,
                                   interruptible stop, std::error_code& ec) {
  action step;
  step.io = io_kind::read_write;
  step.deadline = limit;
  step.interruptible = stop == interruptible::yes && c.in.empty();
  make_room(c);
  step.read_buffer = read_target(c);
  step.or_work = work != nullptr;
  step.waits_for[blocking] = work;
  const outcome result = co_await step;
  take_read(c, step.read_buffer, result);
  ec = result.error;
  co_return result.work_ended;
}

/// Waits for `time`.
inline flow<void> wait(std::chrono::milliseconds time) {
  action waiting;
  waiting.io = io_kind::pause;
  waiting.pause = time;
  co_await waiting;
}

/// Closes at once.
inline flow<void> close(connection&) {
  action closing;
  closing.io = io_kind::close;
  co_await closing;
}

/// Ends the connection after its last line was written: ends the sending side, reads and drops
/// until the linger deadline, closes (section 8, "closes"). If that line could not be written,
/// closes at once.
inline flow<void> end_connection(connection& c, std::error_code write_error) {
  action step;
  step.io = io_kind::shutdown_send;
  if (!write_error) co_await step;
  c.in.clear();
  step.io = io_kind::read_some;
  step.deadline = deadline::linger;
  while (!write_error) {
    step.read_buffer = read_target(c);
    const outcome dropped = co_await step;
    c.pending_read = {};
    if (dropped.error) break;
    step.continues_deadline = true;
  }
  co_await close(c);
}

}  // namespace filexfer::detail

#endif
