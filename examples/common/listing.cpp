#include "common/listing.hpp"

#include <filexfer/printable.hpp>

#include <algorithm>
#include <cstddef>
#include <tuple>

namespace programs {

std::string md5sum_line(const file_info& file) {
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

std::string table(std::vector<file_info> files) {
  std::sort(files.begin(), files.end(), [](const file_info& a, const file_info& b) {
    return std::tie(a.name, a.id) < std::tie(b.name, b.id);
  });
  std::vector<std::string> sizes{"OCTETS"};
  for (const file_info& file : files) sizes.push_back(std::to_string(file.size));
  std::size_t width = 0;
  for (const std::string& size : sizes) width = std::max(width, size.size());

  const auto row = [&](std::string id, const std::string& size, const std::string& name) {
    id.resize(digest::hex_digits, ' ');
    return id + "  " + std::string(width - size.size(), ' ') + size + "  " + name + '\n';
  };
  std::string text = row("ID", sizes.front(), "NAME");
  for (std::size_t i = 0; i < files.size(); ++i) {
    text += row(files[i].id.to_string(), sizes[i + 1], filexfer::printable(files[i].name));
  }
  return text;
}

}  // namespace programs
