#ifndef FILEXFER_TESTS_SUPPORT_SCRIPT_HPP
#define FILEXFER_TESTS_SUPPORT_SCRIPT_HPP

// Dialogues, written as in the protocol's description (C for the client, S for the server), and a
// driver without stream, thread or clock, which gives a flow the peer's bytes and records the bytes
// that the flow sends.
//
//   const test::dialogue talk{C("LIST_FILES\n"), S("No files\n\n")};
//   test::hand_driver driver{{talk, test::role::client}};
//   driver.chunk = 1;                                        // limits the bytes of one read
//   driver.failure = {2, errc::timed_out};                   // the third action fails
//   auto files =
//       driver.run([&](std::error_code& e) { return list_bounded<md5>(state, {}, e); }, ec);
//   CHECK(driver.peer.received() == "LIST_FILES\n");

#include "support/bytes.hpp"

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace test {

// A side of the protocol.
enum class role { client, server };

struct turn {
  role sender;
  std::string bytes;
};

using dialogue = std::vector<turn>;

inline turn C(std::string bytes) { return {role::client, std::move(bytes)}; }
inline turn S(std::string bytes) { return {role::server, std::move(bytes)}; }

inline dialogue operator+(dialogue first, const dialogue& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

inline std::string bytes_sent_by(role sender, const dialogue& talk) {
  std::string all;
  for (const turn& t : talk) {
    if (t.sender == sender) all += t.bytes;
  }
  return all;
}

inline constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();
inline constexpr std::size_t never = no_limit;  // as the index of what fails

// Limits for the bytes of one read, to replay a dialogue of that size with: each one up to 300, and
// some around the chunk size.
inline std::vector<std::size_t> chunkings(std::size_t bytes) {
  std::vector<std::size_t> all;
  for (std::size_t n = 1; n <= std::min<std::size_t>(bytes, 300); ++n) all.push_back(n);
  for (const std::size_t n : {4095U, 4096U, 4097U}) {
    if (n < bytes) all.push_back(n);
  }
  all.push_back(no_limit);
  return all;
}

// The peer of the side under test. Each of its turns can be read once it has received all
// that precedes the turn in the dialogue (`in_turn`), or from the start (`ahead`).
class scripted_peer {
 public:
  enum class send_order { in_turn, ahead };

  scripted_peer(const dialogue& talk, role side_under_test,
                send_order order = send_order::in_turn) {
    std::size_t total = 0;
    for (const turn& t : talk) total += t.bytes.size();
    incoming_.reserve(total);
    for (const turn& t : talk) {
      if (t.sender == side_under_test) {
        expected_ += t.bytes.size();
      } else {
        incoming_ += t.bytes;
        gates_.push_back({order == send_order::ahead ? 0 : expected_, incoming_.size()});
      }
    }
  }

  // Bytes that it has sent, and that are not read yet.
  std::string_view readable() const noexcept {
    std::size_t end = 0;
    for (const gate& g : gates_) {
      if (g.opens_at > received_.size()) break;
      end = g.end;
    }
    return std::string_view{incoming_}.substr(0, std::max(end, read_)).substr(read_);
  }

  std::string_view read(std::size_t limit) noexcept {
    const auto bytes = readable().substr(0, limit);
    read_ += bytes.size();
    return bytes;
  }

  // Whether it has ended the stream, after sending and receiving everything.
  bool has_ended() const noexcept {
    return read_ == incoming_.size() && received_.size() >= expected_;
  }

  bool has_sent_all() const noexcept { return read_ + readable().size() == incoming_.size(); }

  void receive(std::span<const std::byte> bytes) {
    received_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  // So that `receive` does not allocate, for that many bytes in all.
  void reserve(std::size_t bytes) { received_.reserve(bytes); }

  // All bytes that it received: those sent by the side under test.
  const std::string& received() const noexcept { return received_; }

 private:
  struct gate {
    std::size_t opens_at;  // once that many bytes have been received
    std::size_t end;       // of the readable bytes, in `incoming_`
  };

  std::string incoming_;
  std::vector<gate> gates_;
  std::size_t expected_ = 0;
  std::size_t read_ = 0;
  std::string received_;
};

// An error that replaces the outcome of an action.
struct injected_failure {
  enum class lasts { once, permanently };

  std::size_t action = never;  // its index, counting actions with I/O only
  std::error_code error;
  std::size_t bytes = 0;  // transferred before it fails; ignored by `read_some`
  lasts duration = lasts::permanently;
};

struct flow_dropped {};

// Performs a flow's actions, in place.
class hand_driver {
 public:
  explicit hand_driver(scripted_peer p) : peer{std::move(p)} {}

  scripted_peer peer;
  std::size_t chunk = no_limit;
  injected_failure failure;
  // Actions from this index on are cancelled, as the asynchronous driver does it.
  std::size_t cancelled_from = never;
  // In place of this action `flow_dropped` is thrown, which destroys the flow.
  std::size_t dropped_at = never;
  // Whether a `read_write` reads, too. If it also writes, it reads what is readable after the
  // write.
  bool read_write_reads = true;

  // Results.
  struct step {
    filexfer::detail::io_kind io;
    filexfer::detail::deadline limit;
    bool continues_deadline;
    bool interruptible;
  };
  std::vector<step> steps;  // actions with I/O
  std::size_t works = 0;    // pieces of work that were run
  bool stalled = false;     // deadlock: the flow reads, and the peer waits for bytes
  bool sending_ended = false;
  bool closed = false;
  bool used_after_close = false;

  template <class MakeFlow>
  auto run(MakeFlow make_flow, std::error_code& ec) {
    namespace detail = filexfer::detail;
    ec.clear();
    auto main = make_flow(ec);
    detail::flow_context context;
    main.start(context);
    while (detail::action* wanted = detail::advance(context)) do_action(*wanted, context.result);
    return main.take(ec);
  }

 private:
  using action = filexfer::detail::action;
  using outcome = filexfer::detail::outcome;
  using io_kind = filexfer::detail::io_kind;

  void do_action(action& wanted, outcome& out) {
    if (steps.size() >= cancelled_from) {
      out.error = make_error_code(std::errc::operation_canceled);
      for (auto* const work : wanted.starts) {
        if (work != nullptr) work->cancel();
      }
      if (wanted.io == io_kind::close) closed = true;
      return;
    }
    if (steps.size() >= dropped_at) throw flow_dropped{};
    for (auto* const work : wanted.starts) {
      if (work == nullptr) continue;
      work->run();
      ++works;
    }
    if (wanted.io == io_kind::none) return;
    if (wanted.or_work) {  // the work is always done first
      out.work_ended = true;
      return;
    }
    if (closed) used_after_close = true;
    const std::size_t number = steps.size();
    steps.push_back({wanted.io, wanted.deadline, wanted.continues_deadline, wanted.interruptible});
    const bool fails = failure.duration == injected_failure::lasts::once ? number == failure.action
                                                                         : number >= failure.action;
    switch (wanted.io) {
      case io_kind::shutdown_send: sending_ended = true; return;
      case io_kind::close: closed = true; return;
      case io_kind::read_some:
        lingering_ = wanted.deadline == filexfer::detail::deadline::linger;
        if (!fails) read(wanted.read_buffer.first(std::min(wanted.read_buffer.size(), chunk)), out);
        break;
      case io_kind::read_full: {
        const auto limit =
            fails ? std::min(failure.bytes, wanted.read_buffer.size()) : wanted.read_buffer.size();
        while (out.bytes < limit && !out.error) {
          const auto left =
              wanted.read_buffer.first(limit).subspan(static_cast<std::size_t>(out.bytes));
          read(left.first(std::min(left.size(), chunk)), out);
        }
        break;
      }
      case io_kind::write: write(wanted, fails, out); break;
      case io_kind::read_write: read_write(wanted, fails, out); break;
      case io_kind::cancel_write: return;
      case io_kind::call:
        out.error = make_error_code(std::errc::operation_canceled);
        (*wanted.call)([&out](std::error_code answer) { out.error = answer; });
        break;
      default: out.error = make_error_code(std::errc::operation_not_supported);
    }
    if (fails && !out.error) out.error = failure.error;
  }

  bool lingering_ = false;

  // Reads at most `buffer.size()` bytes.
  void read(std::span<std::byte> buffer, outcome& out) {
    const auto bytes = peer.read(buffer.size());
    if (bytes.empty()) {
      stalled = stalled || !(peer.has_ended() || lingering_);
      out.error = peer.has_ended() ? filexfer::errc::end_of_stream : filexfer::errc::timed_out;
    }
    std::memcpy(buffer.data(), bytes.data(), bytes.size());
    out.bytes += bytes.size();
  }

  void write(const action& wanted, bool fails, outcome& out) {
    std::size_t left = fails ? failure.bytes : no_limit;
    for (const auto part : wanted.write_buffers) {
      const auto written = part.first(std::min(part.size(), left));
      peer.receive(written);
      out.bytes += written.size();
      left -= written.size();
    }
  }

  void read_write(const action& wanted, bool fails, outcome& out) {
    const bool writes = !wanted.write_buffers[0].empty() || !wanted.write_buffers[1].empty();
    if (writes) write(wanted, fails, out);
    out.written = writes && !fails;
    if (!read_write_reads || wanted.read_buffer.empty() || (fails && !writes)) return;
    const auto buffer = wanted.read_buffer.first(std::min(wanted.read_buffer.size(), chunk));
    outcome received;
    if (!writes || !peer.readable().empty() || peer.has_ended()) read(buffer, received);
    else return;
    out.read =
        filexfer::detail::read_result{received.error, static_cast<std::size_t>(received.bytes)};
  }
};

}  // namespace test

#endif
