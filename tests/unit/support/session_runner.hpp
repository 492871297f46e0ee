#ifndef FILEXFER_TESTS_SUPPORT_SESSION_RUNNER_HPP
#define FILEXFER_TESTS_SUPPORT_SESSION_RUNNER_HPP

// Runs a client and a session in many scenarios, and checks after each what must always hold: the
// invariants. Nothing here asserts: violations are counted in a `tally`.

#include "support/end_to_end.hpp"
#include "support/reply_check.hpp"
#include "support/rfc1321.hpp"
#include "support/scenario_text.hpp"
#include "support/tally.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/protocol.hpp>

#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace test {

/// The results of a session. Those of a fault-free one bound the offsets of faults.
struct session_result {
  std::uint64_t client_read = 0;
  std::uint64_t client_written = 0;
  std::size_t handlers = 0;
  std::error_code error;
  std::string client_sent;
  std::string server_sent;

  friend bool operator==(const session_result&, const session_result&) = default;
};

/// The expected result of a session, beside the invariants.
enum class expect { invariants, success, failure };

/// Runs sessions one after the other, each on a fresh store made by `Stores`.
///
/// `Stores` has `store_type`; `fresh()`, which returns an empty store for the next session; and
/// `find_leftovers(listed_size)`, which describes what the store holds beside its listed files, and
/// returns an empty string if there is nothing.
template <class Stores, class Hasher = filexfer::md5>
class session_runner {
  using store_type = typename Stores::store_type;
  using end_to_end_type = end_to_end<store_type, Hasher>;

 public:
  template <class... Args>
  explicit session_runner(tally& counts, Args&&... args)
      : counts_{counts}, leak_check_{counts}, stores_{std::forward<Args>(args)...} {
    keep_context_running();
  }

  session_result run(task operation, const sample& file, const scenario& c,
                     expect expected = expect::invariants) {
    task_ = operation;
    file_ = &file;
    scenario_ = &c;
    ++counts_.sessions;
    store_type& store = stores_.fresh();
    store_ = &store;
    put(resident_name, resident_);
    variant_ = c.variant.value_or(counts_.sessions);
    if (is_held()) put(held_name, file);

    session_result result;
    {
      end_to_end_type main{context_, store, c};
      end_to_end_type bystander{context_, store, {}};
      main.start(operation, target_name, file);
      result.handlers = run_to_completion(main, bystander);
      result.client_read = main.client.layer().bytes_read();
      result.client_written = main.client.layer().bytes_written();
      result.error = main.client.error;
      result.client_sent = main.client.written();
      result.server_sent = main.server.written();
      check_result(main, bystander, expected);
      check_retry();
    }
    context_.poll();
    if (virtual_timer::any_waits()) report_violation("hang", "a timer was still set");
    if (counts_.sessions % 16 == 0) check_nothing_pending();
    return result;
  }

 private:
  static constexpr std::string_view target_name = "new.bin";
  static constexpr std::string_view held_name = "held.bin";
  static constexpr std::string_view resident_name = "resident";
  static constexpr std::string_view bystander_name = "bystander";

  void report_violation(const std::string& kind, const std::string& details) {
    counts_.add_violation(kind, details + "; " + describe(task_, *file_, *scenario_));
  }

  /// Whether the store holds the file before the session.
  bool is_held() const noexcept {
    return task_ == task::list || task_ == task::download || task_ == task::upload_held;
  }

  /// Stores a file directly, before the session.
  void put(std::string_view name, const sample& file) {
    std::error_code ec;
    auto upload = store_->create({std::string{name}, file.bytes.size(), {}}, ec);
    if (!ec && !file.bytes.empty()) {
      upload->write(std::as_bytes(std::span{file.bytes.data(), file.bytes.size()}), ec);
    }
    if (!ec) upload->commit(file.id, ec);
    if (ec) report_violation("set-up", ec.message());
  }

  /// Reports operations that are still pending: they keep the context from stopping.
  void check_nothing_pending() {
    keep_alive_.cancel();
    context_.poll();
    if (!context_.stopped()) {
      report_violation("hang", "something was still under way after the operations had ended");
      context_.stop();
    }
    context_.restart();
    keep_context_running();
  }

  /// Keeps an idle context from stopping. As it expires before all other timers, it also spares
  /// Asio the slow update of the system's timer for each of them.
  void keep_context_running() {
    keep_alive_.expires_after(std::chrono::hours{24});
    keep_alive_.async_wait([](std::error_code) {});
  }

