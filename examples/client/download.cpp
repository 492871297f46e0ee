#include "client/jobs.hpp"
#include "client/retries.hpp"
#include "common/download_sink.hpp"
#include "common/name_lookup.hpp"

#include <filexfer/error.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <filesystem>
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

/// A file to fetch.
struct wanted_file {
  std::string id;
  std::string word;  ///< What messages call it.
  std::optional<named_file> file;
  std::string name;  ///< At the server; empty if that is not known.
};

class downloads {
 public:
  explicit downloads(workplace& at) : at_{at}, chosen_{at.chosen} {}

  exit_code run() {
    const display shown{at_.say, at_.moved};
    return chosen_.all_names ? fetch_all() : fetch_words();
  }

 private:
  // --------------------------------------------------------------------------------- by id or name

  exit_code fetch_words() {
    std::error_code ec;
    if (!to_stdout()) open_place(chosen_.words.size(), ec);
    if (ec) return at_.say.report(chosen_.output, explain_local(ec));
    const failure none = at_.server.connect();
    if (none.code != done) {
      return for_each_word(at_,
                           [&](const std::string& word) { return at_.say.report(word, none); });
    }
    name_lookup names{chosen_.words, at_.server.digits()};
    failure unlisted;
    const auto see = [&](const auto& file) { names.see(listed{file}); };
    if (names.needed()) unlisted = list_into(at_, {.mtime = true}, see);
    const auto find = [&](const std::string& word, failure& why) -> std::optional<wanted_file> {
      if (names.is_id(word)) return wanted_file{names.lower_case(word), word, {}, {}};
      why = unlisted;
      if (unlisted.code != done) return std::nullopt;
      const auto file = names.find(word, why);
      if (!file) return std::nullopt;
      return wanted_file{file->id, word, named_file{word, file->modified, file->size}, word};
    };
    for (const std::string& word : chosen_.words) {
      failure why;
      if (const auto file = find(word, why)) expect(*file);
    }
    at_.moved.expect_no_more();
    return for_each_word(at_, [&](const std::string& word) {
      failure why;
      const auto file = find(word, why);
      return file ? fetch(*file) : at_.say.report(word, why);
    });
  }

  bool to_stdout() const { return chosen_.output == "-"; }

  void open_place(std::size_t count, std::error_code& ec) {
    const destination where = choose_destination(chosen_.output, count, ec);
    if (!ec) place_.emplace(where, chosen_.policy, ec);
  }

  // ------------------------------------------------------------------------------------------- all

  exit_code fetch_all() {
    named_files files;
    const failure none = list_bounded(
        at_, {chosen_.prefix, true}, [&](const listed& file) { files[file.name].push_back(file); });
    if (none.code != done) return at_.say.report("list", none);
    if (files.empty() && !chosen_.prefix.empty()) {
      return at_.say.report(chosen_.prefix,
                            {refused, "the server has no file whose name begins so"});
    }
    std::error_code ec;
    const std::string folder = chosen_.output.empty() ? "." : chosen_.output;
    std::filesystem::create_directory(folder, ec);
    constexpr std::size_t several = 2;
    if (!ec) open_place(several, ec);
    if (ec) return at_.say.report(folder, explain_local(ec));
    std::vector<wanted_file> wanted;
    for (auto& [name, same_name] : files) choose_versions(name, same_name, wanted);
    for (const wanted_file& file : wanted) expect(file);
    at_.moved.expect_no_more();
    first_failure all;
    for (const wanted_file& file : wanted) {
      all.note(fetch(file));
      if (interruption::came()) return interrupted;
      if (!connected_) break;
    }
    return all.code();
  }

  void choose_versions(const std::string& name, std::vector<listed>& files,
                       std::vector<wanted_file>& wanted) {
    sort_by_age(files);
    const bool several = files.size() > 1;
    if (several && chosen_.wanted == versions::all) {
      for (const listed& file : files) {
        wanted.push_back(
            {file.id, name, named_file{name + '.' + file.id, file.modified, file.size}, name});
      }
      return;
    }
    const listed& newest = files.back();
    if (several) {
      at_.say.report(name,
                     {done, std::to_string(files.size()) + " files bear that name: the newest, " +
                                newest.id + ", is fetched; --all-versions fetches each"});
    }
    wanted.push_back({newest.id, name, named_file{name, newest.modified, newest.size}, name});
  }

  // -------------------------------------------------------------------------------------- one file

  /// A file on its way, by however many attempts.
  struct fetching {
    fetching(const wanted_file& which, progress& job) : wanted{which}, shown{job, size_of(which)} {}

    wanted_file wanted;
    file_progress shown;
    bool part_was_wrong = false;
  };

  static std::optional<std::uint64_t> size_of(const wanted_file& wanted) {
    return wanted.file ? wanted.file->size : std::nullopt;
  }

  void expect(const wanted_file& wanted) { at_.moved.expect(size_of(wanted)); }

