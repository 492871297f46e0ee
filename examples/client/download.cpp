#include "client/incoming.hpp"
#include "client/job_context.hpp"
#include "client/lookup.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

namespace programs {
namespace {

using filexfer::any_digest;
using filexfer::download_target;
using filexfer::errc;
using filexfer::failure_origin;

/// A `seekable_source` that can't be read any more after an interruption.
struct interruptible_file {
  filexfer::file_source& file;

  std::uint64_t size() const noexcept { return file.size(); }
  void seek(std::uint64_t offset, std::error_code& ec) const { file.seek(offset, ec); }
  std::size_t read(std::span<std::byte> to, std::error_code& ec) const {
    if (!interruption::received()) return file.read(to, ec);
    ec = std::make_error_code(std::errc::operation_canceled);
    return 0;
  }
};

class download_job {
 public:
  explicit download_job(job_context& job) : job_{job}, settings_{job.settings} {}

  exit_code run() {
    const progress_display progress{job_.operations.context(), job_.out, job_.pool.progress()};
    if (settings_.output == "-") return fetch_to_stdout();
    const interruption::interruptible scope;
    return settings_.all_names ? fetch_all() : fetch_arguments();
  }

 private:
  // --------------------------------------------------------------------------------- by id or name

  exit_code fetch_arguments() {
    std::error_code ec;
    auto target = target_for(settings_.arguments.size(), ec);
    if (ec) return job_.out.report(settings_.output, explain_local(ec));
    lookup_.find_arguments();
    if (lookup_.has_pattern()) {
      target = target_for(several, ec);
      if (ec) return job_.out.report(settings_.output, explain_local(ec));
    }
    for (const std::string& argument : settings_.arguments) {
      lookup_.add_argument(*target, argument);
    }
    const std::error_code lost = fetch();
    for (const incoming_file& file : files_) {
      if (lost && !file.was_reported && !interruption::received())
        code_.note(job_code::last, job_.report_pool_failure(file.label()));
    }
    job_.report_totals("download", lost);
    return code_.code();
  }

  std::optional<download_target> target_for(std::size_t count, std::error_code& ec) const {
    return choose_target(settings_.output.empty() ? "." : settings_.output, count, settings_, ec);
  }

  // ------------------------------------------------------------------------------------------- all

  exit_code fetch_all() {
    named_files files;
    const failure list_failure = lookup_.find_all(files);
    if (list_failure.code != done) return job_.out.report("list", list_failure);
    if (files.empty() && !settings_.prefix.empty()) {
      return job_.out.report(
          settings_.prefix,
          {refused,
           "the server has no file whose name begins with that prefix and is not excluded"});
    }
    std::error_code ec;
    const std::string folder = settings_.output.empty() ? "." : settings_.output;
    if (settings_.dry_run && !std::filesystem::exists(folder)) {
      return forecast_new_folder(folder, std::move(files));
    }
    if (!settings_.dry_run) std::filesystem::create_directory(folder, ec);
    const auto target = ec ? std::nullopt : target_for(several, ec);
    if (ec) return job_.out.report(folder, explain_local(ec));
    for (auto& [name, versions] : files) lookup_.add_versions(*target, versions);
    files.clear();
    job_.report_totals("download", fetch());
    return code_.code();
  }

  /// Reports that all files would be fetched to a folder that would be created.
  exit_code forecast_new_folder(const std::filesystem::path& folder, named_files files) {
    const std::filesystem::path parent = std::filesystem::absolute(folder).parent_path();
    if (!std::filesystem::is_directory(parent)) {
      const auto ec = std::make_error_code(std::errc::no_such_file_or_directory);
      return job_.out.report(folder.string(), explain_local(ec));
    }
    const auto no_target = download_target::file(folder);
    for (auto& [name, versions] : files) lookup_.add_versions(no_target, versions);
    for (const incoming_file& file : files_) report_fetch(file, folder / file.name());
    return code_.code();
  }

  // ------------------------------------------------------------------------------------- the files

