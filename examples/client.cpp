// filexfer-client: lists, uploads and downloads files, and knows that they arrived.

#include "common/any_stream.hpp"
#include "common/client_settings.hpp"
#include "common/download_sink.hpp"
#include "common/exit_code.hpp"
#include "common/failure.hpp"
#include "common/foreground.hpp"
#include "common/interruption.hpp"
#include "common/listing.hpp"
#include "common/name_lookup.hpp"
#include "common/process.hpp"
#include "common/progress.hpp"
#include "common/remote.hpp"
#include "common/simulation.hpp"
#include "common/stdin_source.hpp"
#include "common/temporary_folder.hpp"

#include <filexfer/error.hpp>
#include <filexfer/file.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>

#include <concepts>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

namespace programs {
namespace {

class program {
 public:
  explicit program(const client_settings& chosen)
      : chosen_{chosen}, remote_{operations_, chosen.server} {}

  exit_code list() {
    const bool for_a_person = ::isatty(STDOUT_FILENO) == 1;
    std::vector<listed> kept;
    const auto show = [&](auto file) {
      if (for_a_person && !chosen_.md5sum) {
        kept.emplace_back(file);
        return;
      }
      if (for_a_person) file.name = filexfer::printable(file.name);
      std::cout << (chosen_.md5sum ? md5sum_line(listed{file}) : format_entry(file) + '\n');
    };
    const failure failed = list_into({chosen_.prefix}, show);
    if (failed.code != done) return report("list", failed);
    if (!kept.empty()) std::cout << table(std::move(kept));
    else if (for_a_person && !chosen_.md5sum) std::cout << filexfer::no_files_words << '\n';
    return done;
  }

  exit_code upload() {
    return for_each_word([this](const std::string& word) {
      return word == "-" ? upload_stdin() : upload_file(word);
    });
  }

  exit_code download() {
    std::error_code ec;
    if (!to_stdout()) destination_ = choose_destination(chosen_.output, chosen_.words.size(), ec);
    if (ec) return report(chosen_.output, explain_local(ec));
    const failure none = remote_.connect();
    if (none.code != done) {
      return for_each_word([&](const std::string& word) { return report(word, none); });
    }
    name_lookup names{chosen_.words, remote_.digits()};
    failure unlisted;
    const auto see = [&](const auto& file) { names.see(listed{file}); };
    if (names.needed()) unlisted = list_into({.mtime = true}, see);
    return for_each_word([&](const std::string& word) {
      if (names.is_id(word)) return download_file(names.lower_case(word), word, std::nullopt);
      failure why = unlisted;
      if (unlisted.code != done) return report(word, why);
      const auto file = names.find(word, why);
      if (!file) return report(word, why);
      return download_file(file->id, word, named_file{word, file->modified});
    });
  }

  /// Steps 3 to 22 of the simulation.
  exit_code simulate() {
    const std::filesystem::path file = chosen_.words.front();
    const interruption::interruptible scope;
    const temporary_folder folder;
    simulated what{file, file.filename(), {folder.path()}, chosen_.policy};
    std::error_code ec;
    const filexfer::file_source readable{file, ec};
    if (ec) return report(file.string(), explain_local(ec));
    if (!chosen_.output.empty()) what.copy = choose_destination(chosen_.output, 1, ec);
    if (!ec) check_target(what.copy.file_for(what.name), what.policy, ec);
    if (ec) return report(chosen_.output, explain_local(ec));
    if (const failure none = remote_.connect(); none.code != done) return report(what.name, none);
    return remote_.with_client([&](auto& client) {
      using hasher = typename std::remove_reference_t<decltype(client)>::hasher_type;
      simulation<any_stream, hasher> steps{operations_, progress_, std::move(client.next_layer()),
                                           remote_.work_executor()};
      return steps.run(what);
    });
  }

 private:
  /// All are tried; the first failure counts.
  template <class Call>
  exit_code for_each_word(Call call) {
    exit_code all = done;
    for (const std::string& word : chosen_.words) {
      const exit_code code = call(word);
      if (interruption::came()) return interrupted;
      if (all == done) all = code;
    }
    return all;
  }

  template <class OnEntry>
  failure list_into(const filexfer::list_request& wanted, OnEntry on_entry) {
    if (failure none = remote_.connect(); none.code != done) return none;
    const std::error_code ec = remote_.with_client([&](auto& client) {
      return std::get<0>(operations_.run(
          [&](auto handler) { client.async_list_files(wanted, on_entry, std::move(handler)); }));
    });
    return ec ? remote_.explain(ec) : failure{};
  }

  // --------------------------------------------------------------------------------------- uploads

  exit_code upload_file(const std::string& path) {
    std::error_code ec;
    filexfer::file_source source{path, ec};
    if (ec) return report(path, explain_local(ec));
    return upload_from(source, path, std::filesystem::path{path}.filename());
  }

