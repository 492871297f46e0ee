#ifndef PROGRAMS_SERVER_SETTINGS_HPP
#define PROGRAMS_SERVER_SETTINGS_HPP

/// \file
/// The command line of filexfer-server.

#include "common/arguments.hpp"
#include "common/failure.hpp"
#include "common/log.hpp"

#include <filexfer/ip_network.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace programs {

/// What filexfer-server is to do.
enum class server_job { serve, verify };

/// `rados:POOL[/NAMESPACE]`.
struct pool_name {
  std::string pool;
  std::string name_space;
};

/// The values of filexfer-server's command line.
struct server_settings {
  server_job job = server_job::serve;
  std::vector<listen_address> listen;  ///< Empty to serve one client on standard input and output.
  std::vector<filexfer::ip_network> proxies;  ///< That may send headers of the PROXY protocol.
  std::string certificate;                    ///< For TLS, as `key`.
  std::string key;
  std::string client_authorities;  ///< File of those that may have issued clients' certificates.
  std::string store = "./filexfer-store";
  std::optional<pool_name> pool{};  ///< Of `store`, if that is in RADOS.
  std::string ceph_conf;            ///< Empty for librados's own places.
  std::string ceph_user;            ///< Empty for librados's default.
  filexfer::server_options options;
  std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::size_t disk_threads = 160;  // more than one address has connections, by default
  std::string digest{filexfer::md5::name()};
  std::string verified_digest;  ///< That of the ids to verify; empty for any.
  std::optional<std::uint64_t> quota;
  std::optional<std::uint64_t> max_files;
  filexfer::free_space min_free = filexfer::directory_store_options{}.min_free;
  filexfer::flush_mode flushing = filexfer::flush_mode::on;
  std::uint64_t scrub_rate = 0;  ///< Bytes per second; 0 not to verify the store while serving it.
  std::chrono::milliseconds partial_age{std::chrono::hours{24}};
  std::string sandbox = "on";
  bool quiet = false;
  log_format format_of_log = log_format::text;
  std::size_t log_rate = 10;  ///< See `server_log`.
};

/// Whether any of the addresses is a TLS one.
bool uses_tls(const server_settings& settings);

/// What a store is to call with what it has to say; empty if nothing is to be logged.
inline std::function<void(std::string_view)> reports_to(server_log& log,
                                                        const server_settings& settings) {
  if (settings.quiet) return {};
  return [&log](std::string_view text) { log.report(text); };
}

/// Parses the command line; returns an exit code if the program has to end.
std::optional<exit_code> parse(server_settings& settings, int argc, char** argv);

}  // namespace programs

#endif
