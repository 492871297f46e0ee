#include "common/download_sink.hpp"

#include <filexfer/error.hpp>

#include <cerrno>

#include <unistd.h>

namespace programs {

namespace fs = std::filesystem;

destination choose_destination(const std::string& output, std::size_t count, std::error_code& ec) {
  const fs::path path = output.empty() ? "." : output;
  if (fs::is_directory(path, ec)) return {path};
  if (count == 1 && path.has_filename()) {
    ec.clear();
    return {{}, path};
  }
  ec = std::make_error_code(std::errc::not_a_directory);
  return {};
}

void check_target(const fs::path& target, filexfer::on_existing policy, std::error_code& ec) {
  const fs::file_type type = fs::symlink_status(target, ec).type();
  if (type == fs::file_type::not_found) {
    ec.clear();
  } else if (type == fs::file_type::directory) {
    ec = std::make_error_code(std::errc::is_a_directory);
  } else if (!ec && policy == filexfer::on_existing::keep) {
    ec = filexfer::errc::file_exists;
  } else if (!ec && type != fs::file_type::regular && type != fs::file_type::symlink) {
    ec = std::make_error_code(std::errc::not_supported);  // to put a file in its place would harm
  }
}

void download_sink::announce(const named_file& file, std::uint64_t size, std::error_code& ec) {
  ec.clear();
  target_ = where_.file_for(file.name);
  if (!where_.file) make_folders(file.name, ec);
  if (!ec) check_target(target_, policy_, ec);
  if (!ec) file_.emplace(target_, policy_, ec);
  if (ec) return;
  if (file.modified) file_->modified(*file.modified);
  shown_.begin(file.name, size);
}

/// Makes the folders in `name` that are missing, and refuses what is none.
void download_sink::make_folders(std::string_view name, std::error_code& ec) {
  for (auto slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
    const fs::path folder = where_.folder / name.substr(0, slash);
    if (fs::create_directory(folder, ec)) made_.push_back(folder);
    const fs::file_type type = fs::symlink_status(folder, ec).type();
    if (type == fs::file_type::symlink) {
      ec = std::make_error_code(std::errc::too_many_symbolic_link_levels);
    } else if (!ec && type != fs::file_type::directory) {
      ec = std::make_error_code(std::errc::not_a_directory);
    }
    if (ec) return;
  }
}

void download_sink::write(std::span<const std::byte> octets, std::error_code& ec) {
  file_->write(octets, ec);
  shown_.moved(octets.size());
}

void download_sink::commit(std::error_code& ec) {
  file_->commit(ec);
  if (!ec) made_.clear();
}

download_sink::~download_sink() {
  file_.reset();
  std::error_code not_empty;
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) {
    fs::remove(*folder, not_empty);
  }
}

void stdout_sink::write(std::span<const std::byte> octets, std::error_code& ec) {
  ec.clear();
  while (!octets.empty()) {
    const auto written = ::write(STDOUT_FILENO, octets.data(), octets.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      ec = {errno, std::system_category()};
      return;
    }
    octets = octets.subspan(static_cast<std::size_t>(written));
    shown_.moved(static_cast<std::size_t>(written));
  }
}

}  // namespace programs
