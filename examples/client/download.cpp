#include "client/connections.hpp"
#include "client/file_queue.hpp"
#include "client/jobs.hpp"
#include "client/retries.hpp"
#include "common/download_sink.hpp"
#include "common/name_lookup.hpp"

#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
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
  std::string name;  ///< At the server; empty if that is not known.
  std::optional<named_file> file;
  failure why_not = {};  ///< There is none.

  std::optional<std::uint64_t> size() const { return file ? file->size : std::nullopt; }
};

/// A file on its way, by however many attempts.
struct incoming {
  incoming(wanted_file which, progress& job)
      : wanted{std::move(which)}, shown{job, wanted.size()} {}

  const std::string& subject() const noexcept { return wanted.word; }
  std::string part() const { return ".filexfer-" + wanted.id + ".part"; }

  /// Whether nothing is lost if it is fetched again from its beginning.
  bool is_small() const { return wanted.size() && *wanted.size() <= 1024 * 1024; }

  wanted_file wanted;
  file_progress shown;
  bool part_was_wrong = false;
  std::size_t place = 0;
};

/// Where a download goes that is begun only once its octets are about to come, and afresh.
class late_sink {
 public:
  late_sink(download_place& place, incoming& one) : one_{one}, sink_{place, one.shown} {}

  template <class Digest>
  void announce(const filexfer::file_info<Digest>& file, std::error_code& ec) {
    begun_ = true;
    sink_.begin(one_.wanted.file, one_.part(), ec);
    if (!ec && sink_.held() > 0) sink_.drop_held(ec);
    if (!ec) sink_.announce(file, ec);
  }
  void write(std::span<const std::byte> octets, std::error_code& ec) { sink_.write(octets, ec); }
  void commit(std::error_code& ec) { sink_.commit(ec); }

  /// What has come is left to go on with.
  void keep() {
    if (std::exchange(begun_, false)) sink_.keep();
  }
  void give_up() {
    begun_ = false;
    sink_.give_up();
  }

  std::filesystem::path target() const { return sink_.target(); }
  const std::optional<named_file>& wanted() const noexcept { return sink_.wanted(); }

 private:
  incoming& one_;
  download_sink sink_;
  bool begun_ = false;
};

static_assert(filexfer::announced_sink<late_sink, filexfer::digest<16>>);

class downloads {
 public:
  explicit downloads(workplace& at) : at_{at}, chosen_{at.chosen} {}

  exit_code run() {
    const display shown{at_.say, at_.moved};
    return chosen_.all_names ? fetch_all() : fetch_words();
  }

  /// As a `Mover` of `connections` does it.
  attempt move(workplace& at, batch<incoming>& some) {
    return at.server.with_client([&](auto& client) { return fetch_some(at, client, some); });
  }
  attempt move(workplace& at, incoming& one, std::optional<attempt> made) {
    if (!made) {
      if (const auto kept = keep(at, one, one.wanted.file)) return *kept;
    }
    download_sink sink{*place_, one.shown};
    return with_retries(
        at, one.subject(), [&](auto& client) { return try_once(at, client, sink, one); },
        std::move(made));
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
    for (const std::string& word : chosen_.words) want(choose(names, unlisted, word));
    if (to_stdout()) return fetch_to_stdout();
    const failure gone = fetch_wanted();
    for (; gone.code != done && !wanted_.empty(); wanted_.pop_front()) {
      queue_.note(at_.say.report(wanted_.front().word, gone));
    }
    return queue_.code();
  }

  static wanted_file choose(const name_lookup& names, const failure& unlisted,
                            const std::string& word) {
    if (names.is_id(word)) return {names.lower_case(word), word, {}, {}};
    failure why = unlisted;
    const auto file = why.code == done ? names.find(word, why) : std::nullopt;
    if (!file) return {{}, word, word, {}, why};
    return {file->id, word, word, named_file{word, file->modified, file->size}};
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
    for (auto& [name, same_name] : files) want_versions(name, same_name);
    files.clear();
    fetch_wanted();
    return queue_.code();
  }

