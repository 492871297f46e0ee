#ifndef PROGRAMS_SERVER_SETTINGS_HPP
#define PROGRAMS_SERVER_SETTINGS_HPP

/// \file
/// The command line of filexfer-server.

#include "common/arguments.hpp"
#include "common/failure.hpp"

#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace programs {

/// The values of filexfer-server's command line.
struct server_settings {
  std::vector<address> listen;  ///< Empty to serve one client on standard input and output.
  std::string certificate;      ///< For TLS, as `key`.
  std::string key;
  std::string store = "./filexfer-store";
  filexfer::server_options options;
  std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::string digest{filexfer::md5::name()};
  std::chrono::milliseconds partial_age{std::chrono::hours{24}};
  bool quiet = false;
};

/// Whether any of the addresses is a TLS one.
bool uses_tls(const server_settings& settings);

/// Parses the command line; returns an exit code if the program has to end.
std::optional<exit_code> parse(server_settings& settings, int argc, char** argv);

}  // namespace programs

#endif