  exit_code upload_stdin() {
    std::error_code ec;
    if (chosen_.size) {
      stdin_source source{*chosen_.size};
      source.check_empty(ec);
      if (ec) return report("standard input", explain_local(ec));
      return upload_from(source, "standard input", "stdin");
    }
    auto source = spooled_stdin(ec);
    if (ec) return report("standard input", explain_local(ec));
    return upload_from(*source, "standard input", "stdin");
  }

  template <class Source>
  exit_code upload_from(Source& file, const std::string& path, std::string name) {
    if (chosen_.name) name = *chosen_.name;
    if (const failure none = remote_.connect(); none.code != done) return report(path, none);
    std::optional<interruption::interruptible> scope;
    if (!std::same_as<Source, stdin_source>) scope.emplace();  // that would wait for the input
    counted_source source{file, progress_};
    return remote_.with_client(
        [&](auto& client) { return upload_with(client, source, path, name); });
  }

  template <class Client, class Source>
  exit_code upload_with(Client& client, Source& source, const std::string& path,
                        const std::string& name) {
    std::error_code ec;
    typename Client::upload_result result;
    typename Client::upload_request wanted{name};
    if constexpr (requires { source.modified(); }) wanted.modified = source.modified();
    progress_.begin(name, source.size());
    std::tie(ec, result) = operations_.run<decltype(result)>(
        [&](auto handler) { client.async_upload(source, wanted, std::move(handler)); });
    progress_.end();
    if (ec == filexfer::errc::digest_mismatch) {
      std::cout << "Fail  " << result.computed_here << "  " << result.computed_there << "  "
                << filexfer::printable(name) << std::endl;
      return report(path,
                    {wrong_digest, "the server computed " + result.computed_there.to_string() +
                                       ", this file is " + result.computed_here.to_string() +
                                       ": damaged on the way; upload it again"});
    }
    const bool by_name = chosen_.name && ec == filexfer::errc::bad_name;
    if (ec) return report(by_name ? name : path, remote_.explain(ec));
    std::cout << "Success  " << result.computed_there << "  " << filexfer::printable(name)
              << std::endl;
    return done;
  }

  // ------------------------------------------------------------------------------------- downloads

  bool to_stdout() const { return chosen_.output == "-"; }

  exit_code download_file(const std::string& id, const std::string& word,
                          std::optional<named_file> file) {
    std::error_code ec;
    if (!to_stdout() && (file || destination_.file)) {  // What is known before is checked before.
      const auto target = destination_.file_for(file ? file->name : "");
      check_target(target, chosen_.policy, ec);
      if (ec) return report(target.string(), explain_local(ec));
    }
    if (const failure none = remote_.connect(); none.code != done) return report(word, none);
    if (to_stdout()) {  // which may wait for its reader: an interruption ends the process at once
      stdout_sink sink{progress_};
      return remote_.with_client(
          [&](auto& client) { return download_with(client, sink, id, word); });
    }
    const interruption::interruptible scope;
    download_sink sink{destination_, chosen_.policy, std::move(file), progress_};
    const exit_code code =
        remote_.with_client([&](auto& client) { return download_with(client, sink, id, word); });
    if (code == done) {
      std::cout << "Success  " << id << "  " << filexfer::printable(sink.target().string())
                << std::endl;
    }
    return code;
  }

  template <class Client, class Sink>
  exit_code download_with(Client& client, Sink& sink, const std::string& id,
                          const std::string& word) {
    using digest = typename Client::digest_type;
    const auto wanted = digest::from_hex(id);
    if (!wanted) return report(word, {refused, "the server's ids are other digests now"});
    std::error_code ec;
    typename Client::download_result result;
    std::tie(ec, result) = operations_.run<decltype(result)>(
        [&](auto handler) { client.async_download(*wanted, sink, std::move(handler)); });
    progress_.end();
    if (ec == filexfer::errc::digest_mismatch) {
      const std::string kept = to_stdout() ? "; what was written is wrong" : "; nothing was kept";
      return report(word, {wrong_digest, "what arrived is " + result.computed_here.to_string() +
                                             ", not " + wanted->to_string() + kept});
    }
    if (!ec) return done;
    const bool here = client.last_failure() == filexfer::failure_origin::local;
    const std::string target = sink.target().string();
    return report(here && !target.empty() ? target : word, remote_.explain(ec));
  }

  const client_settings& chosen_;
  foreground operations_;
  remote remote_;
  progress progress_{operations_.context(), chosen_.show_progress};
  destination destination_;
};

exit_code run(int argc, char** argv) {
  client_settings chosen;
  if (const auto ended = parse(chosen, argc, argv)) return *ended;
  ignore_signals_of_writes();
  interruption::watch();
  program all{chosen};
  exit_code code = done;
  switch (chosen.job) {
    case client_job::list: code = all.list(); break;
    case client_job::upload: code = all.upload(); break;
    case client_job::download: code = all.download(); break;
    case client_job::simulate: code = all.simulate(); break;
  }
  return after_output(code);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::guarded("filexfer-client", [&] { return programs::run(argc, argv); });
}
