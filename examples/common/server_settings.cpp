#include "common/server_settings.hpp"

#include "common/cli.hpp"

#include <filexfer/sha256.hpp>

#include <algorithm>
#include <variant>

namespace programs {
namespace {

constexpr const char* description =
    "Serves files to filexfer-client, and to whatever else speaks the protocol.\n"
    "Prints `listening on ADDRESS` for each endpoint once it is ready; with --listen stdio "
    "nothing\n"
    "but the protocol is on standard output, and the end of the client is the end of the server.\n"
    "SIGINT and SIGTERM let transfers end within --grace; a second one breaks them off.";

constexpr const char* footer =
    "SIZE is in bytes, or takes K, M or G (powers of 1024). TIME takes ms, s, m or h.\n"
    "\n"
    "Exit codes: 0 stopped by a signal, or (stdio) the client has ended; 2 wrong usage; 4 an "
    "address\n"
    "could not be listened on, or (stdio) the connection broke, the client was silent for too "
    "long\n"
    "or broke the protocol; 5 the store could not be opened.";

constexpr const char* stdio = "stdio";

/// Returns the addresses to listen on; none for standard input and output, which serve one client.
std::vector<address> parse_listen(const std::vector<std::string>& words) {
  if (std::count(words.begin(), words.end(), stdio) > 0) {
    if (words.size() == 1) return {};
    throw bad_argument{"stdio serves one client, and nothing beside it"};
  }
  std::vector<address> addresses;
  for (const std::string& word : words) addresses.push_back(parse_address(word));
  return addresses;
}

}  // namespace

bool uses_tls(const server_settings& settings) {
  return std::any_of(settings.listen.begin(), settings.listen.end(), [](const address& where) {
    return std::holds_alternative<tls_address>(where);
  });
}

std::optional<exit_code> parse(server_settings& settings, int argc, char** argv) {
  filexfer::server_options& options = settings.options;
  filexfer::session_options& session = options.session;
  settings.listen = {tcp_address{"127.0.0.1", 9999}};

  CLI::App app{description, "filexfer-server"};
  app.footer(footer);
  const auto listen = [&](const auto& words) { settings.listen = parse_listen(words); };
  add_words(app, "--listen", listen,
            "Where to listen; may be repeated; port 0 takes a free one; stdio serves one client on "
            "standard input and output")
      ->type_name("HOST:PORT|[::1]:PORT|tls:HOST:PORT|unix:PATH|stdio [127.0.0.1:9999]")
      ->allow_extra_args(false);
  add_option(app, "--cert", settings.certificate, verbatim,
             "With tls: the server's certificate, and those of its issuers behind it, PEM")
      ->type_name("FILE");
  add_option(app, "--key", settings.key, verbatim, "With tls: the certificate's key, PEM")
      ->type_name("FILE");
  add_option(app, "--store", settings.store, verbatim,
             "A folder, made if missing, or the word memory")
      ->type_name("DIR|memory [" + settings.store + "]");
  add_option(app, "--partial-age", settings.partial_age, parse_duration,
             "How long a folder keeps what arrived of an upload that broke, to go on with it")
      ->type_name("TIME [24h]");
  app.add_option("--digest", settings.digest,
                 "What the files' ids are; sha256 where an attacker may choose files")
      ->type_name("md5|sha256 [" + settings.digest + "]")
      ->check(CLI::IsMember({filexfer::md5::name(), filexfer::sha256::name()}));
  add_option(app, "--max-size", session.max_size, parse_bytes, "Bytes of the largest upload")
      ->type_name("SIZE");
  add_option(app, "--max-connections", options.max_connections, parse_count,
             "Connections served at once")
      ->type_name("N [" + std::to_string(options.max_connections) + "]");
  add_option(app, "--idle-timeout", session.limits.idle, parse_timeout,
             "How long a client may be silent")
      ->type_name("TIME [1m]");
  add_option(app, "--grace", options.grace, parse_duration,
             "How long transfers may go on after a signal")
      ->type_name("TIME [10s]");
  add_option(app, "--threads", settings.threads, parse_count,
             "Threads for connections, and as many for hashing and the disk")
      ->type_name("N [" + std::to_string(settings.threads) + "]");
  app.add_flag_callback(
      "--read-only", [&] { session.access = filexfer::access::read_only; }, "Take no uploads");
  app.add_flag("--quiet", settings.quiet, "No log on stderr");
  app.parse_complete_callback([&] {
    if (!uses_tls(settings) || !(settings.certificate.empty() || settings.key.empty())) return;
    throw CLI::RequiredError{"With tls: --cert and --key"};
  });
  if (const auto ended = parse(app, argc, argv)) return *ended;
  session.limits.line = session.limits.idle;
  return std::nullopt;
}

}  // namespace programs
