// Servers whose replies break the protocol, never end, or do not match the file.

#include "support/client_dialogues.hpp"
#include "support/client_flows_fixture.hpp"
#include "support/known_files.hpp"
#include "support/script.hpp"

#include <filexfer/detail/flow/client_uploads.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace client_flows_hostile_tests {

using namespace client_flows_tests;

namespace {

const std::string other_id = abc.id;
const std::string long_name(256, 'n');

// Lines that are malformed as entries.
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

// Lines that are malformed in every reply.
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
  client_request request;
  dialogue talk;
};

std::vector<hostile_reply> hostile_replies() {
  const std::string entry = hello.id + ";a;5\n";
  const client_request range{kind::range, "", "", hello.id, 1, 3};
  const auto id_line = features_dialogue + download_dialogue(hello.id + ";offset=1;length=3");
  const auto details_with_id = features_dialogue + dialogue{C("UPLOAD\n"), S("go\n"),
                                                            C("hello.txt;5;id=" + hello.id + "\n")};
  const auto ranged = [&](const std::string& params) {
    return id_line + dialogue{S(hello.id + ";a;5" + params + "\nell")};
  };
  std::vector<hostile_reply> all{
      {"a list that ends in words", list, {C("LIST_FILES\n"), S(entry + "that was all\n\n")}},
      {"words in a list", list, {C("LIST_FILES\n"), S(entry + "words\n" + entry + "\n")}},
      {"words before entries", list, {C("LIST_FILES\n"), S("words\n" + entry + "\n")}},
      {"two lines of words", list, {C("LIST_FILES\n"), S("no\nfiles\n\n")}},
      {"an entry with another id", download_hello,
       download_dialogue(hello.id) + dialogue{S(other_id + ";a;5\nhello")}},
      {"an entry without fields", download_hello,
       download_dialogue(hello.id) + dialogue{S("here it comes\nhello")}},
      {"an empty entry", download_hello, download_dialogue(hello.id) + dialogue{S("\nhello")}},
      {"an offset not asked for", download_hello,
       download_dialogue(hello.id) + dialogue{S(hello.id + ";a;5;offset=0\nhello")}},
      {"a length not asked for", download_hello,
       download_dialogue(hello.id) + dialogue{S(hello.id + ";a;5;length=5\nhello")}},
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
       features_dialogue + download_dialogue(hello.id + ";offset=6") +
           dialogue{S(hello.id + ";a;5;offset=6\n")}},
      {"an offset in the ready line without an id", upload_hello,
       upload_dialogue("hello.txt;5", ready + ";offset=5") + dialogue{S(hello.id + "\n")}},
      {"an offset 0 in the ready line without an id", upload_hello,
       upload_dialogue("hello.txt;5", ready + ";offset=0")},
      {"an id of another length", upload_hello,
       upload_dialogue("hello.txt;5", ready) + dialogue{C(hello.bytes), S(hello.id + "00\n")}},
      {"an id that is none", upload_hello,
       upload_dialogue("hello.txt;5", ready) + dialogue{C(hello.bytes), S("Success\n")}},
      {"an empty id", upload_hello,
       upload_dialogue("hello.txt;5", ready) + dialogue{C(hello.bytes), S("\n")}},
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
                   download_dialogue(hello.id) + dialogue{S(line + "\nhello")}});
  }
  for (const std::string& line : bad_lines) {
    for (const refusal_point& point : refusal_points()) {
      all.push_back({"a bad line in place of " + point.name + ": " + line, point.request,
                     point.before + dialogue{S(line + "\n")}});
    }
  }
  return all;
}

}  // namespace

TEST_CASE("a reply that breaks the protocol fails the operation, and leaves the client unusable") {
  for (const hostile_reply& reply : hostile_replies()) {
    CAPTURE(reply.name);
    for (const std::size_t chunk : {std::size_t{1}, std::size_t{1000}, no_limit}) {
      client_by_hand client{reply.talk};
      client.driver.chunk = chunk;
      const auto out = client(reply.request);
      CHECK(out.ec == errc::malformed_reply);
      CHECK(out.ec == filexfer::condition::protocol_violation);
      CHECK(out.origin == failure_origin::peer);
      CHECK_FALSE(out.synchronized);
      CHECK_FALSE(out.committed);
      CHECK(client(list).ec == errc::connection_unusable);
      CHECK(bytes_sent_by(role::client, reply.talk).starts_with(client.driver.peer.received()));
    }
  }
}

