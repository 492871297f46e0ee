#ifndef PROGRAMS_CLIENT_SETTINGS_HPP
#define PROGRAMS_CLIENT_SETTINGS_HPP

/// \file
/// The command line of filexfer-client.

#include "common/arguments.hpp"
#include "common/failure.hpp"
#include "common/reporter.hpp"

#include <filexfer/file.hpp>
#include <filexfer/tree_source.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace programs {

/// Where the server is.
struct server_location {
  address where = tcp_address{"127.0.0.1", 9999};
  std::string ca_file;                 ///< Certificates to trust; empty for the system's store.
  std::optional<std::string> command;  ///< Run instead of connecting to `where`.

  /// The address for messages; empty if a command is run.
  std::string name() const { return command ? std::string{} : to_string(where); }
};

/// Which files to download if several have the same name.
enum class versions { newest, all };

enum class client_job { list, upload, download, verify, simulate };

/// The values of filexfer-client's command line.
struct client_settings {
  server_location server;
  output_format format = output_format::text;
  progress_mode progress = progress_mode::when_slow;
  client_job job = client_job::list;
  bool md5sum = false;
  std::string prefix;                  ///< Prefix of the names to list or download.
  std::vector<std::string> arguments;  ///< Files and folders, or ids and names.
  filexfer::on_symlink links = filexfer::on_symlink::skip;
  bool skip_existing = false;
  std::optional<std::string> name;
  std::optional<std::uint64_t> size;
  std::string output;      ///< Empty if not given.
  bool all_names = false;  ///< Download all files with the prefix.
  versions versions_wanted = versions::newest;
  std::size_t parallel = 1;                   ///< Maximum number of connections.
  std::optional<std::string> checksum_cache;  ///< Path of the cache file.
  std::chrono::milliseconds retry_for{std::chrono::seconds{30}};
  filexfer::on_existing policy = filexfer::on_existing::keep;
};

/// Parses the command line; returns an exit code if the program has to end.
std::optional<exit_code> parse(client_settings& settings, int argc, char** argv);

}  // namespace programs

#endif