  void want_versions(const std::string& name, std::vector<listed>& files) {
    sort_by_age(files);
    const bool several = files.size() > 1;
    if (several && chosen_.wanted == versions::all) {
      for (const listed& file : files) {
        want({file.id, name, name, named_file{name + '.' + file.id, file.modified, file.size}});
      }
      return;
    }
    const listed& newest = files.back();
    if (several) {
      at_.say.report(name,
                     {done, std::to_string(files.size()) + " files bear that name: the newest, " +
                                newest.id + ", is fetched; --all-versions fetches each"});
    }
    want({newest.id, name, name, named_file{name, newest.modified, newest.size}});
  }

  // ------------------------------------------------------------------------------------- the files

  void want(wanted_file file) {
    if (file.why_not.code == done) at_.moved.expect(file.size());
    wanted_.push_back(std::move(file));
  }

  /// Why there is no server any more, if files are left in `wanted_`.
  failure fetch_wanted() {
    at_.moved.expect_no_more();
    return connections{at_, queue_, *this}.run();
  }

  /// What was not found is told when its turn comes.
  std::unique_ptr<incoming> find(patience) {
    while (!wanted_.empty()) {
      wanted_file next = std::move(wanted_.front());
      wanted_.pop_front();
      if (next.why_not.code == done) return std::make_unique<incoming>(std::move(next), at_.moved);
      queue_.note(at_.say.report(next.word, next.why_not));
    }
    return nullptr;
  }

  // -------------------------------------------------------------------------------------- one file

  /// It may wait for its reader: an interruption ends the process at once.
  exit_code fetch_to_stdout() {
    const auto only = find(patience::any);
    if (!only) return queue_.code();
    attempt made = connect_with_retries(at_, only->subject());
    stdout_sink sink{only->shown};
    if (made.was_connected) {
      made = at_.server.with_client(
          [&](auto& client) { return fetch_with(at_, client, sink, *only); });
    }
    if (made.why.code == done) return done;
    return at_.say.report(made.subject.value_or(only->subject()), made.why);
  }

  template <class Client>
  attempt try_once(workplace& at, Client& client, download_sink& sink, incoming& one) {
    std::error_code ec;
    auto& file = one.wanted.file;
    sink.begin(file, one.part(), ec);
    if (ec == filexfer::errc::file_exists) {  // since it was looked for
      if (const auto kept = keep(at, one, file)) return *kept;
    }
    if (ec) return {explain_target(ec), 0, place_->target_of(file).string()};
    const bool had_part = sink.held() > 0;
    attempt made = fetch_with(at, client, sink, one);
    const bool wrong_part = had_part && (made.why.code == wrong_digest || made.why.code == refused);
    if (wrong_part) made.why.may_pass = !std::exchange(one.part_was_wrong, true);
    if (!file) file = sink.wanted();
    // What is left of a connection that broke is gone on with, now or by another download.
    if (made.why.may_pass && !wrong_part && !interruption::came()) sink.keep();
    else sink.give_up();
    return made;
  }

  /// Where that file is there already, it is told and gets its time, as far as that is known.
  std::optional<attempt> keep(workplace& at, incoming& one, const std::optional<named_file>& file) {
    auto here = place_->existing(file);
    if (!here || (file && file->size != here->size())) return std::nullopt;
    std::error_code ec;
    if (id_of(at, *here, one.shown, ec) != one.wanted.id || ec) return std::nullopt;
    const auto target = place_->target_of(file).string();
    if (file && file->modified && *file->modified != here->modified()) {
      set_modified(*here, *file->modified, ec);
    }
    if (ec) return attempt{explain_local(ec), 0, target};
    tell(one, verdict::already_there, one.wanted.id, {}, file ? file->name : "", target,
         here->size());
    return attempt{};
  }

  /// `learnt` is a name that it has at the server, where it is not wanted by one.
  void tell(const incoming& one, verdict what, std::string id, std::string id_there,
            std::string learnt, std::string path, std::uint64_t size) {
    if (!one.wanted.name.empty()) learnt = one.wanted.name;
    at_.say.tell({what, direction::down, std::move(id), std::move(id_there), std::move(learnt),
                  std::move(path), size});
  }

