#include "client/job_context.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <vector>

#include <unistd.h>

namespace programs {
namespace {

using filexfer::any_digest;
using filexfer::download_target;
using filexfer::errc;
using filexfer::failure_origin;
using filexfer::listed_file;

/// The files at the server, by name.
using named_files = std::map<std::string, std::vector<listed_file>>;

/// A file to download: a `download_element`.
class incoming_file : public filexfer::file_download {
 public:
  /// A file named by its id.
  incoming_file(download_target to, const any_digest& id, std::string argument)
      : file_download{std::move(to), id}, label_{std::move(argument)} {}

  /// A file named by its name at the server.
  incoming_file(download_target to, listed_file file, std::string name)
      : file_download{std::move(to), std::move(file)}, label_{name}, name_{std::move(name)} {}

  /// An argument for which no file could be determined.
  incoming_file(download_target to, std::string argument, failure why)
      : file_download{std::move(to), any_digest{}},
        label_{std::move(argument)},
        lookup_failure_{std::move(why)} {}

  /// Keeps no partial file after an interruption.
  struct sink : file_download::sink {
    using file_download::sink::sink;
    void keep() {
      if (!interruption::received()) file_download::sink::keep();
    }
  };
  sink open(std::error_code& ec) { return {*this, ec}; }

  std::error_code error() const {
    return lookup_failure_.code == done ? std::error_code{} : errc::not_found;
  }
  const failure& lookup_failure() const noexcept { return lookup_failure_; }

  /// The file's name in messages.
  const std::string& label() const noexcept { return label_; }

  /// The file's name at the server; empty if it was named by its id.
  const std::string& requested_name() const noexcept { return name_; }

  bool was_reported = false;

 private:
  std::string label_;
  std::string name_;
  failure lookup_failure_;
};

/// A file to write to standard output as it arrives: a `download_element`.
class stdout_download {
 public:
  stdout_download(const any_digest& id, std::string label) : id_{id}, label_{std::move(label)} {}

  struct sink : filexfer::descriptor_sink {
    explicit sink(bool& flag) : descriptor_sink{STDOUT_FILENO}, has_written{flag} {}
    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      has_written = true;
      descriptor_sink::write(bytes, ec);
    }
    bool& has_written;
  };

  const any_digest& id() const noexcept { return id_; }
  const std::string& label() const noexcept { return label_; }
  bool may_retry() const noexcept { return !has_written_; }
  sink open(std::error_code& ec) {
    ec.clear();
    return sink{has_written_};
  }

 private:
  any_digest id_;
  std::string label_;
  bool has_written_ = false;
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
    const auto target = target_for(settings_.arguments.size(), ec);
    if (ec) return job_.out.report(settings_.output, explain_local(ec));
    failure list_failure;
    const named_files files = find_named(list_failure);
    for (const std::string& argument : settings_.arguments) {
      add_argument(*target, files, list_failure, argument);
    }
    if (!fetch()) return code_.code();
    for (const incoming_file& file : files_) {
      if (!file.was_reported && !interruption::received())
        code_.note(job_code::last, job_.report_pool_failure(file.label()));
    }
    return code_.code();
  }

  std::optional<download_target> target_for(std::size_t count, std::error_code& ec) const {
    return choose_target(settings_.output.empty() ? "." : settings_.output, count, settings_.policy,
                         ec);
  }

  /// Finds the files at the server that are named by an argument; ids are not looked up.
  named_files find_named(failure& list_failure) {
    named_files found;
    const auto [ec, server] = job_.operations.run<filexfer::server_features>(
        [&](auto handler) { job_.pool.async_features(std::move(handler)); });
    if (ec) {
      list_failure = job_.explain(job_.pool.last_failure());
      is_digest_unknown_ = true;
      return found;
    }
    id_digits_ = server.digest == filexfer::sha256::name()
                     ? filexfer::sha256::digest_type::hex_digits
                     : filexfer::md5::digest_type::hex_digits;
    for (const std::string& argument : settings_.arguments) {
      if (!is_id(argument)) found[argument];
    }
    if (found.empty()) return found;
    list_failure = list({.mtime = true}, [&](const listed_file& file, std::error_code&) {
      const auto named = found.find(file.name);
      if (named != found.end()) named->second.push_back(file);
    });
    return found;
  }

  bool is_id(const std::string& argument) const {
    return argument.size() == id_digits_ && any_digest::from_hex(argument);
  }

  void add_argument(const download_target& target, const named_files& found,
                    const failure& list_failure, const std::string& argument) {
    if (!is_digest_unknown_ && is_id(argument)) {
      files_.emplace_back(target, *any_digest::from_hex(argument), argument);
      return;
    }
    failure why = list_failure;
    if (why.code == done) why = check_is_unique(found.at(argument), argument);
    if (why.code == done) files_.emplace_back(target, found.at(argument).front(), argument);
    else files_.emplace_back(target, argument, std::move(why));
  }

  /// Fails unless exactly one file has the name `argument`.
  failure check_is_unique(const std::vector<listed_file>& files,
                          const std::string& argument) const {
    if (files.size() == 1) return {};
    if (files.empty()) {
      std::string why = "the server has no file of that name";
      if (any_digest::from_hex(argument)) {
        why += ", and its ids have " + std::to_string(id_digits_) + " digits: another digest";
      }
      return {refused, why};
    }
    std::string why = "several files bear that name; download one by its id:";
    for (const listed_file& file : files) why += "\n  " + file.id.to_string();
    return {wrong_usage, why};
  }

  // ------------------------------------------------------------------------------------------- all

