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

auto take_words(client_settings& chosen) {
  return [&chosen](const auto& words) { chosen.words = words; };
}

std::string parse_command(const std::string& text) {
  if (text.empty()) throw bad_argument{"no command"};
  return text;
}

constexpr const char* server_variable = "FILEXFER_SERVER";

/// Where no option says it, the environment may. CLI11 could read it, but would blame the option.
void take_environment(client_settings& chosen) {
  const char* const text = std::getenv(server_variable);
  if (text == nullptr || *text == '\0') return;
  try {
    chosen.server.where = parse_address(text);
  } catch (const bad_argument& e) {
    throw CLI::ValidationError{server_variable, e.what()};
  }
}

void add_server(CLI::App& app, client_settings& chosen) {
  auto& server = *add_option(app, "--server", chosen.server.where, parse_address,
                             "The server; if not given, what FILEXFER_SERVER is in the environment "
                             "[127.0.0.1:9999]");
  server.type_name("HOST:PORT|tls:HOST:PORT|unix:PATH");
  auto& via = *add_option(
      app, "--via", chosen.server.command, parse_command,
      "A command for the shell that leads to the server by its standard input and output, "
      "such as 'ssh HOST filexfer-server --listen stdio --store DIR'");
  via.type_name("COMMAND")->excludes(&server);
  add_option(app, "--ca", chosen.server.trusted, as_it_stands,
             "With tls: a file of certificates, one of which the server's has to come from [the "
             "system's store]; its name has to be HOST")
      ->type_name("FILE");
  app.parse_complete_callback([&] {
    if (server.count() + via.count() == 0) take_environment(chosen);
  });
}

void add_list(CLI::App& app, client_settings& chosen) {
  auto& list = *app.add_subcommand("list", "Show the server's files");
  list.callback([&] { chosen.job = client_job::list; });
  add_option(list, "PREFIX", chosen.prefix, as_it_stands, "Only names that begin with it");
  list.add_flag("--md5sum", chosen.md5sum,
                "As md5sum -c reads it (sha256sum -c, if the server's ids are SHA-256)");
}

void add_links(CLI::App& app, client_settings& chosen) {
  const auto follow = [&] { chosen.links = filexfer::on_symlink::follow; };
  app.add_flag_callback("--follow-links", follow,
                        "Take a symbolic link in a folder for what it leads to [it is skipped]");
}

void add_parallel(CLI::App& app, client_settings& chosen) {
  const auto parse_connections = [](const std::string& text) {
    constexpr std::size_t most = 64;
    const std::size_t count = parse_count(text);
    if (count > most) throw bad_argument{text + ": too many; write a number from 1 to 64"};
    return count;
  };
  add_option(app, "--parallel", chosen.parallel, parse_connections,
             "Move several files at a time, each over a connection of its own; if the server takes "
             "fewer, over those. What is said comes in the order in which files are done; the exit "
             "code is that of the first file, in the order of the files, that failed")
      ->type_name("N [1]");
}

void add_upload(CLI::App& app, client_settings& chosen) {
  auto& upload = *app.add_subcommand("upload", "Send files, and compare digests");
  add_words(upload, "FILE", take_words(chosen),
            "Files; - is standard input. Of a folder every regular file in it and below is sent, "
            "under its name relative to that folder: upload photos sends cat.jpg and 2021/dog.jpg. "
            "Empty folders are not sent; what is no regular file, or has no name that can be sent, "
            "is told and passed over")
      ->required();
  add_links(upload, chosen);
  add_parallel(upload, chosen);
  upload.add_flag("--skip-existing", chosen.skip_existing,
                  "Send nothing that the server holds already, under whatever name: it is read "
                  "here first, and only its name is added");
  add_option(upload, "--name", chosen.name, as_it_stands,
             "One file's name at the server [the last part of its path; for - it is stdin]")
      ->type_name("NAME");
  add_option(upload, "--size", chosen.size, parse_bytes,
             "Bytes of standard input, which is then sent as it comes, not spooled first")
      ->type_name("SIZE");
  upload.callback([&] {
    chosen.job = client_job::upload;
    const bool one = chosen.words.size() == 1;
    if (chosen.name && !one) throw CLI::ValidationError{"--name", "is for one file"};
    if (chosen.size && !(one && chosen.words.front() == "-")) {
      throw CLI::ValidationError{"--size", "is for standard input, -"};
    }
    if (chosen.size && chosen.skip_existing) {
      throw CLI::ValidationError{"--skip-existing", "reads twice, which --size is to spare"};
    }
  });
}