TEST_CASE("an endless FEATURES reply fails the operation") {
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

TEST_CASE("an endless list fails once it exceeds the limit of entries") {
  std::string endless;
  for (int i = 0; i < 1000; ++i) endless += hello.id + ";" + std::to_string(i) + ";5\n";
  client_by_hand client{{C("LIST_FILES\n"), S(endless)}};
  client.state.options.max_entries = 10;
  const auto out = client(list);
  CHECK(out.ec == errc::too_many_entries);
  CHECK(out.origin == failure_origin::local);
  CHECK_FALSE(out.synchronized);
  // A list of exactly the limit succeeds.
  client_by_hand exact{{C("LIST_FILES\n"), S(hello.id + ";a;5\n" + abc.id + ";b;3\n\n")}};
  exact.state.options.max_entries = 2;
  CHECK_FALSE(exact(list).ec);
}

TEST_CASE("a download with another digest is not committed, and the client stays usable") {
  client_by_hand client{download_dialogue(hello.id) +
                        dialogue{S(hello.id + ";a;5\nhallo"), C("LIST_FILES\n"), S("none\n\n")}};
  const auto out = client(download_hello);
  CHECK(out.ec == errc::digest_mismatch);
  CHECK(out.ec == filexfer::condition::verification_failed);
  CHECK(out.origin == failure_origin::peer);
  CHECK_FALSE(out.committed);
  CHECK(out.synchronized);
  CHECK_FALSE(client(list).ec);
}

TEST_CASE("an upload with another digest at the server fails, and the result has both digests") {
  client_by_hand client{upload_dialogue("hello.txt;5", ready) +
                        dialogue{C(hello.bytes), S(abc.id + "\n")}};
  filexfer::memory_source source{hello.bytes};
  std::error_code ec;
  const auto result = client.driver.run(
      [&](std::error_code& e) {
        return filexfer::detail::upload<filexfer::md5>(client.state, source, {"hello.txt"}, e);
      },
      ec);
  CHECK(ec == errc::digest_mismatch);
  CHECK(result.local_digest.to_string() == hello.id);
  CHECK(result.remote_digest.to_string() == abc.id);
  CHECK(client.state.synchronized);
}

TEST_CASE("without FEATURES an upload of bytes with another digest than expected still fails") {
  const dialogue version_0{C("FEATURES\n"), S("ERROR unknown-command\n")};
  client_by_hand client{version_0 + upload_dialogue("hello.txt;5", ready) +
                        dialogue{C(hello.bytes), S(hello.id + "\n")}};
  auto other_expected = upload_hello_with_id;
  other_expected.id = abc.id;
  const auto out = client(other_expected);
  CHECK(out.ec == errc::source_changed);
  CHECK(out.origin == failure_origin::local);
  CHECK(out.synchronized);
}

TEST_CASE("a server that claims to hold the file, but replies another id, fails the upload") {
  client_by_hand client{features_dialogue +
                        upload_dialogue("hello.txt;5;id=" + hello.id, ready + ";offset=5") +
                        dialogue{S(abc.id + "\n")}};
  CHECK(client(upload_hello_with_id).ec == errc::digest_mismatch);
}

TEST_CASE("a server with another kind of digest never receives an id") {
  client_by_hand client{
      {C("FEATURES\n"), S("version=1\ndigest=sha256\n\n"), C("LIST_FILES\n"), S("none\n\n")}};
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto out = client(upload_hello_with_id);
    CHECK(out.ec == errc::wrong_digest_kind);
    CHECK(out.origin == failure_origin::peer);
    CHECK(out.synchronized);
  }
  CHECK(client.driver.peer.received() == "FEATURES\n");
  CHECK_FALSE(client(list).ec);
}

TEST_CASE("FEATURES of a server with another kind of digest succeeds") {
  client_by_hand client{{C("FEATURES\n"), S("version=1\ndigest=sha256\n\n")}};
  const auto out = client(features);
  CHECK_FALSE(out.ec);
  CHECK(out.value == "1 sha256 any");
  CHECK(out.origin == failure_origin::none);
}

TEST_CASE("the last reply of a server is kept escaped and truncated") {
  client_by_hand client{
      {C("LIST_FILES\n"), S("ERROR io \xe2\x80\xae" + std::string(4000, 'x') + "\n")}};
  const auto out = client(list);
  CHECK(out.ec == errc::io);
  CHECK(out.last_reply.starts_with("ERROR io \\xe2\\x80\\xaexxx"));
  CHECK(out.last_reply.size() < 600);
}

}  // namespace client_flows_hostile_tests
