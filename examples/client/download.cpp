#include "client/jobs.hpp"
#include "client/retries.hpp"
#include "common/download_sink.hpp"
#include "common/name_lookup.hpp"

#include <filexfer/error.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>

#include <algorithm>
#include <concepts>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace programs {
namespace {

/// A server's files by their names: a name's files from the oldest to the newest.
using named_files = std::map<std::string, std::vector<listed>>;

void sort_by_age(std::vector<listed>& files) {
  std::sort(files.begin(), files.end(), [](const listed& a, const listed& b) {
    return std::tie(a.modified, a.id) < std::tie(b.modified, b.id);
  });
}

failure explain_target(std::error_code ec) {
  if (ec == filexfer::errc::bad_name) return {local_file, "is no name for a file here"};
  return explain_local(ec);
}

class downloads {
 public:
  explicit downloads(workplace& at) : at_{at}, chosen_{at.chosen} {}

  exit_code run() { return chosen_.all_names ? fetch_all() : fetch_words(); }

 private:
  // --------------------------------------------------------------------------------- by id or name

  exit_code fetch_words() {
    std::error_code ec;
    if (!to_stdout()) open_destination(chosen_.words.size(), ec);
    if (ec) return report(chosen_.output, explain_local(ec));
    const failure none = at_.server.connect();
    if (none.code != done) {
      return for_each_word(at_, [&](const std::string& word) { return report(word, none); });
    }
    name_lookup names{chosen_.words, at_.server.digits()};
    failure unlisted;
    const auto see = [&](const auto& file) { names.see(listed{file}); };
    if (names.needed()) unlisted = list_into(at_, {.mtime = true}, see);
    return for_each_word(at_, [&](const std::string& word) {
      if (names.is_id(word)) return fetch(names.lower_case(word), word, std::nullopt);
      failure why = unlisted;
      if (unlisted.code != done) return report(word, why);
      const auto file = names.find(word, why);
      if (!file) return report(word, why);
      return fetch(file->id, word, named_file{word, file->modified, file->size});
    });
  }

  bool to_stdout() const { return chosen_.output == "-"; }

  void open_destination(std::size_t count, std::error_code& ec) {
    const destination where = choose_destination(chosen_.output, count, ec);
    if (!ec) sink_.emplace(where, chosen_.policy, at_.shown, ec);
  }

  // ------------------------------------------------------------------------------------------- all

  exit_code fetch_all() {
    named_files files;
    const failure none = list_bounded(
        at_, {chosen_.prefix, true}, [&](const listed& file) { files[file.name].push_back(file); });
    if (none.code != done) return report("list", none);
    if (files.empty() && !chosen_.prefix.empty()) {
      return report(chosen_.prefix, {refused, "the server has no file whose name begins so"});
    }
    std::error_code ec;
    const std::string folder = chosen_.output.empty() ? "." : chosen_.output;
    std::filesystem::create_directory(folder, ec);
    constexpr std::size_t several = 2;
    if (!ec) open_destination(several, ec);
    if (ec) return report(folder, explain_local(ec));
    first_failure all;
    for (auto& [name, same_name] : files) {
      fetch_versions(name, same_name, all);
      if (interruption::came()) return interrupted;
      if (!connected_) break;
    }
    return all.code();
  }

  void fetch_versions(const std::string& name, std::vector<listed>& files, first_failure& all) {
    sort_by_age(files);
    const bool several = files.size() > 1;
    if (several && chosen_.wanted == versions::all) {
      for (const listed& file : files) {
        if (!connected_ || interruption::came()) return;
        all.note(fetch(file.id, name, named_file{name + '.' + file.id, file.modified, file.size}));
      }
      return;
    }
    const listed& newest = files.back();
    if (several) {
      report(name, {done, std::to_string(files.size()) + " files bear that name: the newest, " +
                              newest.id + ", is fetched; --all-versions fetches each"});
    }
    all.note(fetch(newest.id, name, named_file{name, newest.modified, newest.size}));
  }

  // -------------------------------------------------------------------------------------- one file

