#include "common/download_sink.hpp"

#include <cerrno>
#include <utility>

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

download_sink::download_sink(destination where, filexfer::on_existing policy, progress& shown,
                             std::error_code& ec)
    : where_{std::move(where)}, policy_{policy}, shown_{shown} {
  ec.clear();
  if (!where_.file) tree_.emplace(where_.folder, policy_, ec);
}

void download_sink::begin(std::optional<named_file> wanted, std::error_code& ec) {
  give_up();
  ec.clear();
  wanted_ = std::move(wanted);
  if (wanted_ || where_.file) open(wanted_ ? wanted_->name : "", ec);
}

void download_sink::announce(const named_file& file, std::uint64_t size, std::error_code& ec) {
  ec.clear();
  if (!wanted_ && tree_) open(file.name, ec);
  if (ec) return;
  const auto modified = wanted_ ? wanted_->modified : file.modified;
  if (modified && tree_) tree_->modified(*modified);
  if (modified && file_) file_->modified(*modified);
  shown_.begin(wanted_ ? wanted_->name : file.name, size);
}

void download_sink::open(const std::string& name, std::error_code& ec) {
  name_ = name;
  if (tree_) tree_->open(name, ec);
  else file_.emplace(*where_.file, policy_, ec);
}

void download_sink::write(std::span<const std::byte> octets, std::error_code& ec) {
  if (tree_) tree_->write(octets, ec);
  else file_->write(octets, ec);
  shown_.moved(octets.size());
}

void download_sink::commit(std::error_code& ec) {
  if (tree_) tree_->commit(ec);
  else file_->commit(ec);
}

void download_sink::give_up() {
  if (tree_) tree_->give_up();
  file_.reset();
  name_.clear();
}

fs::path download_sink::target() const {
  return where_.file || !name_.empty() ? where_.file_for(name_) : fs::path{};
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
