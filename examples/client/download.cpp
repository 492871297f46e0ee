#include "client/job_context.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <vector>

#include <unistd.h>

namespace programs {
namespace {

using filexfer::any_digest;
using filexfer::download_target;
using filexfer::errc;
using filexfer::failure_origin;
using filexfer::listed_file;

/// A server's files by their names.
using named_files = std::map<std::string, std::vector<listed_file>>;

/// A file to fetch, as a `download_element`.
class incoming : public filexfer::file_download {
 public:
  incoming(download_target to, const any_digest& id, std::string word)
      : file_download{std::move(to), id}, word_{std::move(word)} {}

  incoming(download_target to, listed_file file, std::string word)
      : file_download{std::move(to), std::move(file)}, word_{word}, name_{std::move(word)} {}

  /// There is no such file.
  incoming(download_target to, std::string word, failure why)
      : file_download{std::move(to), any_digest{}},
        word_{std::move(word)},
        why_not_{std::move(why)} {}

  /// What came before an interruption is not left.
  struct sink : file_download::sink {
    using file_download::sink::sink;
    void keep() {
      if (!interruption::came()) file_download::sink::keep();
    }
  };
  sink open(std::error_code& ec) { return {*this, ec}; }

  std::error_code error() const {
    return why_not_.code == done ? std::error_code{} : errc::not_found;
  }
  const failure& why_not() const noexcept { return why_not_; }

  /// What messages call it.
  const std::string& label() const noexcept { return word_; }

  /// Its name at the server; empty if it is not wanted by that.
  const std::string& wanted_name() const noexcept { return name_; }

  bool was_told = false;

 private:
  std::string word_;
  std::string name_;
  failure why_not_;
};

/// A file to write to standard output as it comes.
class to_stdout {
 public:
  to_stdout(const any_digest& id, std::string word) : id_{id}, word_{std::move(word)} {}

  struct sink : filexfer::descriptor_sink {
    explicit sink(bool& begun) : descriptor_sink{STDOUT_FILENO}, has_begun{begun} {}
    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      has_begun = true;
      descriptor_sink::write(bytes, ec);
    }
    bool& has_begun;
  };

  const any_digest& id() const noexcept { return id_; }
  const std::string& label() const noexcept { return word_; }
  bool may_retry() const noexcept { return !has_begun_; }
  sink open(std::error_code& ec) {
    ec.clear();
    return sink{has_begun_};
  }

 private:
  any_digest id_;
  std::string word_;
  bool has_begun_ = false;
};

class downloads {
 public:
  explicit downloads(job_context& at) : at_{at}, chosen_{at.chosen} {}

  exit_code run() {
    const display shown{at_.operations.context(), at_.out, at_.pool.progress()};
    if (chosen_.output == "-") return fetch_to_stdout();
    const interruption::interruptible scope;
    return chosen_.all_names ? fetch_all() : fetch_words();
  }

 private:
  // --------------------------------------------------------------------------------- by id or name

  exit_code fetch_words() {
    std::error_code ec;
    const auto target = target_for(chosen_.words.size(), ec);
    if (ec) return at_.out.report(chosen_.output, explain_local(ec));
    failure unlisted;
    const named_files files = find_named(unlisted);
    for (const std::string& word : chosen_.words) want(*target, files, unlisted, word);
    if (!fetch()) return code_.code();
    for (const incoming& file : wanted_) {
      if (!file.was_told && !interruption::came())
        code_.note(job_code::last, at_.report_failure(file.label()));
    }
    return code_.code();
  }

  std::optional<download_target> target_for(std::size_t count, std::error_code& ec) const {
    return choose_target(chosen_.output.empty() ? "." : chosen_.output, count, chosen_.policy, ec);
  }