  exit_code fetch(const std::string& id, const std::string& word, std::optional<named_file> file) {
    if (const exit_code none = connect(word); none != done) return none;
    if (to_stdout()) {  // which may wait for its reader: an interruption ends the process at once
      stdout_sink sink{at_.shown};
      const attempt only =
          at_.server.with_client([&](auto& client) { return fetch_with(client, sink, id, word); });
      return only.why.code == done ? done : report(only.subject.value_or(word), only.why);
    }
    if (const auto code = keep(id, file)) return *code;
    const interruption::interruptible scope;
    fetched one{id, word, std::move(file)};
    const attempt last =
        with_retries(at_, word, [&](auto& client) { return try_once(client, one); });
    connected_ = last.was_connected;
    if (last.why.code == done) return done;
    return report(last.subject.value_or(word), last.why);
  }

  /// A file on its way, by however many attempts.
  struct fetched {
    std::string id;
    std::string word;
    std::optional<named_file> file;
    bool part_was_wrong = false;
  };

  template <class Client>
  attempt try_once(Client& client, fetched& one) {
    std::error_code ec;
    sink_->begin(one.file, ".filexfer-" + one.id + ".part", ec);
    if (ec) return {explain_target(ec), 0, sink_->target().string()};
    const bool had_part = sink_->held() > 0;
    attempt made = fetch_with(client, *sink_, one.id, one.word);
    const bool wrong_part = had_part && (made.why.code == wrong_digest || made.why.code == refused);
    if (wrong_part) made.why.may_pass = !std::exchange(one.part_was_wrong, true);
    if (!one.file) one.file = sink_->wanted();
    // What is left of a connection that broke is gone on with, now or by another download.
    if (made.why.may_pass && !wrong_part && !interruption::came()) sink_->keep();
    else sink_->give_up();
    return made;
  }

  /// Where that file is there already, it is told and gets its time, as far as that is known.
  std::optional<exit_code> keep(const std::string& id, const std::optional<named_file>& file) {
    auto here = sink_->existing(file);
    if (!here || (file && file->size != here->size())) return std::nullopt;
    std::error_code ec;
    if (id_of(at_, *here, ec) != id || ec) return std::nullopt;
    const auto target = sink_->target_of(file).string();
    if (file && file->modified && *file->modified != here->modified()) {
      set_modified(*here, *file->modified, ec);
    }
    if (ec) return report(target, explain_local(ec));
    tell("Already there", id, target);
    return done;
  }

  exit_code connect(const std::string& word) {
    const attempt made = with_retries(at_, word, [](auto&) { return attempt{}; });
    connected_ = made.was_connected;
    return connected_ ? done : report(word, made.why);
  }

  static void tell(const char* outcome, const std::string& id, const std::string& target) {
    std::cout << outcome << "  " << id << "  " << filexfer::printable(target) << std::endl;
  }

  template <class Client, class Sink>
  attempt fetch_with(Client& client, Sink& sink, const std::string& id, const std::string& word) {
    using digest = typename Client::digest_type;
    const auto wanted = digest::from_hex(id);
    if (!wanted) return {{refused, "the server's ids are other digests now"}, 0, word};
    std::error_code ec;
    typename Client::download_result result;
    std::tie(ec, result) = at_.operations.run<decltype(result)>(
        [&](auto handler) { client.async_download(*wanted, sink, std::move(handler)); });
    at_.shown.end();
    if (ec == filexfer::errc::digest_mismatch) {
      const std::string kept = to_stdout() ? "; what was written is wrong" : "; nothing was kept";
      return {{wrong_digest, "what arrived is " + result.computed_here.to_string() + ", not " +
                                 wanted->to_string() + kept},
              result.octets,
              word};
    }
    const std::string target = sink.target().string();
    if constexpr (std::same_as<Sink, download_sink>) {
      if (!ec) tell("Success", id, target);
      if (ec == filexfer::errc::file_exists) {  // under a name that was not known before
        if (const auto code = keep(id, sink.wanted())) return {{*code, {}}};
      }
    }
    if (!ec) return {};
    const bool here = client.last_failure() == filexfer::failure_origin::local;
    return {at_.server.explain(ec), result.octets, here && !target.empty() ? target : word};
  }

  workplace& at_;
  const client_settings& chosen_;
  std::optional<download_sink> sink_;  ///< Nothing for standard output.
  bool connected_ = true;
};

}  // namespace

exit_code download(workplace& at) { return downloads{at}.run(); }

}  // namespace programs
