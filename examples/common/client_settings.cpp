#include "common/client_settings.hpp"

#include "common/cli.hpp"

#include <cstdlib>
#include <string>

namespace programs {
namespace {

constexpr const char* exit_codes =
    "Exit codes: 0 done; 1 a digest did not match, or verify found a file that the server lacks;\n"
    "2 wrong usage; 3 the server refused; 4 the connection failed or broke, or the server broke\n"
    "the protocol; 5 a local file could not be read or written; 130 interrupted, with nothing\n"
    "half-done left. Of several files all are tried, and the exit code is the first failure's.";

auto store_arguments(client_settings& settings) {
  return [&settings](const auto& words) { settings.arguments = words; };
}

std::string parse_command(const std::string& text) {
  if (text.empty()) throw bad_argument{"no command"};
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
                             "The server; if not given, what FILEXFER_SERVER is in the environment "
                             "[127.0.0.1:9999]");
  server.type_name("HOST:PORT|tls:HOST:PORT|unix:PATH");
  auto& via = *add_option(
      app, "--via", settings.server.command, parse_command,
      "A command for the shell that leads to the server by its standard input and output, "
      "such as 'ssh HOST filexfer-server --listen stdio --store DIR'");
  via.type_name("COMMAND")->excludes(&server);
  add_option(app, "--ca", settings.server.ca_file, verbatim,
             "With tls: a file of certificates, one of which the server's has to come from [the "
             "system's store]; its name has to be HOST")
      ->type_name("FILE");
  app.parse_complete_callback([&] {
    if (server.count() + via.count() == 0) read_environment(settings);
  });
}

void add_list(CLI::App& app, client_settings& settings) {
  auto& list = *app.add_subcommand("list", "Show the server's files");
  list.callback([&] { settings.job = client_job::list; });
  add_option(list, "PREFIX", settings.prefix, verbatim, "Only names that begin with it");
  list.add_flag("--md5sum", settings.md5sum,
                "As md5sum -c reads it (sha256sum -c, if the server's ids are SHA-256)");
}

void add_links(CLI::App& app, client_settings& settings) {
  const auto follow = [&] { settings.links = filexfer::on_symlink::follow; };
  app.add_flag_callback("--follow-links", follow,
                        "Take a symbolic link in a folder for what it leads to [it is skipped]");
}

void add_parallel(CLI::App& app, client_settings& settings) {
  const auto parse_connections = [](const std::string& text) {
    constexpr std::size_t max = 64;
    const std::size_t count = parse_count(text);
    if (count > max) throw bad_argument{text + ": too many; write a number from 1 to 64"};
    return count;
  };
  add_option(app, "--parallel", settings.parallel, parse_connections,
             "Move several files at a time, each over a connection of its own; if the server takes "
             "fewer, over those. What is said comes in the order in which files are done; the exit "
             "code is that of the first file, in the order of the files, that failed")
      ->type_name("N [1]");
}

void add_upload(CLI::App& app, client_settings& settings) {
  auto& upload = *app.add_subcommand("upload", "Send files, and compare digests");
  add_words(upload, "FILE", store_arguments(settings),
            "Files; - is standard input. Of a folder every regular file in it and below is sent, "
            "under its name relative to that folder: upload photos sends cat.jpg and 2021/dog.jpg. "
            "Empty folders are not sent; what is no regular file, or has no name that can be sent, "
            "is told and passed over")
      ->required();
  add_links(upload, settings);
  add_parallel(upload, settings);
  upload.add_flag("--skip-existing", settings.skip_existing,
                  "Send nothing that the server holds already, under whatever name: it is read "
                  "here first, and only its name is added");
  add_option(upload, "--name", settings.name, verbatim,
             "One file's name at the server [the last part of its path; for - it is stdin]")
      ->type_name("NAME");
  add_option(upload, "--size", settings.size, parse_bytes,
             "Bytes of standard input, which is then sent as it comes, not spooled first")
      ->type_name("SIZE");
  upload.callback([&] {
    settings.job = client_job::upload;
    const bool is_single = settings.arguments.size() == 1;
    if (settings.name && !is_single) throw CLI::ValidationError{"--name", "is for one file"};
    if (settings.size && !(is_single && settings.arguments.front() == "-")) {
      throw CLI::ValidationError{"--size", "is for standard input, -"};
    }
    if (settings.size && settings.skip_existing) {
      throw CLI::ValidationError{"--skip-existing", "reads twice, which --size is to spare"};
    }
  });
}

void add_target(CLI::App& app, client_settings& settings, const std::string& description) {
  add_option(app, "-o", settings.output, verbatim, description)->type_name("PATH");
  const auto replace = [&] { settings.policy = filexfer::on_existing::replace; };
  app.add_flag_callback("--force", replace, "Replace a file that exists");
}

void add_download(CLI::App& app, client_settings& settings) {
  auto& download = *app.add_subcommand("download",
                                       "Fetch files, which are shown once they are verified. "
                                       "One that is there already is read, not fetched");
  add_words(download, "ID-or-NAME", store_arguments(settings),
            "A file's id in hex, or its name; behind --all the prefix of names");
  download.add_flag(
      "--all", settings.all_names,
      "All files whose names begin with a prefix, or all. The folder of -o is made "
      "if it is not there. Of several files that bear one name the newest is fetched");
  auto& all_versions = *download.add_flag_callback(
      "--all-versions", [&] { settings.versions_wanted = versions::all; },
      "With --all: where several files bear one name, fetch each as NAME.ID");
  all_versions.needs(download.get_option("--all"));
  add_parallel(download, settings);
  add_target(download, settings,
             "A file; or a folder, below which files get their names; or - for standard output, "
             "where bytes are written before they are verified: that they are wrong is then known "
             "from the exit code and a message only [the current folder]");
  download.callback([&] {
    settings.job = client_job::download;
    const std::size_t count = settings.arguments.size();
    if (settings.all_names && count > 1) throw CLI::ValidationError{"--all", "takes one prefix"};
    if (!settings.all_names && count == 0) throw CLI::RequiredError{"ID-or-NAME, or --all"};
    if (settings.output == "-" && (settings.all_names || count > 1)) {
      throw CLI::ValidationError{"-o", "- is for one file"};
    }
    if (settings.all_names && count == 1) settings.prefix = settings.arguments.front();
  });
}

void add_verify(CLI::App& app, client_settings& settings) {
  auto& verify = *app.add_subcommand(
      "verify",
      "Tell of each file whether the server holds it, that is, its digest under its name");
  add_words(verify, "FILE", store_arguments(settings),
            "Files and folders, whose names are those that upload gives them")
      ->required();
  add_links(verify, settings);
  verify.callback([&] { settings.job = client_job::verify; });
}

void add_simulate(CLI::App& app, client_settings& settings) {
  auto& simulate = *app.add_subcommand(
      "simulate", "Send a file, fetch it again, and show what went over the wire");
  add_words(simulate, "FILE", store_arguments(settings), "A file")
      ->required()
      ->expected(1)
      ->allow_extra_args(false);
  add_target(simulate, settings, "Where the copy goes: a file or a folder [a temporary folder]");
  simulate.callback([&] { settings.job = client_job::simulate; });
}

/// Rejects `--json` with what uses standard output otherwise.
void check_format(const client_settings& settings) {
  if (settings.format == output_format::text) return;
  const bool writes_file = settings.job == client_job::download && settings.output == "-";
  if (writes_file || settings.md5sum || settings.job == client_job::simulate) {
    throw CLI::ValidationError{"--json", "is not for simulate, list --md5sum or download -o -"};
  }
}

}  // namespace