  /// Runs pair until they complete, and advances the clock when no handler is ready. Returns the
  /// number of handlers that ran until `main` had ended.
  std::size_t run_to_completion(end_to_end_type& main, end_to_end_type& bystander) {
    const scenario& c = *scenario_;
    const auto started = manual_clock::now();
    const auto bound = c.client_limits.reply + c.client_limits.line + c.server_limits.line +
                       c.server_limits.idle + 2 * c.server_limits.linger;
    bystander_task_ = variant_ % 2 == 0 ? task::list : task::upload;
    std::size_t handlers = 0;
    std::size_t main_handlers = 0;
    for (;; ++handlers) {
      if (c.cancelled != cancel_target::none && handlers == c.cancel_after)
        main.cancel(c.cancelled);
      if (!bystander.started && handlers >= c.bystander_after) {
        bystander.start(bystander_task_, bystander_name, bystander_file_);
      }
      if ((handlers + variant_) % (file_->bytes.size() < 1000 ? 8 : 256) == 0) check_listed_files();
      if (!main.ended()) main_handlers = handlers;
      if (context_.poll_one() > 0) continue;
      check_listed_files();
      if (!bystander.started) {
        bystander.start(bystander_task_, bystander_name, bystander_file_);
      } else if (main.ended() && bystander.ended()) {
        break;
      } else if ((c.cancelled == cancel_target::client && handlers > c.cancel_after &&
                  main.client.completions == 0) ||
                 (c.cancelled == cancel_target::server && handlers > c.cancel_after &&
                  main.server.completions == 0)) {
        report_violation("hang", "it goes on though it was cancelled");
        break;
      } else if (manual_clock::now() - started > bound) {
        report_violation("hang", "it goes on after more than every deadline");
        break;
      } else if (!virtual_timer::advance_to_next_expiry()) {
        report_violation("hang", "no timer is set");
        break;
      }
    }
    if (!main.ended() || !bystander.ended()) force_end(main, bystander);
    return main_handlers;
  }

  /// Ends operations that hang, so that they can be destroyed.
  void force_end(end_to_end_type& main, end_to_end_type& bystander) {
    for (end_to_end_type* pair : {&main, &bystander}) {
      std::error_code ignored;
      pair->cancel(cancel_target::client);
      pair->cancel(cancel_target::server);
      pair->client.layer().close(ignored);
      pair->server.layer().close(ignored);
    }
    context_.poll();
    if (!main.ended() || !bystander.ended()) throw std::runtime_error{counts_.summary()};
  }

  /// Checks that every listed file is whole, which must hold at any time.
  void check_listed_files() {
    std::error_code ec;
    auto cursor = store_->list(ec);
    while (!ec) {
      const auto entry = cursor.next(ec);
      if (!entry) break;
      if (const auto problem = find_problem(*entry); !problem.empty()) {
        report_violation("not whole", entry->name + ' ' + entry->id.to_string() + ' ' + problem);
      }
    }
    if (ec) report_violation("list", ec.message());
  }

  std::string find_problem(const listed_file& entry) {
    std::error_code ec;
    auto opened = store_->open(entry.id, ec);
    if (ec) return ec.message();
    if (!opened) return "can't be opened";
    bytes_.resize(static_cast<std::size_t>(entry.size) + 1);
    const auto size = opened->reader.read(std::as_writable_bytes(std::span{bytes_}), ec);
    if (ec) return ec.message();
    if (size != entry.size) return "has " + std::to_string(size) + " bytes";
    bytes_.resize(size);
    for (const sample* known : {file_, &resident_, &bystander_file_}) {
      if (known->id == entry.id) return bytes_ == known->bytes ? "" : "has other bytes";
    }
    return rfc1321_hex(bytes_) == entry.id.to_string() ? "" : "has another digest";
  }

  void check_result(const end_to_end_type& main, const end_to_end_type& bystander,
                    expect expected) {
    const auto check_completed_once = [&](int completions, const char* operation) {
      if (completions == 1) return;
      report_violation("completion", operation + (" completed " + std::to_string(completions)));
    };
    check_completed_once(main.client.completions, "the client");
    check_completed_once(main.server.completions, "the session");
    check_completed_once(bystander.client.completions, "the bystander");
    check_completed_once(bystander.server.completions, "the bystander's session");

    if (bystander.client.error || bystander.server.error) {
      report_violation("bystander", bystander.client.error.message());
    }
    if (expected == expect::success && main.client.error)
      report_violation("success", main.client.error.message());
    if (expected == expect::failure && !main.client.error)
      report_violation("failure", "it succeeded");
    if (main.client.error == filexfer::errc::end_of_stream ||
        main.client.error == asio::error::eof) {
      report_violation("error", "the stream's end was not translated");
    }
    check_client_result(main);
    if (!corrupts(*scenario_)) {
      if (const auto violation = reply_check::violation(task_, main.server.written());
          !violation.empty()) {
        report_violation("replies", violation);
      }
    }
    check_store(main);
  }

