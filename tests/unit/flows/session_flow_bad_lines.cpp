// Lines that a session refuses.

#include "support/failing_store.hpp"
#include "support/known_files.hpp"
#include "support/script.hpp"
#include "support/session_flow_fixture.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/error.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

namespace session_flow_bad_lines_tests {

using namespace session_flow_tests;

namespace {

struct bad_line {
  std::string line;  // without its LF
  errc answer;
};

const std::string with_tab = "a\tb";

const bad_line bad_commands_kept_open[] = {
    {"", errc::unknown_command},
    {"HELP", errc::unknown_command},
    {"list_files", errc::unknown_command},
    {"UPLOAD_", errc::unknown_command},
    {"UPLOAD ", errc::unknown_command},
    {"LIST__FILES", errc::unknown_command},
    {"ERROR io", errc::unknown_command},
    {"Q;a=b;c", errc::unknown_command},
    {"LIST_FILES;prefix=%", errc::bad_name},
};

const bad_line bad_commands_closed[] = {
    {"GET / HTTP/1.1", errc::bad_request},
    {"PRI * HTTP/2.0", errc::bad_request},
    {" UPLOAD", errc::bad_request},
    {"_UPLOAD", errc::bad_request},
    {"UPLOAD2", errc::bad_request},
    {"UPLOAD;", errc::bad_request},
    {"UPLOAD;;", errc::bad_request},
    {"UPLOAD;a;", errc::bad_request},
    {"UPLOAD;a;a=1", errc::bad_request},
    {"UPLOAD;A", errc::bad_request},
    {"UPLOAD;1a", errc::bad_request},
    {"UPLOAD;=1", errc::bad_request},
    {"UPLOAD;a b", errc::bad_request},
    {"LIST_FILES;", errc::bad_request},
    {"LIST_FILES;prefix", errc::bad_request},
    {"HELP;", errc::bad_request},
    {";", errc::bad_request},
    {"5", errc::bad_request},
    {"{\"a\": 1}", errc::bad_request},
    {"UPLOAD\t", errc::bad_request},
    {"UPLOAD\r\r", errc::bad_request},
    {std::string{"UPLOAD\0", 7}, errc::bad_request},
    {"UPLOAD\x7f", errc::bad_request},
    {"\x1b[A", errc::bad_request},
    {"\xc3\xa9", errc::bad_request},
    {"\x16\x03\x01\x02", errc::bad_request},
    {with_tab, errc::bad_request},
};

const bad_line bad_details[] = {
    {"", errc::bad_request},
    {"name", errc::bad_request},
    {"UPLOAD", errc::bad_request},
    {with_tab + ";5", errc::bad_request},
    {"name\x7f;5", errc::bad_request},
    {"name;", errc::bad_size},
    {"name;05", errc::bad_size},
    {"name;-1", errc::bad_size},
    {"name;+1", errc::bad_size},
    {"name;1e3", errc::bad_size},
    {"name; 5", errc::bad_size},
    {"name;5 ", errc::bad_size},
    {"name;9223372036854775808", errc::bad_size},
    {"name;18446744073709551621", errc::bad_size},
    {"a;b;5", errc::bad_size},
    {"..;x;;", errc::bad_size},  // the size is checked first
    {";5", errc::bad_name},
    {".;5", errc::bad_name},
    {"..;5", errc::bad_name},
    {"../a;5", errc::bad_name},
    {"/etc/passwd;5", errc::bad_name},
    {"a//b;5", errc::bad_name},
    {"a/;5", errc::bad_name},
    {"a%2F..;5", errc::bad_name},
    {"%00;5", errc::bad_name},
    {"a%;5", errc::bad_name},
    {"a%4;5", errc::bad_name},
    {"a%g0;5", errc::bad_name},
    {"%+1;5", errc::bad_name},
    {"\xff;5", errc::bad_name},
    {"%ED%A0%80;5", errc::bad_name},  // a surrogate
    {"%C0%AF;5", errc::bad_name},     // an overlong /
    {std::string(256, 'n') + ";5", errc::bad_name},
    {"..;5;", errc::bad_name},  // the name before the parameters
    {"name;5;", errc::bad_request},
    {"name;5;;", errc::bad_request},
    {"name;5;Key", errc::bad_request},
    {"name;5;a;a", errc::bad_request},
    {"name;5;id", errc::bad_request},
    {"name;5;id=", errc::bad_request},
    {"name;5;have", errc::bad_request},  // without an id
    {"name;5;id=" + hello.id + ";have=1", errc::bad_request},
    {"name;5;id=12;have", errc::bad_id},
    {"name;5;id=12", errc::bad_id},
    {"name;5;id=5d41402abc4b2a76b9719d911017c59g", errc::bad_id},
    {"name;5;id=5d41402abc4b2a76b9719d911017c5920", errc::bad_id},
    {"name;1000001", errc::too_large},
    {"name;9223372036854775807", errc::too_large},
};

const bad_line bad_ids[] = {
    {"", errc::bad_id},
    {"name", errc::bad_id},
    {"DOWNLOAD", errc::bad_id},
    {hello.id.substr(1), errc::bad_id},
    {hello.id + "0", errc::bad_id},
    {hello.id + " ", errc::bad_id},
    {" " + hello.id, errc::bad_id},
    {"g" + hello.id.substr(1), errc::bad_id},
    {hello.id + hello.id, errc::bad_id},
    {with_tab, errc::bad_request},
    {hello.id + "\x7f", errc::bad_request},
    {hello.id + ";", errc::bad_request},
    {hello.id + ";;", errc::bad_request},
    {hello.id + ";Offset=1", errc::bad_request},
    {hello.id + ";offset=1;offset=1", errc::bad_request},
    {hello.id + ";offset", errc::bad_request},
    {hello.id + ";length", errc::bad_request},
    {hello.id + ";offset=", errc::bad_request},
    {hello.id + ";offset=-1", errc::bad_range},
    {hello.id + ";offset=01", errc::bad_range},
    {hello.id + ";offset=6", errc::bad_range},
    {hello.id + ";offset=6;length=0", errc::bad_range},
    {hello.id + ";offset=9223372036854775808", errc::bad_range},
    {hello.id + ";length=x", errc::bad_range},
    {hello.id + ";length=9223372036854775808", errc::bad_range},
    {abc.id, errc::not_found},
    {abc.id + ";offset=7", errc::not_found},
};

// Whether it is a LIST_FILES with well-formed, but invalid parameters.
bool is_list(const bad_line& bad) { return bad.line.starts_with("LIST_FILES;prefix"); }

std::string answer_to(const bad_line& bad) {
  return bad.answer == errc::too_large ? refusal(bad.answer, 1'000'000) : refusal(bad.answer);
}

}  // namespace

TEST_CASE("a refused line gets one reply, and the next line is a command") {
  struct place {
    std::string name;
    dialogue before;
    std::vector<bad_line> lines;
    std::optional<command> verb;
  };
  const place places[] = {
      {"command",
       {},
       {std::begin(bad_commands_kept_open), std::end(bad_commands_kept_open)},
       std::nullopt},
      {"details",
       {C("UPLOAD\n"), S(details_prompt)},
       {std::begin(bad_details), std::end(bad_details)},
       command::upload},
      {"id",
       {C("DOWNLOAD\n"), S(id_prompt)},
       {std::begin(bad_ids), std::end(bad_ids)},
       command::download},
  };
  for (const place& p : places) {
    for (const bad_line& bad : p.lines) {
      CAPTURE(p.name);
      CAPTURE(bad.line);
      auto talk = p.before;
      talk.push_back(C(bad.line + "\n"));
      talk.push_back(S(answer_to(bad)));
      talk.push_back(C("LIST_FILES\n"));
      talk.push_back(S(hello.id + ";a;5\n\n"));
      for (const send_order order : {send_order::in_turn, send_order::ahead}) {
        for (const std::size_t chunk : {std::size_t{1}, std::size_t{5}, no_limit}) {
          session s{talk, order};
          put(s.store.inner, "a", hello);
          s.driver.chunk = chunk;
          CHECK_FALSE(s.run());
          CHECK(s.sent() == bytes_sent_by(role::server, talk));
          CHECK(entries_of(s.store.inner).size() == 1);
          REQUIRE(s.events.size() == 2);
          CHECK(s.events[0].verb == (is_list(bad) ? command::list_files : p.verb));
          CHECK(s.events[0].error == bad.answer);
          CHECK(s.events[1].verb == command::list_files);
          CHECK_FALSE(s.events[1].error);
        }
      }
    }
  }
}

TEST_CASE("a line without the form of a command gets an ERROR line, and closes the connection") {
  for (const bad_line& bad : bad_commands_closed) {
    CAPTURE(bad.line);
    for (const std::size_t chunk : {std::size_t{1}, no_limit}) {
      session s{{C(bad.line + "\nLIST_FILES\nHost: example.org\n")}};
      s.driver.chunk = chunk;
      CHECK(s.run() == errc::bad_request);
      check_closed_with(s, errc::bad_request);
      REQUIRE(s.events.size() == 1);
      CHECK(s.events[0].verb.has_value() == is_list(bad));
      CHECK(s.events[0].error == errc::bad_request);
    }
  }
}

TEST_CASE("a line that is too long gets an ERROR line, and closes the connection") {
  for (const std::string& before :
       {std::string{}, std::string{"UPLOAD\n"}, std::string{"DOWNLOAD\n"}}) {
    for (const std::size_t bytes : {std::size_t{4096}, std::size_t{4097}, std::size_t{100'000}}) {
      session s{{C(before + std::string(bytes, 'A') + "\nLIST_FILES\n")}};
      CHECK(s.run() == errc::line_too_long);
      const auto prompt = before.empty() ? "" : before == "UPLOAD\n" ? details_prompt : id_prompt;
      CHECK(s.sent() == prompt + refusal(errc::line_too_long, 4096));
      CHECK(s.driver.closed);
      CHECK(s.driver.sending_ended);
      REQUIRE(s.events.size() == 1);
      CHECK(s.events[0].error == errc::line_too_long);
    }
    // A line that is one byte shorter is accepted.
    const std::string longest(4095, 'A');
    session s{{C(before + longest + "\n")}};
    CHECK_FALSE(s.run());
    CHECK(s.events.size() == 1);
    CHECK(s.events[0].error != errc::line_too_long);
  }
}

TEST_CASE(
    "a read-only server sends files, and refuses uploads after it has checked the details line") {
  session s{{C("UPLOAD\n"), S(details_prompt), C("f;5\n"), S(refusal(errc::read_only)),
             C("UPLOAD\n"), S(details_prompt), C("f;x\n"), S(refusal(errc::bad_size)),
             C("DOWNLOAD\n"), S(id_prompt), C(hello.id + "\n"), S(hello.id + ";a;5\nhello")}};
  s.state.options.permitted = {.upload = false};
  put(s.store.inner, "a", hello);
  CHECK_FALSE(s.run());
  CHECK(s.sent() == details_prompt + refusal(errc::read_only) + details_prompt +
                        refusal(errc::bad_size) + id_prompt + hello.id + ";a;5\nhello");
}

TEST_CASE("a server without max_size accepts any size of the protocol") {
  session s{{C("UPLOAD\n"), S(details_prompt), C("f;9223372036854775807\n"),
             S(refusal(errc::no_space)), C("FEATURES\n"), S(all_features + "\n")}};
  s.state.options.max_size.reset();
  CHECK_FALSE(s.run());
  CHECK(s.sent() == details_prompt + refusal(errc::no_space) + all_features + "\n");
}

}  // namespace session_flow_bad_lines_tests
