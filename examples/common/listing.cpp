#include "common/listing.hpp"

#include <filexfer/printable.hpp>

#include <algorithm>
#include <cstddef>
#include <tuple>

namespace programs {

std::string md5sum_line(const listed& file) {
  std::string name;
  for (const char c : file.name) {
    if (c == '\\') name += "\\\\";
    else if (c == '\n') name += "\\n";
    else if (c == '\r') name += "\\r";
    else name += c;
  }
  const bool escaped = name != file.name;
  return (escaped ? "\\" : "") + file.id + "  " + name + '\n';
}

std::string table(std::vector<listed> files) {
  std::sort(files.begin(), files.end(), [](const listed& a, const listed& b) {
    return std::tie(a.name, a.id) < std::tie(b.name, b.id);
  });
  std::vector<std::string> sizes{"OCTETS"};
  std::size_t digits = 0;
  for (const listed& file : files) {
    sizes.push_back(std::to_string(file.size));
    digits = std::max(digits, file.id.size());
  }
  std::size_t width = 0;
  for (const std::string& size : sizes) width = std::max(width, size.size());

  const auto row = [&](std::string id, const std::string& size, const std::string& name) {
    id.resize(digits, ' ');
    return id + "  " + std::string(width - size.size(), ' ') + size + "  " + name + '\n';
  };
  std::string text = row("ID", sizes.front(), "NAME");
  for (std::size_t i = 0; i < files.size(); ++i) {
    text += row(files[i].id, sizes[i + 1], filexfer::printable(files[i].name));
  }
  return text;
}

}  // namespace programs
