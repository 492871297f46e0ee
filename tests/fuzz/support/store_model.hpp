#ifndef FILEXFER_TESTS_FUZZ_SUPPORT_STORE_MODEL_HPP
#define FILEXFER_TESTS_FUZZ_SUPPORT_STORE_MODEL_HPP

// What a store holds, as a map, and what a session over it must answer: PROTOCOL.md, read a second
// time.

#include "fuzz/support/fuzzing.hpp"
#include "fuzz/support/grammar.hpp"
#include "support/rfc1321.hpp"

#include <filexfer/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace fuzz {

using filexfer::errc;

struct model_settings {
  bool accepts_uploads = true;
  bool accepts_removals = false;
  bool resumes = false;
  std::uint64_t max_size = 0;
  std::uint64_t max_drain_size = 0;
  std::size_t max_depth = 0;  ///< Most components of a name.
  bool is_silent = false;     ///< The peer falls silent at the end, in place of ending the stream.
};

struct store_model {
  struct label {
    std::optional<std::string> mtime{};  ///< Only if a client gave it.
    bool executable = false;
  };
  struct file {
    std::string bytes{};
    std::map<std::string, label> names{};
  };

  std::map<std::string, file> files{};  ///< By id.
  /// What has arrived of interrupted uploads, by token and size.
  std::map<std::pair<std::string, std::uint64_t>, std::string> partials{};

  /// Whether the name is a folder of another name of that id, or the other way round.
  bool conflicts(const std::string& id, const std::string& name) const {
    const auto found = files.find(id);
    if (found == files.end()) return false;
    for (const auto& [other, ignored] : found->second.names) {
      if (other.starts_with(name + '/') || name.starts_with(other + '/')) return true;
    }
    return false;
  }

  void add(const std::string& id, const std::string& bytes, const grammar::details& details) {
    file& stored = files[id];
    stored.bytes = bytes;
    label& given = stored.names[details.name];
    if (details.mtime) given.mtime = details.mtime;
    if (details.executable) given.executable = *details.executable;
  }

  bool remove(const std::string& id, const std::string& name) {
    const auto found = files.find(id);
    if (found == files.end() || found->second.names.erase(name) == 0) return false;
    if (found->second.names.empty()) files.erase(found);
    return true;
  }
};

/// Checks a whole session: what the server sent for what the client sent. Changes the model as the
/// session changes the store.
class session_check {
 public:
  session_check(store_model& model, const model_settings& settings, std::string_view requests,
                std::string_view replies)
      : model_{model},
        settings_{settings},
        in_{requests},
        out_{replies},
        requests_{requests},
        replies_{replies} {}

  void run() {
    while (serve_command()) {
    }
    check(out_.empty(), "nothing is sent after the end");
  }

 private:
  static constexpr std::size_t max_line = 4096;

  void check(bool holds, std::string_view claim) const {
    if (holds) return;
    std::string text{"requests:\n"};
    text.append(requests_).append("\nreplies:\n").append(replies_).append("\nstill to come:\n");
    text.append(out_);
    require(false, claim, text);
  }

  // Both streams.

  static bool is_clean(const std::string& line) {
    return std::all_of(line.begin(), line.end(), [](char c) {
      const auto byte = static_cast<unsigned char>(c);
      return byte >= 0x20 && byte != 0x7F;
    });
  }

  /// A line of the client; nothing if the session is over.
  std::optional<std::string> next_line() {
    const auto end = in_.substr(0, max_line).find('\n');
    if (end == in_.npos) {
      if (in_.size() >= max_line) expect_refusal({errc::line_too_long});
      else if (in_.empty() && settings_.is_silent) expect_refusal({errc::timeout});
      return std::nullopt;
    }
    std::string line{in_.substr(0, end)};
    in_.remove_prefix(end + 1);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    return line;
  }

