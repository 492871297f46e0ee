#include "common/sandbox.hpp"

#include "common/landlock.hpp"

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <variant>
#include <vector>

namespace programs {
namespace {

#ifdef PROGRAMS_WITH_LANDLOCK

namespace fs = std::filesystem;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROGRAMS_WITH_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PROGRAMS_WITH_SANITIZER
#endif
#endif

struct rule {
  fs::path path;
  landlock::rights allowed;
};

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path{"."};
}

std::vector<rule> rules_for(const server_settings& settings) {
  using namespace landlock;
  std::vector<rule> rules{{"/dev/null", read_file | write_file}, {"/dev/urandom", read_file}};
  if (settings.store != "memory" && !settings.pool) {
    rules.push_back({settings.store, read_file | write_file | truncate_file | read_folder |
                                         make_file | make_folder | remove_file | remove_folder |
                                         link_or_rename});
  }
  if (uses_tls(settings)) {
    for (const fs::path file : {settings.certificate, settings.key, settings.client_authorities}) {
      if (file.empty()) continue;
      rules.push_back({folder_of(file), read_file});
      rules.push_back({folder_of(fs::canonical(file)), read_file});
    }
  }
  for (const listen_address& listen : settings.listen) {
    if (const auto* socket = std::get_if<unix_address>(&listen.where)) {
      // Opened, too, as it is locked meanwhile.
      rules.push_back({folder_of(socket->path), read_folder | remove_file});
    }
  }
#ifdef PROGRAMS_WITH_SANITIZER
  rules.push_back({"/proc", read_file | read_folder});
#endif
  return rules;
}

[[noreturn]] void fail(std::error_code ec, const fs::path& path = {}) {
  const std::string what = path.empty() ? "" : ": " + path.string();
  throw std::system_error{ec, "the sandbox can't be set up; use --sandbox off" + what};
}

/// Why a kernel has no Landlock.
std::string explain_missing(std::error_code ec) {
  const char* const reason = ec.value() == ENOSYS       ? "this kernel has no Landlock"
                             : ec.value() == EOPNOTSUPP ? "Landlock was disabled at boot"
                                                        : "Landlock can't be used here";
  return reason + (" (" + ec.message() + ')');
}

#endif

}  // namespace

std::string enter_sandbox([[maybe_unused]] const server_settings& settings) {
#ifdef PROGRAMS_WITH_LANDLOCK
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  std::error_code ec;
  const int version = landlock::version(ec);
  if (ec) return explain_missing(ec);
  if (version < landlock::first_version_with_links) {
    return "this kernel's version of Landlock can't allow what a store needs (Linux 5.19 can)";
  }
  const landlock::ruleset ruleset{version, ec};
  if (ec) fail(ec);
  for (const auto& [path, allowed] : rules_for(settings)) {
    ruleset.allow(path, allowed, ec);
    const bool is_optional = path.parent_path() == "/dev";  // absent from many a chroot
    if (ec && !(is_optional && ec == std::errc::no_such_file_or_directory)) fail(ec, path);
  }
  ruleset.enforce(ec);
  if (ec) fail(ec);
  return {};
#else
  return "the program was built without Landlock";
#endif
}

}  // namespace programs
