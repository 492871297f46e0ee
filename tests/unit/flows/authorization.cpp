// What a session refuses by its options, and what its owner refuses.

#include "support/session_flow_fixture.hpp"

#include <filexfer/access_request.hpp>

#include <doctest/doctest.h>

#include <string>
#include <system_error>
#include <vector>

namespace authorization_tests {

using namespace session_flow_tests;
using filexfer::access_request;

namespace {

const dialogue all_requests{C("LIST_FILES;prefix=a\n"),
                            C("UPLOAD\nnew;3;id=" + abc.id + ";nowait\nabc"),
                            C("DOWNLOAD\n" + hello.id + "\n"), C("FEATURES\n")};

/// A session with one file, whose client makes all requests, and the answers of its owner.
struct owned_session : session {
  explicit owned_session(std::error_code to_be_answered)
      : session{all_requests, send_order::ahead}, answer{to_be_answered} {
    put(store.inner, "a", hello);
    state.authorize = [this](const access_request& request, const filexfer::access_answer& reply) {
      requests.push_back(request);
      reply(answer);
    };
  }

  std::error_code answer;
  std::vector<access_request> requests;
};

std::string replies_of_refusals(errc list, errc upload, errc download) {
  return refusal(list) + details_prompt + refusal(upload) + id_prompt + refusal(download) +
         all_features + "max-size=1000000\n\n";
}

}  // namespace

TEST_CASE("the owner is asked for each request with what it names, and may allow all of them") {
  owned_session s{{}};
  CHECK_FALSE(s.run());
  REQUIRE(s.requests.size() == 3);
  CHECK(s.requests[0].verb == command::list_files);
  CHECK(s.requests[0].name == "a");
  CHECK(s.requests[1].verb == command::upload);
  CHECK(s.requests[1].name == "new");
  CHECK(s.requests[1].id == abc.id);
  CHECK(s.requests[1].size == 3);
  CHECK(s.requests[2].verb == command::download);
  CHECK(s.requests[2].id == hello.id);
  CHECK(s.sent().find("ERROR") == std::string::npos);
  CHECK(entries_of(s.store.inner).size() == 2);
}

TEST_CASE("what the owner refuses is refused with its code, and the connection continues") {
  for (const errc code : {errc::denied, errc::not_found, errc::busy}) {
    owned_session s{code};
    CHECK_FALSE(s.run());
    CHECK(s.sent() == replies_of_refusals(code, code, code));
    CHECK(entries_of(s.store.inner).size() == 1);
    for (int n = 0; n < 3; ++n) CHECK(s.events.at(static_cast<std::size_t>(n)).error == code);
  }
}

TEST_CASE("an owner that fails or never answers refuses with `io`, and its error is the cause") {
  const auto failed = std::make_error_code(std::errc::host_unreachable);
  owned_session s{failed};
  CHECK_FALSE(s.run());
  CHECK(s.sent() == replies_of_refusals(errc::io, errc::io, errc::io));
  CHECK(s.events.at(1).cause == failed);

  owned_session silent{{}};
  silent.state.authorize = [](const access_request&, const filexfer::access_answer&) {};
  CHECK_FALSE(silent.run());
  CHECK(silent.sent() == replies_of_refusals(errc::io, errc::io, errc::io));
}

TEST_CASE("a malformed request is refused before the owner is asked") {
  owned_session s{{}};
  s.driver.peer = scripted_peer{{C("UPLOAD\n../x;3\nDOWNLOAD\nxyz\nLIST_FILES;prefix=%zz\n")},
                                role::server,
                                send_order::ahead};
  s.run();
  CHECK(s.requests.empty());
}

TEST_CASE("requests that a server does not permit are refused, and the owner is not asked") {
  owned_session s{{}};
  s.state.options.permitted = {.list = false, .upload = false, .download = false};
  CHECK_FALSE(s.run());
  CHECK(s.sent() == replies_of_refusals(errc::denied, errc::read_only, errc::denied));
  CHECK(s.requests.empty());
  CHECK(entries_of(s.store.inner).size() == 1);
}

TEST_CASE("a server without shortcuts does not tell by an upload what it holds") {
  const std::string features_without_have = [] {
    std::string text = all_features + "max-size=1000000\n\n";
    text.erase(text.find("have\n"), 5);
    return text;
  }();
  const dialogue talk{C("UPLOAD\n"),
                      S(details_prompt),
                      C("other;5;id=" + hello.id + "\n"),
                      S(ready_words),
                      C("hello"),
                      S(hello.id + "\n"),
                      C("UPLOAD\n"),
                      S(details_prompt),
                      C("third;5;have;id=" + hello.id + "\n"),
                      S(refusal(errc::not_found)),
                      C("UPLOAD\n"),
                      S(details_prompt),
                      C("fourth;5;id=" + hello.id + "\n"),
                      S(ready_words),
                      C("wrong"),
                      S(refusal(errc::mismatch)),
                      C("FEATURES\n"),
                      S(features_without_have)};
  session s{talk};
  put(s.store.inner, "a", hello);
  s.state.options.shortcuts = false;
  CHECK_FALSE(s.run());
  CHECK(s.sent() == bytes_sent_by(role::server, talk));
  CHECK(entries_of(s.store.inner) ==
        std::vector<std::string>{hello.id + ";a;5", hello.id + ";other;5"});
}

}  // namespace authorization_tests
