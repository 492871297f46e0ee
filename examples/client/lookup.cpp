#include "client/lookup.hpp"

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <tuple>
#include <utility>

namespace programs {

using filexfer::any_digest;
using filexfer::download_target;
using filexfer::listed_file;

template <class OnEntry>
failure file_lookup::list(const filexfer::list_request& request, OnEntry on_entry) {
  const auto [ec, entries] = job_.operations.run<std::uint64_t>(
      [&](auto handler) { job_.pool.async_list_files(request, on_entry, std::move(handler)); });
  return ec ? job_.explain(job_.pool.last_failure()) : failure{};
}

// ------------------------------------------------------------------------------------- arguments

void file_lookup::find_arguments() {
  const auto [ec, server] = job_.operations.run<filexfer::server_features>(
      [&](auto handler) { job_.pool.async_features(std::move(handler)); });
  if (ec) {
    failure_ = job_.explain(job_.pool.last_failure());
    is_digest_unknown_ = true;
    return;
  }
  id_digits_ = server.digest == filexfer::sha256::name() ? filexfer::sha256::digest_type::hex_digits
                                                         : filexfer::md5::digest_type::hex_digits;
  std::vector<std::string> names;
  for (const std::string& argument : settings_.arguments) {
    if (is_id(argument)) {
      if (settings_.dry_run) with_id_[*any_digest::from_hex(argument)];
      continue;
    }
    names.push_back(argument);
    named_[argument];
    if (filexfer::has_glob_characters(argument)) matching_[argument];
  }
  if (named_.empty() && with_id_.empty()) return;
  const std::string prefix = with_id_.empty() ? common_prefix(names) : std::string{};
  held_entries held;
  failure_ = list({prefix, true, true}, [&](const listed_file& file, std::error_code& stop) {
    const auto same_id = with_id_.find(file.id);
    if (same_id != with_id_.end() && !same_id->second) same_id->second = file;
    const auto named = named_.find(file.name);
    if (named != named_.end()) named->second.push_back(file);
    for (auto& [pattern, matching] : matching_) {
      if (!filexfer::glob_match(pattern, file.name)) continue;
      if (held.add(stop)) matching[file.name].push_back(file);
    }
  });
}

bool file_lookup::has_pattern() const {
  return failure_.code == done &&
         std::any_of(settings_.arguments.begin(), settings_.arguments.end(),
                     [&](const std::string& argument) { return is_pattern(argument); });
}

bool file_lookup::is_pattern(const std::string& argument) const {
  const auto exact = named_.find(argument);
  return filexfer::has_glob_characters(argument) && exact != named_.end() && exact->second.empty();
}

bool file_lookup::is_id(const std::string& argument) const {
  return argument.size() == id_digits_ && any_digest::from_hex(argument);
}

void file_lookup::add_argument(const download_target& target, const std::string& argument) {
  if (!is_digest_unknown_ && is_id(argument)) return add_id(target, argument);
  failure why = failure_;
  if (why.code == done && is_pattern(argument)) return add_matching(target, argument);
  if (why.code == done) why = check_is_unique(argument);
  if (why.code == done) files_.emplace_back(target, named_.at(argument).front(), argument);
  else files_.emplace_back(target, argument, std::move(why));
}

void file_lookup::add_id(const download_target& target, const std::string& argument) {
  const any_digest id = *any_digest::from_hex(argument);
  if (!settings_.dry_run) {
    files_.emplace_back(target, id, argument);
    return;
  }
  failure why = failure_;
  const std::optional<listed_file>& file = with_id_.at(id);
  if (why.code == done && !file) why = {refused, "the server has no file with that id"};
  if (why.code == done) files_.emplace_back(target, *file, file->name);
  else files_.emplace_back(target, argument, std::move(why));
}

/// Adds the files that match, but those that another argument names or has matched.
void file_lookup::add_matching(const download_target& target, const std::string& pattern) {
  named_files& matching = matching_.at(pattern);
  if (matching.empty()) {
    const failure why{refused, "the server has no file whose name matches that pattern"};
    files_.emplace_back(target, pattern, why);
  }
  for (auto& [name, files] : matching) {
    if (named_.count(name) == 0 && matched_.insert(name).second) add_versions(target, files);
  }
}

/// Fails unless exactly one file has the name `argument`.
failure file_lookup::check_is_unique(const std::string& argument) const {
  const std::vector<listed_file>& files = named_.at(argument);
  if (files.size() == 1) return {};
  if (files.empty()) {
    std::string why = "the server has no file of that name";
    if (any_digest::from_hex(argument)) {
      why += "; its ids have " + std::to_string(id_digits_) + " digits";
    }
    return {refused, why};
  }
  return explain_ambiguous(files);
}

// ------------------------------------------------------------------------------------------- all

failure file_lookup::find_all(named_files& files) {
  held_entries held;
  return list({settings_.prefix, true, true}, [&](const listed_file& file, std::error_code& ec) {
    if (!settings_.filter.includes(file.name)) return;
    if (held.add(ec)) files[file.name].push_back(file);
  });
}

void file_lookup::add_versions(const download_target& target, std::vector<listed_file>& files) {
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
        name,
        {done, std::to_string(files.size()) + " files have that name; downloading the newest, " +
                   newest.id.to_string() + "; use --all-versions to download all"});
  }
  files_.emplace_back(target, newest, name);
}

}  // namespace programs
