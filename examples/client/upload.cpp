#include "client/job_context.hpp"
#include "client/outgoing.hpp"
#include "client/unfinished_uploads.hpp"
#include "common/stdin_source.hpp"

#include <asio/detached.hpp>

#include <array>
#include <optional>
#include <set>

namespace programs {
namespace {

/// Standard input of a known size: an `upload_element`. Not retried, as it can be read only once.
class sized_stdin {
 public:
  explicit sized_stdin(const client_settings& settings)
      : name_{settings.name.value_or("stdin")}, size_{*settings.size} {}

  const std::string& name() const noexcept { return name_; }
  std::string label() const { return standard_input; }
  bool may_retry() const noexcept { return false; }
  bool may_block() const noexcept { return true; }

  /// Detects excess bytes if the size is 0; otherwise that is done before the last bytes are sent.
  void prepare(std::error_code& ec) {
    if (size_ == 0) stdin_source{size_}.check_unchanged(ec);
  }
  stdin_source open(std::error_code& ec) {
    ec.clear();
    return stdin_source{size_};
  }

  failure explain_local_error(std::error_code ec) const { return explain_local(ec); }

 private:
  std::string name_;
  std::uint64_t size_;
};

class upload_job {
 public:
  explicit upload_job(job_context& job) : job_{job}, settings_{job.settings} {}

  exit_code run() {
    const progress_display progress{job_.operations.context(), job_.out, job_.pool.progress()};
    const interruption::interruptible scope;
    if (settings_.dry_run) return settings_.skip_existing ? compare_with_list() : open_files();
    if (settings_.size) return send_sized_stdin();
    if (!settings_.no_partial) {
      const server_location& server = settings_.server;
      unfinished_.emplace(server.command ? "via " + *server.command : server.name());
    }
    outgoing_files files{settings_, unfinished_ ? &*unfinished_ : nullptr};
    if (job_.out.shows_progress()) job_.pool.async_count(outgoing_files{settings_}, asio::detached);
    const std::error_code lost = send(files);
    if (lost) report_unsent(files.arguments_used());
    report_interruption();
    job_.report_totals("upload", lost);
    return code_.code();
  }

 private:
  // --------------------------------------------------------------------------------------- dry run

  /// Reports the files that would be sent, as far as that is known without the server's help.
  exit_code open_files() {
    const auto [lost, features] = job_.operations.run<filexfer::server_features>(
        [&](auto handler) { job_.pool.async_features(std::move(handler)); });
    if (lost) {
      report_unsent(0);
      return code_.code();
    }
    std::size_t index = 0;
    for (outgoing_file& file : outgoing_files{settings_}) {
      if (interruption::received()) break;
      std::error_code ec = file.error();
      std::uint64_t size = 0;
      if (!ec && !filexfer::is_name(file.name())) ec = filexfer::errc::bad_name;
      if (!ec) {
        const filexfer::file_source source = file.open(ec);
        if (!ec) size = source.size();
      }
      if (ec) report_local_failure(index, file, ec);
      else report_forecast(outcome::would_send, file, {}, size);
      ++index;
    }
    return code_.code();
  }

  /// Reports the files that the server lacks. Asks for its list, as HAVE would add the names.
  exit_code compare_with_list() {
    std::set<filexfer::any_digest> stored;
    held_entries held;
    const auto [lost, entries] = job_.operations.run<std::uint64_t>([&](auto handler) {
      const auto on_entry = [&](const filexfer::listed_file& file, std::error_code& ec) {
        if (stored.insert(file.id).second) held.add(ec);
      };
      job_.pool.async_list_files({}, on_entry, std::move(handler));
    });
    if (lost) {
      report_unsent(0);
      return code_.code();
    }
    const auto on_result = [&](const filexfer::file_result<outgoing_file>& result) {
      const outgoing_file& file = result.element;
      const bool is_missing = result.failure.origin == filexfer::failure_origin::peer;
      std::error_code failed = is_missing ? std::error_code{} : result.failure.error;
      if (is_missing && !filexfer::is_name(file.name())) failed = filexfer::errc::bad_name;
      if (failed) {
        report_local_failure(result.index, file, failed);
        return;
      }
      const outcome forecast = !is_missing                             ? outcome::would_skip
                               : stored.count(result.local_digest) > 0 ? outcome::would_add_name
                                                                       : outcome::would_send;
      report_forecast(forecast, file, result.local_digest.to_string(), result.size);
    };
    const auto [ec, totals] = job_.operations.run<filexfer::transfer_totals>([&](auto handler) {
      job_.pool.async_verify(outgoing_files{settings_}, on_result, std::move(handler));
    });
    const bool nothing_done = totals.transferred + totals.already_present + totals.failed == 0;
    if (ec && nothing_done) report_unsent(0);
    return code_.code();
  }

