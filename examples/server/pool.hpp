#ifndef PROGRAMS_EXPLAIN_POOL_HPP
#define PROGRAMS_EXPLAIN_POOL_HPP

#include <filexfer/error.hpp>

#include <string>
#include <system_error>

namespace programs {

/// Why a pool can't be used as a store.
inline std::string explain_pool(std::error_code ec) {
  if (ec == std::errc::no_such_file_or_directory) {
    return "there is no such pool or store, or no such user or configuration file of Ceph";
  }
  if (ec == filexfer::errc::wrong_digest_kind) return "has files whose ids are another --digest";
  if (ec == std::errc::timed_out) return "the cluster does not answer";
  return "can't be used as a store: " + ec.message();
}

}  // namespace programs

#endif