std::optional<exit_code> parse(client_settings& settings, int argc, char** argv) {
  CLI::App app{"Lists, uploads and downloads files of a filexfer-server.", "filexfer-client"};
  app.footer(exit_codes)->require_subcommand(0, 1)->fallthrough();
  app.callback([&] {  // called after the check for unknown commands
    if (app.get_subcommands().empty()) {
      throw CLI::RequiredError{"A command (list, upload, download, verify or simulate)"};
    }
    check_format(settings);
  });
  add_server(app, settings);
  add_option(app, "--retry-for", settings.retry_for, parse_duration,
             "How long to try again after a connection broke, since bytes last moved; 0 for not at "
             "all")
      ->type_name("TIME [30s]");
  add_option(app, "--checksum-cache", settings.checksum_cache, verbatim,
             "Remember in FILE the digests of local files that upload --skip-existing, verify and "
             "download compute to compare them: one whose size, times and inode are what they were "
             "is not read again. It is believed: keep it where only you can write")
      ->type_name("FILE");
  const auto hide_progress = [&] { settings.progress = progress_mode::never; };
  app.add_flag_callback("--quiet", hide_progress, "No progress on stderr");
  app.add_flag_callback(
      "--json", [&] { settings.format = output_format::json; },
      "Say everything on standard output, in lines of JSON, an object for each "
      "event: entry, file, message, retry, progress, and last summary");
  add_list(app, settings);
  add_upload(app, settings);
  add_download(app, settings);
  add_verify(app, settings);
  add_simulate(app, settings);
  return parse(app, argc, argv);
}

}  // namespace programs
