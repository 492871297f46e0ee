#ifndef FILEXFER_TESTS_SUPPORT_CLIENT_DIALOGUES_HPP
#define FILEXFER_TESTS_SUPPORT_CLIENT_DIALOGUES_HPP

// The client's operations as data, and a table of dialogues with their results. Every driver
// replays it: `hand_driver`, the blocking one and the asynchronous one.

#include "support/known_files.hpp"
#include "support/recording_sink.hpp"
#include "support/script.hpp"
#include "support/session_replies.hpp"

#include <filexfer/detail/flow/client_downloads.hpp>
#include <filexfer/detail/flow/client_lists.hpp>
#include <filexfer/detail/flow/client_uploads.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace test {

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
        if (!ec) CHECK(result.local_digest == result.remote_digest);
        return result.remote_digest.to_string() + (result.sent ? " sent" : " held");
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
        if (!ec) CHECK(result.local_digest == id);
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

inline const dialogue features_dialogue{C("FEATURES\n"), S("version=1\ndigest=md5\n\n")};
inline const dialogue all_features_dialogue{C("FEATURES\n"), S(all_features + "\n")};

inline dialogue upload_dialogue(const std::string& details, const std::string& ready) {
  return {C("UPLOAD\n"), S("Please send the file name and file size\n"), C(details + "\n"),
          S(ready + "\n")};
}

inline dialogue download_dialogue(const std::string& id_line) {
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
       all_features_dialogue +
           dialogue{C("LIST_FILES;prefix=a%3B/\n"), S(hello.id + ";a%3B/b.txt;5\n\n")},
       hello.id + ";a%3B/b.txt;5\n"},
      {"a list of names with a prefix, from a server that lists all",
       {kind::list, "b"},
       features_dialogue + dialogue{C("LIST_FILES\n"), S(hello.id + ";a;5\n" + hello.id + ";b;5\n" +
                                                         hello.id + ";bc;5\n\n")},
       hello.id + ";b;5\n" + hello.id + ";bc;5\n"},
      {"a `have` request for a file that the server has",
       {kind::have, "a;b", hello.bytes, hello.id},
       all_features_dialogue + dialogue{C("UPLOAD\n"), S("Please\n"),
                                        C("a%3Bb;5;id=" + hello.id + ";have\n"),
                                        S(hello.id + "\n")},
       "held"},
      {"a `have` request for a file that the server does not have",
       {kind::have, "a", hello.bytes, hello.id},
       all_features_dialogue + dialogue{C("UPLOAD\n"), S("Please\n"),
                                        C("a;5;id=" + hello.id + ";have\n"),
                                        S("ERROR not-found no such file\n")},
       "not held"},
      {"a `have` request to a server without that feature",
       {kind::have, "a", hello.bytes, hello.id},
       features_dialogue,
       "not held"},
      {"an upload of a file that the server has",
       {kind::upload, "hello.txt", hello.bytes, hello.id},
       features_dialogue + upload_dialogue("hello.txt;5;id=" + hello.id, "No need to;offset=5") +
           dialogue{S(hello.id + "\n")},
       hello.id + " held"},
      {"an upload with its id of a file that the server does not have",
       {kind::upload, "hello.txt", hello.bytes, hello.id},
       features_dialogue + upload_dialogue("hello.txt;5;id=" + hello.id, ready) +
           dialogue{C(hello.bytes), S(hello.id + "\n")},
       hello.id + " sent"},
      {"an upload with its id to a server without FEATURES",
       {kind::upload, "hello.txt", hello.bytes, hello.id},
       dialogue{C("FEATURES\n"), S("ERROR unknown-command\n")} +
           upload_dialogue("hello.txt;5", ready) + dialogue{C(hello.bytes), S(hello.id + "\n")},
       hello.id + " sent"},
      {"an upload of an empty file with its id, which the server has",
       {kind::upload, "none", nothing.bytes, nothing.id},
       features_dialogue + upload_dialogue("none;0;id=" + nothing.id, ready + ";offset=0") +
           dialogue{S(nothing.id + "\n")},
       nothing.id + " held"},
      {"an upload whose id comes in upper case, with a name to escape",
       {kind::upload, "a;b%c\x01", abc.bytes},
       upload_dialogue("a%3Bb%25c%01;3", ready) +
           dialogue{C(abc.bytes), S("900150983CD24FB0D6963F7D28E17F72\r\n")},
       abc.id + " sent"},
      {"a download of a middle part",
       {kind::range, "", "", hello.id, 1, 3},
       features_dialogue + download_dialogue(hello.id + ";offset=1;length=3") +
           dialogue{S(hello.id + ";hello.txt;5;offset=1;length=3\nell")},
       "hello.txt ell"},
      {"a download of the rest",
       {kind::range, "", "", hello.id, 2, std::nullopt},
       features_dialogue + download_dialogue(hello.id + ";offset=2") +
           dialogue{S(hello.id + ";hello.txt;5;offset=2\nllo")},
       "hello.txt llo"},
      {"a download of a range that begins at the end",
       {kind::range, "", "", hello.id, 5, 100},
       features_dialogue + download_dialogue(hello.id + ";offset=5;length=100") +
           dialogue{S(hello.id + ";hello.txt;5;offset=5;length=0\n")},
       "hello.txt "},
  };
  for (const known_file& s : known_files()) {
    const auto size = std::to_string(s.bytes.size());
    all.push_back(
        {"an upload of " + size,
         {kind::upload, "some file.bin", s.bytes},
         upload_dialogue("some file.bin;" + size, ready) + dialogue{C(s.bytes), S(s.id + "\n")},
         s.id + " sent"});
    all.push_back(
        {"a download of " + size,
         {kind::download, "", "", s.id},
         download_dialogue(s.id) + dialogue{S(s.id + ";some%3Bfile;" + size + "\n" + s.bytes)},
         "some;file " + s.bytes});
  }
  return all;
}

}  // namespace test

#endif
