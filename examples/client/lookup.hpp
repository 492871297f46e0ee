#ifndef PROGRAMS_CLIENT_LOOKUP_HPP
#define PROGRAMS_CLIENT_LOOKUP_HPP

/// \file
/// The lookup of what the arguments of a download mean at the server.

#include "client/incoming.hpp"
#include "client/job_context.hpp"

#include <filexfer/filexfer.hpp>

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace programs {

/// The files at the server, by name.
using named_files = std::map<std::string, std::vector<filexfer::listed_file>>;

/// Looks up files at the server, and collects those to download.
class file_lookup {
 public:
  explicit file_lookup(job_context& job) : job_{job}, settings_{job.settings} {}

  /// Finds the files that are named by an argument, or match it; ids are not looked up. After a
  /// failure, each argument for which that matters is added as a file with that failure.
  void find_arguments();

  /// Whether an argument is a pattern: it may be one, and is no file's name.
  bool has_pattern() const;

  /// Adds the files that an argument means.
  void add_argument(const filexfer::download_target& target, const std::string& argument);

  /// Finds all files that `--all` means.
  failure find_all(named_files& files);

  /// Adds the newest of the files that have the same name, or all.
  void add_versions(const filexfer::download_target& target,
                    std::vector<filexfer::listed_file>& files);

  /// The files that were added.
  std::vector<incoming_file>& files() noexcept { return files_; }

 private:
  bool is_id(const std::string& argument) const;
  bool is_pattern(const std::string& argument) const;
  void add_id(const filexfer::download_target& target, const std::string& argument);
  void add_matching(const filexfer::download_target& target, const std::string& pattern);
  failure check_is_unique(const std::string& argument) const;

  template <class OnEntry>
  failure list(const filexfer::list_request& request, OnEntry on_entry);

  job_context& job_;
  const client_settings& settings_;
  std::vector<incoming_file> files_;
  failure failure_;                              ///< Why the arguments could not be found.
  std::size_t id_digits_ = 0;                    ///< Hex digits of the server's ids.
  bool is_digest_unknown_ = false;               ///< The server's features could not be had.
  named_files named_;                            ///< By argument: the files of that name.
  std::map<std::string, named_files> matching_;  ///< By argument: those that match the pattern.
  std::map<filexfer::any_digest, std::optional<filexfer::listed_file>> with_id_;  ///< `--dry-run`.
  std::set<std::string> matched_;  ///< Names of the files that a pattern has added.
};

}  // namespace programs

#endif
