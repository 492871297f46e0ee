#ifndef FILEXFER_TESTS_SUPPORT_SCRIPT_HPP
#define FILEXFER_TESTS_SUPPORT_SCRIPT_HPP

// Dialogues, written as the protocol's page shows them, and a driver by hand, which feeds a flow
// what the other side says in one and keeps what the flow says itself. No stream, thread or clock.
//
//   const test::dialogue talk{C("LIST_FILES\n"), S("No files\n\n")};
//   test::hand_driver driver{{talk, test::who::client}};
//   driver.chunk = 1;                                        // what one read brings at most
//   driver.failure = {2, errc::timed_out};                   // the third action fails
//   auto files = driver.run([&](std::error_code& e) { return list_bounded<md5>(state, {}, e); },
//   ec); CHECK(driver.peer.said() == "LIST_FILES\n");

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

enum class who { client, server };

struct turn {
  who speaker;
  std::string bytes;
};

using dialogue = std::vector<turn>;

inline turn C(std::string bytes) { return {who::client, std::move(bytes)}; }
inline turn S(std::string bytes) { return {who::server, std::move(bytes)}; }

inline std::string said_by(who speaker, const dialogue& talk) {
  std::string all;
  for (const turn& t : talk) {
    if (t.speaker == speaker) all += t.bytes;
  }
  return all;
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Bytes that repeat with no power of two, so that a chunk in the wrong place shows.
inline std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i % 251);
  return text;
}

inline constexpr std::size_t any_number = std::numeric_limits<std::size_t>::max();

// How many bytes a read brings at most, to replay a dialogue with: each number, if it is short.
inline std::vector<std::size_t> chunkings(std::size_t bytes) {
  std::vector<std::size_t> all;
  for (std::size_t n = 1; n <= std::min<std::size_t>(bytes, 300); ++n) all.push_back(n);
  for (const std::size_t n : {4095U, 4096U, 4097U}) {
    if (n < bytes) all.push_back(n);
  }
  all.push_back(any_number);
  return all;
}

// The other side of a dialogue. What it says can be read once we have said what stands before that
// (`in_turn`), or all at once (`ahead`).
class scripted_peer {
 public:
  enum class talks { in_turn, ahead };

  scripted_peer(const dialogue& talk, who us, talks how = talks::in_turn) {
    std::size_t said = 0;
    for (const turn& t : talk) said += t.bytes.size();
    incoming_.reserve(said);
    for (const turn& t : talk) {
      if (t.speaker == us) {
        expected_ += t.bytes.size();
      } else {
        incoming_ += t.bytes;
        gates_.push_back({how == talks::ahead ? 0 : expected_, incoming_.size()});
      }
    }
  }

  // What it has said and nobody has read.
  std::string_view readable() const noexcept {
    std::size_t end = 0;
    for (const gate& g : gates_) {
      if (g.opens_at > said_.size()) break;
      end = g.end;
    }
    return std::string_view{incoming_}.substr(0, std::max(end, read_)).substr(read_);
  }

  std::string_view read(std::size_t most) noexcept {
    const auto bytes = readable().substr(0, most);
    read_ += bytes.size();
    return bytes;
  }

  // Whether it ended the stream, having said all and heard all.
  bool has_ended() const noexcept { return read_ == incoming_.size() && said_.size() >= expected_; }

  bool has_said_all() const noexcept { return read_ + readable().size() == incoming_.size(); }

  void hear(std::span<const std::byte> bytes) {
    said_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  // So that hearing that many bytes takes no memory.
  void reserve(std::size_t bytes) { said_.reserve(bytes); }

  // What we said.
  const std::string& said() const noexcept { return said_; }

 private:
  struct gate {
    std::size_t opens_at;  // bytes that we have to say before
    std::size_t end;       // of what may be read then, in `incoming_`
  };

  std::string incoming_;
  std::vector<gate> gates_;
  std::size_t expected_ = 0;
  std::size_t read_ = 0;
  std::string said_;
};

// An error in place of an action's outcome.
struct injected_failure {
  enum class lasts { once, for_good };