  exit_code fetch_all() {
    named_files files;
    std::size_t count = 0;
    const failure list_failure =
        list({settings_.prefix, true}, [&](const listed_file& file, std::error_code& ec) {
          if (++count > filexfer::client_options{}.max_entries) ec = errc::too_many_entries;
          else files[file.name].push_back(file);
        });
    if (list_failure.code != done) return job_.out.report("list", list_failure);
    if (files.empty() && !settings_.prefix.empty()) {
      return job_.out.report(settings_.prefix,
                             {refused, "the server has no file whose name begins so"});
    }
    std::error_code ec;
    const std::string folder = settings_.output.empty() ? "." : settings_.output;
    std::filesystem::create_directory(folder, ec);
    constexpr std::size_t several = 2;  // the target has to be a folder
    const auto target = ec ? std::nullopt : target_for(several, ec);
    if (ec) return job_.out.report(folder, explain_local(ec));
    for (auto& [name, versions] : files) add_versions(*target, versions);
    files.clear();
    fetch();
    return code_.code();
  }

  /// Adds the newest of the files that have the same name, or all.
  void add_versions(const download_target& target, std::vector<listed_file>& files) {
    const std::string name = files.front().name;
    std::sort(files.begin(), files.end(), [](const listed_file& a, const listed_file& b) {
      return std::tie(a.modified, a.id) < std::tie(b.modified, b.id);
    });
    const bool several = files.size() > 1;
    if (several && settings_.versions_wanted == versions::all) {
      for (listed_file& file : files) {
        file.name += '.' + file.id.to_string();
        files_.emplace_back(target, file, name);
      }
      return;
    }
    const listed_file& newest = files.back();
    if (several) {
      job_.out.report(
          name, {done, std::to_string(files.size()) + " files bear that name: the newest, " +
                           newest.id.to_string() + ", is fetched; --all-versions fetches each"});
    }
    files_.emplace_back(target, newest, name);
  }

  template <class OnEntry>
  failure list(const filexfer::list_request& request, OnEntry on_entry) {
    const auto [ec, entries] = job_.operations.run<std::uint64_t>(
        [&](auto handler) { job_.pool.async_list_files(request, on_entry, std::move(handler)); });
    return ec ? job_.explain(job_.pool.last_failure()) : failure{};
  }

  // ------------------------------------------------------------------------------------- the files

  /// Downloads `files_`. Returns whether files are left because the server was lost.
  bool fetch() {
    if (interruption::received()) return false;
    for (const incoming_file& file : files_) {
      if (!file.error()) job_.pool.progress().expect(file.size());
    }
    job_.pool.progress().expect_no_more();
    const auto on_result = [this](const filexfer::file_result<incoming_file>& result) {
      report_result(result);
    };
    const auto [ec, totals] = job_.operations.run<filexfer::transfer_totals>(
        [&](auto handler) { job_.pool.async_download(files_, on_result, std::move(handler)); });
    return static_cast<bool>(ec);
  }

  void report_result(const filexfer::file_result<incoming_file>& result) {
    incoming_file& file = result.element;
    const std::error_code ec = result.failure.error;
    const std::string id = file.id().to_string();
    const std::string path = file.path().string();
    const std::string& name = file.requested_name().empty() ? result.name : file.requested_name();
    const bool is_local = result.failure.origin == failure_origin::local;
    file.was_reported = true;
    if (!ec) {
      job_.out.report_file({result.moved ? outcome::success : outcome::already_there,
                            transfer_direction::down,
                            id,
                            {},
                            name,
                            path,
                            result.size});
    } else if (file.error()) {
      report_failure(result.index, file.label(), file.lookup_failure());
    } else if (ec == errc::digest_mismatch) {
      const std::string arrived = result.computed_here.to_string();
      job_.out.report_file(
          {outcome::fail, transfer_direction::down, arrived, id, name, path, result.size});
      report_failure(result.index, file.label(), explain_mismatch(arrived, id, "nothing was kept"));
    } else if (is_local && ec == errc::bad_name && !interruption::received()) {
      report_failure(result.index, path, {local_error, "is no name for a file here"});
    } else {
      report_failure(result.index, is_local && !path.empty() ? path : file.label(),
                     job_.explain(result.failure));
    }
  }

  static failure explain_mismatch(const std::string& arrived, const std::string& expected,
                                  const char* consequence) {
    return {wrong_digest, "what arrived is " + arrived + ", not " + expected + "; " + consequence};
  }

  void report_failure(std::size_t index, std::string_view subject, const failure& why) {
    code_.note(index, job_.out.report(subject, why));
  }

  /// Not interruptible, as writing may block: a signal ends the process at once.
  exit_code fetch_to_stdout() {
    const std::string& argument = settings_.arguments.front();
    failure list_failure;
    const named_files files = find_named(list_failure);
    const auto target = download_target::file("standard output");
    add_argument(target, files, list_failure, argument);
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
                       explain_mismatch(result.computed_here.to_string(), found.id().to_string(),
                                        "what was written is wrong"));
      } else if (ec) {
        report_failure(0, is_local ? "standard output" : argument, job_.explain(result.failure));
      }
    };
    job_.operations.run<filexfer::transfer_totals>(
        [&](auto handler) { job_.pool.async_download(downloads, on_result, std::move(handler)); });
    return code_.code();
  }

  job_context& job_;
  const client_settings& settings_;
  std::vector<incoming_file> files_;
  std::size_t id_digits_ = 0;       ///< Hex digits of the server's ids.
  bool is_digest_unknown_ = false;  ///< The server's features could not be had.
  job_code code_;
};

}  // namespace

exit_code download(job_context& job) { return download_job{job}.run(); }

}  // namespace programs
