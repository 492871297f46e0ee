#include "common/server_settings.hpp"

#include "common/cli.hpp"

#include <filexfer/connection_counter.hpp>
#include <filexfer/sha256.hpp>

#include <algorithm>
#include <iterator>
#include <memory>
#include <sstream>
#include <string_view>
#include <utility>
#include <variant>

namespace programs {
namespace {

constexpr const char* description =
    "Serves files to filexfer-client and other clients of the protocol.\n"
    "Prints `listening on ADDRESS` for each endpoint once it is ready. With --listen stdio only "
    "the\n"
    "protocol is on standard output, and the server ends with its client.\n"
    "On SIGINT or SIGTERM running transfers may finish within --grace; a second one aborts them.\n"
    "On SIGHUP it reads the certificates again; with --listen stdio that ends it.\n"
    "With the command verify it serves nobody, but checks a store's files.";

constexpr const char* footer =
    "SIZE is in bytes, or has a suffix K, M or G (powers of 1024). TIME has one of ms, s, m, h.\n"
    "\n"
    "Exit codes: 0 stopped by a signal, or (stdio) the client has disconnected; 2 usage error; 4 "
    "an\n"
    "address can't be listened on, or (stdio) the connection failed, timed out, or broke the\n"
    "protocol; 5 the store, a certificate or a key can't be read, or the sandbox can't be set up. "
    "A client whose certificate is\n"
    "missing or rejected is disconnected, and the log says why.";

constexpr const char* verify_footer =
    "It is safe while servers run on the store; run it as their user.\n"
    "\n"
    "Exit codes: 0 all files are intact; 1 a file was damaged; 2 usage error; 5 none was, but a\n"
    "file or folder could not be read, or the store can't be opened; 130 interrupted.";

constexpr const char* stdio = "stdio";

/// Parses names of permissions, separated by commas.
filexfer::permissions parse_permissions(const std::string& text) {
  filexfer::permissions result{false, false, false, false};
  const std::pair<std::string_view, bool*> all[] = {{"list", &result.list},
                                                    {"upload", &result.upload},
                                                    {"download", &result.download},
                                                    {"remove", &result.remove}};
  std::istringstream words{text + ','};
  for (std::string word; std::getline(words, word, ',');) {
    const auto* const found = std::find_if(std::begin(all), std::end(all),
                                           [&](const auto& p) { return p.first == word; });
    if (found == std::end(all)) throw bad_argument{"'" + word + "' is no permission"};
    *found->second = true;
  }
  return result;
}

/// Returns the addresses to listen on; none for standard input and output, which serve one client.
std::vector<listen_address> parse_listen(const std::vector<std::string>& words) {
  if (std::count(words.begin(), words.end(), stdio) > 0) {
    if (words.size() == 1) return {};
    throw bad_argument{"stdio can't be combined with other addresses"};
  }
  std::vector<listen_address> addresses;
  addresses.reserve(words.size());
  for (const std::string& word : words) addresses.push_back(parse_listen_address(word));
  return addresses;
}

/// The pool of a store `rados:POOL[/NAMESPACE]`; nothing for another store.
std::optional<pool_name> parse_pool(const std::string& store) {
  constexpr std::string_view scheme = "rados:";
  if (!store.starts_with(scheme)) return std::nullopt;
#ifdef PROGRAMS_WITH_RADOS
  const std::string place = store.substr(scheme.size());
  const auto slash = place.find('/');
  pool_name result{place.substr(0, slash), {}};
  if (slash != std::string::npos) result.name_space = place.substr(slash + 1);
  const bool lacks_name = slash != std::string::npos && result.name_space.empty();
  if (result.pool.empty() || lacks_name) {
    throw bad_argument{store + ": expected rados:POOL or rados:POOL/NAMESPACE"};
  }
  return result;
#else
  throw bad_argument{store + ": this program was built without librados"};
#endif
}

void find_pool(server_settings& settings) try {
  settings.pool = parse_pool(settings.store);
} catch (const bad_argument& e) {
  throw CLI::ValidationError{"--store", e.what()};
}

void add_ceph(CLI::App& app, server_settings& settings) {
  add_option(app, "--ceph-conf", settings.ceph_conf, verbatim,
             "Ceph's configuration file, for rados:")
      ->type_name("FILE [/etc/ceph/ceph.conf and other places of Ceph's]");
  add_option(app, "--ceph-user", settings.ceph_user, verbatim,
             "Ceph's user, without `client.`, for rados:")
      ->type_name("NAME [admin]");
}

std::vector<filexfer::ip_network> parse_networks(const std::vector<std::string>& words) {
  std::vector<filexfer::ip_network> networks;
  networks.reserve(words.size());
  for (const std::string& word : words) networks.push_back(parse_network(word));
  return networks;
}

/// Whether any of the addresses is behind a proxy.
bool is_proxied(const server_settings& settings) {
  return std::any_of(settings.listen.begin(), settings.listen.end(),
                     [](const listen_address& a) { return a.is_proxied; });
}

log_format parse_log(const std::string& word) {
  if (word == "text") return log_format::text;
  if (word == "json") return log_format::json;
  throw bad_argument{word + ": unknown format; expected text or json"};
}

void add_verify(CLI::App& app, server_settings& settings) {
  auto& verify = *app.add_subcommand(
      "verify",
      "Hash all files of a store again. Those that no longer hash to their ids are printed, and "
      "moved to .damaged in the folder, with all their names, or set aside in the pool's index; an "
      "upload brings them back");
  verify.footer(verify_footer);
  verify.callback([&] { settings.job = server_job::verify; });
  add_option(verify, "--store", settings.store, verbatim, "Folder, or pool of Ceph, of the files")
      ->type_name("DIR|rados:POOL[/NAMESPACE] [" + settings.store + "]");
  add_ceph(verify, settings);
  verify
      .add_option("--digest", settings.verified_digest,
                  "Verify only files whose ids are such digests [all files]")
      ->type_name("md5|sha256")
      ->check(CLI::IsMember({filexfer::md5::name(), filexfer::sha256::name()}));
  add_count(verify, "--threads", settings.threads, "Threads that read and hash");
  verify.add_flag("--quiet", settings.quiet, "Write no log; print only the damaged files");
}

}  // namespace

bool uses_tls(const server_settings& settings) {
  return std::any_of(settings.listen.begin(), settings.listen.end(), [](const listen_address& a) {
    return std::holds_alternative<tls_address>(a.where);
  });
}

std::optional<exit_code> parse(server_settings& settings, int argc, char** argv) {
  filexfer::server_options& options = settings.options;
  filexfer::session_options& session = options.session;
  settings.listen = {{tcp_address{"127.0.0.1", 9999}}};

  CLI::App app{description, "filexfer-server"};
  app.footer(footer);
  app.require_subcommand(0, 1);
  const auto listen = [&](const auto& words) { settings.listen = parse_listen(words); };
  add_words(app, "--listen", listen,
            "Address to listen on; may be repeated. Port 0 is a free port; stdio serves one client "
            "on standard input and output. With proxy+ each connection must begin with a header of "
            "the PROXY protocol, version 1 or 2, in which a load balancer tells its client's "
            "address, for limits and the log")
      ->type_name(
          "HOST:PORT|[::1]:PORT|tls:HOST:PORT|proxy+tcp:HOST:PORT|proxy+tls:HOST:PORT|unix:PATH|"
          "stdio [127.0.0.1:9999]")
      ->allow_extra_args(false);
  const auto proxies = [&](const auto& words) { settings.proxies = parse_networks(words); };
  add_words(app, "--proxy-from", proxies,
            "Address or network of the load balancers (proxy+); may be repeated. Connections from "
            "elsewhere are closed, as whoever sends such a header can claim any address")
      ->type_name("NETWORK")
      ->allow_extra_args(false);
  add_option(app, "--cert", settings.certificate, verbatim,
             "PEM file of the server's certificate and its intermediate certificates (tls:)")
      ->type_name("FILE");
  add_option(app, "--key", settings.key, verbatim,
             "PEM file of the certificate's private key (tls:)")
      ->type_name("FILE");
  add_option(app, "--tls-client-ca", settings.client_authorities, verbatim,
             "PEM file of authorities (tls:). Clients must present a certificate that one of them "
             "has issued [clients need none]")
      ->type_name("FILE");
  add_option(app, "--store", settings.store, verbatim,
             "Folder of the files, created if missing; or memory; or a pool of Ceph, which must "
             "exist, with room for any number of servers")
      ->type_name("DIR|memory|rados:POOL[/NAMESPACE] [" + settings.store + "]");
  add_ceph(app, settings);
  auto& scrub =
      *add_rate(app, "--scrub", settings.scrub_rate,
                "Verify the files of a store while serving it, as the command verify does, at so "
                "many bytes per second; again an hour after each round");
  add_time(app, "--partial-age", settings.partial_age, parse_duration,
           "How long a store keeps interrupted uploads, so that they can be resumed");
  app.add_option("--digest", settings.digest,
                 "Digest that files' ids are; use sha256 if an attacker may choose files")
      ->type_name("md5|sha256 [" + settings.digest + "]")
      ->check(CLI::IsMember({filexfer::md5::name(), filexfer::sha256::name()}));
  add_option(app, "--max-size", session.max_size, parse_bytes, "Largest upload, in bytes")
      ->type_name("SIZE");
  auto& quota =
      *add_option(app, "--quota", settings.quota, parse_bytes,
                  "Bytes of all files, with those that are arriving; uploads beyond are refused")
           ->type_name("SIZE [none; memory: 1G]");
  auto& max_files =
      *add_option(app, "--max-files", settings.max_files, parse_files,
                  "Names of all files, with those that are arriving; uploads beyond are refused")
           ->type_name("N [none; memory: 1000000]");
  auto& min_free =
      *add_option(
           app, "--min-free", settings.min_free, parse_free_space,
           "What uploads leave free on the disk of a folder; a share is also one of its inodes")
           ->type_name("SIZE|PERCENT% [1%]");
  auto& fsync =
      *add_option(app, "--fsync", settings.flushing, parse_flush_mode,
                  "Flush each file and its folders to the disk before it is acknowledged. With off "
                  "a power cut may take files that were acknowledged shortly before, or leave them "
                  "empty or incomplete until verify sets them aside; a crash of the server alone "
                  "takes nothing")
           ->type_name("on|off [on]");
  add_count(app, "--max-connections", options.max_connections, "Connections served at a time");
  add_count(app, "--max-connections-per-address", options.max_connections_per_address,
            filexfer::default_connections_per_address,
            "Connections served at a time of one IPv4 address or IPv6 network of 64 bits; not "
            "limited by default: loopback addresses, behind which a proxy or tunnel may be");
  add_count(app, "--max-connection-rate", options.max_connection_rate,
            filexfer::default_connection_rate,
            "Connections accepted per second of one such address, averaged over 10 s; not limited "
            "by default: loopback addresses");
  add_time(app, "--idle-timeout", session.limits.idle, parse_timeout,
           "Disconnect clients that are silent for so long");
  add_time(app, "--grace", options.grace, parse_duration,
           "How long transfers may continue after a signal");
  add_count(app, "--threads", settings.threads, "Threads for connections, and as many for hashing");
  add_count(app, "--disk-threads", settings.disk_threads,
            "Threads for disk access; files on a disk that stalls hold one for each client");
  auto& allow = *add_option(app, "--allow", session.permitted, parse_permissions,
                            "What clients may do, and nothing else; upload makes a drop box")
                     ->type_name("list,upload,download,remove [list,upload,download]");
  auto& read_only = *app.add_flag_callback(
                            "--read-only", [&] { session.permitted.upload = false; },
                            "Refuse uploads: --allow list,download")
                         ->excludes(&allow);
  app.add_flag_callback(
         "--allow-remove", [&] { session.permitted.remove = true; },
         "Let clients remove files, too")
      ->excludes(&read_only)
      ->excludes(&allow);
  app.add_flag_callback(
      "--no-shortcuts", [&] { session.shortcuts = false; },
      "Have clients send all bytes of files that the store holds already: for clients that are not "
      "to learn from a digest that somebody else's file is there");
  const auto log = [&](const auto& words) { settings.format_of_log = parse_log(words.front()); };
  add_words(app, "--log", log, "Write the log as lines of text, or as a JSON object a line")
      ->type_name("text|json [text]")
      ->expected(1)
      ->allow_extra_args(false);
  add_count(app, "--log-rate", settings.log_rate,
            "Lines per second about failures of one address, averaged over 10 s, and 100 times as "
            "many about completed commands; what is beyond that is counted");
  app.add_option("--sandbox", settings.sandbox,
                 "Touch nothing but the store, the folders of certificates, keys and Unix sockets, "
                 "where the system can enforce that (Linux 5.19)")
      ->type_name("on|off [" + settings.sandbox + "]")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_flag("--quiet", settings.quiet, "Write no log");
  add_verify(app, settings);
  app.parse_complete_callback([&] {
    find_pool(settings);
    if (settings.store == "memory" && scrub.count() > 0) {
      throw CLI::ValidationError{"--scrub", "needs a folder or a pool as --store"};
    }
    const bool has_folder = settings.store != "memory" && !settings.pool;
    if (!has_folder && min_free.count() + fsync.count() > 0) {
      throw CLI::ValidationError{"--min-free and --fsync", "need a folder as --store"};
    }
    if (settings.pool && quota.count() + max_files.count() > 0) {
      throw CLI::ValidationError{"--quota and --max-files",
                                 "can't limit a pool; use `ceph osd pool set-quota`"};
    }
    const bool has_certificate = !settings.certificate.empty() && !settings.key.empty();
    if (uses_tls(settings) && !has_certificate) {
      throw CLI::RequiredError{"With tls:, --cert and --key"};
    }
    if (is_proxied(settings) && settings.proxies.empty()) {
      throw CLI::RequiredError{"With proxy+, --proxy-from"};
    }
    if (!is_proxied(settings) && !settings.proxies.empty()) {
      throw CLI::ValidationError{"--proxy-from", "is for proxy+ addresses only; there is none"};
    }
    if (!uses_tls(settings) && !settings.client_authorities.empty()) {
      throw CLI::ValidationError{"--tls-client-ca", "protects tls: addresses only; there is none"};
    }
  });
  if (const auto ended = parse(app, argc, argv)) return *ended;
  options.counter = std::make_shared<filexfer::connection_counter>();  // of all addresses together
  session.limits.line = session.limits.idle;
  return std::nullopt;
}

}  // namespace programs
