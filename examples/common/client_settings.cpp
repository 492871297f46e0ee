#include "common/client_settings.hpp"

#include "common/cli.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>

namespace programs {
namespace {

constexpr const char* exit_codes =
    "Exit codes: 0 success; 1 a digest did not match, or verify found a file that the server does\n"
    "not hold; 2 usage error; 3 the server refused; 4 the connection failed, or the server broke "
    "the\n"
    "protocol, or one end rejected the other's certificate; 5 a local file, or a standard stream,\n"
    "could not be read or written; 130 interrupted\n"
    "by SIGINT, SIGTERM or SIGHUP: a file without a result may have been transferred. After a\n"
    "failure the other files are still tried; the exit code is that of the first failed one, and\n"
    "if there are several files, the last line on standard error has the totals.";

auto store_arguments(client_settings& settings) {
  return [&settings](const auto& words) { settings.arguments = words; };
}

std::string parse_command(const std::string& text) {
  if (text.empty()) throw bad_argument{"empty command"};
  return text;
}

constexpr const char* server_variable = "FILEXFER_SERVER";

/// The default of `--server` from the environment. CLI11 could read it, but its error would name
/// the option.
void read_environment(client_settings& settings) {
  const char* const text = std::getenv(server_variable);
  if (text == nullptr || *text == '\0') return;
  try {
    settings.server.where = parse_address(text);
  } catch (const bad_argument& e) {
    throw CLI::ValidationError{server_variable, e.what()};
  }
}

void add_server(CLI::App& app, client_settings& settings) {
  auto& server = *add_option(app, "--server", settings.server.where, parse_address,
                             "Address of the server [environment variable FILEXFER_SERVER, or "
                             "127.0.0.1:9999]");
  server.type_name("HOST:PORT|tls:HOST:PORT|unix:PATH");
  auto& via = *add_option(
      app, "--via", settings.server.command, parse_command,
      "Shell command whose standard input and output are connected to the server, such as "
      "'ssh HOST filexfer-server --listen stdio --store DIR'");
  via.type_name("COMMAND")->excludes(&server);
  add_option(app, "--ca", settings.server.ca_file, verbatim,
             "PEM file of the authorities that may have issued the server's certificate (tls:) "
             "[the system's]; the certificate must name HOST")
      ->type_name("FILE");
  auto& certificate =
      *add_option(app, "--cert", settings.server.certificate, verbatim,
                  "PEM file of a certificate, and its intermediate ones, to present to a server "
                  "that demands one (tls:)");
  auto& key = *add_option(app, "--key", settings.server.key, verbatim,
                          "PEM file of that certificate's private key (tls:)");
  certificate.type_name("FILE")->needs(&key);
  key.type_name("FILE")->needs(&certificate);
  app.parse_complete_callback([&] {
    if (server.count() + via.count() == 0) read_environment(settings);
  });
}

list_order parse_order(const std::string& text) {
  if (text == "name") return list_order::name;
  if (text == "size") return list_order::size;
  if (text == "time") return list_order::time;
  throw bad_argument{text + ": unknown order; expected name, size or time"};
}

void add_list(CLI::App& app, client_settings& settings) {
  auto& list = *app.add_subcommand("list", "List the server's files");
  list.callback([&] { settings.job = client_job::list; });
  add_option(list, "PREFIX-or-PATTERN", settings.prefix, verbatim,
             "List only names that begin with this, or match it as a pattern, as in download");
  auto& md5sum =
      *list.add_flag("--md5sum", settings.md5sum,
                     "Print lines for md5sum -c (sha256sum -c if the server's ids are SHA-256)");
  list.add_flag("-l", settings.is_long,
                "Print a table with sizes in KiB, MiB ..., and times of modification in the local "
                "time zone")
      ->excludes(&md5sum);
  add_option(list, "--sort", settings.order, parse_order,
             "Sort by name; by size, the largest first; or by time, the newest first [a table by "
             "name, lines as the server sends them]")
      ->type_name("name|size|time");
}

void add_links(CLI::App& app, client_settings& settings) {
  const auto follow = [&] { settings.links = filexfer::on_symlink::follow; };
  app.add_flag_callback("--follow-links", follow,
                        "Follow symbolic links in folders [they are skipped]");
}

constexpr const char* exclude_option = "--exclude";
constexpr const char* include_option = "--include";

/// Adds the options of a filter, which `read_filter` reads.
void add_filter(CLI::App& app, const std::string& of_what) {
  const auto add = [&](const char* name, const std::string& description) {
    add_words(
        app, name, [](const auto&) {}, description)
        ->type_name("PATTERN")
        ->allow_extra_args(false);
  };
  add(exclude_option,
      "Leave out " + of_what +
          " that match PATTERN; may be repeated. Of several --exclude and --include the first that "
          "matches decides. * and ? match any characters but /, ** any. A PATTERN with / or ** is "
          "matched with the whole path, any other with its last component; one with / at its end "
          "only with folders. Nothing below an excluded folder is included");
  add(include_option, "Include what matches PATTERN, whatever --exclude follows");
}

/// Reads the patterns in the order in which they were given.
void read_filter(const CLI::App& app, client_settings& settings) {
  std::map<const CLI::Option*, std::size_t> used;
  for (const CLI::Option* option : app.parse_order()) {
    const bool includes = option->check_name(include_option);
    if (!includes && !option->check_name(exclude_option)) continue;
    const std::string pattern = original_word(option->results().at(used[option]++));
    if (includes) settings.filter.include(pattern);
    else settings.filter.exclude(pattern);
  }
}

void add_parallel(CLI::App& app, client_settings& settings) {
  const auto parse_connections = [](const std::string& text) {
    constexpr std::size_t max = 64;
    const std::size_t count = parse_count(text);
    if (count > max) throw bad_argument{text + ": too many; expected a number from 1 to 64"};
    return count;
  };
  add_option(app, "--parallel", settings.parallel, parse_connections,
             "Transfer several files at a time, over up to N connections. Results are printed in "
             "the order in which files complete; the exit code is that of the failed file that "
             "comes first in the order of the arguments")
      ->type_name("N [1]");
}

void add_dry_run(CLI::App& app, client_settings& settings, const std::string& done) {
  app.add_flag("--dry-run", settings.dry_run,
               "Print what would be " + done +
                   ", and change nothing, neither here nor at the server, which is asked for its "
                   "list at most. The exit code is that of the failures known beforehand");
}

void add_no_partial(CLI::App& app, client_settings& settings, const std::string& description) {
  app.add_flag("--no-partial", settings.no_partial, description);
}

void add_upload(CLI::App& app, client_settings& settings) {
  auto& upload = *app.add_subcommand("upload", "Upload files, and verify them by their digests");
  add_words(upload, "FILE", store_arguments(settings),
            "Files and folders; - is standard input. Of a folder all regular files below it are "
            "sent, named by their path below the folder: upload photos sends cat.jpg and "
            "2021/dog.jpg. Empty folders are not sent; special files and invalid names are "
            "reported and skipped")
      ->required();
  add_links(upload, settings);
  add_filter(upload, "files and folders below a folder");
  add_parallel(upload, settings);
  upload.add_flag("--skip-existing", settings.skip_existing,
                  "Hash each file first; if the server holds it already, under whatever name, only "
                  "add the name");
  add_dry_run(upload, settings, "sent");
  add_no_partial(
      upload, settings,
      "Note nothing of an upload that is stopped or fails. Without this, the next run of "
      "the same command resumes a file of 1 MiB or more; a secret and the names of "
      "unfinished uploads are kept in $XDG_STATE_HOME/filexfer "
      "[~/.local/state/filexfer]");
  add_option(upload, "--name", settings.name, verbatim,
             "Name at the server, of one file [the last component of its path; stdin for -]")
      ->type_name("NAME");
  add_option(upload, "--size", settings.size, parse_bytes,
             "Size of standard input, which is then sent as it is read, without a temporary copy")
      ->type_name("SIZE");
  upload.callback([&] {
    settings.job = client_job::upload;
    read_filter(upload, settings);
    const bool is_single = settings.arguments.size() == 1;
    if (settings.name && !is_single) throw CLI::ValidationError{"--name", "needs exactly one file"};
    if (settings.size && !(is_single && settings.arguments.front() == "-")) {
      throw CLI::ValidationError{"--size", "needs - as the only file"};
    }
    const auto& words = settings.arguments;
    if (settings.dry_run && std::count(words.begin(), words.end(), "-") > 0) {
      throw CLI::ValidationError{"--dry-run", "standard input can be read only once"};
    }
    if (settings.size && settings.skip_existing) {
      throw CLI::ValidationError{"--skip-existing", "can't be combined with --size"};
    }
  });
}

void add_target(CLI::App& app, client_settings& settings, const std::string& description) {
  add_option(app, "-o", settings.output, verbatim, description)->type_name("PATH");
  const auto replace = [&] { settings.policy = filexfer::on_existing::replace; };
  app.add_flag_callback("--force", replace, "Replace existing files");
}

void add_download(CLI::App& app, client_settings& settings) {
  auto& download = *app.add_subcommand("download",
                                       "Download files. Each appears once it is verified. One that "
                                       "exists already with the same digest is not downloaded");
  add_words(download, "ID-or-NAME", store_arguments(settings),
            "Ids in hex, or names; with --all a prefix of names. A name that no file has may be a "
            "pattern: * and ? match any characters but /, [a-z] and [!x] one of a set, ** any "
            "characters, \\ makes the next one ordinary. Quote it, and give a folder as target. Of "
            "several files with the same name the newest is downloaded");
  download.add_flag(
      "--all", settings.all_names,
      "Download all files, or those whose names begin with the prefix. The folder of -o is created "
      "if missing. Of several files with the same name the newest is downloaded");
  auto& all_versions = *download.add_flag_callback(
      "--all-versions", [&] { settings.versions_wanted = versions::all; },
      "With --all: if several files have the same name, download each as NAME.ID");
  all_versions.needs(download.get_option("--all"));
  add_filter(download, "with --all, names");
  for (const char* option : {exclude_option, include_option}) {
    download.get_option(option)->needs(download.get_option("--all"));
  }
  add_parallel(download, settings);
  add_dry_run(download, settings, "fetched");
  add_no_partial(
      download, settings,
      "Keep nothing of a download that is stopped or fails; another attempt begins at the "
      "first byte. Without this, it is kept as .filexfer-ID.part, from which the next "
      "one resumes");
  add_target(download, settings,
             "Target: a file; a folder, below which files get their names; or - for standard "
             "output, where bytes appear before they are verified, so that only a message and the "
             "exit code tell that they are wrong [the current folder]");
  download.callback([&] {
    settings.job = client_job::download;
    read_filter(download, settings);
    const std::size_t count = settings.arguments.size();
    if (settings.all_names && count > 1)
      throw CLI::ValidationError{"--all", "takes at most one prefix"};
    if (!settings.all_names && count == 0) throw CLI::RequiredError{"ID-or-NAME, or --all"};
    if (settings.output == "-" && (settings.all_names || count > 1)) {
      throw CLI::ValidationError{"-o", "- needs exactly one file"};
    }
    if (settings.output == "-" && settings.dry_run) {
      throw CLI::ValidationError{"--dry-run", "can't be combined with -o -"};
    }
    if (settings.all_names && count == 1) settings.prefix = settings.arguments.front();
  });
}

void add_verify(CLI::App& app, client_settings& settings) {
  auto& verify = *app.add_subcommand(
      "verify", "Check for each file whether the server holds it under its name");
  add_words(verify, "FILE", store_arguments(settings), "Files and folders, named as by upload")
      ->required();
  add_links(verify, settings);
  add_filter(verify, "files and folders below a folder");
  verify.callback([&] {
    settings.job = client_job::verify;
    read_filter(verify, settings);
  });
}

void add_remove(CLI::App& app, client_settings& settings) {
  auto& remove =
      *app.add_subcommand("remove", "Remove files from the server, if it runs with --allow-remove");
  add_words(remove, "ID-or-NAME", store_arguments(settings),
            "Names of files, or an id in hex for all names of that file")
      ->required();
  remove.callback([&] { settings.job = client_job::remove; });
}

void add_simulate(CLI::App& app, client_settings& settings) {
  auto& simulate = *app.add_subcommand(
      "simulate", "Upload a file, download it again, and show the lines of the protocol");
  add_words(simulate, "FILE", store_arguments(settings), "A file")
      ->required()
      ->expected(1)
      ->allow_extra_args(false);
  add_target(simulate, settings, "Target of the copy: a file or a folder [a temporary folder]");
  simulate.callback([&] { settings.job = client_job::simulate; });
}

/// Rejects `--json` with what uses standard output otherwise.
void check_format(const client_settings& settings) {
  if (settings.format == output_format::text) return;
  const bool writes_file = settings.job == client_job::download && settings.output == "-";
  if (writes_file || settings.md5sum || settings.is_long || settings.job == client_job::simulate) {
    throw CLI::ValidationError{
        "--json", "can't be combined with simulate, list --md5sum, list -l or download -o -"};
  }
}

}  // namespace

std::optional<exit_code> parse(client_settings& settings, int argc, char** argv) {
  CLI::App app{"Lists, uploads, downloads, verifies and removes files at a filexfer-server.",
               "filexfer-client"};
  app.footer(exit_codes)->require_subcommand(0, 1)->fallthrough();
  app.callback([&] {  // called after the check for unknown commands
    if (app.get_subcommands().empty()) {
      throw CLI::RequiredError{"A command (list, upload, download, verify, remove or simulate)"};
    }
    check_format(settings);
  });
  add_server(app, settings);
  add_time(app, "--retry-for", settings.retry_for, parse_duration,
           "How long to retry after a connection failed, counted from the last byte transferred; "
           "0 for a single attempt");
  add_rate(app, "--limit-rate", settings.max_rate,
           "Most bytes per second, over all connections together and in both directions; K, M and "
           "G are powers of 1024. Not for simulate");
  add_time(app, "--connect-timeout", settings.connect_timeout, parse_timeout,
           "How long one attempt to connect may take, a handshake of TLS included");
  add_time(app, "--idle-timeout", settings.idle_timeout, parse_timeout,
           "Give a connection up, and retry, if the server is silent for so long while bytes or "
           "lines of it are due. For its reply to an upload, which it may be hashing, the client "
           "waits 10 minutes");
  add_option(app, "--checksum-cache", settings.checksum_cache, verbatim,
             "Keep digests of local files in FILE, so that a file with the same size, times and "
             "inode is not read again by upload --skip-existing, verify and download. FILE is "
             "trusted: it must be yours, with one link, and writable by you only")
      ->type_name("FILE");
  add_option(
      app, "--fsync", settings.flushing, parse_flush_mode,
      "Flush each downloaded file and its folder to the disk before it is reported. With off "
      "a power cut may take files that were reported shortly before, or leave them empty or "
      "incomplete; a crash of the client alone does not")
      ->type_name("on|off [on]");
  const auto hide_progress = [&] { settings.progress = progress_mode::never; };
  app.add_flag_callback("--quiet", hide_progress, "Show no progress");
  app.add_flag_callback(
      "--json", [&] { settings.format = output_format::json; },
      "Print lines of JSON on standard output, an object per event: entry, file, message, "
      "retry, progress, and last summary");
  add_list(app, settings);
  add_upload(app, settings);
  add_download(app, settings);
  add_verify(app, settings);
  add_remove(app, settings);
  add_simulate(app, settings);
  return parse(app, argc, argv);
}

}  // namespace programs
