#include "support/dialogues.hpp"
#include "support/failing_store.hpp"
#include "support/script.hpp"

#include <filexfer/detail/flow/session_flow.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace session_flow_tests {

namespace {

using filexfer::access;
using filexfer::command;
using filexfer::errc;
using filexfer::session_event;
using filexfer::session_options;
using filexfer::detail::deadline;
using filexfer::detail::io_kind;
using test::abc;
using test::all_whole;
using test::any_number;
using test::C;
using test::chunkings;
using test::dialogue;
using test::entries_of;
using test::failing_store;
using test::hand_driver;
using test::hello;
using test::injected_failure;
using test::nothing;
using test::pattern;
using test::refusal;
using test::S;
using test::scripted_peer;
using test::session_dialogue;
using test::store_call;
using test::who;
using talks = scripted_peer::talks;

const std::string details_prompt = test::details_prompt;
const std::string id_prompt = test::id_prompt;
const std::string ready_words = test::ready_words;
const std::string no_files = "No files available at the moment\n\n";

// A session that a script talks to.
struct session {
  explicit session(const dialogue& talk, talks how = talks::in_turn)
      : driver{scripted_peer{talk, who::server, how}} {
    state.options.max_size = 1'000'000;
    state.on_end = [this](const session_event& event) { events.push_back(event); };
    state.connection.chunk_size = state.connection.small_file_size = test::chunk_size;
  }

  std::error_code run() {
    std::error_code ec;
    filexfer::detail::session_flow<failing_store, filexfer::md5> flow{state, store};
    driver.run([&](std::error_code& e) { return flow.serve(e); }, ec);
    CHECK_FALSE(driver.used_after_close);
    CHECK(store.alive == 0);
    CHECK(all_whole(store.held));
    return ec;
  }

  const std::string& said() const { return driver.peer.said(); }

  failing_store store;
  filexfer::detail::session_state state;
  hand_driver driver;
  std::vector<session_event> events;
};

void prepare(session& s, const session_dialogue& d) {
  int name = 0;
  for (const auto& file : d.before) put(s.store.held, std::to_string(name++), file);
}

// An answer that ends the connection: an ERROR line, the end of the sending side, the close.
void check_closed_with(session& s, errc code, const std::string& before = {}) {
  CHECK(s.said() == before + refusal(code));
  CHECK(s.driver.sending_ended);
  CHECK(s.driver.closed);
}

// Whether `said` is a part of `expected`, from its beginning, and then a part of `last_words`.
bool breaks_off(const std::string& said, const std::string& expected,
                const std::string& last_words) {
  const auto common = static_cast<std::size_t>(
      std::mismatch(said.begin(), said.end(), expected.begin(), expected.end()).first -
      said.begin());
  for (std::size_t end = common + 1; end-- > 0;) {
    if (last_words.starts_with(std::string_view{said}.substr(end))) return true;
    if (common - end > last_words.size()) break;
  }
  return false;
}

void check_closed_silently(const session& s, const std::string& before = {}) {
  CHECK(s.said() == before);
  CHECK_FALSE(s.driver.sending_ended);
  CHECK(s.driver.closed);
}

}  // namespace

// ------------------------------------------------------------------------------------ whole dialogues

TEST_CASE("a session says the same however the requests are cut, in turn or sent ahead") {
  for (const session_dialogue& d : test::good_session_dialogues()) {
    CAPTURE(d.name);
    for (const talks how : {talks::in_turn, talks::ahead}) {
      for (const std::size_t chunk : chunkings(said_by(who::client, d.talk).size())) {
        CAPTURE(chunk);
        session s{d.talk, how};
        prepare(s, d);
        s.driver.chunk = chunk;
        const auto ec = s.run();
        REQUIRE(ec == d.ec);
        REQUIRE(s.said() == said_by(who::server, d.talk));
        REQUIRE(s.driver.closed);
        REQUIRE(s.driver.peer.has_ended());
        REQUIRE_FALSE(s.driver.stalled);
        REQUIRE(entries_of(s.store.held) == d.after);
      }
    }
  }
}

TEST_CASE("all good dialogues in a row make one good dialogue") {
  dialogue talk;
  session s{{}};
  for (const session_dialogue& d : test::good_session_dialogues()) {
    if (d.ec || !d.before.empty() || !d.after.empty()) continue;
    talk.insert(talk.end(), d.talk.begin(), d.talk.end());
  }
  s.driver.peer = scripted_peer{talk, who::server};
  CHECK_FALSE(s.run());
  CHECK(s.said() == said_by(who::server, talk));
}