  void report_forecast(outcome forecast, const outgoing_file& file, std::string id,
                       std::uint64_t size) {
    job_.out.report_file(
        {forecast, transfer_direction::up, std::move(id), {}, file.name(), file.label(), size});
  }

  // -------------------------------------------------------------------------------------- transfer

  /// Reports the arguments from the index `first` on, as the server was lost.
  void report_unsent(std::size_t first) {
    for (std::size_t i = first; i < settings_.arguments.size(); ++i) {
      if (!interruption::received())
        code_.note(job_code::last, job_.report_pool_failure(settings_.arguments[i]));
    }
  }

  exit_code send_sized_stdin() {
    std::array files{sized_stdin{settings_}};
    if (job_.out.shows_progress()) job_.pool.async_count(std::array{files}, asio::detached);
    send(files);
    return code_.code();
  }

  /// Uploads `files`. Returns an error if files are left because the server was lost.
  template <class Files>
  std::error_code send(Files& files) {
    using element = filexfer::range_element_t<Files>;
    const auto on_result = [this](const filexfer::file_result<element>& result) {
      report_result(result);
    };
    const auto start = [&](auto handler) {
      if (settings_.skip_existing)
        job_.pool.async_upload_missing(files, on_result, std::move(handler));
      else job_.pool.async_upload(files, on_result, std::move(handler));
    };
    return std::get<0>(job_.operations.run<filexfer::transfer_totals>(start));
  }

  template <class Element>
  void report_result(const filexfer::file_result<Element>& result) {
    const Element& file = result.element;
    const std::error_code ec = result.failure.error;
    const std::string here = result.local_digest.to_string();
    const std::string there = result.remote_digest.to_string();
    const bool goes_on = note_end(result);
    file_report report{outcome::success, transfer_direction::up, there,      {},
                       file.name(),      file.label(),           result.size};
    if (!ec) {
      if (!result.transferred) report.result = outcome::already_present;
      job_.out.report_file(report);
    } else if (ec == filexfer::errc::digest_mismatch) {
      report.result = outcome::fail;
      report.id = here;
      report.id_there = there;
      job_.out.report_file(report);
      report_failure(result.index, file.label(),
                     {wrong_digest, "the server computed " + there + ", this file is " + here +
                                        ": damaged on the way; upload it again"},
                     digests_differ);
    } else if (interruption::received()) {
      report_failure(result.index, file.label(), explain_interrupted(goes_on));
    } else if (result.failure.origin == filexfer::failure_origin::local) {
      report_local_failure(result.index, file, ec);
    } else {
      report_failure(result.index, file.label(), job_.explain(result.failure));
    }
  }

  /// Forgets the upload, unless the same command can go on with it. Returns whether it can.
  template <class Element>
  bool note_end(const filexfer::file_result<Element>& result) {
    if constexpr (requires { result.element.resume_token(); }) {
      const std::string& token = result.element.resume_token();
      if (!unfinished_ || token.empty()) return false;
      const auto& [ec, origin] = std::tie(result.failure.error, result.failure.origin);
      const bool may_be_kept = interruption::received() ? ec != filexfer::errc::digest_mismatch
                                                        : filexfer::is_retryable(ec, origin);
      if (ec && may_be_kept) return true;
      unfinished_->end(token);
    }
    return false;
  }

  static failure explain_interrupted(bool goes_on) {
    const std::string kept{server_may_keep};
    if (goes_on) return {interrupted, "interrupted; " + kept + std::string{same_command_goes_on}};
    return {interrupted, "interrupted before the server confirmed it; " + kept};
  }

  /// Reports an interruption while a file waited for another attempt, as it has no result.
  void report_interruption() {
    const bool waited = unfinished_ && unfinished_->has_begun();
    if (waited && interruption::received() && !job_.out.has_reported_interruption())
      job_.out.report("filexfer-client", explain_interrupted(true));
  }

  template <class Element>
  void report_local_failure(std::size_t index, const Element& file, std::error_code ec) {
    const bool is_name = settings_.name && ec == filexfer::errc::bad_name;
    const failure why = file.explain_local_error(ec);
    if (why.code == done) job_.out.count_skipped(ec);
    report_failure(index, is_name ? file.name() : file.label(), why);
  }

  void report_failure(std::size_t index, std::string_view subject, const failure& why,
                      std::string_view reason = {}) {
    code_.note(index, job_.out.report_failed(subject, why, reason));
  }

  job_context& job_;
  const client_settings& settings_;
  std::optional<unfinished_uploads> unfinished_;
  job_code code_;
};

}  // namespace

exit_code upload(job_context& job) { return upload_job{job}.run(); }

}  // namespace programs
