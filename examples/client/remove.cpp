#include "client/job_context.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace programs {
namespace {

using filexfer::any_digest;
using filexfer::listed_file;

/// The files that an argument means: those with that name, or all names of the file with that id.
std::vector<listed_file> find_files(const std::vector<listed_file>& all,
                                    const std::string& argument) {
  std::vector<listed_file> found;
  const auto keep_if = [&](auto matches) {
    std::copy_if(all.begin(), all.end(), std::back_inserter(found), matches);
  };
  keep_if([&](const listed_file& file) { return file.name == argument; });
  const auto id = any_digest::from_hex(argument);
  if (found.empty() && id) keep_if([&](const listed_file& file) { return file.id == *id; });
  return found;
}

/// Fails if there is no file, or if there are several different ones.
failure check_found(const std::vector<listed_file>& files) {
  if (files.empty()) return {refused, "the server has no file of that name or id"};
  const bool same = std::all_of(files.begin(), files.end(),
                                [&](const listed_file& f) { return f.id == files.front().id; });
  return same ? failure{} : explain_ambiguous(files);
}

}  // namespace

exit_code remove(job_context& job) {
  const interruption::interruptible scope;
  const std::vector<std::string>& wanted = job.settings.arguments;
  const bool may_be_id = std::any_of(wanted.begin(), wanted.end(), any_digest::from_hex);
  const std::string prefix = may_be_id ? std::string{} : common_prefix(wanted);
  std::vector<listed_file> all;
  held_entries held;
  const auto on_entry = [&](const listed_file& file, std::error_code& ec) {
    if (held.add(ec)) all.push_back(file);
  };
  const auto [list_error, entries] = job.operations.run<std::uint64_t>(
      [&](auto handler) { job.pool.async_list_files({prefix}, on_entry, std::move(handler)); });
  if (list_error) return job.report_pool_failure("list");
  job_code code;
  std::size_t index = 0;
  for (const std::string& argument : wanted) {
    const auto files = find_files(all, argument);
    const failure unclear = check_found(files);
    if (unclear.code != done) code.note(index, job.out.report(argument, unclear));
    for (const listed_file& file : files) {
      if (unclear.code != done || interruption::received()) break;
      const auto [ec, found] = job.operations.run<bool>(
          [&](auto handler) { job.pool.async_remove(file.id, file.name, std::move(handler)); });
      if (ec) {
        code.note(index, job.report_pool_failure(file.name));
        continue;
      }
      job.out.report_file({outcome::removed,
                           transfer_direction::up,
                           file.id.to_string(),
                           {},
                           file.name,
                           file.name,
                           file.size});
    }
    ++index;
  }
  return code.code();
}

}  // namespace programs
