#include "support/dialogues.hpp"
#include "support/script.hpp"

#include <filexfer/detail/flow/client_downloads.hpp>
#include <filexfer/detail/flow/client_lists.hpp>
#include <filexfer/detail/flow/client_uploads.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace client_flows_tests {

namespace {

using filexfer::errc;
using filexfer::failure_origin;
using filexfer::detail::client_state;
using filexfer::detail::deadline;
using filexfer::detail::io_kind;
using test::abc;
using test::any_number;
using test::C;
using test::chunkings;
using test::client_dialogue;
using test::client_outcome;
using test::client_request;
using test::dialogue;
using test::download_talk;
using test::features_talk;
using test::hand_driver;
using test::hello;
using test::injected_failure;
using test::nothing;
using test::pattern;
using test::recording_sink;
using test::S;
using test::scripted_peer;
using test::upload_talk;
using test::who;
using kind = client_request::kind;

// A client that operates on a script.
struct client_by_hand {
  explicit client_by_hand(const dialogue& talk) : driver{scripted_peer{talk, who::client}} {
    state.connection.chunk_size = state.connection.small_file_size = test::chunk_size;
  }
  client_outcome operator()(const client_request& asked) { return perform(asked, state, driver); }
  client_state state;
  hand_driver driver;
};

const client_request list{};
const client_request features{kind::features};
const client_request upload_hello{kind::upload, "hello.txt", hello.bytes};
const client_request upload_hello_with_id{kind::upload, "hello.txt", hello.bytes, hello.id};
const client_request download_hello{kind::download, "", "", hello.id};

const std::string big = pattern(3 * test::chunk_size);
const client_request upload_big{kind::upload, "big", big};
const std::string ready = "Ready to receive the file";
const dialogue big_talk = upload_talk("big;12288", ready);

}  // namespace

// ------------------------------------------------------------------------------------ whole dialogues

TEST_CASE("a client says the same, and gets the same, however the replies are cut") {
  for (const client_dialogue& d : test::good_client_dialogues()) {
    CAPTURE(d.name);
    for (const std::size_t chunk : chunkings(said_by(who::server, d.talk).size())) {
      CAPTURE(chunk);
      client_by_hand client{d.talk};
      client.driver.chunk = chunk;
      const auto out = client(d.asked);
      REQUIRE_FALSE(out.ec);
      REQUIRE(out.value == d.value);
      REQUIRE(out.synchronized);
      REQUIRE(client.driver.peer.said() == said_by(who::client, d.talk));
      REQUIRE(client.driver.peer.has_ended());
      REQUIRE_FALSE(client.driver.stalled);
    }
  }
}

TEST_CASE("one client does all operations in turn on one connection") {
  dialogue talk;
  std::vector<client_dialogue> with_features;
  for (const client_dialogue& d : test::good_client_dialogues()) {
    const bool asks = d.talk.front().bytes == "FEATURES\n";
    if (asks && d.talk[1].bytes.starts_with("ERROR")) continue;
    if (asks && d.talk[1].bytes.find("\nhave\n") != std::string::npos) continue;
    // Asks once: in the first dialogue.
    talk.insert(talk.end(), d.talk.begin() + (asks && !talk.empty() ? 2 : 0), d.talk.end());
    with_features.push_back(d);
  }
  client_by_hand client{talk};
  for (const client_dialogue& d : with_features) {
    CAPTURE(d.name);
    const auto out = client(d.asked);
    REQUIRE_FALSE(out.ec);
    CHECK(out.value == d.value);
  }
  CHECK(client.driver.peer.said() == said_by(who::client, talk));
}

TEST_CASE("a client waits for each kind of line and bytes under the deadline meant for it") {
  const std::string entry = hello.id + ";a;5\n";
  client_by_hand client{{C("LIST_FILES\n"), S(entry + "\n")}};
  client.driver.chunk = entry.size();
  client(list);
  std::vector<deadline> limits;
  for (const auto& step : client.driver.steps) limits.push_back(step.limit);
  CHECK(limits == std::vector<deadline>{deadline::idle, deadline::reply, deadline::line});
}

namespace {

bool writes(const test::hand_driver::step& step) {
  return step.io == io_kind::write || step.io == io_kind::read_write;
}

}  // namespace

TEST_CASE("an upload sends its bytes while the next ones are read and hashed") {
  client_by_hand client{big_talk + dialogue{C(big), S("b1687e0e02f8de74d1a7f1b909b6e494\n")}};
  CHECK_FALSE(client(upload_big).ec);
  const auto& steps = client.driver.steps;
  CHECK(std::count_if(steps.begin(), steps.end(), writes) == 2 + 3);
}

TEST_CASE("a stream that has ended while bytes left is not read again") {
  client_by_hand client{big_talk};
  CHECK(client(upload_big).ec == errc::truncated);
  CHECK(client.driver.steps.back().io == io_kind::read_write);
}

// --------------------------------------------------------------------------------- failing streams