  std::string next_reply() {
    const auto end = out_.find('\n');
    check(end != out_.npos, "every line is answered");
    std::string line{out_.substr(0, end)};
    out_.remove_prefix(end + 1);
    check(is_clean(line), "a reply has no control bytes");
    return line;
  }

  std::string expect_success() {
    auto line = next_reply();
    check(!grammar::error_code_of(line), "what is valid is not refused");
    return line;
  }

  /// One of these refusals, which is returned.
  errc expect_refusal(const grammar::errors& allowed) {
    const auto code = grammar::error_code_of(next_reply());
    for (const errc candidate : allowed) {
      if (code == grammar::code_of(candidate)) return candidate;
    }
    check(false, "an error is refused with its code");
    return {};
  }

  /// Whether the next reply is one of these refusals.
  bool is_refused_with(const grammar::errors& codes) const {
    const std::string line{out_.substr(0, out_.find('\n'))};
    return std::any_of(codes.begin(), codes.end(), [&](errc code) {
      return grammar::error_code_of(line) == grammar::code_of(code);
    });
  }

  // The commands. Each returns whether the session goes on.

  bool serve_command() {
    const auto line = next_line();
    if (!line) return false;
    auto command = grammar::read_command(*line);
    if (!is_clean(*line)) command.wrong = {errc::bad_request};
    if (!command.wrong.empty()) {
      return expect_refusal(command.wrong) == errc::unknown_command;
    }
    if (command.verb == "LIST_FILES") return list(command);
    if (command.verb == "FEATURES") return features();
    expect_success();  // the prompt
    const auto argument = next_line();
    if (!argument) return false;
    if (command.verb == "UPLOAD") return upload(*argument);
    if (command.verb == "DOWNLOAD") return download(*argument);
    return remove(*argument);
  }

  bool list(const grammar::command& command) {
    if (!command.wrong_list.empty()) {
      return expect_refusal(command.wrong_list) != errc::bad_request;
    }
    std::set<std::pair<std::string, std::string>> expected;
    for (const auto& [id, file] : model_.files) {
      for (const auto& [name, label] : file.names) {
        if (name.starts_with(command.prefix)) expected.emplace(id, name);
      }
    }
    if (expected.empty()) {
      check(expect_success().find(';') == std::string::npos, "an empty list begins with words");
    }
    for (;;) {
      const std::string line = expect_success();
      if (line.empty()) break;
      const auto entry = grammar::read_entry(line, {32});
      check(expected.erase({entry.id, entry.name}) == 1, "a list has what is stored, each once");
      check_entry(entry, command.mtime, command.exec);
    }
    check(expected.empty(), "a list has all that is stored");
    return true;
  }

  void check_entry(const grammar::entry& entry, bool mtime, bool exec) const {
    const auto& file = model_.files.at(entry.id);
    const auto& label = file.names.at(entry.name);
    check(entry.wrong.empty() && entry.size == file.bytes.size(), "an entry has the file's size");
    check(entry.mtime.has_value() == mtime, "an entry has the time if that is asked for");
    if (mtime && label.mtime) check(entry.mtime == label.mtime, "a name keeps its time");
    check(entry.executable.value_or(false) == (exec && label.executable),
          "a name keeps whether it may be executed");
  }

  bool features() {
    std::set<std::string> expected{"version=1", "digest=md5", "have",   "nowait",
                                   "mtime",     "exec",       "prefix", "max-name=1024"};
    expected.insert("max-size=" + std::to_string(settings_.max_size));
    if (settings_.resumes) expected.insert("resume");
    if (settings_.accepts_removals) expected.insert("remove");
    for (auto line = expect_success(); !line.empty(); line = expect_success()) {
      check(expected.erase(line) == 1, "FEATURES has what the server can");
    }
    check(expected.empty(), "FEATURES has all that the server can");
    return true;
  }