  /// The server's files that have one of the words for their name; what is an id is not looked for.
  named_files find_named(failure& unlisted) {
    named_files found;
    const auto [ec, server] = at_.operations.run<filexfer::server_features>(
        [&](auto handler) { at_.pool.async_features(std::move(handler)); });
    if (ec) {
      unlisted = at_.explain(at_.pool.last_failure());
      is_unknown_ = true;
      return found;
    }
    digits_ = server.digest == filexfer::sha256::name() ? filexfer::sha256::digest_type::hex_digits
                                                        : filexfer::md5::digest_type::hex_digits;
    for (const std::string& word : chosen_.words) {
      if (!is_id(word)) found[word];
    }
    if (found.empty()) return found;
    unlisted = list({.mtime = true}, [&](const listed_file& file, std::error_code&) {
      const auto wanted = found.find(file.name);
      if (wanted != found.end()) wanted->second.push_back(file);
    });
    return found;
  }

  bool is_id(const std::string& word) const {
    return word.size() == digits_ && any_digest::from_hex(word);
  }

  void want(const download_target& target, const named_files& found, const failure& unlisted,
            const std::string& word) {
    if (!is_unknown_ && is_id(word)) {
      wanted_.emplace_back(target, *any_digest::from_hex(word), word);
      return;
    }
    failure why = unlisted;
    if (why.code == done) why = check(found.at(word), word);
    if (why.code == done) wanted_.emplace_back(target, found.at(word).front(), word);
    else wanted_.emplace_back(target, word, std::move(why));
  }

  /// Whether those files of one name are one.
  failure check(const std::vector<listed_file>& files, const std::string& word) const {
    if (files.size() == 1) return {};
    if (files.empty()) {
      std::string why = "the server has no file of that name";
      if (any_digest::from_hex(word)) {
        why += ", and its ids have " + std::to_string(digits_) + " digits: another digest";
      }
      return {refused, why};
    }
    std::string why = "several files bear that name; download one by its id:";
    for (const listed_file& file : files) why += "\n  " + file.id.to_string();
    return {wrong_usage, why};
  }

  // ------------------------------------------------------------------------------------------- all

  exit_code fetch_all() {
    named_files files;
    std::size_t count = 0;
    const failure none =
        list({chosen_.prefix, true}, [&](const listed_file& file, std::error_code& ec) {
          if (++count > filexfer::client_options{}.max_entries) ec = errc::too_many_entries;
          else files[file.name].push_back(file);
        });
    if (none.code != done) return at_.out.report("list", none);
    if (files.empty() && !chosen_.prefix.empty()) {
      return at_.out.report(chosen_.prefix,
                            {refused, "the server has no file whose name begins so"});
    }
    std::error_code ec;
    const std::string folder = chosen_.output.empty() ? "." : chosen_.output;
    std::filesystem::create_directory(folder, ec);
    constexpr std::size_t several = 2;
    const auto target = ec ? std::nullopt : target_for(several, ec);
    if (ec) return at_.out.report(folder, explain_local(ec));
    for (auto& [name, versions] : files) want_versions(*target, versions);
    files.clear();
    fetch();
    return code_.code();
  }

  /// Some of the files of one name.
  void want_versions(const download_target& target, std::vector<listed_file>& files) {
    const std::string name = files.front().name;
    std::sort(files.begin(), files.end(), [](const listed_file& a, const listed_file& b) {
      return std::tie(a.modified, a.id) < std::tie(b.modified, b.id);
    });
    const bool several = files.size() > 1;
    if (several && chosen_.wanted == versions::all) {
      for (listed_file& file : files) {
        file.name += '.' + file.id.to_string();
        wanted_.emplace_back(target, file, name);
      }
      return;
    }
    const listed_file& newest = files.back();
    if (several) {
      at_.out.report(
          name, {done, std::to_string(files.size()) + " files bear that name: the newest, " +
                           newest.id.to_string() + ", is fetched; --all-versions fetches each"});
    }
    wanted_.emplace_back(target, newest, name);
  }