TEST_CASE("a stream that fails at any action fails the operation and leaves the client unusable") {
  const auto reset = std::make_error_code(std::errc::connection_reset);
  const std::error_code errors[] = {reset, errc::timed_out, errc::end_of_stream};
  using lasts = injected_failure::lasts;
  std::size_t replays = 0;
  for (const client_dialogue& d : test::good_client_dialogues()) {
    CAPTURE(d.name);
    client_by_hand whole{d.talk};
    REQUIRE_FALSE(whole(d.asked).ec);
    const auto& steps = whole.driver.steps;
    for (std::size_t action = 0; action < steps.size(); ++action) {
      for (const std::error_code error : errors) {
        if (writes(steps[action]) && error == errc::end_of_stream) continue;
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, any_number}) {
          for (const lasts duration : {lasts::once, lasts::for_good}) {
            CAPTURE(action);
            CAPTURE(error);
            CAPTURE(bytes);
            client_by_hand client{d.talk};
            client.driver.failure = {action, error, bytes, duration};
            const auto out = client(d.asked);
            ++replays;
            const bool ended = error == errc::end_of_stream;
            // What did leave may have been refused.
            const bool refused = bytes == any_number &&
                                 (out.ec == errc::unknown_command || out.ec == errc::not_found);
            if (!refused) {
              REQUIRE(out.ec == (ended ? make_error_code(errc::truncated) : error));
              REQUIRE(out.origin == (ended ? failure_origin::peer : failure_origin::stream));
            }
            REQUIRE_FALSE(out.synchronized);
            REQUIRE_FALSE(out.committed);
            REQUIRE(said_by(who::client, d.talk).starts_with(client.driver.peer.said()));
          }
        }
      }
    }
  }
  MESSAGE(replays, " operations failed");
}

