#ifndef FILEXFER_TESTS_FUZZ_SUPPORT_FLOW_DRIVER_HPP
#define FILEXFER_TESTS_FUZZ_SUPPORT_FLOW_DRIVER_HPP

// Performs a flow's actions on bytes in memory, in an order that the input decides: how many bytes
// a read gets, whether the read or the write of a `read_write` ends first, whether work is done
// before or after the I/O beside it. It checks what a flow must observe (detail/flow/flow.hpp).

#include "fuzz/support/fuzzing.hpp"

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <deque>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace fuzz {

/// What a peer does, and when.
struct peer_script {
  std::string_view bytes;  ///< All that it sends.
  /// If set, a byte that is not sent: what follows it is sent once the flow only reads.
  std::optional<char> waits_at{};
  std::string_view pace{};  ///< Decisions, over and over; without any, all is done at once.
  /// After its last byte it is silent until a deadline passes; else it ends the stream.
  bool falls_silent = false;
  /// Bytes after which writing to it fails.
  std::size_t takes = std::numeric_limits<std::size_t>::max();
};

class flow_driver {
 public:
  explicit flow_driver(const peer_script& peer) : peer_{peer} {}

  std::string sent;  ///< By the flow.
  bool closed = false;

  /// Runs the flow that `make_flow(ec)` returns to its end.
  template <class MakeFlow>
  auto run(MakeFlow make_flow, std::error_code& ec) {
    ec.clear();
    auto main = make_flow(ec);
    filexfer::detail::flow_context context;
    main.start(context);
    std::size_t steps = 0;
    while (action* wanted = filexfer::detail::advance(context)) {
      require(++steps < max_steps, "a flow ends when its peer has ended");
      perform(*wanted, context.result);
    }
    for (const auto& queue : queues_) require(queue.empty(), "a flow awaits its work");
    require(!pending_write_, "a flow ends no earlier than its write");
    return main.take(ec);
  }

 private:
  using action = filexfer::detail::action;
  using outcome = filexfer::detail::outcome;
  using io_kind = filexfer::detail::io_kind;

  // Each byte of an input can make a flow take a few steps.
  static constexpr std::size_t max_steps = 1'000'000;

  unsigned decide() {
    if (peer_.pace.empty()) return 0xFF;
    return static_cast<unsigned char>(peer_.pace[decisions_++ % peer_.pace.size()]);
  }

  void perform(action& wanted, outcome& out) {
    for (std::size_t i = 0; i < queues_.size(); ++i) {
      if (wanted.starts[i] != nullptr) queues_[i].push_back(wanted.starts[i]);
    }
    if (wanted.or_work) {
      do_either(wanted, out);
      return;
    }
    const bool work_first = wanted.io == io_kind::none || (decide() & 1) != 0;
    if (work_first) do_work(wanted);
    do_io(wanted, out);
    do_work(wanted);
  }

  /// Does the I/O, if it can be done at once, or the work, which leaves the read pending.
  void do_either(const action& wanted, outcome& out) {
    require(size_of(wanted) == 0, "a flow that awaits its work or a read does not write");
    if (!wanted.read_buffer.empty() && !readable().empty() && (decide() & 1) != 0) {
      do_io(wanted, out);
      return;
    }
    if (!wanted.read_buffer.empty()) join_read(wanted.read_buffer);
    do_work(wanted);
    out.work_ended = true;
  }

  void do_work(const action& wanted) {
    for (std::size_t i = 0; i < queues_.size(); ++i) {
      auto& queue = queues_[i];
      if (std::find(queue.begin(), queue.end(), wanted.waits_for[i]) == queue.end()) continue;
      for (bool done = false; !done;) {
        done = queue.front() == wanted.waits_for[i];
        queue.front()->run();
        queue.pop_front();
      }
    }
  }

  void do_io(const action& wanted, outcome& out) {
    switch (wanted.io) {
      case io_kind::none:
      case io_kind::pause:
      case io_kind::shutdown_send: return;
      case io_kind::cancel_write: pending_write_.reset(); return;
      case io_kind::close:
        closed = true;
        pending_read_ = {};
        return;
      default: break;
    }
    require(!closed, "a flow does not use its stream after closing it");
    switch (wanted.io) {
      case io_kind::read_some:
        stop_waiting();
        read(wanted.read_buffer, out.bytes, out.error);
        return;
      case io_kind::read_full:
        while (out.bytes < wanted.read_buffer.size() && !out.error) {
          stop_waiting();
          read(wanted.read_buffer.subspan(static_cast<std::size_t>(out.bytes)), out.bytes,
               out.error);
        }
        return;
      case io_kind::write:
        write(wanted, out.error);
        if (!out.error) out.bytes = size_of(wanted);
        return;
      case io_kind::read_write: read_write(wanted, out); return;
      default: require(false, "a flow asks only for I/O that its stream can do");
    }
  }

  /// What the peer has sent and the flow has not read.
  std::string_view readable() const {
    const auto left = peer_.bytes.substr(read_);
    return peer_.waits_at ? left.substr(0, left.find(*peer_.waits_at)) : left;
  }

  bool has_ended() const { return read_ == peer_.bytes.size() && !peer_.falls_silent; }

  /// The flow writes nothing: the peer waits no longer.
  void stop_waiting() {
    while (readable().empty() && read_ < peer_.bytes.size()) ++read_;
  }

  static std::size_t size_of(const action& wanted) {
    return wanted.write_buffers[0].size() + wanted.write_buffers[1].size();
  }

  template <class Count>
  void read(std::span<std::byte> buffer, Count& count, std::error_code& error) {
    join_read(buffer);
    pending_read_ = {};
    require(!buffer.empty(), "a read has a buffer");
    const std::size_t most = peer_.pace.empty() ? buffer.size() : decide() + 1;
    const auto bytes = readable().substr(0, std::min(buffer.size(), most));
    std::memcpy(buffer.data(), bytes.data(), bytes.size());
    read_ += bytes.size();
    count += bytes.size();
    if (bytes.empty()) {
      error = peer_.falls_silent ? filexfer::errc::timed_out : filexfer::errc::end_of_stream;
    }
  }

  void write(const action& wanted, std::error_code& error) {
    require(!pending_write_, "a flow writes one thing at a time");
    for (const auto part : wanted.write_buffers) {
      const auto taken = part.first(std::min(part.size(), peer_.takes - sent.size()));
      sent.append(reinterpret_cast<const char*>(taken.data()), taken.size());
      if (taken.size() < part.size()) error = make_error_code(std::errc::broken_pipe);
    }
  }

  /// Ends the read, the write or both.
  void read_write(const action& wanted, outcome& out) {
    const bool writes = size_of(wanted) > 0;
    const bool reads = !wanted.read_buffer.empty();
    const std::array start{wanted.write_buffers[0].data(), wanted.write_buffers[1].data()};
    if (pending_write_ && writes) {
      require(start == *pending_write_, "a pending write is joined by the next one");
      pending_write_.reset();
    }
    if (!writes) stop_waiting();
    const bool can_read = reads && (!readable().empty() || has_ended() || !writes);
    const unsigned choice = decide();
    const bool read_ends = can_read && (!writes || choice % 3 != 0);
    const bool write_ends = writes && (!read_ends || choice % 3 != 1);
    if (reads) join_read(wanted.read_buffer);
    if (write_ends) {
      write(wanted, out.error);
      if (out.error) return;
      out.written = true;
    }
    if (!read_ends) return;
    filexfer::detail::read_result result;
    read(wanted.read_buffer, result.bytes, result.error);
    if (result.error == filexfer::errc::timed_out) {  // a deadline fails the whole action
      out.error = result.error;
      pending_read_ = wanted.read_buffer;
      return;
    }
    out.read = result;
    if (writes && !write_ends) pending_write_ = start;
  }

  void join_read(std::span<std::byte> buffer) {
    require(pending_read_.data() == nullptr || pending_read_.data() == buffer.data(),
            "a pending read is joined by the next one");
    pending_read_ = buffer;
  }

  peer_script peer_;
  std::size_t read_ = 0;
  std::size_t decisions_ = 0;
  std::array<std::deque<filexfer::detail::work_base*>, 2> queues_;
  std::optional<std::array<const std::byte*, 2>> pending_write_;  ///< Its buffers.
  std::span<std::byte> pending_read_;
};

}  // namespace fuzz

#endif
