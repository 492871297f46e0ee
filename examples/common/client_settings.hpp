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
struct server_place {
  address where = tcp_address{"127.0.0.1", 9999};
  std::string trusted;  ///< File of certificates to trust; empty: the system's store.
  std::optional<std::string> command;  ///< Leads there in place of an address.

  /// Empty if a command leads there.
  std::string name() const { return command ? std::string{} : to_string(where); }
};

/// Which of several files of one name are downloaded.
enum class versions { newest, all };

enum class client_job { list, upload, download, verify, simulate };

/// What the command line of filexfer-client asks for.
struct client_settings {
  server_place server;
  output_form form = output_form::text;
  show_progress progress = show_progress::when_slow;
  client_job job = client_job::list;
  bool md5sum = false;
  std::string prefix;              ///< Of names to list, or to download.
  std::vector<std::string> words;  ///< Files and folders, or ids and names.
  filexfer::on_symlink links = filexfer::on_symlink::skip;
  bool skip_existing = false;
  std::optional<std::string> name;
  std::optional<std::uint64_t> size;
  std::string output;      ///< Empty if not given.
  bool all_names = false;  ///< Download all that have the prefix.
  versions wanted = versions::newest;
  std::size_t parallel = 1;                   ///< Connections.
  std::optional<std::string> checksum_cache;  ///< A file.
  std::chrono::milliseconds retry_for{std::chrono::seconds{30}};
  filexfer::on_existing policy = filexfer::on_existing::keep;
};

/// Reads the command line; how the program ends, if it has nothing more to do.
std::optional<exit_code> parse(client_settings& chosen, int argc, char** argv);

}  // namespace programs

#endif