  template <class Client, class Sink>
  attempt fetch_with(workplace& at, Client& client, Sink& sink, incoming& one) {
    using digest = typename Client::digest_type;
    const std::string& word = one.wanted.word;
    const auto wanted = digest::from_hex(one.wanted.id);
    if (!wanted) return {{refused, "the server's ids are other digests now"}, 0, word};
    std::error_code ec;
    typename Client::download_result result;
    std::tie(ec, result) = at.operations.run<decltype(result)>(
        [&](auto handler) { client.async_download(*wanted, sink, std::move(handler)); });
    return judge(at, client, sink, one, ec, result);
  }

  /// What an attempt came to; tells the outcome, if it is one.
  template <class Client, class Sink>
  attempt judge(workplace& at, Client& client, Sink& sink, incoming& one, std::error_code ec,
                const typename Client::download_result& result) {
    one.shown.stop();
    const std::string target = sink.target().string();
    if (ec == filexfer::errc::digest_mismatch) {
      const std::string arrived = result.computed_here.to_string();
      const std::string kept = to_stdout() ? "; what was written is wrong" : "; nothing was kept";
      if (!to_stdout()) {
        tell(one, verdict::fail, arrived, one.wanted.id, result.file.name, target,
             result.file.size);
      }
      return {{wrong_digest, "what arrived is " + arrived + ", not " + one.wanted.id + kept},
              result.octets,
              one.wanted.word};
    }
    if constexpr (!std::same_as<Sink, stdout_sink>) {
      if (!ec) {
        tell(one, verdict::success, one.wanted.id, {}, result.file.name, target, result.file.size);
      }
      if (ec == filexfer::errc::file_exists) {  // under a name that was not known before
        if (const auto kept = keep(at, one, sink.wanted())) return *kept;
      }
    }
    if (!ec) return {};
    const bool here = client.last_failure() == filexfer::failure_origin::local;
    failure why = at.server.explain(ec);
    if (here && ec == filexfer::errc::bad_name) why = explain_target(ec);
    return {why, result.octets, here && !target.empty() ? target : one.wanted.word};
  }

  // ------------------------------------------------------------------------------------ some at once

  template <class Digest>
  struct element {
    element(const Digest& wanted, download_place& place, incoming& one)
        : id{wanted}, sink{place, one} {}

    Digest id;
    late_sink sink;
  };

  /// Small files; a large one is fetched by itself, and so it can go on where it stopped.
  template <class Client>
  attempt fetch_some(workplace& at, Client& client, batch<incoming>& some) {
    using digest = typename Client::digest_type;
    std::deque<element<digest>> files;
    while (auto one = some.next()) {
      const auto id = digest::from_hex(one->wanted.id);
      if (!one->is_small() || !id) {
        some.suffices();
        some.alone(std::move(one));
        break;
      }
      one->shown.stop();
      if (const auto kept = keep(at, *one, one->wanted.file)) {
        if (kept->why.code != done) some.failed(std::move(one), *kept);
        continue;
      }
      files.emplace_back(*id, *place_, *one);
      some.sent(std::move(one));
    }
    if (files.empty()) return {};
    const auto [ec] = at.operations.run([&](auto handler) {
      client.async_download_all(
          files,
          [&](element<digest>& file, std::error_code failed,
              const typename Client::download_result& result) {
            auto one = some.answered();
            attempt made = judge(at, client, file.sink, *one, failed, result);
            file.sink.give_up();
            if (made.why.code != done) some.failed(std::move(one), std::move(made));
          },
          std::move(handler));
    });
    if (ec && !interruption::came()) {
      for (auto& file : files) file.sink.keep();
    }
    return how_it_ended(at, client, ec, some);
  }

  workplace& at_;  ///< The first of them.
  const client_settings& chosen_;
  std::optional<download_place> place_;  ///< Nothing for standard output.
  std::deque<wanted_file> wanted_;       ///< That nobody has taken.
  file_queue<incoming> queue_{[this](patience how_long) { return find(how_long); }};
};

}  // namespace

exit_code download(workplace& at) { return downloads{at}.run(); }

}  // namespace programs
