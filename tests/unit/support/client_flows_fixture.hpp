#ifndef FILEXFER_TESTS_CLIENT_FLOWS_FIXTURE_HPP
#define FILEXFER_TESTS_CLIENT_FLOWS_FIXTURE_HPP

// What the client_flows*.cpp share.

#include "support/dialogues.hpp"
#include "support/script.hpp"

#include <iterator>
#include <string>
#include <vector>

namespace client_flows_tests {

using test::C;
using test::client_outcome;
using test::client_request;
using test::dialogue;
using test::hello;
using test::S;
using kind = client_request::kind;

// A client whose peer is a script.
struct client_by_hand {
  explicit client_by_hand(const dialogue& talk)
      : driver{test::scripted_peer{talk, test::who::client}} {
    state.connection.chunk_size = state.connection.small_file_size = test::chunk_size;
  }
  client_outcome operator()(const client_request& request) {
    return perform(request, state, driver);
  }
  filexfer::detail::client_state state;
  test::hand_driver driver;
};

inline const client_request list{};
inline const client_request features{kind::features};
inline const client_request upload_hello{kind::upload, "hello.txt", hello.bytes};
inline const client_request upload_hello_with_id{kind::upload, "hello.txt", hello.bytes, hello.id};
inline const client_request download_hello{kind::download, "", "", hello.id};

inline const std::string big = test::pattern(3 * test::chunk_size);
inline const client_request upload_big{kind::upload, "big", big};
inline const std::string ready = "Ready to receive the file";
inline const dialogue big_talk = test::upload_talk("big;12288", ready);

// A point of a dialogue at which a server can refuse, and the dialogue before its ERROR line.
struct refusal_point {
  std::string name;
  client_request request;
  dialogue before;
  bool to_a_command;
};

inline std::vector<refusal_point> refusal_points() {
  const auto details = test::upload_talk("hello.txt;5", ready);
  const dialogue upload{C("UPLOAD\n")};
  const dialogue upload_details{details.begin(), std::prev(details.end())};
  return {{"FEATURES", features, {C("FEATURES\n")}, true},
          {"LIST_FILES", list, {C("LIST_FILES\n")}, true},
          {"an entry", list, {C("LIST_FILES\n"), S(hello.id + ";a;5\n")}, true},
          {"UPLOAD", upload_hello, upload, true},
          {"details", upload_hello, upload_details, false},
          {"bytes", upload_hello, details + dialogue{C(hello.bytes)}, false},
          {"DOWNLOAD", download_hello, {C("DOWNLOAD\n")}, true},
          {"an id", download_hello, test::download_talk(hello.id), false}};
}

}  // namespace client_flows_tests

#endif
