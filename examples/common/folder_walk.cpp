#include "common/folder_walk.hpp"

#include <filexfer/fields.hpp>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace programs {
namespace {

std::error_code last_error() { return {errno, std::system_category()}; }

/// A folder's entries, the last one first.
std::vector<std::string> entries_of(DIR* folder, std::error_code& ec) {
  std::vector<std::string> names;
  ec.clear();
  for (;;) {
    errno = 0;
    const auto* entry = ::readdir(folder);
    if (entry == nullptr) break;
    const std::string_view name{entry->d_name};
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) ec = last_error();
  std::sort(names.begin(), names.end(), std::greater<>{});
  return names;
}

}  // namespace

folder_walk::folder_walk(std::filesystem::path folder, symlinks links, listener tell)
    : folder_{std::move(folder)}, links_{links}, tell_{std::move(tell)} {
  enter(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

bool folder_walk::next() {
  file_.reset();
  while (!levels_.empty()) {
    level& last = levels_.back();
    if (last.left.empty()) {
      levels_.pop_back();
      continue;
    }
    const std::string leaf = std::move(last.left.back());
    last.left.pop_back();
    name_.resize(last.prefix);
    name_ += leaf;
    if (visit(leaf.c_str())) return true;
  }
  return false;
}

/// Opens a file, or enters a folder; whether it was a file.
bool folder_walk::visit(const char* leaf) {
  const int folder = ::dirfd(levels_.back().folder.get());
  struct stat status {};
  if (::fstatat(folder, leaf, &status, AT_SYMLINK_NOFOLLOW) != 0) return fail(last_error());
  int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW;
  if (S_ISLNK(status.st_mode)) {
    if (links_ == symlinks::skipped) {
      skip("is a symbolic link: skipped; --follow-links takes what it leads to");
      return false;
    }
    if (::fstatat(folder, leaf, &status, 0) != 0) return fail(last_error());
    flags &= ~O_NOFOLLOW;
  }
  const bool is_folder = S_ISDIR(status.st_mode);
  if (!is_folder && !S_ISREG(status.st_mode)) {  // whose opening alone may do something
    skip("is neither a file nor a folder: skipped");
    return false;
  }
  if (!filexfer::is_name(name_)) return fail("can't be sent: names are UTF-8 of up to 255 octets");
  const int opened = ::openat(folder, leaf, is_folder ? flags | O_DIRECTORY : flags);
  if (!is_folder) return open_file(opened);
  enter(opened);
  return false;
}

bool folder_walk::open_file(int descriptor) {
  std::error_code ec = descriptor < 0 ? last_error() : std::error_code{};
  if (!ec) file_.emplace(descriptor, ec);
  return ec ? fail(ec) : true;
}

void folder_walk::enter(int descriptor) {
  std::error_code ec = descriptor < 0 ? last_error() : std::error_code{};
  level entered{nullptr, {}, {}, name_.empty() ? 0 : name_.size() + 1};
  if (!ec) entered.folder.reset(::fdopendir(descriptor));
  if (!ec && (!entered.folder || ::fstat(descriptor, &entered.status) != 0)) ec = last_error();
  if (!entered.folder && descriptor >= 0) ::close(descriptor);
  if (!ec && is_within(entered.status)) {
    skip("leads back to a folder that it is in: skipped");
    return;
  }
  if (!ec) entered.left = entries_of(entered.folder.get(), ec);
  if (ec) fail(ec);  // what was read of the entries is visited all the same
  if (!entered.folder) return;
  if (!name_.empty()) name_ += '/';
  levels_.push_back(std::move(entered));
}

/// Whether the walk is in that folder: it would never end if it entered it again.
bool folder_walk::is_within(const struct stat& folder) const {
  return std::any_of(levels_.begin(), levels_.end(), [&](const level& above) {
    return above.status.st_dev == folder.st_dev && above.status.st_ino == folder.st_ino;
  });
}

void folder_walk::skip(const char* why) const { tell_(path().string(), {done, why}); }

bool folder_walk::fail(std::error_code ec) {
  tell_(path().string(), explain_local(ec));
  return false;
}

bool folder_walk::fail(const char* why) {
  tell_(path().string(), {local_file, why});
  return false;
}

}  // namespace programs