namespace {

auto writes_of(const session& s) {
  return std::count_if(s.driver.steps.begin(), s.driver.steps.end(),
                       [](const auto& step) { return step.io == io_kind::write; });
}

}  // namespace

TEST_CASE("a list of any length leaves in batches, each entry once") {
  session s{{C("LIST_FILES\n")}};
  std::string expected;
  for (int i = 0; i < 8000; ++i) put(s.store.held, std::to_string(i), hello);
  for (const auto& entry : entries_of(s.store.held)) expected += entry + '\n';
  CHECK_FALSE(s.run());
  CHECK(s.said() == expected + "\n");
  CHECK(writes_of(s) > 3);
  CHECK(writes_of(s) < 10);
}

TEST_CASE("a download's entry line leaves with the first bytes, and with replies before it") {
  for (const bool ahead : {true, false}) {
    session s{ahead ? dialogue{C("DOWNLOAD\n" + hello.id + "\n")}
                    : dialogue{C("DOWNLOAD\n"), S(id_prompt), C(hello.id + "\n")}};
    put(s.store.held, "a", hello);
    CHECK_FALSE(s.run());
    CHECK(s.said() == id_prompt + hello.id + ";a;5\nhello");
    CHECK(writes_of(s) == (ahead ? 1 : 2));
  }
}

TEST_CASE("replies to what was sent ahead leave in few writes, and before the session waits") {
  std::string commands;
  std::string replies;
  for (int n = 0; n < 1000; ++n) {
    commands += "UPLOAD\n" + std::to_string(n) + ";5;nowait\nhello";
    replies += details_prompt + ready_words + hello.id + "\n";
  }
  session s{{C(commands), S(replies), C("FEATURES\n")}};
  CHECK_FALSE(s.run());
  CHECK(s.said().starts_with(replies));
  CHECK(writes_of(s) < 20);
}