  /// Downloads `files_`. Returns an error if files are left because the server was lost.
  std::error_code fetch() {
    if (interruption::received()) return {};
    if (settings_.dry_run) {
      forecast();
      return {};
    }
    for (incoming_file& file : files_) {
      file.keeps_part = !settings_.no_partial;
      if (!file.error()) job_.pool.progress().expect(file.size());
    }
    job_.pool.progress().expect_no_more();
    const auto on_result = [this](const filexfer::file_result<incoming_file>& result) {
      report_result(result);
    };
    const auto [ec, totals] = job_.operations.run<filexfer::transfer_totals>(
        [&](auto handler) { job_.pool.async_download(files_, on_result, std::move(handler)); });
    if (interruption::received()) report_kept_parts();
    return ec;
  }

  // --------------------------------------------------------------------------------------- dry run

  /// Reports what would be done with each file.
  void forecast() {
    std::size_t index = 0;
    for (const incoming_file& file : files_) {
      if (interruption::received()) return;
      if (file.error()) report_failure(index, file.label(), file.lookup_failure());
      else forecast(index, file);
      ++index;
    }
  }

  void forecast(std::size_t index, const incoming_file& file) {
    std::error_code ec;
    auto existing = file.existing(ec);
    const std::string path = file.path().string();
    if (ec == errc::bad_name) {
      report_failure(index, path, {local_error, "is not a valid file name here"});
    } else if (ec == std::errc::no_such_file_or_directory) {
      report_fetch(file, path);
    } else if (ec == std::errc::is_a_directory || ec == std::errc::not_a_directory) {
      report_failure(index, path, explain_local(ec));
    } else if (existing && has_digest(*existing, file.id())) {
      report_file(outcome::would_skip, file, path);
    } else if (settings_.policy == filexfer::on_existing::keep) {
      report_failure(index, path, explain_local(errc::file_exists));
    } else {
      report_fetch(file, path);
    }
  }

  void report_fetch(const incoming_file& file, const std::filesystem::path& path) {
    report_file(outcome::would_fetch, file, path.string());
  }

  void report_file(outcome result, const incoming_file& file, const std::string& path) {
    job_.out.report_file({result,
                          transfer_direction::down,
                          file.id().to_string(),
                          {},
                          file.requested_name(),
                          path,
                          file.size().value_or(0)});
  }

  /// Whether the file has that digest; false if it can't be read, or after an interruption.
  static bool has_digest(filexfer::file_source& file, const any_digest& id) {
    return id.size() == filexfer::md5::digest_type::size ? hashes_to<filexfer::md5>(file, id)
                                                         : hashes_to<filexfer::sha256>(file, id);
  }

  template <class Hasher>
  static bool hashes_to(filexfer::file_source& file, const any_digest& id) {
    std::error_code ec;
    interruptible_file source{file};
    const any_digest found = filexfer::hash_of<Hasher>(source, ec);
    return !ec && found == id;
  }

  // --------------------------------------------------------------------------------------- results

  void report_result(const filexfer::file_result<incoming_file>& result) {
    incoming_file& file = result.element;
    const std::error_code ec = result.failure.error;
    const std::string id = file.id().to_string();
    const std::string path = file.path().string();
    const std::string& name = file.requested_name().empty() ? result.name : file.requested_name();
    const bool is_local = result.failure.origin == failure_origin::local;
    file.was_reported = true;
    if (!ec) {
      job_.out.report_file({result.transferred ? outcome::success : outcome::already_present,
                            transfer_direction::down,
                            id,
                            {},
                            name,
                            path,
                            result.size});
      if (!file.keeps_time()) {
        job_.out.report(file.label(),
                        {done, "its time, " + filexfer::format_time(*file.modified()) +
                                   " s since 1970, can't be kept here; it has the nearest"});
      }
    } else if (file.error()) {
      report_failure(result.index, file.label(), file.lookup_failure());
    } else if (ec == errc::digest_mismatch) {
      const std::string arrived = result.local_digest.to_string();
      job_.out.report_file(
          {outcome::fail, transfer_direction::down, arrived, id, name, path, result.size});
      report_failure(result.index, file.label(), explain_mismatch(arrived, id, "nothing was kept"),
                     digests_differ);
    } else if (interruption::received()) {
      report_failure(result.index, file.label(), explain_interrupted(file));
    } else if (is_local && ec == errc::bad_name) {
      report_failure(result.index, path, {local_error, "is not a valid file name here"});
    } else if (is_local && ec == errc::not_private) {
      report_failure(result.index, file.part_path().string(),
                     {local_error,
                      "is no partial download of yours, and can't be removed; remove it to "
                      "download " +
                          path});
    } else if (is_local && !path.empty()) {
      report_failure(result.index, path, explain_target(path, ec));
    } else {
      report_failure(result.index, file.label(), job_.explain(result.failure));
    }
  }

