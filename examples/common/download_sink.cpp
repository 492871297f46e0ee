#include "common/download_sink.hpp"

#include <cerrno>
#include <chrono>
#include <ctime>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
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

download_place::download_place(destination where, filexfer::on_existing policy, std::error_code& ec)
    : where_{std::move(where)}, policy_{policy} {
  ec.clear();
  if (!where_.file) tree_.emplace(where_.folder, ec);
}

std::optional<filexfer::file_source> download_place::existing(
    const std::optional<named_file>& wanted) const {
  std::error_code ec;
  if (tree_) return tree_->existing(wanted ? wanted->name : "", ec);
  constexpr int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  filexfer::file_source found{::open(where_.file->c_str(), flags), ec};
  return ec ? std::nullopt : std::optional{std::move(found)};
}

fs::path download_place::target_of(const std::optional<named_file>& wanted) const {
  return where_.file || wanted ? where_.file_for(wanted ? wanted->name : "") : fs::path{};
}

download_sink::download_sink(download_place& place, file_progress& shown)
    : place_{place}, shown_{shown} {
  if (place_.tree_) tree_.emplace(*place_.tree_, place_.policy_);
}

void download_sink::begin(std::optional<named_file> wanted, std::string part, std::error_code& ec) {
  give_up();
  ec.clear();
  wanted_ = std::move(wanted);
  if (!tree_) file_.emplace(*place_.where_.file, place_.policy_, std::move(part), ec);
  else if (wanted_) tree_->open(wanted_->name, std::move(part), ec);
}

void download_sink::announce(named_file file, std::error_code& ec) {
  ec.clear();
  const std::uint64_t size = *file.size;
  if (!wanted_) {
    wanted_ = std::move(file);
    if (tree_) tree_->open(wanted_->name, ec);
  }
  if (ec) return;
  if (wanted_->modified && tree_) tree_->modified(*wanted_->modified);
  if (wanted_->modified && file_) file_->modified(*wanted_->modified);
  shown_.start(size);
  shown_.seek(held());
}

std::uint64_t download_sink::held() const noexcept {
  if (tree_) return tree_->held();
  return file_ ? file_->held() : 0;
}

std::size_t download_sink::read_held(std::span<std::byte> to, std::uint64_t offset,
                                     std::error_code& ec) {
  return tree_ ? tree_->read_held(to, offset, ec) : file_->read_held(to, offset, ec);
}

void download_sink::drop_held(std::error_code& ec) {
  if (tree_) tree_->drop_held(ec);
  else file_->drop_held(ec);
}

void download_sink::keep() {
  if (tree_) tree_->keep();
  else file_->keep();
  give_up();
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
  wanted_.reset();
}

void set_modified(const filexfer::file_source& file, filexfer::file_time time,
                  std::error_code& ec) {
  using std::chrono::seconds;
  const auto whole = std::chrono::floor<seconds>(time);
  timespec times[] = {{0, UTIME_OMIT}, {}};
  times[1].tv_sec = static_cast<std::time_t>(whole.time_since_epoch().count());
  times[1].tv_nsec = static_cast<long>((time - whole).count());
  ec.clear();
  if (::futimens(file.native_handle(), times) != 0) ec = {errno, std::system_category()};
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