TEST_CASE("more bytes that follow at once than may be dropped close the connection") {
  session s{{C("UPLOAD\n../f;500000;nowait\n" + pattern(500'000))}};
  s.state.options.max_drain_size = 400'000;
  CHECK(s.run() == errc::bad_name);
  check_closed_with(s, errc::bad_name, details_prompt);
}

TEST_CASE("a session waits for lines and bytes under the deadlines meant for them") {
  session s{{C("UPLOAD\n"), S(details_prompt), C("f;5\n"), S(ready_words), C("hello")}};
  CHECK_FALSE(s.run());
  std::vector<std::pair<deadline, bool>> limits;
  for (const auto& step : s.driver.steps) limits.emplace_back(step.limit, step.interruptible);
  using limit = std::pair<deadline, bool>;
  CHECK(limits == std::vector<limit>{limit{deadline::line, true}, limit{deadline::idle, false},
                                     limit{deadline::line, false}, limit{deadline::idle, false},
                                     limit{deadline::idle, false}, limit{deadline::idle, false},
                                     limit{deadline::line, true}, limit{deadline::idle, false}});
}

// --------------------------------------------------------------------------------------- bad lines

namespace {

struct bad_line {
  std::string line;  // without its LF
  errc answer;
};

const std::string other_controls = "a\tb";

const bad_line bad_commands_that_go_on[] = {
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

const bad_line bad_commands_that_close[] = {
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
    {other_controls, errc::bad_request},
};

const bad_line bad_details[] = {
    {"", errc::bad_request},
    {"name", errc::bad_request},
    {"UPLOAD", errc::bad_request},
    {other_controls + ";5", errc::bad_request},
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
    {"..;x;;", errc::bad_size},  // the size is judged first
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
    {other_controls, errc::bad_request},
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

// A LIST_FILES whose parameters have the form, but not the meaning.
bool is_list(const bad_line& bad) { return bad.line.starts_with("LIST_FILES;prefix"); }

std::string answer_to(const bad_line& bad) {
  return bad.answer == errc::too_large ? refusal(bad.answer, 1'000'000) : refusal(bad.answer);
}

}  // namespace

TEST_CASE("a line that is refused is answered once, and the next line is a command") {
  struct place {
    std::string name;
    dialogue before;
    std::vector<bad_line> lines;
    std::optional<command> verb;
  };
  const place places[] = {
      {"command",
       {},
       {std::begin(bad_commands_that_go_on), std::end(bad_commands_that_go_on)},
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
      for (const talks how : {talks::in_turn, talks::ahead}) {
        for (const std::size_t chunk : {std::size_t{1}, std::size_t{5}, any_number}) {
          session s{talk, how};
          put(s.store.held, "a", hello);
          s.driver.chunk = chunk;
          CHECK_FALSE(s.run());
          CHECK(s.said() == said_by(who::server, talk));
          CHECK(entries_of(s.store.held).size() == 1);
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

TEST_CASE("a line that does not look like a command is answered and closes the connection") {
  for (const bad_line& bad : bad_commands_that_close) {
    CAPTURE(bad.line);
    for (const std::size_t chunk : {std::size_t{1}, any_number}) {
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

TEST_CASE("a line that is too long, wherever it stands, is answered and closes the connection") {
  for (const std::string& before :
       {std::string{}, std::string{"UPLOAD\n"}, std::string{"DOWNLOAD\n"}}) {
    for (const std::size_t bytes : {std::size_t{4096}, std::size_t{4097}, std::size_t{100'000}}) {
      session s{{C(before + std::string(bytes, 'A') + "\nLIST_FILES\n")}};
      CHECK(s.run() == errc::line_too_long);
      const auto prompt = before.empty() ? "" : before == "UPLOAD\n" ? details_prompt : id_prompt;
      CHECK(s.said() == prompt + refusal(errc::line_too_long, 4096));
      CHECK(s.driver.closed);
      CHECK(s.driver.sending_ended);
      REQUIRE(s.events.size() == 1);
      CHECK(s.events[0].error == errc::line_too_long);
    }
    // One byte less is read in full.
    const std::string longest(4095, 'A');
    session s{{C(before + longest + "\n")}};
    CHECK_FALSE(s.run());
    CHECK(s.events.size() == 1);
    CHECK(s.events[0].error != errc::line_too_long);
  }
}

TEST_CASE(
    "a read-only server lists and sends, and refuses details, but not before it has judged them") {
  session s{{C("UPLOAD\n"), S(details_prompt), C("f;5\n"), S(refusal(errc::read_only)),
             C("UPLOAD\n"), S(details_prompt), C("f;x\n"), S(refusal(errc::bad_size)),
             C("DOWNLOAD\n"), S(id_prompt), C(hello.id + "\n"), S(hello.id + ";a;5\nhello")}};
  s.state.options.access = access::read_only;
  put(s.store.held, "a", hello);
  CHECK_FALSE(s.run());
  CHECK(s.said() == details_prompt + refusal(errc::read_only) + details_prompt +
                        refusal(errc::bad_size) + id_prompt + hello.id + ";a;5\nhello");
}

TEST_CASE("a server without a limit takes any size that the protocol has") {
  session s{{C("UPLOAD\n"), S(details_prompt), C("f;9223372036854775807\n"),
             S(refusal(errc::no_space)), C("FEATURES\n"), S(test::all_features + "\n")}};
  s.state.options.max_size.reset();
  CHECK_FALSE(s.run());
  CHECK(s.said() == details_prompt + refusal(errc::no_space) + test::all_features + "\n");
}

// ----------------------------------------------------------------------------------- failing stores

namespace {

struct store_failure {
  std::error_code error;
  errc answer;
};

std::vector<store_failure> store_failures() {
  const auto system = [](int value) { return std::error_code{value, std::system_category()}; };
  return {{errc::collision, errc::collision},
          {errc::bad_name, errc::bad_name},
          {errc::no_space, errc::no_space},
          {errc::io, errc::io},
          {errc::store_failed, errc::io},
          {errc::source_changed, errc::io},
          {system(ENOSPC), errc::no_space},
          {system(EDQUOT), errc::no_space},
          {system(EFBIG), errc::no_space},
          {system(ENAMETOOLONG), errc::bad_name},
          {system(EIO), errc::io},
          {system(EMFILE), errc::io},
          {std::make_error_code(std::errc::not_enough_memory), errc::io}};
}

// A store call that fails, how to provoke it, and what is said before it does.
struct failing_call {
  store_call call;
  dialogue talk;  // up to the ERROR line
};

std::vector<failing_call> failing_calls() {
  const dialogue upload{C("UPLOAD\n"), S(details_prompt), C("f;5\n")};
  const dialogue upload_with_id{C("UPLOAD\n"), S(details_prompt), C("f;5;id=" + hello.id + "\n")};
  const dialogue bytes{C("UPLOAD\n"), S(details_prompt), C("f;5\n"), S(ready_words), C("hello")};
  const auto big = pattern(200'000);
  const dialogue big_bytes{C("UPLOAD\n"), S(details_prompt), C("f;200000\n"), S(ready_words),
                           C(big)};
  const dialogue download{C("DOWNLOAD\n"), S(id_prompt), C(abc.id + "\n")};
  const dialogue part{C("DOWNLOAD\n"), S(id_prompt), C(abc.id + ";offset=1\n")};
  return {{store_call::list, {C("LIST_FILES\n")}},
          {store_call::next, {C("LIST_FILES\n")}},
          {store_call::create, upload},
          {store_call::add_name, upload_with_id},
          {store_call::write, bytes},
          {store_call::write, big_bytes},
          {store_call::commit, bytes},
          {store_call::commit, big_bytes},
          {store_call::open, download},
          {store_call::seek, part}};
}

}  // namespace

TEST_CASE(
    "a store that fails is answered once, with the code that stands for it, and service goes on") {
  for (const failing_call& f : failing_calls()) {
    for (const store_failure& failure : store_failures()) {
      for (const std::size_t chunk : {std::size_t{1000}, any_number}) {
        CAPTURE(static_cast<int>(f.call));
        CAPTURE(failure.error);
        auto talk = f.talk;
        talk.push_back(S(refusal(failure.answer)));
        talk.push_back(C("FEATURES\n"));
        talk.push_back(S(test::all_features + "max-size=1000000\n\n"));
        session s{talk};
        put(s.store.held, "a", abc);
        s.store.fail(f.call, failure.error);
        s.driver.chunk = chunk;
        CHECK_FALSE(s.run());
        CHECK(s.said() == said_by(who::server, talk));
        CHECK(entries_of(s.store.held).size() == 1);
        REQUIRE(s.events.size() == 2);
        CHECK(s.events[0].error == failure.answer);
        CHECK(s.events[0].cause == failure.error);
      }
    }
  }
}

TEST_CASE("a store that throws is answered like one that fails") {
  const auto throwing = [](const failing_call& f, std::function<void()> throws) {
    session s{f.talk};
    put(s.store.held, "a", abc);
    s.store.fail(f.call, {});
    s.store.throws = std::move(throws);
    CHECK_FALSE(s.run());
    CHECK(entries_of(s.store.held).size() == 1);
    return s.said().substr(said_by(who::server, f.talk).size());
  };
  for (const failing_call& f : failing_calls()) {
    CAPTURE(static_cast<int>(f.call));
    CHECK(throwing(f, [] { throw std::bad_alloc{}; }) == refusal(errc::io));
    CHECK(throwing(f, [] { throw std::runtime_error{"no"}; }) == refusal(errc::io));
    CHECK(throwing(f, [] { throw std::system_error{make_error_code(errc::no_space)}; }) ==
          refusal(errc::no_space));
  }
}

TEST_CASE("a list that fails in its middle has an ERROR line in place of its end") {
  session s{{C("LIST_FILES\nFEATURES\n")}};
  for (int i = 0; i < 1000; ++i) put(s.store.held, std::to_string(i), hello);
  const auto entries = entries_of(s.store.held);
  s.store.fail(store_call::next, errc::io, 700);
  CHECK_FALSE(s.run());
  std::string expected;
  for (std::size_t i = 0; i < 700; ++i) expected += entries[i] + '\n';
  CHECK(s.said() == expected + refusal(errc::io) + test::all_features + "max-size=1000000\n\n");
}

TEST_CASE("a store that fails at any chunk of an upload is answered after the last byte") {
  const auto bytes = pattern(4 * test::chunk_size + 1);
  for (std::size_t nth = 0; nth < 5; ++nth) {
    CAPTURE(nth);
    session s{{C("UPLOAD\n"), S(details_prompt), C("f;16385\n"), S(ready_words), C(bytes),
               S(refusal(errc::no_space)), C("LIST_FILES\n"), S(no_files)}};
    s.store.fail(store_call::write, errc::no_space, nth);
    CHECK_FALSE(s.run());
    CHECK(s.said() == details_prompt + ready_words + refusal(errc::no_space) + no_files);
    CHECK_FALSE(s.driver.stalled);
  }
}

TEST_CASE("a store that fails with more bytes to come than may be dropped closes the connection") {
  const auto bytes = pattern(500'000);
  session s{{C("UPLOAD\n"), S(details_prompt), C("f;500000\n"), S(ready_words), C(bytes)}};
  s.state.options.max_drain_size = 100'000;
  s.store.fail(store_call::write, errc::no_space);
  CHECK(s.run() == errc::no_space);
  check_closed_with(s, errc::no_space, details_prompt + ready_words);
  REQUIRE(s.events.size() == 1);
  CHECK(s.events[0].error == errc::no_space);
  CHECK(s.events[0].cause == errc::no_space);
}

TEST_CASE("a stream that breaks while bytes are dropped closes without a word") {
  for (const std::error_code error :
       {make_error_code(errc::end_of_stream), std::make_error_code(std::errc::connection_reset)}) {
    session s{
        {C("UPLOAD\n"), S(details_prompt), C("f;500000\n"), S(ready_words), C(pattern(400'000))}};
    s.store.fail(store_call::write, errc::no_space);
    s.driver.failure = {8, error, 100};
    const auto ec = s.run();
    CHECK(ec == (error == errc::end_of_stream ? make_error_code(errc::truncated) : error));
    check_closed_silently(s, details_prompt + ready_words);
  }
}

TEST_CASE("a store that can't read on in a download closes without a word") {
  const test::sample large{pattern(3 * test::chunk_size + 1), "ab25117206a17330103ecaf2192363ce"};
  for (std::size_t nth = 0; nth < 4; ++nth) {
    CAPTURE(nth);
    session s{{C("DOWNLOAD\n"), S(id_prompt), C(large.id + "\nLIST_FILES\n")}};
    put(s.store.held, "a", large);
    s.store.fail(store_call::read, std::make_error_code(std::errc::io_error), nth);
    CHECK(s.run() == std::errc::io_error);
    CHECK(s.driver.closed);
    CHECK_FALSE(s.driver.sending_ended);
    const auto whole =
        id_prompt + large.id + ";a;" + std::to_string(large.bytes.size()) + "\n" + large.bytes;
    CHECK(whole.starts_with(s.said()));
    CHECK(s.said().size() < whole.size());
    REQUIRE(s.events.size() == 1);
    CHECK(s.events[0].verb == command::download);
    CHECK(s.events[0].cause == std::errc::io_error);
  }
}

TEST_CASE("a small file that a store can't read is refused, and the next line is a command") {
  session s{{C("DOWNLOAD\n"), S(id_prompt), C(hello.id + "\nLIST_FILES\n")}};
  put(s.store.held, "a", hello);
  s.store.fail(store_call::read, std::make_error_code(std::errc::io_error), 0);
  CHECK_FALSE(s.run());
  CHECK(s.said() == id_prompt + refusal(errc::io) + hello.id + ";a;5\n\n");
  REQUIRE(s.events.size() == 2);
  CHECK(s.events[0].error == errc::io);
  CHECK(s.events[0].cause == std::errc::io_error);
  CHECK_FALSE(s.events[1].error);
}

// ---------------------------------------------------------------------------------- failing streams

TEST_CASE(
    "a stream that fails at any action ends the session, and closes it, and shows nothing torn") {
  const auto reset = std::make_error_code(std::errc::connection_reset);
  using lasts = injected_failure::lasts;
  std::size_t replays = 0;
  for (const session_dialogue& d : test::good_session_dialogues()) {
    if (d.ec) continue;  // it breaks by itself
    CAPTURE(d.name);
    session whole{d.talk};
    prepare(whole, d);
    whole.run();
    const auto expected = said_by(who::server, d.talk);
    for (std::size_t action = 0; action < whole.driver.steps.size(); ++action) {
      const bool writes = whole.driver.steps[action].io == io_kind::write;
      const bool reads_line = whole.driver.steps[action].io == io_kind::read_some;
      if (!writes && !reads_line && whole.driver.steps[action].io != io_kind::read_full) continue;
      for (const std::error_code error : {reset, make_error_code(errc::timed_out)}) {
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, any_number}) {
          for (const lasts duration : {lasts::once, lasts::for_good}) {
            CAPTURE(action);
            CAPTURE(error);
            CAPTURE(bytes);
            session s{d.talk};
            prepare(s, d);
            s.driver.failure = {action, error, bytes, duration};
            const auto ec = s.run();
            ++replays;
            REQUIRE(s.driver.closed);
            REQUIRE_FALSE(s.driver.stalled);
            // A read that timed out is told, unless it stood in a line or nothing can be written.
            const bool told = ec == errc::timeout && duration == lasts::once;
            REQUIRE(breaks_off(s.said(), expected, refusal(errc::timeout)));
            REQUIRE(told == s.driver.sending_ended);
            if (told) REQUIRE(s.said().ends_with(refusal(errc::timeout)));
            if (told) REQUIRE_FALSE(writes);
            else if (writes || error == reset) REQUIRE(ec == error);
            REQUIRE(ec);
            // What was answered with its id is listed; what is listed is whole (checked in run).
            for (const auto& entry : d.after) {
              const auto id = entry.substr(0, 32) + "\n";
              if (!d.before.empty() || s.said().find(id) == std::string::npos) continue;
              const auto now = entries_of(s.store.held);
              REQUIRE(std::find(now.begin(), now.end(), entry) != now.end());
            }
            REQUIRE(s.events.back().error);
          }
        }
      }
    }
  }
  MESSAGE(replays, " sessions failed");
}

TEST_CASE("a client that leaves at any byte leaves nothing that it did not send whole") {
  std::size_t replays = 0;
  for (const session_dialogue& d : test::good_session_dialogues()) {
    CAPTURE(d.name);
    const auto requests = said_by(who::client, d.talk);
    const std::size_t stride = requests.size() < 1000 ? 1 : 997;
    for (std::size_t end = 0; end <= requests.size(); end += stride) {
      CAPTURE(end);
      session s{{C(requests.substr(0, end))}, talks::ahead};
      prepare(s, d);
      const auto ec = s.run();
      ++replays;
      REQUIRE(s.driver.closed);
      REQUIRE(said_by(who::server, d.talk).starts_with(s.said()));
      REQUIRE((!ec || ec == errc::truncated || ec == d.ec));
      for (const auto& entry : entries_of(s.store.held)) {
        const bool listed = std::find(d.after.begin(), d.after.end(), entry) != d.after.end();
        REQUIRE((listed || entry.find(";0;") != std::string::npos));
      }
    }
  }
  MESSAGE(replays, " sessions cut");
}

TEST_CASE(
    "a session that is cancelled before any action closes, and shows nothing that was not whole") {
  for (const session_dialogue& d : test::good_session_dialogues()) {
    CAPTURE(d.name);
    session whole{d.talk};
    prepare(whole, d);
    whole.run();
    for (std::size_t action = 0; action < whole.driver.steps.size(); ++action) {
      CAPTURE(action);
      session s{d.talk};
      prepare(s, d);
      s.driver.cancelled_from = action;
      const auto ec = s.run();
      CHECK(s.driver.closed);
      if (whole.driver.steps[action].io != io_kind::close) CHECK(ec);
      CHECK(said_by(who::server, d.talk).starts_with(s.said()));
    }
  }
}

TEST_CASE("a session that is dropped in any state frees what it holds") {
  for (const session_dialogue& d : test::good_session_dialogues()) {
    session whole{d.talk};
    prepare(whole, d);
    whole.run();
    for (std::size_t action = 0; action < whole.driver.steps.size(); ++action) {
      session s{d.talk};
      prepare(s, d);
      s.driver.dropped_at = action;
      CHECK_THROWS_AS(s.run(), test::flow_dropped);
      CHECK(s.store.alive == 0);
    }
  }
}

// --------------------------------------------------------------------------------- timeouts, stopping

TEST_CASE("a client silent between lines is told, and one silent within a line is not") {
  using lasts = injected_failure::lasts;
  for (const std::string before : {"", "FEATURES\n", "UPLOAD\n", "DOWNLOAD\n"}) {
    const std::string answer = before == "FEATURES\n" ? test::all_features + "max-size=1000000\n\n"
                               : before == "UPLOAD\n" ? details_prompt
                               : before == "DOWNLOAD\n" ? id_prompt
                                                        : "";
    CAPTURE(before);
    const std::size_t read = before.empty() ? 0 : 2;
    session silent{{C(before), S(answer)}};
    silent.driver.failure = {read, errc::timed_out, 0, lasts::once};
    CHECK(silent.run() == errc::timeout);
    check_closed_with(silent, errc::timeout, answer);

    session slow{{C(before), S(answer), C("LIS")}};
    slow.driver.failure = {read + 1, errc::timed_out, 0, lasts::once};
    CHECK(slow.run() == errc::timed_out);
    check_closed_silently(slow, answer);
    REQUIRE_FALSE(slow.events.empty());
    CHECK(slow.events.back().error == errc::timed_out);
  }
}

TEST_CASE("a client silent within an upload's bytes is told, and nothing is kept") {
  for (const std::size_t size : {std::size_t{5}, std::size_t{200'000}}) {
    session s{{C("UPLOAD\n"), S(details_prompt), C("f;" + std::to_string(size) + "\n"),
               S(ready_words), C(pattern(size - 1))}};
    s.driver.failure = {4, errc::timed_out, 3, injected_failure::lasts::once};
    CHECK(s.run() == errc::timeout);
    check_closed_with(s, errc::timeout, details_prompt + ready_words);
    CHECK(entries_of(s.store.held).empty());
  }
}

TEST_CASE("a server that stops tells a client that waits, and that is no error") {
  for (const std::string before : {"", "FEATURES\n"}) {
    const std::string answer = before.empty() ? "" : test::all_features + "max-size=1000000\n\n";
    session s{{C(before), S(answer)}};
    s.driver.failure = {before.empty() ? 0U : 2U, errc::shutting_down, 0,
                        injected_failure::lasts::once};
    CHECK_FALSE(s.run());
    check_closed_with(s, errc::shutting_down, answer);
  }
}

TEST_CASE("a client that goes on talking after its last answer is listened to until it ends") {
  session s{{C("GET /\n" + std::string(100'000, 'x'))}};
  s.driver.chunk = 1000;
  CHECK(s.run() == errc::bad_request);
  CHECK(s.driver.peer.has_ended());
  const auto lingering =
      std::count_if(s.driver.steps.begin(), s.driver.steps.end(),
                    [](const auto& step) { return step.limit == deadline::linger; });
  CHECK(lingering > 90);
}

TEST_CASE("a client that is not served is told why") {
  for (const errc why : {errc::busy, errc::shutting_down}) {
    hand_driver driver{scripted_peer{{C("LIST_FILES\n")}, who::server, talks::ahead}};
    filexfer::detail::connection link;
    std::error_code ec;
    driver.run([&](std::error_code& e) { return filexfer::detail::reject(link, why, e); }, ec);
    CHECK_FALSE(ec);
    CHECK(driver.peer.said() == refusal(why));
    CHECK(driver.sending_ended);
    CHECK(driver.closed);
  }
}

// ------------------------------------------------------------------------------------------- events

TEST_CASE("each command is told when it begins and when it ends, with what is known of it") {
  session s{{C("UPLOAD\na b;5\n"), C("helloDOWNLOAD\n" + hello.id + ";offset=2\nLIST_FILES\n"),
             C("UPLOAD\nc;5;id=" + hello.id + "\nUPLOAD\nd;3;id=" + hello.id + "\nabc")},
            talks::ahead};
  std::size_t begun = 0;
  s.state.on_start = [&] {
    CHECK(s.events.size() == begun);
    ++begun;
  };
  CHECK_FALSE(s.run());
  REQUIRE(s.events.size() == 5);
  CHECK(begun == 5);
  const auto& up = s.events[0];
  CHECK(up.verb == command::upload);
  CHECK(up.name == "a b");
  CHECK(up.size == 5);
  CHECK(up.bytes == 5);
  CHECK(up.id == hello.id);
  CHECK_FALSE(up.error);
  const auto& down = s.events[1];
  CHECK(down.verb == command::download);
  CHECK(down.name == "a b");
  CHECK(down.size == 5);
  CHECK(down.bytes == 3);
  CHECK(down.id == hello.id);
  const auto& listed = s.events[2];
  CHECK(listed.verb == command::list_files);
  CHECK(listed.size == 1);
  const auto& held = s.events[3];
  CHECK(held.name == "c");
  CHECK(held.bytes == 0);
  CHECK(held.id == hello.id);
  const auto& mismatched = s.events[4];
  CHECK(mismatched.error == errc::mismatch);
  CHECK(mismatched.id == abc.id);
  CHECK(mismatched.bytes == 3);
}

}  // namespace session_flow_tests
