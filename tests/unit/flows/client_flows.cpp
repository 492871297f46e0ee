// The client's flows in whole dialogues, and on streams that fail at any point.

#include "support/client_dialogues.hpp"
#include "support/client_flows_fixture.hpp"
#include "support/known_files.hpp"
#include "support/script.hpp"

#include <filexfer/error.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

namespace client_flows_tests {

using filexfer::detail::deadline;

// ------------------------------------------------------------------------------------ whole dialogues

TEST_CASE(
    "a client sends the same bytes and returns the same result however the replies are split") {
  for (const client_dialogue& d : good_client_dialogues()) {
    CAPTURE(d.name);
    for (const std::size_t chunk : chunkings(bytes_sent_by(role::server, d.talk).size())) {
      CAPTURE(chunk);
      client_by_hand client{d.talk};
      client.driver.chunk = chunk;
      const auto out = client(d.asked);
      REQUIRE_FALSE(out.ec);
      REQUIRE(out.value == d.value);
      REQUIRE(out.synchronized);
      REQUIRE(client.driver.peer.received() == bytes_sent_by(role::client, d.talk));
      REQUIRE(client.driver.peer.has_ended());
      REQUIRE_FALSE(client.driver.stalled);
    }
  }
}

TEST_CASE("a client can perform all operations in turn on one connection") {
  dialogue talk;
  std::vector<client_dialogue> dialogues;
  for (const client_dialogue& d : good_client_dialogues()) {
    const bool has_features = d.talk.front().bytes == "FEATURES\n";
    if (has_features && d.talk[1].bytes.starts_with("ERROR")) continue;
    if (has_features && d.talk[1].bytes.find("\nhave\n") != std::string::npos) continue;
    // FEATURES is sent once, in the first dialogue.
    talk.insert(talk.end(), d.talk.begin() + (has_features && !talk.empty() ? 2 : 0), d.talk.end());
    dialogues.push_back(d);
  }
  client_by_hand client{talk};
  for (const client_dialogue& d : dialogues) {
    CAPTURE(d.name);
    const auto out = client(d.asked);
    REQUIRE_FALSE(out.ec);
    CHECK(out.value == d.value);
  }
  CHECK(client.driver.peer.received() == bytes_sent_by(role::client, talk));
}

TEST_CASE("a client reads and writes under the deadlines of idle, reply and line in turn") {
  const std::string entry = hello.id + ";a;5\n";
  client_by_hand client{{C("LIST_FILES\n"), S(entry + "\n")}};
  client.driver.chunk = entry.size();
  client(list);
  std::vector<deadline> limits;
  for (const auto& step : client.driver.steps) limits.push_back(step.limit);
  CHECK(limits == std::vector<deadline>{deadline::idle, deadline::reply, deadline::line});
}

namespace {

bool writes(const hand_driver::step& step) {
  return step.io == io_kind::write || step.io == io_kind::read_write;
}

}  // namespace

TEST_CASE("an upload sends its command, its details and each chunk in a write of its own") {
  client_by_hand client{big_dialogue + dialogue{C(big), S("b1687e0e02f8de74d1a7f1b909b6e494\n")}};
  CHECK_FALSE(client(upload_big).ec);
  const auto& steps = client.driver.steps;
  CHECK(std::count_if(steps.begin(), steps.end(), writes) == 2 + 3);
}

TEST_CASE("a stream that has ended during an upload's bytes is not read again") {
  client_by_hand client{big_dialogue};
  CHECK(client(upload_big).ec == errc::truncated);
  CHECK(client.driver.steps.back().io == io_kind::read_write);
}

// --------------------------------------------------------------------------------- failing streams

TEST_CASE("a stream that fails at any action fails the operation and leaves the client unusable") {
  const auto reset = std::make_error_code(std::errc::connection_reset);
  const std::error_code errors[] = {reset, errc::timed_out, errc::end_of_stream};
  using lasts = injected_failure::lasts;
  std::size_t replays = 0;
  for (const client_dialogue& d : good_client_dialogues()) {
    CAPTURE(d.name);
    client_by_hand whole{d.talk};
    REQUIRE_FALSE(whole(d.asked).ec);
    const auto& steps = whole.driver.steps;
    for (std::size_t action = 0; action < steps.size(); ++action) {
      for (const std::error_code error : errors) {
        if (writes(steps[action]) && error == errc::end_of_stream) continue;
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, no_limit}) {
          for (const lasts duration : {lasts::once, lasts::permanently}) {
            CAPTURE(action);
            CAPTURE(error);
            CAPTURE(bytes);
            client_by_hand client{d.talk};
            client.driver.failure = {action, error, bytes, duration};
            const auto out = client(d.asked);
            ++replays;
            const bool ended = error == errc::end_of_stream;
            // The bytes sent before the failure may have been refused.
            const bool refused =
                bytes == no_limit && (out.ec == errc::unknown_command || out.ec == errc::not_found);
            if (!refused) {
              REQUIRE(out.ec == (ended ? make_error_code(errc::truncated) : error));
              REQUIRE(out.origin == (ended ? failure_origin::peer : failure_origin::stream));
            }
            REQUIRE_FALSE(out.synchronized);
            REQUIRE_FALSE(out.committed);
            REQUIRE(bytes_sent_by(role::client, d.talk).starts_with(client.driver.peer.received()));
          }
        }
      }
    }
  }
  MESSAGE(replays, " operations failed");
}

TEST_CASE(
    "an operation cancelled before any action completes as cancelled, and the client is unusable") {
  for (const client_dialogue& d : good_client_dialogues()) {
    CAPTURE(d.name);
    client_by_hand whole{d.talk};
    REQUIRE_FALSE(whole(d.asked).ec);
    for (std::size_t action = 0; action < whole.driver.steps.size(); ++action) {
      CAPTURE(action);
      client_by_hand client{d.talk};
      client.driver.cancelled_from = action;
      const auto out = client(d.asked);
      CHECK(out.ec == std::errc::operation_canceled);
      CHECK(out.origin == failure_origin::stream);
      CHECK_FALSE(out.synchronized);
      CHECK_FALSE(out.committed);
    }
  }
}

TEST_CASE("a stream that ends at any byte of the replies is truncated, never a result") {
  for (const client_dialogue& d : good_client_dialogues()) {
    CAPTURE(d.name);
    const auto bytes = bytes_sent_by(role::server, d.talk).size();
    const std::size_t stride = bytes < 1000 ? 1 : 997;
    for (std::size_t end = 0; end < bytes; end += stride) {
      CAPTURE(end);
      dialogue cut;
      std::size_t left = end;
      for (const auto& t : d.talk) {
        cut.push_back(t);
        if (t.sender == role::client) continue;
        cut.back().bytes.resize(std::min(left, t.bytes.size()));
        left -= cut.back().bytes.size();
        if (cut.back().bytes.size() < t.bytes.size()) break;
      }
      client_by_hand client{cut};
      const auto out = client(d.asked);
      REQUIRE(out.ec == errc::truncated);
      REQUIRE_FALSE(out.synchronized);
      REQUIRE_FALSE(out.committed);
      REQUIRE_FALSE(client.driver.stalled);
    }
  }
}

}  // namespace client_flows_tests