  template <class OnEntry>
  failure list(const filexfer::list_request& wanted, OnEntry on_entry) {
    const auto [ec, entries] = at_.operations.run<std::uint64_t>(
        [&](auto handler) { at_.pool.async_list_files(wanted, on_entry, std::move(handler)); });
    return ec ? at_.explain(at_.pool.last_failure()) : failure{};
  }

  // ------------------------------------------------------------------------------------- the files

  /// Fetches them. Whether files are left, for there is no server any more.
  bool fetch() {
    if (interruption::came()) return false;
    for (const incoming& file : wanted_) {
      if (!file.error()) at_.pool.progress().expect(file.size());
    }
    at_.pool.progress().expect_no_more();
    const auto on_result = [this](const filexfer::file_result<incoming>& result) { tell(result); };
    const auto [ec, totals] = at_.operations.run<filexfer::transfer_totals>(
        [&](auto handler) { at_.pool.async_download(wanted_, on_result, std::move(handler)); });
    return static_cast<bool>(ec);
  }

  void tell(const filexfer::file_result<incoming>& result) {
    incoming& file = result.element;
    const std::error_code ec = result.failure.error;
    const std::string id = file.id().to_string();
    const std::string path = file.path().string();
    const std::string& name = file.wanted_name().empty() ? result.name : file.wanted_name();
    const bool is_local = result.failure.origin == failure_origin::local;
    file.was_told = true;
    if (!ec) {
      at_.out.tell({result.moved ? verdict::success : verdict::already_there,
                    direction::down,
                    id,
                    {},
                    name,
                    path,
                    result.size});
    } else if (file.error()) {
      fail(result.index, file.label(), file.why_not());
    } else if (ec == errc::digest_mismatch) {
      const std::string arrived = result.computed_here.to_string();
      at_.out.tell({verdict::fail, direction::down, arrived, id, name, path, result.size});
      fail(result.index, file.label(), explain_damage(arrived, id, "nothing was kept"));
    } else if (is_local && ec == errc::bad_name && !interruption::came()) {
      fail(result.index, path, {local_file, "is no name for a file here"});
    } else {
      fail(result.index, is_local && !path.empty() ? path : file.label(),
           at_.explain(result.failure));
    }
  }

  static failure explain_damage(const std::string& arrived, const std::string& wanted,
                                const char* what_then) {
    return {wrong_digest, "what arrived is " + arrived + ", not " + wanted + "; " + what_then};
  }

  void fail(std::size_t index, std::string_view subject, const failure& why) {
    code_.note(index, at_.out.report(subject, why));
  }

  /// It may wait for its reader: an interruption ends the process at once.
  exit_code fetch_to_stdout() {
    const std::string& word = chosen_.words.front();
    failure unlisted;
    const named_files files = find_named(unlisted);
    const auto target = download_target::file("standard output");
    want(target, files, unlisted, word);
    const incoming& found = wanted_.front();
    if (found.error()) return at_.out.report(word, found.why_not());
    at_.pool.progress().expect(found.size());
    at_.pool.progress().expect_no_more();
    std::array only{to_stdout{found.id(), word}};
    const auto on_result = [&](const filexfer::file_result<to_stdout>& result) {
      const std::error_code ec = result.failure.error;
      const bool is_local = result.failure.origin == failure_origin::local;
      if (ec == errc::digest_mismatch) {
        fail(0, word,
             explain_damage(result.computed_here.to_string(), found.id().to_string(),
                            "what was written is wrong"));
      } else if (ec) {
        fail(0, is_local ? "standard output" : word, at_.explain(result.failure));
      }
    };
    at_.operations.run<filexfer::transfer_totals>(
        [&](auto handler) { at_.pool.async_download(only, on_result, std::move(handler)); });
    return code_.code();
  }

  job_context& at_;
  const client_settings& chosen_;
  std::vector<incoming> wanted_;
  std::size_t digits_ = 0;   ///< Of the server's ids.
  bool is_unknown_ = false;  ///< Which digest those are.
  job_code code_;
};

}  // namespace

exit_code download(job_context& at) { return downloads{at}.run(); }

}  // namespace programs
