#ifndef FILEXFER_TESTS_SUPPORT_DIALOGUES_HPP
#define FILEXFER_TESTS_SUPPORT_DIALOGUES_HPP

// Tables of dialogues with the expected results of both sides' flows. Every driver replays them:
// `hand_driver`, the blocking one and the asynchronous one.

#include "script.hpp"

#include <filexfer/detail/flow/client_downloads.hpp>
#include <filexfer/detail/flow/client_lists.hpp>
#include <filexfer/detail/flow/client_uploads.hpp>
#include <filexfer/detail/flow/session_flow.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/protocol.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace test {

using md5_digest = filexfer::md5::digest_type;

// ------------------------------------------------------------------------------------------- files

// Digests are from md5sum, not from the library.
struct sample {
  std::string bytes;
  std::string id;
};

inline const sample nothing{"", "d41d8cd98f00b204e9800998ecf8427e"};
inline const sample hello{"hello", "5d41402abc4b2a76b9719d911017c592"};
inline const sample abc{"abc", "900150983cd24fb0d6963f7d28e17f72"};

// The FEATURES lines of the tests' sessions, without max-size and the final empty line.
inline const std::string all_features = "version=1\ndigest=md5\nhave\nnowait\nmtime\nprefix\n";

inline constexpr std::size_t chunk_size = 4096;

// Sizes from 0, and around multiples of the chunk size.
inline std::vector<sample> samples() {
  return {nothing,
          {"x", "9dd4e461268c8034f5c8564e155c67a6"},
          hello,
          {"EOF\nDONE\nUPLOAD\n", "532eead0f1915d2ffdb43c3d6d1c761f"},
          {pattern(chunk_size - 1), "93e25733058beb5eb38c4f6db613da70"},
          {pattern(chunk_size), "a0c16616c91907bd14e999986cf822d5"},
          {pattern(chunk_size + 1), "e4df5b23488e51a7998f218196a6ef6d"},
          {pattern(3 * chunk_size), "b1687e0e02f8de74d1a7f1b909b6e494"},
          {pattern(3 * chunk_size + 1), "ab25117206a17330103ecaf2192363ce"}};
}

inline md5_digest id_of(const sample& s) { return md5_digest::from_hex(s.id).value(); }

// The ERROR line of the library's session.
inline std::string refusal(filexfer::errc code) {
  return filexfer::format_error(code, make_error_code(code).message()) + '\n';
}

// The same, for a refusal that names a limit.
inline std::string refusal(filexfer::errc code, std::uint64_t limit) {
  const auto limit_text = ": the limit is " + std::to_string(limit) + " octets";
  return filexfer::format_error(code, make_error_code(code).message() + limit_text) + '\n';
}

// A sink that records its calls, and fails on request.
struct recording_sink {
  using file_info = filexfer::file_info<md5_digest>;

  void announce(const file_info& file, std::error_code& ec) {
    announced = file;
    ec = announce_error;
  }
  void write(std::span<const std::byte> part, std::error_code& ec) {
    ec.clear();
    if (writes++ == failing_write) ec = write_error;
    else bytes += text_of(part);
  }
  void commit(std::error_code& ec) {
    ec = commit_error;
    committed = !ec;
  }

  std::optional<file_info> announced;
  std::string bytes;
  bool committed = false;
  std::size_t writes = 0;

  std::error_code announce_error;
  std::error_code write_error;
  std::size_t failing_write = any_number;
  std::error_code commit_error;
};

// ----------------------------------------------------------------------------------------- clients

struct client_request {
  enum class kind { features, list, upload, have, download, range };
  kind what = kind::list;
  std::string name{};  // of a list, the prefix
  std::string bytes{};
  std::optional<std::string> id{};  // expected of an upload, or to download
  std::optional<std::uint64_t> offset{};
  std::optional<std::uint64_t> length{};
};