TEST_CASE("an operation that is cancelled before any action ends as cancelled and unusable") {
  for (const client_dialogue& d : test::good_client_dialogues()) {
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

TEST_CASE("a stream that ends in any byte of the replies is truncated, never a result") {
  for (const client_dialogue& d : test::good_client_dialogues()) {
    CAPTURE(d.name);
    const auto bytes = said_by(who::server, d.talk).size();
    const std::size_t stride = bytes < 1000 ? 1 : 997;
    for (std::size_t end = 0; end < bytes; end += stride) {
      CAPTURE(end);
      dialogue cut;
      std::size_t left = end;
      for (const auto& t : d.talk) {
        cut.push_back(t);
        if (t.speaker == who::client) continue;
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

// ------------------------------------------------------------------------------------------ refusals

namespace {

struct wire_code {
  std::string word;
  errc code;
  bool goes_on;
};

const wire_code wire_codes[] = {
    {"unknown-command", errc::unknown_command, true},
    {"bad-request", errc::bad_request, true},  // but to a command line
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
    {"a-later-code", errc::refused, true},
    {"", errc::refused, true},
};

// Where a server can refuse, up to its ERROR line.
struct refused_place {
  std::string name;
  client_request asked;
  dialogue before;
  bool to_a_command;
};

std::vector<refused_place> refused_places() {
  const auto details = upload_talk("hello.txt;5", ready);
  const dialogue upload{C("UPLOAD\n")};
  const dialogue upload_details{details.begin(), std::prev(details.end())};
  return {{"FEATURES", features, {C("FEATURES\n")}, true},
          {"LIST_FILES", list, {C("LIST_FILES\n")}, true},
          {"an entry", list, {C("LIST_FILES\n"), S(hello.id + ";a;5\n")}, true},
          {"UPLOAD", upload_hello, upload, true},
          {"details", upload_hello, upload_details, false},
          {"bytes", upload_hello, details + dialogue{C(hello.bytes)}, false},
          {"DOWNLOAD", download_hello, {C("DOWNLOAD\n")}, true},
          {"an id", download_hello, download_talk(hello.id), false}};
}

}  // namespace

TEST_CASE(
    "a refusal at any place is reported by its code, and the client goes on if the server does") {
  for (const refused_place& place : refused_places()) {
    for (const wire_code& refused : wire_codes) {
      if (place.name == "FEATURES" && refused.code == errc::unknown_command) continue;
      CAPTURE(place.name);
      CAPTURE(refused.word);
      const std::string line =
          "ERROR" + (refused.word.empty() ? "" : ' ' + refused.word + " words; and more");
      for (const bool half_written : {false, true}) {
        client_by_hand client{place.before +
                              dialogue{S(line + "\n"), C("LIST_FILES\n"), S("none\n\n")}};
        if (half_written) client.driver.chunk = 3;
        const auto out = client(place.asked);
        CHECK(out.ec == refused.code);
        CHECK(out.origin == failure_origin::peer);
        CHECK(out.last_reply == line);
        const bool closes_commands = refused.code == errc::bad_request && place.to_a_command;
        CHECK(out.synchronized == (refused.goes_on && !closes_commands));
        CHECK(client.driver.peer.said() == said_by(who::client, place.before));
        const auto next = client(list);
        CHECK(next.ec == (out.synchronized ? std::error_code{} : errc::connection_unusable));
      }
    }
  }
}

TEST_CASE("an ERROR line found after a write failed is the operation's error") {
  for (const refused_place& place : refused_places()) {
    CAPTURE(place.name);
    // The server said it before it closed, so it may be read though nothing can be written.
    for (std::size_t turn = 0; turn < place.before.size(); ++turn) {
      if (place.before[turn].speaker != who::client) continue;
      CAPTURE(turn);
      dialogue talk{place.before.begin(), place.before.begin() + static_cast<std::ptrdiff_t>(turn)};
      talk.push_back(S("ERROR shutting-down good night\n"));
      client_by_hand client{talk};
      std::size_t writes = 0;
      for (std::size_t i = 0; i < turn; ++i) writes += talk[i].speaker == who::client ? 1 : 0;
      client_by_hand whole{place.before};
      whole(place.asked);
      std::size_t action = 0;
      for (const auto& step : whole.driver.steps) {
        if (step.io == io_kind::write && writes-- == 0) break;
        ++action;
      }
      client.driver.failure = {action, std::make_error_code(std::errc::broken_pipe), 0,
                               injected_failure::lasts::once};
      const auto out = client(place.asked);
      CHECK(out.ec == errc::shutting_down);
      CHECK(out.origin == failure_origin::peer);
      CHECK_FALSE(out.synchronized);
    }
  }
}

TEST_CASE("an ERROR in any position of an upload's bytes is reported as that refusal") {
  for (const wire_code& refused : wire_codes) {
    for (std::size_t sent = 0; sent <= 2 * test::chunk_size; sent += 819) {
      for (const std::size_t chunk : {std::size_t{1}, std::size_t{7}, any_number}) {
        CAPTURE(refused.word);
        CAPTURE(sent);
        CAPTURE(chunk);
        client_by_hand client{
            big_talk + dialogue{C(big.substr(0, sent)), S("ERROR " + refused.word + " full\n")}};
        client.driver.chunk = chunk;
        const auto out = client(upload_big);
        CHECK(out.ec == refused.code);
        CHECK(out.origin == failure_origin::peer);
        // It came before the last byte: the server closes, whatever the code.
        CHECK_FALSE(out.synchronized);
        const auto bytes = client.driver.peer.said().size() - said_by(who::client, big_talk).size();
        CHECK(bytes >= sent);
        CHECK(bytes < sent + test::chunk_size + 1);
      }
    }
  }
}

TEST_CASE("an ERROR that comes with the ready line stops an upload before its first byte") {
  for (const std::string& bytes : {hello.bytes, big}) {
    const auto size = std::to_string(bytes.size());
    client_by_hand client{upload_talk("f;" + size, ready + "\nERROR no-space full")};
    const auto out = client({kind::upload, "f", bytes});
    CHECK(out.ec == errc::no_space);
    CHECK_FALSE(out.synchronized);
    CHECK(client.driver.peer.said() == "UPLOAD\nf;" + size + "\n");
  }
}

TEST_CASE("an ERROR that comes while a write of an upload's bytes fails is the upload's error") {
  using lasts = injected_failure::lasts;
  for (std::size_t part = 0; part < 3; ++part) {
    for (const lasts duration : {lasts::once, lasts::for_good}) {
      CAPTURE(part);
      const std::size_t sent = part * test::chunk_size;
      client_by_hand client{
          big_talk + dialogue{C(big.substr(0, sent) + "#"), S("ERROR io the disk is gone\n")}};
      client.driver.failure = {4 + part, std::make_error_code(std::errc::connection_reset), 1,
                               duration};
      const auto out = client(upload_big);
      CHECK(out.ec == errc::io);
      CHECK(out.origin == failure_origin::peer);
      CHECK_FALSE(out.synchronized);
    }
  }
}

TEST_CASE("a server that ends the stream in an upload's bytes has truncated it") {
  for (std::size_t sent = 0; sent < 3; ++sent) {
    for (const std::string last_words : {"", "ERROR no-sp"}) {
      client_by_hand client{big_talk +
                            dialogue{C(big.substr(0, sent * test::chunk_size + 1)), S(last_words)}};
      const auto out = client(upload_big);
      CHECK(out.ec == errc::truncated);
      CHECK(out.origin == failure_origin::peer);
      CHECK_FALSE(out.synchronized);
    }
  }
}

TEST_CASE("a yes before the last byte of an upload breaks the protocol") {
  for (std::size_t sent = 0; sent < 3; ++sent) {
    client_by_hand client{big_talk + dialogue{C(big.substr(0, sent * test::chunk_size)),
                                              S("b1687e0e02f8de74d1a7f1b909b6e494\n")}};
    const auto out = client(upload_big);
    CHECK(out.ec == errc::malformed_reply);
    CHECK_FALSE(out.synchronized);
  }
}

// ----------------------------------------------------------------------------------- hostile servers

namespace {

const std::string other_id = abc.id;
const std::string long_name(256, 'n');

// Lines that are no entry, of whatever kind of reply.
const std::string bad_entries[] = {
    ";",
    ";;",
    ";;;",
    hello.id + ";",
    hello.id + ";a",
    hello.id + ";a;",
    hello.id + ";;5",
    hello.id + ";a;05",
    hello.id + ";a;+5",
    hello.id + ";a;-5",
    hello.id + ";a;5 ",
    hello.id + ";a; 5",
    hello.id + ";a;0x5",
    hello.id + ";a;5.0",
    hello.id + ";a;9223372036854775808",
    hello.id + ";a;99999999999999999999999999",
    hello.id.substr(1) + ";a;5",
    hello.id + "0;a;5",
    "g" + hello.id.substr(1) + ";a;5",
    " " + hello.id + ";a;5",
    hello.id + ";../a;5",
    hello.id + ";/etc/passwd;5",
    hello.id + ";a/;5",
    hello.id + ";a//b;5",
    hello.id + ";.;5",
    hello.id + ";a/..;5",
    hello.id + ";a%2F..;5",
    hello.id + ";%00;5",
    hello.id + ";%;5",
    hello.id + ";%4;5",
    hello.id + ";%zz;5",
    hello.id + ";\xff;5",
    hello.id + ";%C3;5",
    hello.id + ";" + long_name + ";5",
    hello.id + ";a;5;",
    hello.id + ";a;5;;",
    hello.id + ";a;5;=1",
    hello.id + ";a;5;Key",
    hello.id + ";a;5;key;key",
    hello.id + ";a;5;offset",
    hello.id + ";a;5;offset=",
    hello.id + ";a;5;offset=-1",
    hello.id + ";a;5;offset=9223372036854775808",
};

// Lines that are no line of this protocol, wherever they stand.
const std::string bad_lines[] = {
    std::string(4096, 'x'),
    "tab\there",
    std::string{"nul\0here", 8},
    "bell\a",
    "escape\x1b[2J",
    "delete\x7f",
    "cr\rhere",
    "cr\r\r",
};

struct hostile_reply {
  std::string name;
  client_request asked;
  dialogue talk;
};

std::vector<hostile_reply> hostile_replies() {
  const std::string entry = hello.id + ";a;5\n";
  const client_request range{kind::range, "", "", hello.id, 1, 3};
  const auto id_line = features_talk + download_talk(hello.id + ";offset=1;length=3");
  const auto details_with_id =
      features_talk + dialogue{C("UPLOAD\n"), S("go\n"), C("hello.txt;5;id=" + hello.id + "\n")};
  const auto ranged = [&](const std::string& params) {
    return id_line + dialogue{S(hello.id + ";a;5" + params + "\nell")};
  };
  std::vector<hostile_reply> all{
      {"a list that ends in words", list, {C("LIST_FILES\n"), S(entry + "that was all\n\n")}},
      {"words in a list", list, {C("LIST_FILES\n"), S(entry + "words\n" + entry + "\n")}},
      {"words before entries", list, {C("LIST_FILES\n"), S("words\n" + entry + "\n")}},
      {"two lines of words", list, {C("LIST_FILES\n"), S("no\nfiles\n\n")}},
      {"an entry with another id", download_hello,
       download_talk(hello.id) + dialogue{S(other_id + ";a;5\nhello")}},
      {"an entry without fields", download_hello,
       download_talk(hello.id) + dialogue{S("here it comes\nhello")}},
      {"an empty entry", download_hello, download_talk(hello.id) + dialogue{S("\nhello")}},
      {"an offset not asked for", download_hello,
       download_talk(hello.id) + dialogue{S(hello.id + ";a;5;offset=0\nhello")}},
      {"a length not asked for", download_hello,
       download_talk(hello.id) + dialogue{S(hello.id + ";a;5;length=5\nhello")}},
      {"a range with another id", range,
       id_line + dialogue{S(other_id + ";a;5;offset=1;length=3\nell")}},
      {"a range without offset", range, ranged(";length=3")},
      {"a range without length", range, ranged(";offset=1")},
      {"a range of the whole file", range, ranged("")},
      {"a range from elsewhere", range, ranged(";offset=2;length=3")},
      {"a shorter range", range, ranged(";offset=1;length=2")},
      {"a longer range", range, ranged(";offset=1;length=4")},
      {"a range without end", range, ranged(";offset=1;length=9223372036854775807")},
      {"a range past the end",
       {kind::range, "", "", hello.id, 6, std::nullopt},
       features_talk + download_talk(hello.id + ";offset=6") +
           dialogue{S(hello.id + ";a;5;offset=6\n")}},
      {"an offset in the ready line without an id", upload_hello,
       upload_talk("hello.txt;5", ready + ";offset=5") + dialogue{S(hello.id + "\n")}},
      {"an offset 0 in the ready line without an id", upload_hello,
       upload_talk("hello.txt;5", ready + ";offset=0")},
      {"an id of another length", upload_hello,
       upload_talk("hello.txt;5", ready) + dialogue{C(hello.bytes), S(hello.id + "00\n")}},
      {"an id that is none", upload_hello,
       upload_talk("hello.txt;5", ready) + dialogue{C(hello.bytes), S("Success\n")}},
      {"an empty id", upload_hello,
       upload_talk("hello.txt;5", ready) + dialogue{C(hello.bytes), S("\n")}},
      {"a version that is no number", features, {C("FEATURES\n"), S("version=one\n\n")}},
      {"a version with a sign", features, {C("FEATURES\n"), S("version=-1\n\n")}},
      {"a max-size out of range",
       features,
       {C("FEATURES\n"), S("version=1\nmax-size=9223372036854775808\n\n")}},
      {"a version without a value", features, {C("FEATURES\n"), S("version\n\n")}},
  };
  for (const std::string offset : {"0", "4", "6", "-5", "05", "", "x", "9223372036854775808"}) {
    all.push_back({"the offset " + offset, upload_hello_with_id,
                   details_with_id + dialogue{S(ready + ";offset=" + offset + "\n" + hello.id)}});
  }
  for (const std::string params : {";", ";;", ";offset", ";offset=5;offset=5", ";Offset=5"}) {
    all.push_back({"the parameters " + params, upload_hello_with_id,
                   details_with_id + dialogue{S(ready + params + "\n" + hello.id)}});
  }
  for (const std::string& line : bad_entries) {
    all.push_back({"the entry " + line, list, {C("LIST_FILES\n"), S(line + "\n\n")}});
    all.push_back(
        {"the second entry " + line, list, {C("LIST_FILES\n"), S(entry + line + "\n\n")}});
    all.push_back({"the download " + line, download_hello,
                   download_talk(hello.id) + dialogue{S(line + "\nhello")}});
  }
  for (const std::string& line : bad_lines) {
    for (const refused_place& place : refused_places()) {
      all.push_back({"a bad line in place of " + place.name + ": " + line, place.asked,
                     place.before + dialogue{S(line + "\n")}});
    }
  }
  return all;
}

}  // namespace

TEST_CASE("a reply that breaks the protocol ends the operation, and the client with it") {
  for (const hostile_reply& reply : hostile_replies()) {
    CAPTURE(reply.name);
    for (const std::size_t chunk : {std::size_t{1}, std::size_t{1000}, any_number}) {
      client_by_hand client{reply.talk};
      client.driver.chunk = chunk;
      const auto out = client(reply.asked);
      CHECK(out.ec == errc::malformed_reply);
      CHECK(out.ec == filexfer::condition::protocol_violation);
      CHECK(out.origin == failure_origin::peer);
      CHECK_FALSE(out.synchronized);
      CHECK_FALSE(out.committed);
      CHECK(client(list).ec == errc::connection_unusable);
      CHECK(said_by(who::client, reply.talk).starts_with(client.driver.peer.said()));
    }
  }
}

TEST_CASE("features without end are broken off") {
  for (const std::string line : {"x\n", "version=1\n"}) {
    std::string endless;
    for (int i = 0; i < 100'000; ++i) endless += line;
    client_by_hand client{{C("FEATURES\n"), S(endless)}};
    const auto out = client(features);
    CHECK(out.ec == errc::malformed_reply);
    CHECK_FALSE(out.synchronized);
    CHECK(client.driver.steps.size() < 100);
  }
}

TEST_CASE("a list without end ends at the number of entries that the caller allows") {
  std::string endless;
  for (int i = 0; i < 1000; ++i) endless += hello.id + ";" + std::to_string(i) + ";5\n";
  client_by_hand client{{C("LIST_FILES\n"), S(endless)}};
  client.state.options.max_entries = 10;
  const auto out = client(list);
  CHECK(out.ec == errc::too_many_entries);
  CHECK(out.origin == failure_origin::local);
  CHECK_FALSE(out.synchronized);
  // As many as that are fine.
  client_by_hand exact{{C("LIST_FILES\n"), S(hello.id + ";a;5\n" + abc.id + ";b;3\n\n")}};
  exact.state.options.max_entries = 2;
  CHECK_FALSE(exact(list).ec);
}

TEST_CASE("bytes that hash to something else are not committed, and the client goes on") {
  client_by_hand client{download_talk(hello.id) +
                        dialogue{S(hello.id + ";a;5\nhallo"), C("LIST_FILES\n"), S("none\n\n")}};
  const auto out = client(download_hello);
  CHECK(out.ec == errc::digest_mismatch);
  CHECK(out.ec == filexfer::condition::verification_failed);
  CHECK(out.origin == failure_origin::peer);
  CHECK_FALSE(out.committed);
  CHECK(out.synchronized);
  CHECK_FALSE(client(list).ec);
}

TEST_CASE(
    "an upload that the server hashed to something else has failed, and both digests are told") {
  client_by_hand client{upload_talk("hello.txt;5", ready) +
                        dialogue{C(hello.bytes), S(abc.id + "\n")}};
  filexfer::memory_source source{hello.bytes};
  std::error_code ec;
  const auto result = client.driver.run(
      [&](std::error_code& e) {
        return filexfer::detail::upload<filexfer::md5>(client.state, source, {"hello.txt"}, e);
      },
      ec);
  CHECK(ec == errc::digest_mismatch);
  CHECK(result.computed_here.to_string() == hello.id);
  CHECK(result.computed_there.to_string() == abc.id);
  CHECK(client.state.synchronized);
}

TEST_CASE("a server that can't be told the expected digest does not make other bytes a success") {
  const dialogue version_0{C("FEATURES\n"), S("ERROR unknown-command\n")};
  client_by_hand client{version_0 + upload_talk("hello.txt;5", ready) +
                        dialogue{C(hello.bytes), S(hello.id + "\n")}};
  auto other_expected = upload_hello_with_id;
  other_expected.id = abc.id;
  const auto out = client(other_expected);
  CHECK(out.ec == errc::source_changed);
  CHECK(out.origin == failure_origin::local);
  CHECK(out.synchronized);
}

TEST_CASE("a server that has the file, but answers another id, is not believed") {
  client_by_hand client{features_talk +
                        upload_talk("hello.txt;5;id=" + hello.id, ready + ";offset=5") +
                        dialogue{S(abc.id + "\n")}};
  CHECK(client(upload_hello_with_id).ec == errc::digest_mismatch);
}

TEST_CASE("a server with digests of another kind gets no id, ever") {
  client_by_hand client{
      {C("FEATURES\n"), S("version=1\ndigest=sha256\n\n"), C("LIST_FILES\n"), S("none\n\n")}};
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto out = client(upload_hello_with_id);
    CHECK(out.ec == errc::wrong_digest_kind);
    CHECK(out.origin == failure_origin::peer);
    CHECK(out.synchronized);
  }
  CHECK(client.driver.peer.said() == "FEATURES\n");
  CHECK_FALSE(client(list).ec);
}

TEST_CASE("asking for the features of a server with digests of another kind is no error") {
  client_by_hand client{{C("FEATURES\n"), S("version=1\ndigest=sha256\n\n")}};
  const auto out = client(features);
  CHECK_FALSE(out.ec);
  CHECK(out.value == "1 sha256 any");
  CHECK(out.origin == failure_origin::none);
}

TEST_CASE("the server's words are kept escaped and cut") {
  client_by_hand client{
      {C("LIST_FILES\n"), S("ERROR io \xe2\x80\xae" + std::string(4000, 'x') + "\n")}};
  const auto out = client(list);
  CHECK(out.ec == errc::io);
  CHECK(out.last_reply.starts_with("ERROR io \\xe2\\x80\\xaexxx"));
  CHECK(out.last_reply.size() < 600);
}

// ------------------------------------------------------------------------------ sources, sinks, callers

TEST_CASE("a name that is none is refused before anything is sent") {
  for (const std::string& name : {std::string{}, std::string{".."}, std::string{"a//b"},
                                  std::string{"/a"}, std::string(256, 'n'), std::string{"\xff"}}) {
    client_by_hand client{{C("LIST_FILES\n"), S("none\n\n")}};
    const auto out = client({kind::upload, name, hello.bytes});
    CHECK(out.ec == errc::bad_name);
    CHECK(out.origin == failure_origin::local);
    CHECK(out.synchronized);
    CHECK(client.driver.peer.said().empty());
    CHECK_FALSE(client(list).ec);
  }
}

namespace {

// A source that is not what it says.
struct failing_source {
  std::uint64_t declared = 0;
  std::uint64_t there = 0;
  std::uint64_t failing_at = any_number;
  std::error_code failure{};
  bool throws = false;
  bool changed = false;
  std::uint64_t offset = 0;

  std::uint64_t size() const { return declared; }
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    ec.clear();
    if (offset + to.size() > failing_at) {
      if (throws) throw std::runtime_error{"no more"};
      ec = failure;
      return 0;
    }
    const auto count = std::min<std::uint64_t>(to.size(), there - offset);
    offset += count;
    return static_cast<std::size_t>(count);
  }
  void check_unchanged(std::error_code& ec) const {
    if (changed) ec = errc::source_changed;
    else ec.clear();
  }
};

std::error_code upload_error(client_by_hand& client, failing_source& source) {
  std::error_code ec;
  client.driver.run(
      [&](std::error_code& e) {
        return filexfer::detail::upload<filexfer::md5>(client.state, source, {"f"}, e);
      },
      ec);
  CHECK(client.state.origin == failure_origin::local);
  CHECK_FALSE(client.state.synchronized);
  CHECK_FALSE(client.state.running);
  return ec;
}

}  // namespace

TEST_CASE("a source that ends early, fails or throws never lets the server finish the file") {
  for (const std::uint64_t size : {std::uint64_t{5}, std::uint64_t{4096}, std::uint64_t{12500}}) {
    for (const std::uint64_t at : {std::uint64_t{0}, size / 2, size - 1}) {
      CAPTURE(size);
      CAPTURE(at);
      const auto talk = upload_talk("f;" + std::to_string(size), ready);
      const auto before = said_by(who::client, talk).size();
      const dialogue whole = talk + dialogue{C(std::string(size, 'f'))};
      client_by_hand first{whole};
      failing_source short_one{size, at};
      CHECK(upload_error(first, short_one) == errc::short_source);
      CHECK(first.driver.peer.said().size() < before + size);

      client_by_hand second{whole};
      failing_source failing{size, size, at, std::make_error_code(std::errc::io_error)};
      CHECK(upload_error(second, failing) == std::errc::io_error);
      CHECK(second.driver.peer.said().size() < before + size);

      client_by_hand third{whole};
      failing_source throwing{size, size, at, {}, true};
      CHECK(upload_error(third, throwing) == errc::store_failed);
      CHECK(third.driver.peer.said().size() < before + size);
    }
  }
}

TEST_CASE("a source that changed meanwhile never lets the server finish the file") {
  for (const std::uint64_t size : {0U, 1U, 4096U, 4097U, 12500U}) {
    const auto talk = upload_talk("f;" + std::to_string(size), ready);
    client_by_hand client{talk + dialogue{C(std::string(size, 'f'))}};
    failing_source source{size, size};
    source.changed = true;
    CHECK(upload_error(client, source) == errc::source_changed);
    if (size > 0) {
      CHECK(client.driver.peer.said().size() < said_by(who::client, talk).size() + size);
    }
    CHECK_FALSE(client.state.synchronized);
  }
}

namespace {

std::error_code download_error(client_by_hand& client, recording_sink& sink,
                               const std::string& id = hello.id) {
  std::error_code ec;
  const auto wanted = test::md5_digest::from_hex(id).value();
  client.driver.run(
      [&](std::error_code& e) {
        return filexfer::detail::download<filexfer::md5>(client.state, wanted, sink, e);
      },
      ec);
  CHECK(client.state.origin == failure_origin::local);
  CHECK_FALSE(sink.committed);
  return ec;
}

}  // namespace

TEST_CASE("a sink that fails ends the download uncommitted, with the sink's error") {
  const auto full = std::make_error_code(std::errc::no_space_on_device);
  const auto talk = download_talk(hello.id) + dialogue{S(hello.id + ";a;5\nhello")};
  {
    client_by_hand client{talk};
    recording_sink sink;
    sink.announce_error = errc::file_exists;
    CHECK(download_error(client, sink) == errc::file_exists);
    CHECK(sink.bytes.empty());
    CHECK_FALSE(client.state.synchronized);
  }
  for (const std::size_t chunk : {std::size_t{1}, any_number}) {
    client_by_hand client{talk};
    client.driver.chunk = chunk;
    recording_sink sink;
    sink.failing_write = 0;
    sink.write_error = full;
    CHECK(download_error(client, sink) == full);
    CHECK_FALSE(client.state.synchronized);
  }
  {
    client_by_hand client{talk};
    recording_sink sink;
    sink.commit_error = full;
    CHECK(download_error(client, sink) == full);
    CHECK(client.state.synchronized);  // all bytes are read
  }
}

TEST_CASE("a sink that fails at any chunk ends the download there") {
  const test::sample s{pattern(3 * test::chunk_size + 1), "ab25117206a17330103ecaf2192363ce"};
  const auto talk = download_talk(s.id) + dialogue{S(s.id + ";a;12289\n" + s.bytes)};
  client_by_hand whole{talk};
  recording_sink counting;
  std::error_code ec;
  whole.driver.run(
      [&](std::error_code& e) {
        return filexfer::detail::download<filexfer::md5>(whole.state, id_of(s), counting, e);
      },
      ec);
  REQUIRE_FALSE(ec);
  REQUIRE(counting.writes >= 4);
  for (std::size_t write = 0; write < counting.writes; ++write) {
    client_by_hand client{talk};
    recording_sink sink;
    sink.failing_write = write;
    sink.write_error = std::make_error_code(std::errc::no_space_on_device);
    CHECK(download_error(client, sink, s.id) == std::errc::no_space_on_device);
    CHECK(sink.writes == write + 1);
    CHECK_FALSE(client.state.synchronized);
  }
}

TEST_CASE("a sink that has thrown gets no bytes from behind the gap") {
  struct throwing_sink {
    std::string bytes;
    int calls = 0;
    void write(std::span<const std::byte> more, std::error_code& ec) {
      ec.clear();
      if (++calls == 2) throw std::runtime_error{"full"};
      bytes += test::text_of(more);
    }
    void commit(std::error_code&) {}
  };
  client_by_hand client{download_talk(hello.id) +
                        dialogue{S(hello.id + ";a;1000\n"), S(pattern(1000))}};
  client.state.connection.chunk_size = client.state.connection.small_file_size = 100;
  client.driver.chunk = 50;
  throwing_sink sink;
  std::error_code ec;
  client.driver.run(
      [&](std::error_code& e) {
        return filexfer::detail::download<filexfer::md5>(
            client.state, test::md5_digest::from_hex(hello.id).value(), sink, e);
      },
      ec);
  CHECK(ec == errc::store_failed);
  CHECK(pattern(1000).starts_with(sink.bytes));
  CHECK(sink.calls == 2);
}

TEST_CASE("a sink that fails ends a download of a part") {
  const auto talk = features_talk + download_talk(hello.id + ";offset=1") +
                    dialogue{S(hello.id + ";a;5;offset=1\nello")};
  for (const bool announcing : {true, false}) {
    client_by_hand client{talk};
    recording_sink sink;
    if (announcing) sink.announce_error = errc::file_exists;
    else sink.failing_write = 0;
    sink.write_error = errc::file_exists;
    std::error_code ec;
    client.driver.run(
        [&](std::error_code& e) {
          return filexfer::detail::download_range<filexfer::md5>(
              client.state, {id_of(hello), 1, std::nullopt}, sink, e);
        },
        ec);
    CHECK(ec == errc::file_exists);
    CHECK(client.state.origin == failure_origin::local);
    CHECK_FALSE(client.state.synchronized);
  }
}

TEST_CASE("a part of a file is not asked of a server without ranges, and the client goes on") {
  client_by_hand client{
      {C("FEATURES\n"), S("ERROR unknown-command\n"), C("LIST_FILES\n"), S("none\n\n")}};
  const auto out = client({kind::range, "", "", hello.id, 1, 3});
  CHECK(out.ec == errc::unknown_command);
  CHECK(out.synchronized);
  CHECK_FALSE(client(list).ec);
}

TEST_CASE("whoever takes the entries one by one can break off, and may throw") {
  const dialogue talk{C("LIST_FILES\n"), S(hello.id + ";a;5\n" + abc.id + ";b;3\n\n")};
  const auto list_into = [](client_by_hand& client, auto on_entry) {
    std::error_code ec;
    client.driver.run(
        [&](std::error_code& e) {
          return filexfer::detail::list_files<filexfer::md5>(client.state, {}, 1000, on_entry, e);
        },
        ec);
    CHECK_FALSE(client.state.running);
    return ec;
  };
  std::vector<std::string> names;
  const auto keep_one = [&](auto&& file, std::error_code& ec) {
    names.push_back(file.name);
    ec = errc::too_many_entries;
  };
  client_by_hand first{talk};
  CHECK(list_into(first, keep_one) == errc::too_many_entries);
  CHECK(names == std::vector<std::string>{"a"});
  CHECK(first.state.origin == failure_origin::local);
  CHECK_FALSE(first.state.synchronized);

  client_by_hand second{talk};
  const auto out_of_memory = [](auto&&, std::error_code&) { throw std::bad_alloc{}; };
  CHECK(list_into(second, out_of_memory) == std::errc::not_enough_memory);
  CHECK(second.state.origin == failure_origin::local);
  CHECK_FALSE(second.state.synchronized);
}

TEST_CASE("one operation at a time: a second one is told so, and does not disturb the first") {
  client_by_hand client{{C("LIST_FILES\n"), S("none\n\n")}};
  std::error_code first_error;
  auto first = filexfer::detail::list_bounded<filexfer::md5>(client.state, {}, first_error);
  filexfer::detail::flow_context context;
  first.start(context);
  REQUIRE(filexfer::detail::advance(context) != nullptr);
  CHECK(client.state.running);

  hand_driver other{scripted_peer{{}, who::client}};
  std::error_code ec;
  other.run([&](std::error_code& e) { return filexfer::detail::get_features(client.state, e); },
            ec);
  CHECK(ec == errc::operation_in_progress);
  CHECK(other.steps.empty());
  CHECK(client.state.running);
}

TEST_CASE("an operation that is dropped in any state leaves the client unusable, not running") {
  for (const client_dialogue& d : test::good_client_dialogues()) {
    CAPTURE(d.name);
    client_by_hand whole{d.talk};
    REQUIRE_FALSE(whole(d.asked).ec);
    for (std::size_t action = 0; action < whole.driver.steps.size(); ++action) {
      client_by_hand client{d.talk};
      client.driver.dropped_at = action;
      CHECK_THROWS_AS(client(d.asked), test::flow_dropped);
      CHECK_FALSE(client.state.running);
      CHECK_FALSE(client.state.synchronized);
    }
  }
}

}  // namespace client_flows_tests