  bool upload(const std::string& line) {
    auto details = grammar::read_details(line, {32});
    if (!is_clean(line)) details.wrong = {errc::bad_request};
    if (details.wrong.empty() && !settings_.accepts_uploads) details.wrong = {errc::read_only};
    else if (details.wrong.empty() && details.size > settings_.max_size)
      details.wrong = {errc::too_large};
    if (!details.wrong.empty()) return refuse_upload(details);

    const auto depth = std::count(details.name.begin(), details.name.end(), '/') + 1;
    const bool is_too_deep = static_cast<std::size_t>(depth) > settings_.max_depth;
    const bool sends_at_once = details.nowait && !details.have;
    const auto held = details.id ? model_.files.find(*details.id) : model_.files.end();
    if (!sends_at_once && held != model_.files.end() && held->second.bytes.size() == details.size) {
      if (is_too_deep || model_.conflicts(*details.id, details.name)) {
        details.wrong = {errc::bad_name};
        return refuse_upload(details);
      }
      const std::string offset = ";offset=" + std::to_string(details.size);
      if (!details.have) {
        check(expect_success().ends_with(offset), "no bytes are asked for that are held");
      }
      check(next_reply() == *details.id, "a file that is held is answered with its id");
      model_.add(*details.id, held->second.bytes, details);
      return true;
    }
    if (is_too_deep && sends_at_once && !is_refused_with({errc::bad_name})) {
      return refuse_after_bytes(details);
    }
    if (is_too_deep) details.wrong = {errc::bad_name};
    else if (details.have) details.wrong = {errc::not_found};
    if (!details.wrong.empty()) return refuse_upload(details);
    return receive(details);
  }

  bool refuse_upload(const grammar::details& details) {
    const grammar::errors unknown_end{errc::bad_size, errc::bad_request};
    if (details.nowait && is_refused_with(unknown_end)) {
      expect_refusal(details.wrong);
      return false;
    }
    if (!details.nowait || details.have || details.size > settings_.max_drain_size) {
      expect_refusal(details.wrong);
      return !details.nowait || details.have;
    }
    if (!take_bytes(details.size)) return false;
    expect_refusal(details.wrong);
    return true;
  }

  /// A small upload whose bytes follow at once: the store refuses it when they have arrived.
  bool refuse_after_bytes(const grammar::details& details) {
    expect_success();
    const auto bytes = take_bytes(details.size);
    if (!bytes) return false;
    const bool differs = details.id && *details.id != test::rfc1321_hex(*bytes);
    expect_refusal({differs ? errc::mismatch : errc::bad_name});
    return true;
  }

  /// Takes bytes of the client; nothing if the session ends within.
  std::optional<std::string> take_bytes(std::uint64_t count) {
    if (in_.size() < count) {
      if (settings_.is_silent) expect_refusal({errc::timeout});
      return std::nullopt;
    }
    std::string bytes{in_.substr(0, static_cast<std::size_t>(count))};
    in_.remove_prefix(bytes.size());
    return bytes;
  }

  bool receive(const grammar::details& details) {
    const auto ready = grammar::read_ready(expect_success());
    check(ready.wrong.empty(), "a ready line is valid");
    std::string bytes;
    if (!details.resume.empty()) {
      auto& partial = model_.partials[{details.resume, details.size}];
      if (ready.offset) bytes = partial.substr(0, static_cast<std::size_t>(*ready.offset));
    }
    if (ready.offset) {
      check(settings_.resumes && details.id && !details.nowait && *ready.offset == bytes.size(),
            "an upload goes on from what has arrived of it");
    }
    const std::string arrived{in_.substr(0, static_cast<std::size_t>(details.size) - bytes.size())};
    const auto rest = take_bytes(details.size - bytes.size());
    bytes += arrived;
    if (!details.resume.empty()) model_.partials[{details.resume, details.size}] = bytes;
    if (!rest) return false;
    model_.partials.erase({details.resume, details.size});

    const std::string id = test::rfc1321_hex(bytes);
    grammar::errors wrong;
    if (details.id && *details.id != id) wrong = {errc::mismatch};
    else if (model_.conflicts(id, details.name)) wrong.insert(errc::bad_name);
    const auto stored = model_.files.find(id);
    if (stored != model_.files.end() && stored->second.bytes != bytes &&
        !wrong.contains(errc::mismatch))
      wrong.insert(errc::collision);
    if (!wrong.empty()) {
      expect_refusal(wrong);
    } else {
      check(next_reply() == id, "an upload is answered with the digest of its bytes");
      model_.add(id, bytes, details);
    }
    return true;
  }