// The result of an operation: its value as text, empty if it failed.
struct client_outcome {
  std::string value;
  std::error_code ec;
  bool synchronized = false;
  filexfer::failure_origin origin = filexfer::failure_origin::none;
  std::string last_reply;
  bool committed = false;
};

template <class Driver>
class request_runner {
 public:
  request_runner(filexfer::detail::client_state& state, Driver& driver)
      : state_{state}, driver_{driver} {}

  client_outcome operator()(const client_request& request) {
    recording_sink sink;
    client_outcome out;
    out.value = value_of(request, sink, out.ec);
    CHECK_FALSE(state_.running);
    if (out.ec) out.value.clear();
    out.synchronized = state_.synchronized;
    out.origin = state_.origin;
    out.last_reply = state_.last_reply;
    out.committed = sink.committed;
    CHECK((out.origin == filexfer::failure_origin::none) == !out.ec);
    return out;
  }

 private:
  using kind = client_request::kind;

  std::string value_of(const client_request& request, recording_sink& sink, std::error_code& ec) {
    namespace detail = filexfer::detail;
    using filexfer::md5;
    auto& state = state_;
    switch (request.what) {
      case kind::features: {
        const auto features =
            driver_.run([&](std::error_code& e) { return detail::get_features(state, e); }, ec);
        const auto most = features.max_size ? std::to_string(*features.max_size) : "any";
        return std::to_string(features.version) + ' ' + features.digest + ' ' + most;
      }
      case kind::list: {
        const auto files = driver_.run(
            [&](std::error_code& e) { return detail::list_bounded<md5>(state, {request.name}, e); },
            ec);
        std::string lines;
        for (const auto& file : files) lines += format_entry(file) + '\n';
        return lines;
      }
      case kind::upload: {
        filexfer::memory_source source{request.bytes};
        std::optional<md5_digest> expected;
        if (request.id) expected = md5_digest::from_hex(*request.id);
        const auto result = driver_.run(
            [&](std::error_code& e) {
              return detail::upload<md5>(state, source, {request.name, expected}, e);
            },
            ec);
        if (!ec) CHECK(result.computed_here == result.computed_there);
        return result.computed_there.to_string() + (result.sent ? " sent" : " held");
      }
      case kind::have: {
        const auto id = md5_digest::from_hex(request.id.value()).value();
        const bool held = driver_.run(
            [&](std::error_code& e) {
              return detail::add_name<md5>(state, {request.name, request.bytes.size(), id}, e);
            },
            ec);
        return held ? "held" : "not held";
      }
      case kind::download: {
        const auto id = md5_digest::from_hex(request.id.value()).value();
        const auto result = driver_.run(
            [&](std::error_code& e) { return detail::download<md5>(state, id, sink, e); }, ec);
        CHECK(sink.committed == !ec);
        if (!ec) CHECK(result.computed_here == id);
        if (!ec) CHECK(sink.announced == result.file);
        return result.file.name + ' ' + sink.bytes;
      }
      case kind::range: {
        const auto id = md5_digest::from_hex(request.id.value()).value();
        const auto entry = driver_.run(
            [&](std::error_code& e) {
              return detail::download_range<md5>(state, {id, request.offset, request.length}, sink,
                                                 e);
            },
            ec);
        CHECK_FALSE(sink.committed);
        return entry.file.name + ' ' + sink.bytes;
      }
    }
    return {};
  }

  filexfer::detail::client_state& state_;
  Driver& driver_;
};

template <class Driver>
client_outcome perform(const client_request& request, filexfer::detail::client_state& state,
                       Driver& driver) {
  return request_runner{state, driver}(request);
}

struct client_dialogue {
  std::string name;
  client_request asked;
  dialogue talk;
  std::string value;
};

inline const dialogue features_talk{C("FEATURES\n"), S("version=1\ndigest=md5\n\n")};
inline const dialogue all_features_talk{C("FEATURES\n"), S(test::all_features + "\n")};

