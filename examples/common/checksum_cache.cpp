#include "common/checksum_cache.hpp"

#include <filexfer/md5.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <span>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace programs {
namespace {

constexpr std::chrono::seconds too_young{2};

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

/// In the place of an id: what was said before is forgotten.
constexpr const char* forgotten = "-";

std::string check_of(std::string_view line) {
  filexfer::md5 hash;
  hash.update(std::as_bytes(std::span{line}));
  return hash.finish().to_string();
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& why) {
  throw std::runtime_error{"--checksum-cache " + path.string() + ": " + why};
}

}  // namespace

checksum_cache::checksum_cache(const std::filesystem::path& path) {
  constexpr int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  descriptor_ = ::open(path.c_str(), flags, 0600);
  if (descriptor_ < 0) fail(path, "can't be opened: " + std::system_category().message(errno));
  struct stat status {};
  std::ifstream file;
  if (::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode)) file.open(path);
  if (!file.is_open()) {
    ::close(descriptor_);
    fail(path, "is no regular file that can be read");
  }
  for (std::string line; std::getline(file, line);) {
    if (file.eof()) append("\n");  // it is torn: what comes next begins a line
    else read_line(line);
  }
}

checksum_cache::~checksum_cache() { ::close(descriptor_); }

std::optional<std::string> checksum_cache::find(const filexfer::file_source& file,
                                                std::string_view kind) const {
  const auto wanted = key_of(file, kind);
  const std::lock_guard lock{mutex_};
  const auto found = wanted ? ids_.find(*wanted) : ids_.end();
  return found != ids_.end() ? std::optional{found->second} : std::nullopt;
}

void checksum_cache::add(const filexfer::file_source& file, std::string_view kind,
                         std::chrono::system_clock::time_point begun, const std::string& id) {
  const auto known = key_of(file, kind);
  if (!known) return;
  const auto newest = std::max(std::get<4>(*known), std::get<5>(*known));
  const auto oldest_trusted = begun - too_young;
  const auto limit =
      std::chrono::duration_cast<std::chrono::nanoseconds>(oldest_trusted.time_since_epoch());
  if (newest > limit.count()) return;
  const std::string line = line_of(*known, id);
  const std::lock_guard lock{mutex_};
  const auto [entry, is_new] = ids_.try_emplace(*known);
  if (!is_new && entry->second == id) return;
  entry->second = id;
  append(line);
}

void checksum_cache::forget(const filexfer::file_source& file, std::string_view kind) {
  const auto known = key_of(file, kind);
  const std::lock_guard lock{mutex_};
  if (known && ids_.erase(*known) > 0) append(line_of(*known, forgotten));
}

std::optional<checksum_cache::key> checksum_cache::key_of(const filexfer::file_source& file,
                                                          std::string_view kind) {
  struct stat status {};
  if (::fstat(file.native_handle(), &status) != 0) return std::nullopt;
  return key{std::string{kind},
             status.st_dev,
             status.st_ino,
             static_cast<std::uint64_t>(status.st_size),
             nanoseconds(status.st_mtim),
             nanoseconds(status.st_ctim)};
}

std::string checksum_cache::line_of(const key& known, const std::string& id) {
  std::ostringstream line;
  const auto& [kind, device, inode, size, modified, changed] = known;
  line << id << ' ' << kind << ' ' << device << ' ' << inode << ' ' << size << ' ' << modified
       << ' ' << changed << ' ';
  return line.str() + check_of(line.str()) + '\n';
}

void checksum_cache::read_line(const std::string& line) {
  const std::size_t check = line.rfind(' ') + 1;
  if (line.substr(check) != check_of(std::string_view{line}.substr(0, check))) return;
  std::istringstream words{line};
  std::string id;
  key known;
  auto& [kind, device, inode, size, modified, changed] = known;
  words >> id >> kind >> device >> inode >> size >> modified >> changed;
  if (!words) return;
  if (id == forgotten) ids_.erase(known);
  else ids_.insert_or_assign(std::move(known), std::move(id));
}

/// In one piece, whoever else appends. A file that can't take it is of no use next time, and that
/// is all.
void checksum_cache::append(const std::string& line) {
  [[maybe_unused]] const auto written = ::write(descriptor_, line.data(), line.size());
}

}  // namespace programs