  std::size_t action = any_number;  // which one, from 0; work alone does not count
  std::error_code error;
  std::size_t bytes = 0;  // that move before it fails; not for `read_some`
  lasts duration = lasts::for_good;
};

struct flow_dropped {};

// Does what a flow asks, in place.
class hand_driver {
 public:
  explicit hand_driver(scripted_peer p) : peer{std::move(p)} {}

  scripted_peer peer;
  std::size_t chunk = any_number;
  injected_failure failure;
  // From this one on every action is cancelled, as the asynchronous driver does it.
  std::size_t cancelled_from = any_number;
  // Instead of doing this one, the flow is destroyed, and `flow_dropped` thrown.
  std::size_t dropped_at = any_number;
  // Whether a `read_write` reads; if it writes, too, it then brings what can be read after that.
  bool exchanges = true;

  // What happened.
  struct step {
    filexfer::detail::io_kind io;
    filexfer::detail::deadline limit;
    bool continues_deadline;
    bool interruptible;
  };
  std::vector<step> steps;  // those with I/O
  bool stalled = false;     // the flow waits for the peer, which waits for it to speak
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
      for (auto* const piece : wanted.starts) {
        if (piece != nullptr) piece->cancel();
      }
      if (wanted.io == io_kind::close) closed = true;
      return;
    }
    if (steps.size() >= dropped_at) throw flow_dropped{};
    for (auto* const piece : wanted.starts) {
      if (piece != nullptr) piece->run();
    }
    if (wanted.io == io_kind::none) return;
    if (closed) used_after_close = true;
    const std::size_t number = steps.size();
    steps.push_back({wanted.io, wanted.deadline, wanted.continues_deadline, wanted.interruptible});
    const bool fails = failure.duration == injected_failure::lasts::once ? number == failure.action
                                                                         : number >= failure.action;
    switch (wanted.io) {
      case io_kind::shutdown_send: sending_ended = true; return;
      case io_kind::close: closed = true; return;
      case io_kind::read_some:
        lingering = wanted.deadline == filexfer::detail::deadline::linger;
        if (!fails) read(wanted.read_buffer.first(std::min(wanted.read_buffer.size(), chunk)), out);
        break;
      case io_kind::read_full: {
        const auto most =
            fails ? std::min(failure.bytes, wanted.read_buffer.size()) : wanted.read_buffer.size();
        while (out.bytes < most && !out.error) {
          const auto left =
              wanted.read_buffer.first(most).subspan(static_cast<std::size_t>(out.bytes));
          read(left.first(std::min(left.size(), chunk)), out);
        }
        break;
      }
      case io_kind::write: write(wanted, fails, out); break;
      case io_kind::read_write: read_write(wanted, fails, out); break;
      case io_kind::cancel_write: return;
      default: out.error = make_error_code(std::errc::operation_not_supported);
    }
    if (fails && !out.error) out.error = failure.error;
  }

  bool lingering = false;

  // Some bytes into `into`, all of which the script may fill.
  void read(std::span<std::byte> into, outcome& out) {
    const auto bytes = peer.read(into.size());
    if (bytes.empty()) {
      stalled = stalled || !(peer.has_ended() || lingering);
      out.error = peer.has_ended() ? filexfer::errc::end_of_stream : filexfer::errc::timed_out;
    }
    std::memcpy(into.data(), bytes.data(), bytes.size());
    out.bytes += bytes.size();
  }

  void write(const action& wanted, bool fails, outcome& out) {
    std::size_t left = fails ? failure.bytes : any_number;
    for (const auto part : wanted.write_buffers) {
      const auto moved = part.first(std::min(part.size(), left));
      peer.hear(moved);
      out.bytes += moved.size();
      left -= moved.size();
    }
  }

  void read_write(const action& wanted, bool fails, outcome& out) {
    const bool writes = !wanted.write_buffers[0].empty() || !wanted.write_buffers[1].empty();
    if (writes) write(wanted, fails, out);
    out.written = writes && !fails;
    if (!exchanges || wanted.read_buffer.empty() || (fails && !writes)) return;
    const auto into = wanted.read_buffer.first(std::min(wanted.read_buffer.size(), chunk));
    outcome got;
    if (!writes || !peer.readable().empty() || peer.has_ended()) read(into, got);
    else return;
    out.read = filexfer::detail::read_result{got.error, static_cast<std::size_t>(got.bytes)};
  }
};

}  // namespace test

#endif
