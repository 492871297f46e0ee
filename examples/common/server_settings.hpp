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

/// What the command line of filexfer-server asks for.
struct server_settings {
  std::vector<address> listen;  ///< Empty where one client is served on standard input and output.
  std::string certificate;      ///< For TLS.
  std::string key;
  std::string store = "./filexfer-store";
  filexfer::server_options options;
  std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::string digest{filexfer::md5::name()};
  std::chrono::milliseconds partial_age{std::chrono::hours{24}};
  bool quiet = false;
};

/// Whether it listens for TLS anywhere.
bool speaks_tls(const server_settings& chosen);

/// Reads the command line; how the program ends, if it has nothing more to do.
std::optional<exit_code> parse(server_settings& chosen, int argc, char** argv);

}  // namespace programs

#endif
