#ifndef PROGRAMS_CLIENT_SETTINGS_HPP
#define PROGRAMS_CLIENT_SETTINGS_HPP

/// \file
/// The command line of filexfer-client.

#include "common/arguments.hpp"
#include "common/failure.hpp"
#include "common/reporter.hpp"

#include <filexfer/file.hpp>
#include <filexfer/name_filter.hpp>
#include <filexfer/options.hpp>
#include <filexfer/transfer_types.hpp>
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
  std::string certificate;             ///< To present to the server; empty for none.
  std::string key;                     ///< Of `certificate`.
  std::optional<std::string> command;  ///< Run instead of connecting to `where`.

  /// The address for messages; empty if a command is run.
  std::string name() const { return command ? std::string{} : to_string(where); }
};

/// Which files to download if several have the same name.
enum class versions { newest, all };

/// What a list is sorted by: the largest and the newest come first.
enum class list_order { name, size, time };

enum class client_job { list, upload, download, verify, remove, simulate };

/// The values of filexfer-client's command line.
struct client_settings {
  server_location server;
  output_format format = output_format::text;
  progress_mode progress = progress_mode::when_slow;
  client_job job = client_job::list;
  bool md5sum = false;
  bool is_long = false;             ///< Show sizes and times for people.
  std::optional<list_order> order;  ///< If not set, tables by name, lines as the server sends them.
  std::string prefix;               ///< Prefix of the names to list or download.
  std::vector<std::string> arguments;  ///< Files and folders, or ids and names.
  filexfer::on_symlink links = filexfer::on_symlink::skip;
  filexfer::name_filter filter;  ///< Of the files in folders, or of the names to download.
  bool skip_existing = false;
  bool dry_run = false;
  bool no_partial = false;
  std::optional<std::string> name;
  std::optional<std::uint64_t> size;
  std::string output;      ///< Empty if not given.
  bool all_names = false;  ///< Download all files with the prefix.
  versions versions_wanted = versions::newest;
  std::size_t parallel = 1;                   ///< Maximum number of connections.
  std::uint64_t max_rate = 0;                 ///< Bytes per second; 0 for no limit.
  std::optional<std::string> checksum_cache;  ///< Path of the cache file.
  std::chrono::milliseconds retry_for = filexfer::pool_options{}.retry_for;
  std::chrono::milliseconds connect_timeout = filexfer::pool_options{}.connect_timeout;
  std::chrono::milliseconds idle_timeout = filexfer::time_limits{}.idle;
  filexfer::on_existing policy = filexfer::on_existing::keep;
  filexfer::flush_mode flushing = filexfer::flush_mode::on;  ///< Of downloaded files.
};

/// Parses the command line; returns an exit code if the program has to end.
std::optional<exit_code> parse(client_settings& settings, int argc, char** argv);

}  // namespace programs

#endif