  static failure explain_interrupted(const incoming_file& file) {
    const std::filesystem::path part = file.part_path();
    std::error_code ec;
    const auto size = part.empty() ? 0 : std::filesystem::file_size(part, ec);
    if (ec || size == 0) return {interrupted, "interrupted; nothing was kept"};
    return {interrupted, "interrupted; " + format_size(size) + " are kept in " +
                             filexfer::printable(part.string()) +
                             std::string{same_command_goes_on}};
  }

  /// Reports the files that waited for another attempt, and have a part.
  void report_kept_parts() {
    for (std::size_t i = 0; i < files_.size(); ++i) {
      const incoming_file& file = files_[i];
      std::error_code ec;
      if (file.was_reported || file.error()) continue;
      if (std::filesystem::exists(file.part_path(), ec))
        report_failure(i, file.label(), explain_interrupted(file));
    }
  }

  static failure explain_mismatch(const std::string& arrived, const std::string& expected,
                                  const char* consequence) {
    return {wrong_digest, "received " + arrived + ", expected " + expected + "; " + consequence};
  }

  void report_failure(std::size_t index, std::string_view subject, const failure& why,
                      std::string_view reason = {}) {
    code_.note(index, job_.out.report_failed(subject, why, reason));
  }

  /// Not interruptible, as writing may block: a signal ends the process at once.
  exit_code fetch_to_stdout() {
    const std::string& argument = settings_.arguments.front();
    lookup_.find_arguments();
    lookup_.add_argument(download_target::file("standard output"), argument);
    if (files_.size() > 1) {
      const std::string count = std::to_string(files_.size());
      return job_.out.report(argument, {wrong_usage, count + " files match; -o - needs one"});
    }
    const incoming_file& found = files_.front();
    if (found.error()) return job_.out.report(argument, found.lookup_failure());
    job_.pool.progress().expect(found.size());
    job_.pool.progress().expect_no_more();
    std::array downloads{stdout_download{found.id(), argument}};
    const auto on_result = [&](const filexfer::file_result<stdout_download>& result) {
      const std::error_code ec = result.failure.error;
      const bool is_local = result.failure.origin == failure_origin::local;
      if (ec == errc::digest_mismatch) {
        report_failure(0, argument,
                       explain_mismatch(result.local_digest.to_string(), found.id().to_string(),
                                        "the output is wrong"));
      } else if (ec) {
        report_failure(0, is_local ? "standard output" : argument, job_.explain(result.failure));
      }
    };
    job_.operations.run<filexfer::transfer_totals>(
        [&](auto handler) { job_.pool.async_download(downloads, on_result, std::move(handler)); });
    return code_.code();
  }

  static constexpr std::size_t several = 2;  ///< A number of files whose target is a folder.

  job_context& job_;
  const client_settings& settings_;
  file_lookup lookup_{job_};
  std::vector<incoming_file>& files_ = lookup_.files();
  job_code code_;
};

}  // namespace

exit_code download(job_context& job) { return download_job{job}.run(); }

}  // namespace programs
