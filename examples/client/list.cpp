#include "client/job_context.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <optional>
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

void sort(std::vector<listed_file>& files, list_order order) {
  std::sort(files.begin(), files.end(), [order](const listed_file& a, const listed_file& b) {
    if (order == list_order::size && a.size != b.size) return a.size > b.size;
    if (order == list_order::time && a.modified != b.modified) return a.modified > b.modified;
    return std::tie(a.name, a.id) < std::tie(b.name, b.id);
  });
}

/// `2021-03-05 17:02:33` in the local time zone; `-` if the time is unknown.
std::string format_local_time(const std::optional<filexfer::file_time>& time) {
  if (!time) return "-";
  const auto since_1970 = static_cast<std::time_t>(time->seconds());
  std::tm local{};
  if (::localtime_r(&since_1970, &local) == nullptr) return filexfer::format_time(*time);
  std::array<char, 64> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local)};
}

/// A table for people; `is_long` adds times, and gives sizes in units.
std::string format_table(const std::vector<listed_file>& files, bool is_long) {
  using row = std::array<std::string, 4>;
  std::vector<row> rows{{"ID", is_long ? "SIZE" : "BYTES", is_long ? "MODIFIED" : "", "NAME"}};
  for (const listed_file& file : files) {
    rows.push_back(
        {file.id.to_string(), is_long ? format_size(file.size) : std::to_string(file.size),
         is_long ? format_local_time(file.modified) : "", filexfer::printable(file.name)});
  }
  std::array<std::size_t, 3> widths{};
  for (const row& cells : rows) {
    for (std::size_t i = 0; i < widths.size(); ++i)
      widths[i] = std::max(widths[i], cells[i].size());
  }
  std::string text;
  for (row& cells : rows) {
    cells[0].resize(widths[0], ' ');
    cells[1].insert(0, widths[1] - cells[1].size(), ' ');
    cells[2].resize(widths[2], ' ');
    text += cells[0] + "  " + cells[1] + "  " + (is_long ? cells[2] + "  " : "") + cells[3] + '\n';
  }
  return text;
}

/// Whether the name of `file` begins with `wanted`, or matches it as a pattern.
bool is_wanted(const listed_file& file, const std::string& wanted) {
  return file.name.starts_with(wanted) || filexfer::glob_match(wanted, file.name);
}

}  // namespace

exit_code list(job_context& job) {
  const client_settings& settings = job.settings;
  const bool is_json = settings.format == output_format::json;
  const bool is_terminal = ::isatty(STDOUT_FILENO) == 1;
  const bool is_table = settings.is_long || (is_terminal && !is_json && !settings.md5sum);
  const auto print = [&](listed_file file) {
    if (is_json) return job.out.report_entry(file);
    if (is_terminal) file.name = filexfer::printable(file.name);
    job.out.print(settings.md5sum ? md5sum_line(file) : format_entry(file) + '\n');
  };
  const std::string& wanted = settings.prefix;
  std::vector<listed_file> files;
  const auto on_entry = [&](listed_file file) {
    if (!is_wanted(file, wanted)) return;
    if (is_table || settings.order) files.push_back(std::move(file));
    else print(std::move(file));
  };
  const bool needs_time = is_json || settings.is_long || settings.order == list_order::time;
  const auto [ec, entries] = job.operations.run<std::uint64_t>([&](auto handler) {
    job.pool.async_list_files({common_prefix({&wanted, 1}), needs_time, is_json}, on_entry,
                              std::move(handler));
  });
  if (ec) return job.report_pool_failure("list");
  sort(files, settings.order.value_or(list_order::name));
  if (!is_table) {
    for (listed_file& file : files) {
      if (!is_json) file.modified.reset();  // lines are the same in any order
      print(std::move(file));
    }
    return done;
  }
  job.out.print(files.empty() ? std::string{filexfer::empty_list_line} + '\n'
                              : format_table(files, settings.is_long));
  return done;
}

}  // namespace programs
