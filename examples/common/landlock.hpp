#ifndef PROGRAMS_LANDLOCK_HPP
#define PROGRAMS_LANDLOCK_HPP

/// \file
/// Landlock, with which a process on Linux gives up access to files. C libraries lack its system
/// calls.

#include <filexfer/detail/posix/descriptor.hpp>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <system_error>

#if defined(__linux__)
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<linux/landlock.h>) && defined(SYS_landlock_create_ruleset)
#include <linux/landlock.h>
#define PROGRAMS_WITH_LANDLOCK
#endif
#endif

namespace programs::landlock {

/// A set of rights; see `landlock(7)`. The header of an older system lacks some of their names.
using rights = std::uint64_t;
inline constexpr rights write_file = 1u << 1;
inline constexpr rights read_file = 1u << 2;
inline constexpr rights read_folder = 1u << 3;
inline constexpr rights remove_folder = 1u << 4;
inline constexpr rights remove_file = 1u << 5;
inline constexpr rights make_folder = 1u << 7;
inline constexpr rights make_file = 1u << 8;
inline constexpr rights link_or_rename = 1u << 13;  ///< From one folder to another.
inline constexpr rights truncate_file = 1u << 14;

/// The first version of the kernel's interface that allows links between folders.
inline constexpr int first_version_with_links = 2;

#ifdef PROGRAMS_WITH_LANDLOCK

/// The version of the kernel's interface; 0 if there is none, and `ec` says why.
inline int version(std::error_code& ec) noexcept {
  const long found = ::syscall(SYS_landlock_create_ruleset, nullptr, std::size_t{0},
                               LANDLOCK_CREATE_RULESET_VERSION);
  ec = found > 0 ? std::error_code{} : filexfer::detail::last_error();
  return found > 0 ? static_cast<int>(found) : 0;
}

/// What a process will be able to do. All access to files is denied that no rule allows; as far as
/// the kernel can, also TCP connections and listening, and signals and abstract Unix sockets of
/// other processes.
class ruleset {
 public:
  /// \param version  the kernel's.
  ruleset(int version, std::error_code& ec)
      : handled_{(std::uint64_t{1} << (version >= 5   ? 16
                                       : version >= 3 ? 15
                                                      : 14)) -
                 1} {
    struct {
      std::uint64_t files, network, scopes;
    } const handled = {handled_, version >= 4 ? 3u : 0u, version >= 6 ? 3u : 0u};
    const long made = ::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    ec = made >= 0 ? std::error_code{} : filexfer::detail::last_error();
    fd_ = filexfer::detail::descriptor{static_cast<int>(made)};
  }

  /// Allows `allowed` for a file, or for a folder and all below it.
  void allow(const std::filesystem::path& path, rights allowed, std::error_code& ec) const {
    const auto target = filexfer::detail::open_at(AT_FDCWD, path.c_str(), O_PATH, ec);
    if (ec) return;
    const landlock_path_beneath_attr rule{allowed & handled_, target.get()};
    if (::syscall(SYS_landlock_add_rule, fd_.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
      ec = filexfer::detail::last_error();
    }
  }

  /// Restricts the calling thread, and those that it starts from now on, for ever.
  void enforce(std::error_code& ec) const noexcept {
    const bool is_enforced = ::syscall(SYS_landlock_restrict_self, fd_.get(), 0) == 0;
    ec = is_enforced ? std::error_code{} : filexfer::detail::last_error();
  }

 private:
  rights handled_;
  filexfer::detail::descriptor fd_;
};

#endif

}  // namespace programs::landlock

#endif
