#ifndef FILEXFER_TESTS_SUPPORT_CLIENT_FLOWS_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_CLIENT_FLOWS_FIXTURE_HPP

// What the client_flows*.cpp share.

#include "support/client_dialogues.hpp"
#include "support/known_files.hpp"
#include "support/script.hpp"

#include <iterator>
#include <string>
#include <vector>

namespace client_flows_tests {

using namespace test;
using filexfer::errc;
using filexfer::failure_origin;
using filexfer::detail::io_kind;
using kind = client_request::kind;

// A client whose peer is a script.
struct client_by_hand {
  explicit client_by_hand(const dialogue& talk) : driver{scripted_peer{talk, role::client}} {
    state.connection.chunk_size = state.connection.small_file_size = chunk_size;
  }
  client_outcome operator()(const client_request& request) {
    return perform(request, state, driver);
  }
  filexfer::detail::client_state state;
  hand_driver driver;
};

inline const client_request list{};
inline const client_request features{kind::features};
inline const client_request upload_hello{kind::upload, "hello.txt", hello.bytes};
inline const client_request upload_hello_with_id{kind::upload, "hello.txt", hello.bytes, hello.id};
inline const client_request download_hello{kind::download, "", "", hello.id};

inline const std::string big = pattern(3 * chunk_size);
inline const client_request upload_big{kind::upload, "big", big};
inline const std::string ready = "Ready to receive the file";
inline const dialogue big_dialogue = upload_dialogue("big;12288", ready);

// A point of a dialogue at which a server can refuse, and the dialogue before its ERROR line.
struct refusal_point {
  std::string name;
  client_request request;
  dialogue before;
  bool to_a_command;
};

inline std::vector<refusal_point> refusal_points() {
  const auto details = upload_dialogue("hello.txt;5", ready);
  const dialogue upload{C("UPLOAD\n")};
  const dialogue upload_details{details.begin(), std::prev(details.end())};
  return {{"FEATURES", features, {C("FEATURES\n")}, true},
          {"LIST_FILES", list, {C("LIST_FILES\n")}, true},
          {"an entry", list, {C("LIST_FILES\n"), S(hello.id + ";a;5\n")}, true},
          {"UPLOAD", upload_hello, upload, true},
          {"details", upload_hello, upload_details, false},
          {"bytes", upload_hello, details + dialogue{C(hello.bytes)}, false},
          {"DOWNLOAD", download_hello, {C("DOWNLOAD\n")}, true},
          {"an id", download_hello, download_dialogue(hello.id), false}};
}

}  // namespace client_flows_tests

#endif
