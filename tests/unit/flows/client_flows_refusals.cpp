// ERROR lines at any point of a dialogue.

#include "support/client_dialogues.hpp"
#include "support/client_flows_fixture.hpp"
#include "support/known_files.hpp"
#include "support/script.hpp"
#include "support/session_replies.hpp"

#include <filexfer/error.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <system_error>

namespace client_flows_refusals_tests {

using namespace client_flows_tests;

namespace {

struct wire_code {
  std::string word;
  errc code;
  bool keeps_connection;
};

const wire_code wire_codes[] = {
    {"unknown-command", errc::unknown_command, true},
    {"bad-request", errc::bad_request, true},  // except in reply to a command line
    {"line-too-long", errc::line_too_long, false},
    {"bad-name", errc::bad_name, true},
    {"bad-size", errc::bad_size, true},
    {"bad-id", errc::bad_id, true},
    {"bad-range", errc::bad_range, true},
    {"not-found", errc::not_found, true},
    {"too-large", errc::too_large, true},
    {"no-space", errc::no_space, true},
    {"mismatch", errc::mismatch, true},
    {"collision", errc::collision, true},
    {"io", errc::io, true},
    {"read-only", errc::read_only, true},
    {"superseded", errc::superseded, false},
    {"busy", errc::busy, false},
    {"timeout", errc::timeout, false},
    {"shutting-down", errc::shutting_down, false},
    {"denied", errc::denied, true},
    {"a-later-code", errc::refused, true},
    {"", errc::refused, true},
};

}  // namespace

TEST_CASE(
    "a refusal at any point is reported by its code, and the client is usable if the server is") {
  for (const refusal_point& point : refusal_points()) {
    for (const wire_code& refused : wire_codes) {
      if (point.name == "FEATURES" && refused.code == errc::unknown_command) continue;
      CAPTURE(point.name);
      CAPTURE(refused.word);
      const std::string line =
          "ERROR" + (refused.word.empty() ? "" : ' ' + refused.word + " words; and more");
      for (const bool half_written : {false, true}) {
        client_by_hand client{point.before +
                              dialogue{S(line + "\n"), C("LIST_FILES\n"), S("none\n\n")}};
        if (half_written) client.driver.chunk = 3;
        const auto out = client(point.request);
        CHECK(out.ec == refused.code);
        CHECK(out.origin == failure_origin::peer);
        CHECK(out.last_reply == line);
        const bool closes_commands = refused.code == errc::bad_request && point.to_a_command;
        CHECK(out.synchronized == (refused.keeps_connection && !closes_commands));
        CHECK(client.driver.peer.received() == bytes_sent_by(role::client, point.before));
        const auto next = client(list);
        CHECK(next.ec == (out.synchronized ? std::error_code{} : errc::connection_unusable));
      }
    }
  }
}

TEST_CASE("an ERROR line read after a failed write is the error of the operation") {
  for (const refusal_point& point : refusal_points()) {
    CAPTURE(point.name);
    // The server sent it before it closed: it can still be read, though no write succeeds.
    for (std::size_t turn = 0; turn < point.before.size(); ++turn) {
      if (point.before[turn].sender != role::client) continue;
      CAPTURE(turn);
      dialogue talk{point.before.begin(), point.before.begin() + static_cast<std::ptrdiff_t>(turn)};
      talk.push_back(S("ERROR shutting-down good night\n"));
      client_by_hand client{talk};
      std::size_t writes = 0;
      for (std::size_t i = 0; i < turn; ++i) writes += talk[i].sender == role::client ? 1 : 0;
      client_by_hand whole{point.before};
      whole(point.request);
      std::size_t action = 0;
      for (const auto& step : whole.driver.steps) {
        if (step.io == io_kind::write && writes-- == 0) break;
        ++action;
      }
      client.driver.failure = {action, std::make_error_code(std::errc::broken_pipe), 0,
                               injected_failure::lasts::once};
      const auto out = client(point.request);
      CHECK(out.ec == errc::shutting_down);
      CHECK(out.origin == failure_origin::peer);
      CHECK_FALSE(out.synchronized);
    }
  }
}

TEST_CASE("an ERROR line at any byte of an upload is reported as that refusal") {
  for (const wire_code& refused : wire_codes) {
    for (std::size_t sent = 0; sent <= 2 * chunk_size; sent += 819) {
      for (const std::size_t chunk : {std::size_t{1}, std::size_t{7}, no_limit}) {
        CAPTURE(refused.word);
        CAPTURE(sent);
        CAPTURE(chunk);
        client_by_hand client{big_dialogue + dialogue{C(big.substr(0, sent)),
                                                      S("ERROR " + refused.word + " full\n")}};
        client.driver.chunk = chunk;
        const auto out = client(upload_big);
        CHECK(out.ec == refused.code);
        CHECK(out.origin == failure_origin::peer);
        // Before the last byte any code means that the server closes.
        CHECK_FALSE(out.synchronized);
        const auto bytes =
            client.driver.peer.received().size() - bytes_sent_by(role::client, big_dialogue).size();
        CHECK(bytes >= sent);
        CHECK(bytes < sent + chunk_size + 1);
      }
    }
  }
}

TEST_CASE("an ERROR line right after the ready line stops an upload before its first byte") {
  for (const std::string& bytes : {hello.bytes, big}) {
    const auto size = std::to_string(bytes.size());
    client_by_hand client{upload_dialogue("f;" + size, ready + "\nERROR no-space full")};
    const auto out = client({kind::upload, "f", bytes});
    CHECK(out.ec == errc::no_space);
    CHECK_FALSE(out.synchronized);
    CHECK(client.driver.peer.received() == "UPLOAD\nf;" + size + "\n");
  }
}

TEST_CASE(
    "an ERROR line that arrives while a write of an upload fails is the error of the upload") {
  using lasts = injected_failure::lasts;
  for (std::size_t part = 0; part < 3; ++part) {
    for (const lasts duration : {lasts::once, lasts::permanently}) {
      CAPTURE(part);
      const std::size_t sent = part * chunk_size;
      client_by_hand client{
          big_dialogue + dialogue{C(big.substr(0, sent) + "#"), S("ERROR io the disk is gone\n")}};
      client.driver.failure = {4 + part, std::make_error_code(std::errc::connection_reset), 1,
                               duration};
      const auto out = client(upload_big);
      CHECK(out.ec == errc::io);
      CHECK(out.origin == failure_origin::peer);
      CHECK_FALSE(out.synchronized);
    }
  }
}

TEST_CASE("a server that ends the stream during an upload's bytes is reported as truncated") {
  for (std::size_t sent = 0; sent < 3; ++sent) {
    for (const std::string last_bytes : {"", "ERROR no-sp"}) {
      client_by_hand client{big_dialogue +
                            dialogue{C(big.substr(0, sent * chunk_size + 1)), S(last_bytes)}};
      const auto out = client(upload_big);
      CHECK(out.ec == errc::truncated);
      CHECK(out.origin == failure_origin::peer);
      CHECK_FALSE(out.synchronized);
    }
  }
}

TEST_CASE("a positive reply before the last byte of an upload breaks the protocol") {
  for (std::size_t sent = 0; sent < 3; ++sent) {
    client_by_hand client{big_dialogue + dialogue{C(big.substr(0, sent * chunk_size)),
                                                  S("b1687e0e02f8de74d1a7f1b909b6e494\n")}};
    const auto out = client(upload_big);
    CHECK(out.ec == errc::malformed_reply);
    CHECK_FALSE(out.synchronized);
  }
}

}  // namespace client_flows_refusals_tests
