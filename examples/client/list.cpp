#include "client/job_context.hpp"

#include <algorithm>
#include <vector>

#include <unistd.h>

namespace programs {
namespace {

using filexfer::listed_file;

/// A line for `md5sum -c`: begins with `\` if the name has characters that are escaped.
std::string md5sum_line(const listed_file& file) {
  std::string name;
  for (const char c : file.name) {
    if (c == '\\') name += "\\\\";
    else if (c == '\n') name += "\\n";
    else if (c == '\r') name += "\\r";
    else name += c;
  }
  const bool escaped = name != file.name;
  return (escaped ? "\\" : "") + file.id.to_string() + "  " + name + '\n';
}

/// A table for a terminal, sorted by name.
std::string format_table(std::vector<listed_file> files) {
  std::sort(files.begin(), files.end(), [](const listed_file& a, const listed_file& b) {
    return std::tie(a.name, a.id) < std::tie(b.name, b.id);
  });
  const std::string size_heading = "BYTES";
  std::size_t digits = 0;
  std::size_t width = size_heading.size();
  for (const listed_file& file : files) {
    digits = std::max(digits, 2 * file.id.size());
    width = std::max(width, std::to_string(file.size).size());
  }
  const auto row = [&](std::string id, const std::string& size, const std::string& name) {
    id.resize(digits, ' ');
    return id + "  " + std::string(width - size.size(), ' ') + size + "  " + name + '\n';
  };
  std::string text = row("ID", size_heading, "NAME");
  for (const listed_file& file : files) {
    text += row(file.id.to_string(), std::to_string(file.size), filexfer::printable(file.name));
  }
  return text;
}

}  // namespace

exit_code list(job_context& job) {
  const bool is_json = job.settings.format == output_format::json;
  const bool is_terminal = ::isatty(STDOUT_FILENO) == 1;
  const bool md5sum = job.settings.md5sum;
  std::vector<listed_file> files;
  const auto on_entry = [&](listed_file file) {
    if (is_json) return job.out.report_entry(file);
    if (is_terminal && !md5sum) return files.push_back(std::move(file));
    if (is_terminal) file.name = filexfer::printable(file.name);
    job.out.print(md5sum ? md5sum_line(file) : format_entry(file) + '\n');
  };
  const auto [ec, entries] = job.operations.run<std::uint64_t>([&](auto handler) {
    job.pool.async_list_files({job.settings.prefix, is_json}, on_entry, std::move(handler));
  });
  if (ec) return job.report_pool_failure("list");
  if (is_json || md5sum || !is_terminal) return done;
  job.out.print(files.empty() ? std::string{filexfer::no_files_words} + '\n'
                              : format_table(std::move(files)));
  return done;
}

}  // namespace programs