  bool download(const std::string& line) {
    auto wanted = grammar::read_id_line(line, {32});
    if (!is_clean(line)) wanted.wrong = {errc::bad_request};
    const auto found = model_.files.find(wanted.id);
    if (wanted.wrong.empty() && found == model_.files.end()) wanted.wrong = {errc::not_found};
    const std::uint64_t offset = wanted.offset.value_or(0);
    if (wanted.wrong.empty() && offset > found->second.bytes.size()) {
      wanted.wrong = {errc::bad_range};
    }
    if (!wanted.wrong.empty()) {
      expect_refusal(wanted.wrong);
      return true;
    }
    const auto entry = grammar::read_entry(expect_success(), {32});
    check(entry.id == wanted.id && found->second.names.contains(entry.name),
          "a download is of the file that was asked for");
    check_entry(entry, wanted.mtime, wanted.exec);
    std::string bytes = found->second.bytes.substr(static_cast<std::size_t>(offset));
    if (wanted.length && *wanted.length < bytes.size()) {
      bytes.resize(static_cast<std::size_t>(*wanted.length));
    }
    check(entry.offset == wanted.offset && entry.length.has_value() == wanted.length.has_value() &&
              entry.length.value_or(bytes.size()) == bytes.size(),
          "an entry says which part follows");
    check(out_.substr(0, bytes.size()) == bytes, "a download has the file's bytes");
    out_.remove_prefix(bytes.size());
    return true;
  }

  bool remove(const std::string& line) {
    auto wanted = grammar::read_removal(line, {32});
    if (!is_clean(line)) wanted.wrong = {errc::bad_request};
    if (wanted.wrong.empty() && !settings_.accepts_removals) wanted.wrong = {errc::read_only};
    if (wanted.wrong.empty() && !model_.remove(wanted.id, wanted.name)) {
      wanted.wrong = {errc::not_found};
    }
    if (!wanted.wrong.empty()) expect_refusal(wanted.wrong);
    else check(next_reply() == wanted.id, "a removal is answered with the id");
    return true;
  }

  store_model& model_;
  model_settings settings_;
  std::string_view in_;   ///< What the client still sends.
  std::string_view out_;  ///< What the server still sends.
  std::string_view requests_;
  std::string_view replies_;
};

/// Checks that a store lists what the model has, and that its files have their bytes.
template <class Store>
void check_store(Store& store, const store_model& model) {
  std::set<std::pair<std::string, std::string>> listed;
  std::error_code ec;
  auto cursor = store.list(ec);
  while (!ec) {
    const auto entry = cursor.next(ec);
    if (!entry) break;
    const std::string id = entry->id.to_string();
    const auto found = model.files.find(id);
    require(found != model.files.end() && found->second.names.contains(entry->name),
            "only what was stored is listed", id + ' ' + entry->name);
    require(listed.emplace(id, entry->name).second, "a name is listed once", entry->name);
    auto opened = store.open(entry->id, ec);
    require(!ec && opened.has_value(), "what is listed can be opened", ec.message());
    std::string bytes(found->second.bytes.size() + 1, '\0');
    bytes.resize(opened->reader.read(std::as_writable_bytes(std::span{bytes}), ec));
    require(!ec && bytes == found->second.bytes, "a stored file has its bytes", ec.message());
  }
  require(!ec, "a store can be listed", ec.message());
  std::size_t names = 0;
  for (const auto& [id, file] : model.files) names += file.names.size();
  require(names == listed.size(), "all that was stored is listed");
}

}  // namespace fuzz

#endif
