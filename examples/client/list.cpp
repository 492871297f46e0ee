#include "client/job_context.hpp"

#include <algorithm>
#include <vector>

#include <unistd.h>

namespace programs {
namespace {

using filexfer::listed_file;

/// What `md5sum -c` reads: a `\` before the line where the name holds what has to be escaped.
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

/// A line a file, by name, for a terminal.
std::string table(std::vector<listed_file> files) {
  std::sort(files.begin(), files.end(), [](const listed_file& a, const listed_file& b) {
    return std::tie(a.name, a.id) < std::tie(b.name, b.id);
  });
  const std::string head = "BYTES";
  std::size_t digits = 0;
  std::size_t width = head.size();
  for (const listed_file& file : files) {
    digits = std::max(digits, 2 * file.id.size());
    width = std::max(width, std::to_string(file.size).size());
  }
  const auto row = [&](std::string id, const std::string& size, const std::string& name) {
    id.resize(digits, ' ');
    return id + "  " + std::string(width - size.size(), ' ') + size + "  " + name + '\n';
  };
  std::string text = row("ID", head, "NAME");
  for (const listed_file& file : files) {
    text += row(file.id.to_string(), std::to_string(file.size), filexfer::printable(file.name));
  }
  return text;
}

}  // namespace

exit_code list(job_context& at) {
  const bool is_json = at.chosen.form == output_form::json;
  const bool for_a_person = ::isatty(STDOUT_FILENO) == 1;
  const bool md5sum = at.chosen.md5sum;
  std::vector<listed_file> kept;
  const auto show = [&](listed_file file) {
    if (is_json) return at.out.tell(file);
    if (for_a_person && !md5sum) return kept.push_back(std::move(file));
    if (for_a_person) file.name = filexfer::printable(file.name);
    at.out.print(md5sum ? md5sum_line(file) : format_entry(file) + '\n');
  };
  const auto [ec, entries] = at.operations.run<std::uint64_t>([&](auto handler) {
    at.pool.async_list_files({at.chosen.prefix, is_json}, show, std::move(handler));
  });
  if (ec) return at.report_failure("list");
  if (is_json || md5sum || !for_a_person) return done;
  at.out.print(kept.empty() ? std::string{filexfer::no_files_words} + '\n'
                            : table(std::move(kept)));
  return done;
}

}  // namespace programs