  /// Checks that the client did not report success by mistake.
  void check_client_result(const end_to_end_type& main) {
    const bool is_whole = main.client.sink.bytes == file_->bytes;
    if (main.client.sink.commits > (main.client.error || !is_whole ? 0 : 1)) {
      report_violation("false success", "a download was shown");
    }
    if (main.client.error) return;
    const auto digests =
        std::pair{main.client.uploaded.local_digest, main.client.uploaded.remote_digest};
    switch (task_) {
      case task::list: break;
      case task::upload:
      case task::upload_declared:
      case task::upload_held:
        if (digests != std::pair{file_->id, file_->id}) report_violation("false success", "upload");
        break;
      case task::download:
        if (!is_whole || main.client.sink.commits != 1 ||
            main.client.downloaded.local_digest != file_->id) {
          report_violation("false success", "download");
        }
        break;
    }
  }

  void check_store(const end_to_end_type& main) {
    std::vector<listed_file> expected{{resident_.id, std::string{resident_name}, 0}};
    expected[0].size = resident_.bytes.size();
    const auto add = [&](std::string_view name, const sample& file) {
      expected.push_back({file.id, std::string{name}, file.bytes.size()});
    };
    if (is_held()) add(held_name, *file_);
    if (bystander_task_ == task::upload) add(bystander_name, bystander_file_);
    const bool uploading = task_ != task::list && task_ != task::download;
    const listed_file target{file_->id, std::string{target_name}, file_->bytes.size()};

    const auto listed = files();
    bool target_listed = false;
    bool id_listed = false;
    std::map<md5_digest, std::uint64_t> sizes;
    for (const auto& entry : listed) {
      sizes[entry.id] = entry.size;
      if (entry.id == file_->id) id_listed = true;
      if (uploading && entry == target) {
        target_listed = true;
        continue;
      }
      const auto found = std::find(expected.begin(), expected.end(), entry);
      if (found != expected.end()) {
        expected.erase(found);
      } else if (!corrupts(*scenario_)) {
        report_violation("unexpected entry", format_entry(entry));
      }
    }
    for (const auto& missing : expected) report_violation("not listed", format_entry(missing));
    if (uploading && !main.client.error && !(corrupts(*scenario_) ? id_listed : target_listed)) {
      report_violation("not listed", "what was acknowledged");
    }
    if (task_ == task::list && !main.client.error && !corrupts(*scenario_))
      check_list(main, listed);

    std::uint64_t bytes = 0;
    for (const auto& size : sizes) bytes += size.second;
    if (const auto leftovers = stores_.find_leftovers(bytes); !leftovers.empty()) {
      report_violation("left behind", leftovers);
    }
  }

  /// Checks that a list without an error has all files stored before the session, and no file that
  /// is not stored after it.
  void check_list(const end_to_end_type& main, const std::vector<listed_file>& listed) {
    for (const auto& entry : main.client.files) {
      if (std::find(listed.begin(), listed.end(), entry) == listed.end()) {
        report_violation("false success", "list has " + format_entry(entry));
      }
    }
    for (const auto name : {resident_name, held_name}) {
      const auto named = [&](const listed_file& f) { return f.name == name; };
      if (std::count_if(main.client.files.begin(), main.client.files.end(), named) != 1) {
        report_violation("false success", "list lacks what was there all the time");
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
      all.push_back({entry->id, std::move(entry->name), entry->size});  // without attributes
    }
    return all;
  }

  /// Checks that the same operation succeeds on a new connection without faults.
  void check_retry() {
    scenario faultless;
    faultless.chunk = std::max(faultless.chunk, scenario_->chunk);
    faultless.capacity = std::max(faultless.capacity, scenario_->capacity);
    end_to_end_type again{context_, *store_, faultless};
    again.start(task_, target_name, *file_);
    context_.poll();
    if (!again.ended()) {
      report_violation("retry", "it hangs");
      while (!again.ended() && virtual_timer::advance_to_next_expiry()) context_.poll();
    }
    if (again.client.error) report_violation("retry", again.client.error.message());
    check_client_result(again);
    check_listed_files();
    if (task_ == task::list || task_ == task::download) return;
    const listed_file target{file_->id, std::string{target_name}, file_->bytes.size()};
    const auto listed = files();
    if (std::count(listed.begin(), listed.end(), target) != 1)
      report_violation("retry", "is not listed");
  }

  tally& counts_;
  leak_check leak_check_;
  Stores stores_;
  asio::io_context context_;
  asio::steady_timer keep_alive_{context_};
  const sample resident_{"here before\n"};
  const sample bystander_file_{"bystander's bytes"};
  task task_ = task::list;
  task bystander_task_ = task::list;
  const sample* file_ = nullptr;
  const scenario* scenario_ = nullptr;
  std::size_t variant_ = 0;
  store_type* store_ = nullptr;
  std::string bytes_;
};

}  // namespace test

#endif