void add_target(CLI::App& app, client_settings& chosen, const std::string& description) {
  add_option(app, "-o", chosen.output, as_it_stands, description)->type_name("PATH");
  const auto replace = [&] { chosen.policy = filexfer::on_existing::replace; };
  app.add_flag_callback("--force", replace, "Replace a file that exists");
}

void add_download(CLI::App& app, client_settings& chosen) {
  auto& download = *app.add_subcommand("download",
                                       "Fetch files, which are shown once they are verified. "
                                       "One that is there already is read, not fetched");
  add_words(download, "ID-or-NAME", take_words(chosen),
            "A file's id in hex, or its name; behind --all the prefix of names");
  download.add_flag(
      "--all", chosen.all_names,
      "All files whose names begin with a prefix, or all. The folder of -o is made "
      "if it is not there. Of several files that bear one name the newest is fetched");
  auto& all_versions = *download.add_flag_callback(
      "--all-versions", [&] { chosen.wanted = versions::all; },
      "With --all: where several files bear one name, fetch each as NAME.ID");
  all_versions.needs(download.get_option("--all"));
  add_parallel(download, chosen);
  add_target(download, chosen,
             "A file; or a folder, below which files get their names; or - for standard output, "
             "where bytes are written before they are verified: that they are wrong is then known "
             "from the exit code and a message only [the current folder]");
  download.callback([&] {
    chosen.job = client_job::download;
    const std::size_t words = chosen.words.size();
    if (chosen.all_names && words > 1) throw CLI::ValidationError{"--all", "takes one prefix"};
    if (!chosen.all_names && words == 0) throw CLI::RequiredError{"ID-or-NAME, or --all"};
    if (chosen.output == "-" && (chosen.all_names || words > 1)) {
      throw CLI::ValidationError{"-o", "- is for one file"};
    }
    if (chosen.all_names && words == 1) chosen.prefix = chosen.words.front();
  });
}

void add_verify(CLI::App& app, client_settings& chosen) {
  auto& verify = *app.add_subcommand(
      "verify",
      "Tell of each file whether the server holds it, that is, its digest under its name");
  add_words(verify, "FILE", take_words(chosen),
            "Files and folders, whose names are those that upload gives them")
      ->required();
  add_links(verify, chosen);
  verify.callback([&] { chosen.job = client_job::verify; });
}

void add_simulate(CLI::App& app, client_settings& chosen) {
  auto& simulate = *app.add_subcommand(
      "simulate", "Send a file, fetch it again, and show what went over the wire");
  add_words(simulate, "FILE", take_words(chosen), "A file")
      ->required()
      ->expected(1)
      ->allow_extra_args(false);
  add_target(simulate, chosen, "Where the copy goes: a file or a folder [a temporary folder]");
  simulate.callback([&] { chosen.job = client_job::simulate; });
}

/// What has standard output for something else.
void check_form(const client_settings& chosen) {
  if (chosen.form == output_form::text) return;
  const bool bytes = chosen.job == client_job::download && chosen.output == "-";
  if (bytes || chosen.md5sum || chosen.job == client_job::simulate) {
    throw CLI::ValidationError{"--json", "is not for simulate, list --md5sum or download -o -"};
  }
}

}  // namespace

std::optional<exit_code> parse(client_settings& chosen, int argc, char** argv) {
  CLI::App app{"Lists, uploads and downloads files of a filexfer-server.", "filexfer-client"};
  app.footer(exit_codes)->require_subcommand(0, 1)->fallthrough();
  app.callback([&] {  // which comes after a word that is no command was found
    if (app.get_subcommands().empty()) {
      throw CLI::RequiredError{"A command (list, upload, download, verify or simulate)"};
    }
    check_form(chosen);
  });
  add_server(app, chosen);
  add_option(app, "--retry-for", chosen.retry_for, parse_duration,
             "How long to try again after a connection broke, since bytes last moved; 0 for not at "
             "all")
      ->type_name("TIME [30s]");
  add_option(app, "--checksum-cache", chosen.checksum_cache, as_it_stands,
             "Remember in FILE the digests of local files that upload --skip-existing, verify and "
             "download compute to compare them: one whose size, times and inode are what they were "
             "is not read again. It is believed: keep it where only you can write")
      ->type_name("FILE");
  const auto hide = [&] { chosen.progress = show_progress::never; };
  app.add_flag_callback("--quiet", hide, "No progress on stderr");
  app.add_flag_callback(
      "--json", [&] { chosen.form = output_form::json; },
      "Say everything on standard output, in lines of JSON, an object for each "
      "event: entry, file, message, retry, progress, and last summary");
  add_list(app, chosen);
  add_upload(app, chosen);
  add_download(app, chosen);
  add_verify(app, chosen);
  add_simulate(app, chosen);
  return parse(app, argc, argv);
}

}  // namespace programs