inline dialogue operator+(dialogue first, const dialogue& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

inline dialogue upload_talk(const std::string& details, const std::string& ready) {
  return {C("UPLOAD\n"), S("Please send the file name and file size\n"), C(details + "\n"),
          S(ready + "\n")};
}

inline dialogue download_talk(const std::string& id_line) {
  return {C("DOWNLOAD\n"), S("Please send a file ID\n"), C(id_line + "\n")};
}

// Dialogues in which the client succeeds.
inline std::vector<client_dialogue> good_client_dialogues() {
  using kind = client_request::kind;
  const std::string ready = "Ready to receive the file";
  std::vector<client_dialogue> all{
      {"features",
       {kind::features},
       {C("FEATURES\n"), S("version=1\ndigest=md5\nmax-size=1000\nshout\nlevel=9;z\n\n")},
       "1 md5 1000"},
      {"a server without FEATURES",
       {kind::features},
       {C("FEATURES\n"), S("ERROR unknown-command no such thing\n")},
       "0  any"},
      {"an empty list", {}, {C("LIST_FILES\n"), S("There is nothing here\n\n")}, ""},
      {"a list of one file",
       {},
       {C("LIST_FILES\n"), S(hello.id + ";hello.txt;5\n\n")},
       hello.id + ";hello.txt;5\n"},
      {"a list with CR LF, unknown parameters and escaped names",
       {},
       {C("LIST_FILES\n"),
        S(hello.id + ";a/b.txt;5;color=red;new\r\n" + nothing.id + ";x%3B%25.txt;0\r\n\r\n")},
       hello.id + ";a/b.txt;5\n" + nothing.id + ";x%3B%25.txt;0\n"},
      {"a list of names with a prefix",
       {kind::list, "a;/"},
       all_features_talk +
           dialogue{C("LIST_FILES;prefix=a%3B/\n"), S(hello.id + ";a%3B/b.txt;5\n\n")},
       hello.id + ";a%3B/b.txt;5\n"},
      {"a list of names with a prefix, from a server that lists all",
       {kind::list, "b"},
       features_talk + dialogue{C("LIST_FILES\n"), S(hello.id + ";a;5\n" + hello.id + ";b;5\n" +
                                                     hello.id + ";bc;5\n\n")},
       hello.id + ";b;5\n" + hello.id + ";bc;5\n"},
      {"a `have` request for a file that the server has",
       {kind::have, "a;b", hello.bytes, hello.id},
       all_features_talk + dialogue{C("UPLOAD\n"), S("Please\n"),
                                    C("a%3Bb;5;id=" + hello.id + ";have\n"), S(hello.id + "\n")},
       "held"},
      {"a `have` request for a file that the server does not have",
       {kind::have, "a", hello.bytes, hello.id},
       all_features_talk + dialogue{C("UPLOAD\n"), S("Please\n"),
                                    C("a;5;id=" + hello.id + ";have\n"),
                                    S("ERROR not-found no such file\n")},
       "not held"},
      {"a `have` request to a server without that feature",
       {kind::have, "a", hello.bytes, hello.id},
       features_talk,
       "not held"},
      {"an upload of a file that the server has",
       {kind::upload, "hello.txt", hello.bytes, hello.id},
       features_talk + upload_talk("hello.txt;5;id=" + hello.id, "No need to;offset=5") +
           dialogue{S(hello.id + "\n")},
       hello.id + " held"},
      {"an upload with its id of a file that the server does not have",
       {kind::upload, "hello.txt", hello.bytes, hello.id},
       features_talk + upload_talk("hello.txt;5;id=" + hello.id, ready) +
           dialogue{C(hello.bytes), S(hello.id + "\n")},
       hello.id + " sent"},
      {"an upload with its id to a server without FEATURES",
       {kind::upload, "hello.txt", hello.bytes, hello.id},
       dialogue{C("FEATURES\n"), S("ERROR unknown-command\n")} + upload_talk("hello.txt;5", ready) +
           dialogue{C(hello.bytes), S(hello.id + "\n")},
       hello.id + " sent"},
      {"an upload of an empty file with its id, which the server has",
       {kind::upload, "none", nothing.bytes, nothing.id},
       features_talk + upload_talk("none;0;id=" + nothing.id, ready + ";offset=0") +
           dialogue{S(nothing.id + "\n")},
       nothing.id + " held"},
      {"an upload whose id comes in upper case, with a name to escape",
       {kind::upload, "a;b%c\x01", abc.bytes},
       upload_talk("a%3Bb%25c%01;3", ready) +
           dialogue{C(abc.bytes), S("900150983CD24FB0D6963F7D28E17F72\r\n")},
       abc.id + " sent"},
      {"a download of a middle part",
       {kind::range, "", "", hello.id, 1, 3},
       features_talk + download_talk(hello.id + ";offset=1;length=3") +
           dialogue{S(hello.id + ";hello.txt;5;offset=1;length=3\nell")},
       "hello.txt ell"},
      {"a download of the rest",
       {kind::range, "", "", hello.id, 2, std::nullopt},
       features_talk + download_talk(hello.id + ";offset=2") +
           dialogue{S(hello.id + ";hello.txt;5;offset=2\nllo")},
       "hello.txt llo"},
      {"a download of a range that begins at the end",
       {kind::range, "", "", hello.id, 5, 100},
       features_talk + download_talk(hello.id + ";offset=5;length=100") +
           dialogue{S(hello.id + ";hello.txt;5;offset=5;length=0\n")},
       "hello.txt "},
  };
  for (const sample& s : samples()) {
    const auto size = std::to_string(s.bytes.size());
    all.push_back(
        {"an upload of " + size,
         {kind::upload, "some file.bin", s.bytes},
         upload_talk("some file.bin;" + size, ready) + dialogue{C(s.bytes), S(s.id + "\n")},
         s.id + " sent"});
    all.push_back(
        {"a download of " + size,
         {kind::download, "", "", s.id},
         download_talk(s.id) + dialogue{S(s.id + ";some%3Bfile;" + size + "\n" + s.bytes)},
         "some;file " + s.bytes});
  }
  return all;
}

// ---------------------------------------------------------------------------------------- sessions

struct session_dialogue {
  std::string name;
  dialogue talk;
  std::error_code ec{};              // of the whole session
  std::vector<sample> before{};      // stored under "0", "1", ... beforehand
  std::vector<std::string> after{};  // entries at the end
};

inline void put(filexfer::memory_store<>& store, const std::string& name, const sample& s) {
  std::error_code ec;
  auto upload = store.create({name, s.bytes.size(), std::nullopt}, ec);
  REQUIRE(upload.has_value());
  upload->write(std::as_bytes(std::span{s.bytes.data(), s.bytes.size()}), ec);
  upload->commit(id_of(s), ec);
  REQUIRE_FALSE(ec);
}

template <class Store>
std::vector<std::string> entries_of(Store& store) {
  std::error_code ec;
  std::vector<std::string> all;
  auto cursor = store.list(ec);
  while (auto file = cursor.next(ec)) {
    file->modified.reset();
    all.push_back(format_entry(*file));
  }
  REQUIRE_FALSE(ec);
  return all;
}

// Whether the bytes of every listed file hash to its id.
template <class Store>
bool all_whole(Store& store) {
  std::error_code ec;
  auto cursor = store.list(ec);
  while (const auto file = cursor.next(ec)) {
    auto opened = store.open(file->id, ec);
    if (ec || !opened) return false;
    std::vector<std::byte> bytes(static_cast<std::size_t>(file->size) + 1);
    bytes.resize(opened->reader.read(bytes, ec));
    filexfer::md5 hash;
    hash.update(bytes);
    if (ec || bytes.size() != file->size || hash.finish() != file->id) return false;
  }
  return !ec;
}

inline const std::string details_prompt = "Please send the file name and file size\n";
inline const std::string id_prompt = "Please send a file ID\n";
inline const std::string ready_words = "Ready to receive the file\n";

// Dialogues of a session with `max_size` 1,000,000 and default options otherwise.
inline std::vector<session_dialogue> good_session_dialogues() {
  using filexfer::errc;
  const std::string no_files = "No files available at the moment\n\n";
  const std::string hello_entry = hello.id + ";0;5";
  const std::string abc_entry = abc.id + ";1;3";
  std::vector<session_dialogue> all{
      {"a client that sends nothing", {}},
      {"an empty list", {C("LIST_FILES\n"), S(no_files)}},
      {"a list of two files",
       {C("LIST_FILES\n"), S(hello_entry + "\n" + abc_entry + "\n\n")},
       {},
       {hello, abc},
       {hello_entry, abc_entry}},
      {"a list by its other spellings, with unknown parameters",
       {C("LIST FILES\r\n"), S(no_files), C("LIST_FILE;mtime\n"), S(no_files),
        C("LIST FILE;prefix=a/;x=1\n"), S(no_files)}},
      {"lists of names with a prefix",
       {C("UPLOAD\n"), S(details_prompt), C("a/b;5;id=" + hello.id + "\n"),
        S("Ready to receive the file;offset=5\n" + hello.id + "\n"), C("LIST_FILES;prefix=a\n"),
        S(hello.id + ";a/b;5\n\n"), C("LIST_FILES;prefix=0\n"), S(hello_entry + "\n\n"),
        C("LIST_FILES;prefix=a/\n"), S(hello.id + ";a/b;5\n\n"), C("LIST_FILES;x;prefix=%61%2f\n"),
        S(hello.id + ";a/b;5\n\n"), C("LIST_FILES;prefix=a/bc\n"), S(no_files),
        C("LIST_FILES;prefix=%g0\n"), S(refusal(errc::bad_name)), C("LIST_FILES;prefix=b\n"),
        S(no_files)},
       {},
       {hello},
       {hello_entry, hello.id + ";a/b;5"}},
      {"`have` requests for files that are stored and for one that is not",
       {C("UPLOAD\n"), S(details_prompt), C("again;5;have;id=" + hello.id + "\n"),
        S(hello.id + "\n"), C("UPLOAD\n"), S(details_prompt),
        C("again;4;id=" + hello.id + ";have\n"), S(refusal(errc::not_found)), C("UPLOAD\n"),
        S(details_prompt), C("new;3;id=" + abc.id + ";have\n"), S(refusal(errc::not_found)),
        C("LIST_FILES\n"), S(hello_entry + "\n" + hello.id + ";again;5\n\n")},
       {},
       {hello},
       {hello_entry, hello.id + ";again;5"}},
      {"features", {C("FEATURES\n"), S(test::all_features + "max-size=1000000\n\n")}},
      {"an upload that is then listed and fetched",
       {C("UPLOAD\n"), S(details_prompt), C("a;b.txt;5\n"), S(refusal(errc::bad_size)),
        C("UPLOAD\n"), S(details_prompt), C("a%3bb.txt;5;mtime=1.5\n"), S(ready_words),
        C(hello.bytes), S(hello.id + "\n"), C("LIST_FILES\n"), S(hello.id + ";a%3Bb.txt;5\n\n"),
        C("DOWNLOAD\n"), S(id_prompt), C(hello.id + "\n"),
        S(hello.id + ";a%3Bb.txt;5\n" + hello.bytes)},
       {},
       {},
       {hello.id + ";a%3Bb.txt;5"}},
      {"an upload with the id of a stored file",
       {C("UPLOAD\n"), S(details_prompt), C("again;5;id=5D41402ABC4B2A76B9719D911017C592\n"),
        S("Ready to receive the file;offset=5\n" + hello.id + "\n"), C("LIST_FILES\n"),
        S(hello.id + ";0;5\n" + hello.id + ";again;5\n\n")},
       {},
       {hello},
       {hello.id + ";0;5", hello.id + ";again;5"}},
      {"an upload with the id of a stored file of another size",
       {C("UPLOAD\n"), S(details_prompt), C("again;4;id=" + hello.id + "\n"), S(ready_words),
        C("hell"), S(refusal(errc::mismatch)), C("FEATURES\n"),
        S(test::all_features + "max-size=1000000\n\n")},
       {},
       {hello},
       {hello_entry}},
      {"an upload of a stored file without its id, under the same name",
       {C("UPLOAD\n"), S(details_prompt), C("0;5\n"), S(ready_words), C(hello.bytes),
        S(hello.id + "\n")},
       {},
       {hello},
       {hello_entry}},
      {"an upload that hashes to the id that it declares",
       {C("UPLOAD\n"), S(details_prompt), C("new;3;id=" + abc.id + "\n"), S(ready_words),
        C(abc.bytes), S(abc.id + "\n")},
       {},
       {},
       {abc.id + ";new;3"}},
      {"an upload that does not hash to the id that it declares",
       {C("UPLOAD\n"), S(details_prompt), C("new;3;id=" + hello.id + "\n"), S(ready_words),
        C(abc.bytes), S(refusal(errc::mismatch)), C("LIST_FILES\n"), S(no_files)}},
      {"uploads with `nowait`, and commands sent ahead after them",
       {C("UPLOAD\na;5;nowait\nhelloUPLOAD\nb;3;nowait;id=" + abc.id + "\nabcLIST_FILES\n"),
        S(details_prompt + ready_words + hello.id + "\n" + details_prompt + ready_words + abc.id +
          "\n" + hello.id + ";a;5\n" + abc.id + ";b;3\n\n")},
       {},
       {},
       {hello.id + ";a;5", abc.id + ";b;3"}},
      {"a `have` request sent ahead after the upload of its file, and a list after it",
       {C("UPLOAD\na;5;nowait\nhelloUPLOAD\nb;5;have;id=" + hello.id +
          "\nUPLOAD\nc;5;nowait\nhelloUPLOAD\n..;0;nowait\nDOWNLOAD\n" + hello.id +
          ";length=0\nLIST_FILES;prefix=c\n"),
        S(details_prompt + ready_words + hello.id + "\n" + details_prompt + hello.id + "\n" +
          details_prompt + ready_words + hello.id + "\n" + details_prompt +
          refusal(errc::bad_name) + id_prompt + hello.id + ";a;5;length=0\n" + hello.id +
          ";c;5\n\n")},
       {},
       {},
       {hello.id + ";a;5", hello.id + ";b;5", hello.id + ";c;5"}},
      {"an upload with `nowait` of a stored file",
       {C("UPLOAD\nagain;5;id=" + hello.id + ";nowait\nhello"),
        S(details_prompt + ready_words + hello.id + "\n")},
       {},
       {hello},
       {hello_entry, hello.id + ";again;5"}},
      {"uploads with `nowait` that are refused, each after its last byte",
       {C("UPLOAD\nnew;3;nowait;id=" + hello.id + "\nabc"),
        S(details_prompt + ready_words + refusal(errc::mismatch)),
        C("UPLOAD\n../new;5;nowait\nhello"), S(details_prompt + refusal(errc::bad_name)),
        C("UPLOAD\nnew;5;nowait;id=5d\nhello"), S(details_prompt + refusal(errc::bad_id)),
        C("UPLOAD\nnew;1000001;nowait\n" + pattern(1'000'001)),
        S(details_prompt + refusal(errc::too_large, 1'000'000)), C("LIST_FILES\n"), S(no_files)}},
      {"a `have` request with `nowait`, after which no bytes follow",
       {C("UPLOAD\nnew;5;nowait;have;id=" + hello.id + "\n"),
        S(details_prompt + refusal(errc::not_found)),
        C("UPLOAD\n..;5;nowait;have;id=" + hello.id + "\n"),
        S(details_prompt + refusal(errc::bad_name)), C("LIST_FILES\n"), S(no_files)}},
      {"an upload with `nowait` and a malformed size",
       {C("UPLOAD\nnew;five;nowait\n"), S(details_prompt + refusal(errc::bad_size))},
       errc::bad_size},
      {"an upload with `nowait` and malformed parameters",
       {C("UPLOAD\nnew;5;x;nowait;x\n"), S(details_prompt + refusal(errc::bad_request))},
       errc::bad_request},
      {"an upload with `nowait` and a control character in its details line",
       {C("UPLOAD\nnew\t;5;nowait\n"), S(details_prompt + refusal(errc::bad_request))},
       errc::bad_request},
      {"a client that disconnects in the middle of the bytes after `nowait`",
       {C("UPLOAD\na;5;nowait\nhelloUPLOAD\nnew;5;nowait\nhell"),
        S(details_prompt + ready_words + hello.id + "\n" + details_prompt + ready_words)},
       errc::truncated,
       {},
       {hello.id + ";a;5"}},
      {"an upload whose bytes look like commands",
       {C("UPLOAD\n"), S(details_prompt), C("new;16\n"), S(ready_words), C("EOF\nDONE\nUPLOAD\n"),
        S("532eead0f1915d2ffdb43c3d6d1c761f\n"), C("LIST_FILES\n"),
        S("532eead0f1915d2ffdb43c3d6d1c761f;new;16\n\n")},
       {},
       {},
       {"532eead0f1915d2ffdb43c3d6d1c761f;new;16"}},
      {"downloads of parts",
       {C("DOWNLOAD\n"), S(id_prompt), C(hello.id + ";offset=1\n"),
        S(hello_entry + ";offset=1\nello"), C("DOWNLOAD\n"), S(id_prompt),
        C(hello.id + ";length=2\n"), S(hello_entry + ";length=2\nhe"), C("DOWNLOAD\n"),
        S(id_prompt), C(hello.id + ";length=9;new;offset=5\n"),
        S(hello_entry + ";offset=5;length=0\n"), C("DOWNLOAD\n"), S(id_prompt),
        C(hello.id + ";offset=2;length=2\n"), S(hello_entry + ";offset=2;length=2\nll")},
       {},
       {hello},
       {hello_entry}},
      {"a client that disconnects in a line", {C("LIST_FIL")}, errc::truncated},
      {"a client that disconnects before the details line",
       {C("UPLOAD\n"), S(details_prompt)},
       errc::truncated},
      {"a client that disconnects in the id line",
       {C("DOWNLOAD\n"), S(id_prompt), C(hello.id)},
       errc::truncated},
      {"a client that disconnects before the first byte of its upload",
       {C("UPLOAD\n"), S(details_prompt), C("new;5\n"), S(ready_words)},
       errc::truncated},
      {"a client that disconnects in the middle of its upload",
       {C("UPLOAD\n"), S(details_prompt), C("new;5\n"), S(ready_words), C("hell")},
       errc::truncated},
  };
  for (const sample& s : samples()) {
    const auto size = std::to_string(s.bytes.size());
    const std::string up = s.id + ";some file;" + size;
    const std::string held = s.id + ";0;" + size;
    all.push_back({"an upload of " + size,
                   {C("UPLOAD\n"), S(details_prompt), C("some file;" + size + "\n"), S(ready_words),
                    C(s.bytes), S(s.id + "\n"), C("LIST_FILES\n"), S(up + "\n\n")},
                   {},
                   {},
                   {up}});
    all.push_back({"a download of " + size,
                   {C("DOWNLOAD\n"), S(id_prompt), C(s.id + "\n"), S(held + "\n" + s.bytes),
                    C("LIST_FILES\n"), S(held + "\n\n")},
                   {},
                   {s},
                   {held}});
  }
  return all;
}

}  // namespace test

#endif
