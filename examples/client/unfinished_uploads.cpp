#include "client/unfinished_uploads.hpp"

#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/sha256.hpp>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <span>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace programs {
namespace {

namespace fs = std::filesystem;
namespace detail = filexfer::detail;

constexpr std::size_t secret_size = 32;
constexpr const char* secret_name = "secret";
constexpr const char* locks_name = "locks";

/// Servers keep the bytes of an upload for a day, unless told otherwise.
constexpr std::time_t max_age = std::time_t{48} * 3600;

fs::path state_folder() {
  const auto variable = [](const char* name) {
    const char* const text = std::getenv(name);
    return fs::path{text != nullptr ? text : ""};
  };
  const fs::path state = variable("XDG_STATE_HOME");
  if (state.is_absolute()) return state / "filexfer";
  const fs::path home = variable("HOME");
  return home.is_absolute() ? home / ".local/state/filexfer" : fs::path{};
}

/// Makes the folder, and those above it that are missing, whatever the umask is.
void make_private_folders(const fs::path& path) {
  fs::path made;
  for (const fs::path& component : path) ::mkdir((made /= component).c_str(), 0700);
}

/// Whether only this user can read and write it.
bool is_private(int fd, mode_t kind) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == kind &&
         status.st_uid == ::geteuid() && (status.st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

bool is_token(std::string_view name) {
  return name.size() == filexfer::sha256::digest_type::hex_digits &&
         name.find_first_not_of("0123456789abcdef") == name.npos;
}

/// Random bytes that nobody can guess; none on failure.
std::vector<std::byte> make_secret_bytes() {
  std::vector<std::byte> bytes(secret_size);
  std::error_code ec;
  const auto source = detail::open_at(AT_FDCWD, "/dev/urandom", O_RDONLY, ec);
  if (ec || ::read(source.get(), bytes.data(), bytes.size()) != ssize_t{secret_size}) bytes.clear();
  return bytes;
}

/// Hashed twice, so that no digest is an inner state from which a longer text's could be computed.
std::string keyed_digest(std::span<const std::byte> secret, std::string_view text) {
  const auto digest_of = [&](std::span<const std::byte> bytes) {
    filexfer::sha256 hasher;
    hasher.update(secret);
    hasher.update(bytes);
    return hasher.finish();
  };
  const std::string inner = digest_of(std::as_bytes(std::span{text})).to_string();
  return digest_of(std::as_bytes(std::span{inner})).to_string();
}

std::string text_of(const timespec& time) {
  return std::to_string(time.tv_sec) + '.' + std::to_string(time.tv_nsec);
}

}  // namespace

unfinished_uploads::unfinished_uploads(std::string server)
    : server_{std::move(server)}, path_{state_folder()} {
  if (prepare(false)) find_earlier();
}

/// Opens the folder, and reads the secret. Returns whether there are tokens.
bool unfinished_uploads::prepare(bool creates) {
  if (!secret_.empty()) return true;
  if (is_unusable_ || path_.empty()) return false;
  is_unusable_ = creates;  // unless all of this succeeds
  if (!folder_) open_folder(creates);
  if (!folder_) return false;
  if (creates) make_secret();
  if (!read_secret()) return false;
  std::error_code ec;
  locks_ = detail::open_at(folder_.get(), locks_name, O_RDWR | O_CREAT | O_NOFOLLOW, ec, 0600);
  if (ec) secret_.clear();
  is_unusable_ = !locks_;
  return !is_unusable_;
}

void unfinished_uploads::open_folder(bool creates) {
  if (creates) make_private_folders(path_);
  std::error_code ec;
  folder_ = detail::open_at(AT_FDCWD, path_.c_str(), detail::folder_flags, ec);
  if (ec || is_private(folder_.get(), S_IFDIR)) return;
  folder_.reset();
  is_unusable_ = true;
}

bool unfinished_uploads::read_secret() {
  std::error_code ec;
  const auto file = detail::open_at(folder_.get(), secret_name, detail::file_flags, ec);
  if (ec) return false;
  std::array<std::byte, secret_size + 1> bytes;
  const bool is_whole = is_private(file.get(), S_IFREG) &&
                        ::read(file.get(), bytes.data(), bytes.size()) == ssize_t{secret_size};
  if (is_whole) secret_.assign(bytes.begin(), bytes.begin() + secret_size);
  return is_whole;
}

/// Makes the secret, whole or not at all, unless there is one.
void unfinished_uploads::make_secret() {
  const int folder = folder_.get();
  std::error_code ec;
  detail::status_at(folder, secret_name, ec);
  if (!ec) return;
  const auto bytes = make_secret_bytes();
  if (bytes.empty()) return;
  const std::string name = std::string{secret_name} + '.' + detail::random_name();
  const auto file = detail::open_at(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL, ec, 0600);
  if (ec) return;
  detail::write_all(file.get(), bytes, ec);
  const bool written = !ec && ::fsync(file.get()) == 0;
  // Replaces nothing: of several processes that make one, all use that of the first.
  if (written) ::linkat(folder, name.c_str(), folder, secret_name, 0);
  ::unlinkat(folder, name.c_str(), 0);
}

/// Finds the uploads of earlier runs, and removes those that no server still has.
void unfinished_uploads::find_earlier() {
  std::error_code ec;
  detail::folder_reader entries{detail::open_at(folder_.get(), ".", detail::folder_flags, ec), ec};
  if (!entries) return;
  const std::time_t now = std::time(nullptr);
  while (const char* const name = entries.next(ec).name) {
    if (!is_token(name)) continue;
    const auto status = detail::status_at(folder_.get(), name, ec);
    if (ec) continue;
    if (status.st_mtime < now - max_age) ::unlinkat(folder_.get(), name, 0);
    else earlier_.insert(name);
  }
}

std::string unfinished_uploads::token_of(const struct stat& file, const std::string& name) const {
  std::string text;
  for (const std::string& part :
       {std::to_string(file.st_dev), std::to_string(file.st_ino), std::to_string(file.st_size),
        text_of(detail::modified(file)), text_of(detail::status_changed(file)), server_, name}) {
    text += part + '\0';  // no part has this character
  }
  return keyed_digest(secret_, text);
}

bool unfinished_uploads::was_interrupted(const struct stat& file, const std::string& name) const {
  return has_earlier() && is_resumed(static_cast<std::uint64_t>(file.st_size)) &&
         earlier_.count(token_of(file, name)) > 0;
}

/// Locks or unlocks a byte that stands for the token. The server takes an upload from a connection
/// if another one comes with its token, so no two processes may use one. A killed process has no
/// locks.
bool unfinished_uploads::lock(const std::string& token, short type) {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(std::stoull(token.substr(0, 7), nullptr, 16));
  range.l_len = 1;
  return ::fcntl(locks_.get(), F_SETLK, &range) == 0;
}

std::string unfinished_uploads::begin(const struct stat& file, const std::string& name) {
  const std::lock_guard guard{mutex_};
  if (!prepare(true)) return {};
  std::string token = token_of(file, name);
  if (begun_.count(token) > 0 || !lock(token, F_WRLCK)) return {};
  constexpr int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
  std::error_code ec;
  const auto marker = detail::open_at(folder_.get(), token.c_str(), flags, ec, 0600);
  if (ec) return {};
  ::futimens(marker.get(), nullptr);
  begun_.insert(token);
  return token;
}

void unfinished_uploads::end(const std::string& token) {
  const std::lock_guard guard{mutex_};
  if (begun_.erase(token) == 0) return;
  ::unlinkat(folder_.get(), token.c_str(), 0);
  lock(token, F_UNLCK);
}

bool unfinished_uploads::has_begun() const {
  const std::lock_guard guard{mutex_};
  return !begun_.empty();
}

}  // namespace programs
