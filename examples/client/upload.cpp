#include "client/job_context.hpp"
#include "client/outgoing.hpp"
#include "common/stdin_source.hpp"

#include <asio/detached.hpp>

#include <array>

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
    if (settings_.size) return send_sized_stdin();
    outgoing_files files{settings_};
    if (job_.out.shows_progress()) job_.pool.async_count(outgoing_files{settings_}, asio::detached);
    const std::error_code ec = send(files);
    for (std::size_t i = files.arguments_used(); ec && i < settings_.arguments.size(); ++i) {
      if (!interruption::received())
        code_.note(job_code::last, job_.report_pool_failure(settings_.arguments[i]));
    }
    return code_.code();
  }

 private:
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
    const std::string here = result.computed_here.to_string();
    const std::string there = result.computed_there.to_string();
    file_report report{outcome::success, transfer_direction::up, there,      {},
                       file.name(),      file.label(),           result.size};
    if (!ec) {
      if (!result.moved) report.result = outcome::already_there;
      job_.out.report_file(report);
    } else if (ec == filexfer::errc::digest_mismatch) {
      report.result = outcome::fail;
      report.id = here;
      report.id_there = there;
      job_.out.report_file(report);
      report_failure(result.index, file.label(),
                     {wrong_digest, "the server computed " + there + ", this file is " + here +
                                        ": damaged on the way; upload it again"});
    } else if (result.failure.origin == filexfer::failure_origin::local &&
               !interruption::received()) {
      const bool is_name = settings_.name && ec == filexfer::errc::bad_name;
      report_failure(result.index, is_name ? file.name() : file.label(),
                     file.explain_local_error(ec));
    } else {
      report_failure(result.index, file.label(), job_.explain(result.failure));
    }
  }

  void report_failure(std::size_t index, std::string_view subject, const failure& why) {
    code_.note(index, job_.out.report(subject, why));
  }

  job_context& job_;
  const client_settings& settings_;
  job_code code_;
};

}  // namespace

exit_code upload(job_context& job) { return upload_job{job}.run(); }

}  // namespace programs
