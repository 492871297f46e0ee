#ifndef FILEXFER_TESTS_SWEEP_HPP
#define FILEXFER_TESTS_SWEEP_HPP

// Sessions under all kinds of circumstances, and what must hold after each: the
// invariants.
//
// Nothing here asserts: what does not hold is counted, so that a test can also show that a broken
// store or a broken hasher is found.

#include "support/allocations.hpp"
#include "support/end_to_end.hpp"

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace tests {

inline const char* name_of(task t) {
  constexpr std::array names{"LIST_FILES", "UPLOAD", "UPLOAD;id=", "UPLOAD;id= of a file held",
                             "DOWNLOAD"};
  return names[static_cast<std::size_t>(t)];
}

/// What a reader needs to see a session again.
inline std::string describe(task t, const sample& file, const circumstances& c) {
  std::ostringstream out;
  out << name_of(t) << " of " << file.bytes.size() << " bytes, pipe of " << c.capacity
      << ", chunks of " << c.chunk << (c.work_elsewhere ? ", work elsewhere" : "")
      << ", bystander at " << c.bystander_at;
  if (c.turn) out << ", turn " << *c.turn;
  const auto say = [&](const char* side, const filexfer::fault_plan& plan) {
    const auto at = [&](const char* what, const std::optional<std::uint64_t>& byte) {
      if (byte) out << ", " << side << ' ' << what << ' ' << *byte;
    };
    at("end after reading", plan.end_after_read);
    at("break after writing", plan.break_after_written);
    at("reset after reading", plan.reset_after_read);
    at("reset after writing", plan.reset_after_written);
    at("stall after reading", plan.stall_after_read);
    at("stall after writing", plan.stall_after_written);
    const auto flip = [&](const char* what, const std::optional<filexfer::bit_position>& bit) {
      if (bit) out << ", " << side << ' ' << what << ' ' << bit->byte << '.' << bit->bit;
    };
    flip("flip reading", plan.flip_read);
    flip("flip writing", plan.flip_written);
    constexpr auto any = std::numeric_limits<std::size_t>::max();
    if (plan.max_read != any) out << ", " << side << " reads " << plan.max_read;
    if (plan.max_write != any) out << ", " << side << " writes " << plan.max_write;
  };
  say("client", c.client);
  say("server", c.server);
  const auto late = [&](const char* side, const std::optional<lateness>& l) {
    if (l) out << ", " << side << " late at " << l->byte << " by " << l->by.count() << " ns";
  };
  late("client", c.client_late);
  late("server", c.server_late);
  if (c.cancelled != broken_off::nobody) {
    constexpr std::array who{"", "client", "server", "server gently"};
    out << ", " << who[static_cast<std::size_t>(c.cancelled)] << " cancelled at " << c.cancelled_at;
  }
  return out.str();
}

/// Whether bytes change on their way, so that lines may say something else.
inline bool damages(const circumstances& c) {
  return c.client.flip_read || c.client.flip_written || c.server.flip_read || c.server.flip_written;
}

/// Reads a server's side of a dialogue of one command: at most one final reply, nothing after it
/// but the word that ends an idle connection. Empty if that holds, else what does not.
class reply_check {
 public:
  static std::string fault(task t, std::string_view said) {
    reply_check check{said};
    return check.run(t) ? std::string{} : "the server said: " + std::string{said};
  }

 private:
  explicit reply_check(std::string_view said) : rest_{said} {}

  // Each of these returns true where the dialogue is over, be it cut short.

  bool line() {
    const auto end = rest_.find('\n');
    if (end == rest_.npos) return true;
    line_ = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return false;
  }
  bool refused() const { return line_.starts_with("ERROR "); }

  bool run(task t) {
    if (t == task::upload_declared || t == task::upload_held) {
      do {
        if (line()) return true;
        if (refused()) return at_end();
      } while (!line_.empty());
    }
    if (t == task::list) {
      do {
        if (line()) return true;
      } while (!line_.empty() && !refused());
      return at_end();
    }
    if (line()) return true;  // the prompt
    if (refused()) return at_end();
    if (line()) return true;  // the ready line, or the entry
    if (refused()) return at_end();
    if (t == task::download) {
      std::error_code ec;
      const auto entry = filexfer::parse_entry<digest>(line_, ec);
      if (ec) return false;
      rest_.remove_prefix(
          static_cast<std::size_t>(std::min<std::uint64_t>(rest_.size(), entry.bytes())));
      return at_end();
    }
    if (line()) return true;  // the id
    return at_end();
  }

  bool at_end() {
    if (line()) return true;
    return refused() && rest_.empty();
  }

  std::string_view rest_;
  std::string_view line_;
};

/// What became of a sweep.
struct tally {
  std::size_t sessions = 0;
  std::size_t violations = 0;
  std::map<std::string, std::size_t> kinds;
  std::vector<std::string> first;  ///< In words; of each kind some.

  void violated(const std::string& kind, const std::string& details) {
    ++violations;
    if (++kinds[kind] <= 3) first.push_back(kind + ": " + details);
  }

  std::string words() const {
    std::string all;
    for (const auto& one : first) all += one + '\n';
    return all;
  }
};

/// When it goes, as much memory is held as when it came; counted only where nothing else is wrong.
class no_leak {
 public:
  explicit no_leak(tally& counts) noexcept : counts_{counts} {}
  no_leak(const no_leak&) = delete;
  no_leak& operator=(const no_leak&) = delete;
  ~no_leak() {
    const auto left = live_allocations() - before_;
    if (counts_.violations == 0 && left != 0) {
      counts_.violated("memory", std::to_string(left) + " allocations are left");
    }
  }

 private:
  tally& counts_;
  std::ptrdiff_t before_ = live_allocations();
};

/// How a fault-free session went: how far faults can be put.
struct extent {
  std::uint64_t client_read = 0;
  std::uint64_t client_written = 0;
  std::size_t handlers = 0;
  std::error_code error;
  std::string client_said;
  std::string server_said;

  friend bool operator==(const extent&, const extent&) = default;
};

/// What a session has to come to beside the invariants, where that is known.
enum class must { hold, succeed, fail };

/// Runs sessions on stores that `Stores` makes, one after the other.
///
/// `Stores::store_type`; `Stores::fresh()` makes an empty store for the next session, and returns
/// it; `Stores::left_behind(listed_size)` says in words what is there beside what is listed.
template <class Stores, class Hasher = filexfer::md5>
class arena {
  using store_type = typename Stores::store_type;
  using end_to_end_type = end_to_end<store_type, Hasher>;

 public:
  template <class... Args>
  explicit arena(tally& counts, Args&&... args)
      : counts_{counts}, no_leak_{counts}, stores_{std::forward<Args>(args)...} {
    keep_going();
  }

  extent run(task what, const sample& file, const circumstances& c, must expected = must::hold) {
    what_ = what;
    file_ = &file;
    circumstances_ = &c;
    ++counts_.sessions;
    store_type& store = stores_.fresh();
    store_ = &store;
    put(resident_name, resident_);
    turn_ = c.turn.value_or(counts_.sessions);
    if (is_held()) put(held_name, file);

    extent reached;
    {
      end_to_end_type main{context_, store, c};
      end_to_end_type bystander{context_, store, {}};
      main.start(what, target_name, file);
      reached.handlers = meet(main, bystander);
      reached.client_read = main.client.layer().bytes_read();
      reached.client_written = main.client.layer().bytes_written();
      reached.error = main.client.error;
      reached.client_said = main.client.said();
      reached.server_said = main.server.said();
      judge(main, bystander, expected);
      retry();
    }
    context_.poll();
    if (virtual_timer::any_waits()) violated("hang", "a timer was still set");
    if (counts_.sessions % 16 == 0) look_for_leftovers();
    return reached;
  }

 private:
  static constexpr std::string_view target_name = "new.bin";
  static constexpr std::string_view held_name = "held.bin";
  static constexpr std::string_view resident_name = "resident";
  static constexpr std::string_view bystander_name = "bystander";

  void violated(const std::string& kind, const std::string& details) {
    counts_.violated(kind, details + "; " + describe(what_, *file_, *circumstances_));
  }

  /// Whether the store has the file from the beginning.
  bool is_held() const noexcept {
    return what_ == task::list || what_ == task::download || what_ == task::upload_held;
  }

  /// Straight into the store: what was there before.
  void put(std::string_view name, const sample& file) {
    std::error_code ec;
    auto upload = store_->create({std::string{name}, file.bytes.size(), {}}, ec);
    if (!ec && !file.bytes.empty()) {
      upload->write(std::as_bytes(std::span{file.bytes.data(), file.bytes.size()}), ec);
    }
    if (!ec) upload->commit(file.id, ec);
    if (ec) violated("set-up", ec.message());
  }

  /// What does not end would keep the context from stopping.
  void look_for_leftovers() {
    far_.cancel();
    context_.poll();
    if (!context_.stopped()) {
      violated("hang", "something was still under way after the operations had ended");
      context_.stop();
    }
    context_.restart();
    keep_going();
  }

  /// Keeps the context from stopping where nothing is to do. Being the first of all timers to be
  /// due, it also spares the others from telling the system about themselves, which is slow.
  void keep_going() {
    far_.expires_after(std::chrono::hours{24});
    far_.async_wait([](std::error_code) {});
  }

  /// Runs both to their ends, and time on where nothing else moves. Returns the handlers that ran.
  std::size_t meet(end_to_end_type& main, end_to_end_type& bystander) {
    const circumstances& c = *circumstances_;
    const auto began = manual_clock::now();
    const auto bound = c.client_limits.reply + c.client_limits.line + c.server_limits.line +
                       c.server_limits.idle + 2 * c.server_limits.linger;
    bystander_task_ = turn_ % 2 == 0 ? task::list : task::upload;
    std::size_t handlers = 0;
    std::size_t of_main = 0;
    for (;; ++handlers) {
      if (c.cancelled != broken_off::nobody && handlers == c.cancelled_at) main.cancel(c.cancelled);
      if (!bystander.started && handlers >= c.bystander_at) {
        bystander.start(bystander_task_, bystander_name, small_);
      }
      if ((handlers + turn_) % (file_->bytes.size() < 1000 ? 8 : 256) == 0) look();
      if (!main.ended()) of_main = handlers;
      if (context_.poll_one() > 0) continue;
      look();
      if (!bystander.started) {
        bystander.start(bystander_task_, bystander_name, small_);
      } else if (main.ended() && bystander.ended()) {
        break;
      } else if ((c.cancelled == broken_off::client && handlers > c.cancelled_at &&
                  main.client.ended == 0) ||
                 (c.cancelled == broken_off::server && handlers > c.cancelled_at &&
                  main.server.ended == 0)) {
        violated("hang", "it goes on though it was cancelled");
        break;
      } else if (manual_clock::now() - began > bound) {
        violated("hang", "it goes on after more than every deadline");
        break;
      } else if (!virtual_timer::pass_to_next()) {
        violated("hang", "no timer is set");
        break;
      }
    }
    if (!main.ended() || !bystander.ended()) break_off(main, bystander);
    return of_main;
  }

  /// What hangs must go, before it is destroyed.
  void break_off(end_to_end_type& main, end_to_end_type& bystander) {
    for (end_to_end_type* one : {&main, &bystander}) {
      std::error_code ignored;
      one->cancel(broken_off::client);
      one->cancel(broken_off::server);
      one->client.layer().close(ignored);
      one->server.layer().close(ignored);
    }
    context_.poll();
    if (!main.ended() || !bystander.ended()) throw std::runtime_error{counts_.words()};
  }

  /// Whatever is listed, at whatever time, is whole.
  void look() {
    std::error_code ec;
    auto cursor = store_->list(ec);
    while (!ec) {
      const auto entry = cursor.next(ec);
      if (!entry) break;
      if (const auto problem = flaw(*entry); !problem.empty()) {
        violated("not whole", entry->name + ' ' + entry->id.to_string() + ' ' + problem);
      }
    }
    if (ec) violated("list", ec.message());
  }

  std::string flaw(const listed_file& entry) {
    std::error_code ec;
    auto opened = store_->open(entry.id, ec);
    if (ec) return ec.message();
    if (!opened) return "can't be opened";
    bytes_.resize(static_cast<std::size_t>(entry.size) + 1);
    const auto got = opened->reader.read(std::as_writable_bytes(std::span{bytes_}), ec);
    if (ec) return ec.message();
    if (got != entry.size) return "has " + std::to_string(got) + " bytes";
    bytes_.resize(got);
    for (const sample* known : {file_, &resident_, &small_}) {
      if (known->id == entry.id) return bytes_ == known->bytes ? "" : "has other bytes";
    }
    return rfc1321_hex(bytes_) == entry.id.to_string() ? "" : "has another digest";
  }

  void judge(const end_to_end_type& main, const end_to_end_type& bystander, must expected) {
    const auto once = [&](int calls, const char* who) {
      if (calls != 1) violated("completion", who + (" completed " + std::to_string(calls)));
    };
    once(main.client.ended, "the client");
    once(main.server.ended, "the session");
    once(bystander.client.ended, "the bystander");
    once(bystander.server.ended, "the bystander's session");

    if (bystander.client.error || bystander.server.error) {
      violated("bystander", bystander.client.error.message());
    }
    if (expected == must::succeed && main.client.error)
      violated("success", main.client.error.message());
    if (expected == must::fail && !main.client.error) violated("failure", "it succeeded");
    if (main.client.error == filexfer::errc::end_of_stream ||
        main.client.error == asio::error::eof) {
      violated("error", "the stream's end was not translated");
    }
    judge_success(main);
    if (!damages(*circumstances_)) {
      if (const auto fault = reply_check::fault(what_, main.server.said()); !fault.empty()) {
        violated("replies", fault);
      }
    }
    judge_store(main);
  }

  /// The client never says that all is well unless it is.
  void judge_success(const end_to_end_type& main) {
    const bool right = main.client.sink.bytes == file_->bytes;
    if (main.client.sink.commits > (main.client.error || !right ? 0 : 1)) {
      violated("false success", "a download was shown");
    }
    if (main.client.error) return;
    const auto both =
        std::pair{main.client.uploaded.computed_here, main.client.uploaded.computed_there};
    switch (what_) {
      case task::list: break;
      case task::upload:
      case task::upload_declared:
      case task::upload_held:
        if (both != std::pair{file_->id, file_->id}) violated("false success", "upload");
        break;
      case task::download:
        if (!right || main.client.sink.commits != 1 ||
            main.client.downloaded.computed_here != file_->id) {
          violated("false success", "download");
        }
        break;
    }
  }

  void judge_store(const end_to_end_type& main) {
    std::vector<listed_file> expected{{resident_.id, std::string{resident_name}, 0}};
    expected[0].size = resident_.bytes.size();
    const auto add = [&](std::string_view name, const sample& file) {
      expected.push_back({file.id, std::string{name}, file.bytes.size()});
    };
    if (is_held()) add(held_name, *file_);
    if (bystander_task_ == task::upload) add(bystander_name, small_);
    const bool uploading = what_ != task::list && what_ != task::download;
    const listed_file target{file_->id, std::string{target_name}, file_->bytes.size()};

    const auto listed = files();
    bool shown = false;
    bool held = false;
    std::map<digest, std::uint64_t> contents;
    for (const auto& entry : listed) {
      contents[entry.id] = entry.size;
      if (entry.id == file_->id) held = true;
      if (uploading && entry == target) {
        shown = true;
        continue;
      }
      const auto found = std::find(expected.begin(), expected.end(), entry);
      if (found != expected.end()) {
        expected.erase(found);
      } else if (!damages(*circumstances_)) {
        violated("unexpected entry", format_entry(entry));
      }
    }
    for (const auto& missing : expected) violated("not listed", format_entry(missing));
    if (uploading && !main.client.error && !(damages(*circumstances_) ? held : shown)) {
      violated("not listed", "what was acknowledged");
    }
    if (what_ == task::list && !main.client.error && !damages(*circumstances_))
      judge_list(main, listed);

    std::uint64_t bytes = 0;
    for (const auto& one : contents) bytes += one.second;
    if (const auto left = stores_.left_behind(bytes); !left.empty()) {
      violated("left behind", left);
    }
  }

  /// A list that the client takes for whole has all that was there from the beginning, and nothing
  /// that is not there now.
  void judge_list(const end_to_end_type& main, const std::vector<listed_file>& listed) {
    for (const auto& entry : main.client.files) {
      if (std::find(listed.begin(), listed.end(), entry) == listed.end()) {
        violated("false success", "list has " + format_entry(entry));
      }
    }
    for (const auto name : {resident_name, held_name}) {
      const auto named = [&](const listed_file& f) { return f.name == name; };
      if (std::count_if(main.client.files.begin(), main.client.files.end(), named) != 1) {
        violated("false success", "list lacks what was there all the time");
      }
    }
  }

  std::vector<listed_file> files() {
    std::vector<listed_file> all;
    std::error_code ec;
    auto cursor = store_->list(ec);
    while (!ec) {
      auto entry = cursor.next(ec);
      if (!entry) break;
      entry->modified.reset();
      all.push_back(std::move(*entry));
    }
    return all;
  }

  /// The same again, on a fresh connection on which nothing goes wrong.
  void retry() {
    circumstances calm;
    calm.chunk = std::max(calm.chunk, circumstances_->chunk);
    calm.capacity = std::max(calm.capacity, circumstances_->capacity);
    end_to_end_type again{context_, *store_, calm};
    again.start(what_, target_name, *file_);
    context_.poll();
    if (!again.ended()) {
      violated("retry", "it hangs");
      while (!again.ended() && virtual_timer::pass_to_next()) context_.poll();
    }
    if (again.client.error) violated("retry", again.client.error.message());
    judge_success(again);
    look();
    if (what_ == task::list || what_ == task::download) return;
    const listed_file target{file_->id, std::string{target_name}, file_->bytes.size()};
    const auto listed = files();
    if (std::count(listed.begin(), listed.end(), target) != 1) violated("retry", "is not listed");
  }

  tally& counts_;
  no_leak no_leak_;
  Stores stores_;
  asio::io_context context_;
  asio::steady_timer far_{context_};
  const sample resident_{"here before\n"};
  const sample small_{"bystander's bytes"};
  task what_ = task::list;
  task bystander_task_ = task::list;
  const sample* file_ = nullptr;
  const circumstances* circumstances_ = nullptr;
  std::size_t turn_ = 0;
  store_type* store_ = nullptr;
  std::string bytes_;
};

}  // namespace tests

#endif
