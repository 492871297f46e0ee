#ifndef PROGRAMS_POOL_HPP
#define PROGRAMS_POOL_HPP

/// \file
/// What serving and verifying a store in a pool share.

#include "common/server_settings.hpp"

#include <filexfer/error.hpp>
#include <filexfer/rados_store.hpp>

#include <string>
#include <system_error>

namespace programs {

/// Where the pool of `settings` is, and its log.
inline filexfer::rados_store_options pool_options(const server_settings& settings,
                                                  server_log& log) {
  filexfer::rados_store_options options{settings.pool->pool, settings.pool->name_space,
                                        settings.ceph_conf, settings.ceph_user};
  options.log = reports_to(log, settings);
  return options;
}

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