  exit_code fetch(const wanted_file& wanted) {
    fetching one{wanted, at_.moved};
    if (const exit_code none = connect(wanted.word); none != done) return none;
    if (to_stdout()) {  // which may wait for its reader: an interruption ends the process at once
      stdout_sink sink{one.shown};
      const attempt only =
          at_.server.with_client([&](auto& client) { return fetch_with(client, sink, one); });
      return report(wanted.word, only);
    }
    if (const auto code = keep(one, wanted.file)) return *code;
    const interruption::interruptible scope;
    download_sink sink{*place_, one.shown};
    const attempt last =
        with_retries(at_, wanted.word, [&](auto& client) { return try_once(client, sink, one); });
    connected_ = last.was_connected;
    return report(wanted.word, last);
  }

  exit_code report(const std::string& word, const attempt& last) {
    return last.why.code == done ? done : at_.say.report(last.subject.value_or(word), last.why);
  }

  template <class Client>
  attempt try_once(Client& client, download_sink& sink, fetching& one) {
    std::error_code ec;
    auto& file = one.wanted.file;
    sink.begin(file, ".filexfer-" + one.wanted.id + ".part", ec);
    if (ec) return {explain_target(ec), 0, sink.target().string()};
    const bool had_part = sink.held() > 0;
    attempt made = fetch_with(client, sink, one);
    const bool wrong_part = had_part && (made.why.code == wrong_digest || made.why.code == refused);
    if (wrong_part) made.why.may_pass = !std::exchange(one.part_was_wrong, true);
    if (!file) file = sink.wanted();
    // What is left of a connection that broke is gone on with, now or by another download.
    if (made.why.may_pass && !wrong_part && !interruption::came()) sink.keep();
    else sink.give_up();
    return made;
  }

  /// Where that file is there already, it is told and gets its time, as far as that is known.
  std::optional<exit_code> keep(fetching& one, const std::optional<named_file>& file) {
    auto here = place_->existing(file);
    if (!here || (file && file->size != here->size())) return std::nullopt;
    std::error_code ec;
    if (id_of(at_, *here, one.shown, ec) != one.wanted.id || ec) return std::nullopt;
    const auto target = place_->target_of(file).string();
    if (file && file->modified && *file->modified != here->modified()) {
      set_modified(*here, *file->modified, ec);
    }
    if (ec) return at_.say.report(target, explain_local(ec));
    const bool learnt = one.wanted.name.empty() && file;
    at_.say.tell({verdict::already_there,
                  direction::down,
                  one.wanted.id,
                  {},
                  learnt ? file->name : one.wanted.name,
                  target,
                  here->size()});
    return done;
  }

  exit_code connect(const std::string& word) {
    const attempt made = with_retries(at_, word, [](auto&) { return attempt{}; });
    connected_ = made.was_connected;
    return connected_ ? done : at_.say.report(word, made.why);
  }

  template <class Client, class Sink>
  attempt fetch_with(Client& client, Sink& sink, fetching& one) {
    using digest = typename Client::digest_type;
    const std::string& word = one.wanted.word;
    const auto wanted = digest::from_hex(one.wanted.id);
    if (!wanted) return {{refused, "the server's ids are other digests now"}, 0, word};
    std::error_code ec;
    typename Client::download_result result;
    std::tie(ec, result) = at_.operations.run<decltype(result)>(
        [&](auto handler) { client.async_download(*wanted, sink, std::move(handler)); });
    one.shown.end();
    if (ec == filexfer::errc::digest_mismatch) {
      if (!to_stdout()) {
        at_.say.tell({verdict::fail, direction::down, result.computed_here.to_string(),
                      one.wanted.id, result.file.name, sink.target().string(), result.file.size});
      }
      const std::string kept = to_stdout() ? "; what was written is wrong" : "; nothing was kept";
      return {{wrong_digest, "what arrived is " + result.computed_here.to_string() + ", not " +
                                 wanted->to_string() + kept},
              result.octets,
              word};
    }
    const std::string target = sink.target().string();
    if constexpr (std::same_as<Sink, download_sink>) {
      if (!ec) {
        at_.say.tell({verdict::success,
                      direction::down,
                      one.wanted.id,
                      {},
                      result.file.name,
                      target,
                      result.file.size});
      }
      if (ec == filexfer::errc::file_exists) {  // under a name that was not known before
        if (const auto code = keep(one, sink.wanted())) return {{*code, {}}};
      }
    }
    if (!ec) return {};
    const bool here = client.last_failure() == filexfer::failure_origin::local;
    return {at_.server.explain(ec), result.octets, here && !target.empty() ? target : word};
  }

  workplace& at_;
  const client_settings& chosen_;
  std::optional<download_place> place_;  ///< Nothing for standard output.
  bool connected_ = true;
};

}  // namespace

exit_code download(workplace& at) { return downloads{at}.run(); }

}  // namespace programs
