// Many files in one operation: what is sent ahead, what is told of each, and what a failure costs.

#include "support/dialogues.hpp"
#include "support/manual_clock.hpp"
#include "support/once_handler.hpp"
#include "support/pipe_peer.hpp"
#include "support/script.hpp"

#include <filexfer/batch.hpp>
#include <filexfer/client.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace batch_tests {

namespace {

using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::failure_origin;
using filexfer::fault_plan;
using filexfer::fault_stream;
using filexfer::md5;
using filexfer::memory_pipe;
using filexfer::memory_store;
using test::all_whole;
using test::C;
using test::details_prompt;
using test::dialogue;
using test::entries_of;
using test::hand_driver;
using test::hello;
using test::id_prompt;
using test::manual_timer;
using test::md5_digest;
using test::nothing;
using test::pass;
using test::pattern;
using test::ready_words;
using test::recording_sink;
using test::refusal;
using test::S;
using test::sample;
using test::scripted_peer;
using test::settle;
using test::who;

// Bytes of a file that may fail where it is told to, or be found changed.
struct failing_source {
  std::string bytes;
  std::size_t fails_at = test::any_number;
  bool changes = false;
  std::size_t read_size = 0;

  std::uint64_t size() const noexcept { return bytes.size(); }
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    ec = read_size + to.size() > fails_at ? std::make_error_code(std::errc::io_error)
                                          : std::error_code{};
    if (ec) return 0;
    std::memcpy(to.data(), bytes.data() + read_size, to.size());
    read_size += to.size();
    return to.size();
  }
  void check_unchanged(std::error_code& ec) {
    ec = changes ? make_error_code(errc::source_changed) : std::error_code{};
  }
};

using to_upload = filexfer::upload_item<failing_source, md5_digest>;
using to_download = filexfer::download_item<recording_sink, md5_digest>;
using to_ask = filexfer::name_request<md5_digest>;

to_upload file_of(std::string name, std::string bytes) {
  return {{std::move(bytes)}, {std::move(name)}};
}

const dialogue features{C("FEATURES\n"), S("version=1\ndigest=md5\nhave\nnowait\nmtime\n\n")};

std::string told(const std::string& name, std::error_code ec) {
  return name + (ec ? ": " + ec.message() : "");
}

const std::string hello_up = "UPLOAD\nhello;5;nowait\nhello";
const std::string abc_up = "UPLOAD\nabc;3;nowait\nabc";
const std::string stored_hello = details_prompt + ready_words + hello.id + "\n";
const std::string stored_abc = details_prompt + ready_words + test::abc.id + "\n";

// A batch on a script.
struct batch_by_hand {
  explicit batch_by_hand(const dialogue& talk) : driver{scripted_peer{talk, who::client}} {
    state.connection.chunk_size = state.connection.small_file_size = 100'000;
  }

  template <class Files>
  std::error_code upload(Files& files) {
    const auto tell = [this](const auto& request, std::error_code ec, const auto& result) {
      results.push_back(told(request.name, ec));
      if (!ec) CHECK(result.computed_here == result.computed_there);
      origins.push_back(state.origin);
    };
    return run([&](std::error_code& ec) {
      return filexfer::detail::upload_all<md5>(state, files, tell, ec);
    });
  }

  std::error_code ask(std::vector<to_ask>& files) {
    const auto tell = [this](const auto& asked, std::error_code ec, bool held) {
      results.push_back(told(asked.name, ec) + (held ? " held" : ""));
    };
    return run([&](std::error_code& ec) {
      return filexfer::detail::add_names<md5>(state, files, tell, ec);
    });
  }

  std::error_code download(std::vector<to_download>& files) {
    const auto tell = [this](const auto& file, std::error_code ec, const auto& result) {
      results.push_back(told(file.sink.committed ? file.sink.bytes : result.file.name, ec));
    };
    return run([&](std::error_code& ec) {
      return filexfer::detail::download_all<md5>(state, files, tell, ec);
    });
  }

  template <class MakeFlow>
  std::error_code run(MakeFlow make_flow) {
    std::error_code ec;
    driver.run(make_flow, ec);
    CHECK_FALSE(state.running);
    return ec;
  }

  filexfer::detail::client_state state;
  hand_driver driver;
  std::vector<std::string> results;
  std::vector<failure_origin> origins;
};

using texts = std::vector<std::string>;

}  // namespace

// --------------------------------------------------------------------------------- on a script

TEST_CASE("uploads leave at once, and are told in their order however the replies are cut") {
  const std::string replies = stored_hello + stored_abc;
  for (const std::size_t chunk : test::chunkings(replies.size())) {
    batch_by_hand batch{features + dialogue{C(hello_up + abc_up), S(replies)}};
    batch.driver.chunk = chunk;
    std::vector<to_upload> files{file_of("hello", "hello"), file_of("abc", "abc")};
    REQUIRE_FALSE(batch.upload(files));
    REQUIRE(batch.results == texts{"hello", "abc"});
    REQUIRE(batch.state.synchronized);
    REQUIRE(batch.driver.peer.said() == "FEATURES\n" + hello_up + abc_up);
  }
}

TEST_CASE("a batch of nothing asks for nothing but what the server can do") {
  batch_by_hand batch{features};
  std::vector<to_upload> files;
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.state.synchronized);
  CHECK(batch.driver.peer.said() == "FEATURES\n");
}

TEST_CASE("what is known of a file goes with it") {
  const std::string line = "UPLOAD\nhello;5;id=" + hello.id + ";nowait;mtime=1.5\nhello";
  batch_by_hand batch{features + dialogue{C(line), S(stored_hello)}};
  std::vector<to_upload> files{file_of("hello", "hello")};
  files[0].request.expected = id_of(hello);
  files[0].request.modified = filexfer::file_time{1'500ms};
  files[0].request.resume = "a-token-of-sixteen";  // nothing is resumed that leaves at once
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.driver.peer.said() == "FEATURES\n" + line);
}

TEST_CASE("to a server without nowait each file goes after the one before") {
  for (const bool has_features : {true, false}) {
    const std::string known =
        has_features ? "version=1\ndigest=md5\n\n" : "ERROR unknown-command\n";
    dialogue talk{C("FEATURES\n"), S(known)};
    for (const std::string line : {"hello;5\n", "abc;3\n"}) {
      const bool first = line[0] == 'h';
      if (has_features)
        talk = talk + dialogue{C("UPLOAD\n" + line), S(details_prompt + ready_words)};
      else talk = talk + dialogue{C("UPLOAD\n"), S(details_prompt), C(line), S(ready_words)};
      talk =
          talk + dialogue{C(first ? "hello" : "abc"), S((first ? hello.id : test::abc.id) + "\n")};
    }
    batch_by_hand batch{talk};
    std::vector<to_upload> files{file_of("hello", "hello"), file_of("abc", "abc")};
    CHECK_FALSE(batch.upload(files));
    CHECK(batch.results == texts{"hello", "abc"});
    CHECK(batch.driver.peer.said() == said_by(who::client, talk));
  }
}

TEST_CASE("the blocking form sends each file after the one before, and asks for nothing") {
  batch_by_hand batch{test::upload_talk("hello;5", "Ready") +
                      dialogue{C("hello"), S(hello.id + "\n")}};
  batch.state.connection.can_pipeline = false;
  std::vector<to_upload> files{file_of("hello", "hello")};
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.results == texts{"hello"});
}

TEST_CASE("a file that can't be sent is told in its turn, and costs the others nothing") {
  batch_by_hand batch{features + dialogue{C(hello_up + abc_up), S(stored_hello + stored_abc)}};
  std::vector<to_upload> files{file_of("../x", "x"),        file_of("hello", "hello"),
                               file_of("broken", "broken"), file_of("changed", "changed"),
                               file_of("abc", "abc"),       file_of("empty", "")};
  files[2].source.fails_at = 3;
  files[3].source.changes = true;
  files[5].source.changes = true;
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.results == texts{told("../x", errc::bad_name), "hello",
                               told("broken", std::make_error_code(std::errc::io_error)),
                               told("changed", errc::source_changed), "abc",
                               told("empty", errc::source_changed)});
  using enum failure_origin;
  CHECK(batch.origins == std::vector{local, none, local, local, none, local});
  CHECK(batch.state.synchronized);
  CHECK(batch.driver.peer.said() == "FEATURES\n" + hello_up + abc_up);
}

TEST_CASE("a larger file that fails when a part has left is told, and ends the batch") {
  const dialogue talk =
      features + dialogue{C(hello_up), S(stored_hello), C(pattern(250'000)), S("")};
  for (const bool changes : {true, false}) {
    batch_by_hand batch{talk};
    std::vector<to_upload> files{file_of("hello", "hello"), file_of("large", pattern(250'000)),
                                 file_of("abc", "abc")};
    files[1].source.fails_at = changes ? test::any_number : 150'000;
    files[1].source.changes = changes;
    const std::error_code why =
        changes ? make_error_code(errc::source_changed) : std::make_error_code(std::errc::io_error);
    CHECK(batch.upload(files) == why);
    CHECK(batch.results == texts{"hello", told("large", why)});
    CHECK(batch.state.origin == failure_origin::local);
    CHECK_FALSE(batch.state.synchronized);
    const auto& said = batch.driver.peer.said();
    CHECK(said.size() < said.find("large;") + 250'000);
  }
}

TEST_CASE("files of every size go, the largest by themselves") {
  const std::vector<std::size_t> sizes{0, 1, 99'999, 100'000, 100'001, 300'000, 300'001, 7};
  asio::io_context context;
  auto ends = filexfer::make_memory_pipe(context, 10'000);
  memory_store<> store;
  filexfer::session<memory_pipe, memory_store<>> session{std::move(ends.second), store};
  session.async_run([](std::error_code) {});
  filexfer::client_options options;
  options.chunk_size = options.small_file_size = 100'000;
  options.max_nowait_size = 300'000;
  filexfer::client<memory_pipe> client{std::move(ends.first), options};
  std::vector<to_upload> files;
  for (const std::size_t size : sizes) {
    files.push_back(file_of("file of " + std::to_string(size), pattern(size)));
  }
  texts names;
  std::optional<std::error_code> ended;
  client.async_upload_all(
      files,
      [&](const auto& request, std::error_code ec, const auto& result) {
        CHECK_FALSE(ec);
        CHECK(result.bytes == sizes[names.size()]);
        names.push_back(request.name);
      },
      [&](std::error_code ec) { ended = ec; });
  settle(context);
  REQUIRE(ended);
  CHECK_FALSE(*ended);
  CHECK(names.size() == sizes.size());
  CHECK(entries_of(store).size() == sizes.size());
  CHECK(all_whole(store));
  CHECK(client.usable());
  client.next_layer().close();
  settle(context);
}

TEST_CASE("a refusal is told of the file that it is for, and the others go on") {
  batch_by_hand batch{features +
                      dialogue{C(hello_up + abc_up + "UPLOAD\nz;0;nowait\n"),
                               S(stored_hello + details_prompt + refusal(errc::no_space) +
                                 details_prompt + ready_words + refusal(errc::mismatch))}};
  std::vector<to_upload> files{file_of("hello", "hello"), file_of("abc", "abc"), file_of("z", "")};
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.results == texts{"hello", told("abc", errc::no_space), told("z", errc::mismatch)});
  using enum failure_origin;
  CHECK(batch.origins == std::vector{none, peer, peer});
  CHECK(batch.state.synchronized);
}

TEST_CASE("a digest that is another is told of its file, and the others go on") {
  batch_by_hand batch{features + dialogue{C(hello_up + abc_up), S(stored_abc + stored_abc)}};
  std::vector<to_upload> files{file_of("hello", "hello"), file_of("abc", "abc")};
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.results == texts{told("hello", errc::digest_mismatch), "abc"});
}

TEST_CASE("what ends the connection is no file's failure, and is not told of any") {
  struct end {
    std::string replies;
    std::error_code ec;
    std::size_t told;
  };
  const std::vector<end> ends{
      {stored_hello + refusal(errc::shutting_down), errc::shutting_down, 1},
      {stored_hello + details_prompt + refusal(errc::timeout), errc::timeout, 1},
      {refusal(errc::busy), errc::busy, 0},
      {refusal(errc::unknown_command), errc::unknown_command, 0},
      {stored_hello + "x", errc::truncated, 1},
      {stored_hello, errc::truncated, 1},
      {details_prompt + ready_words + "no digest\n", errc::malformed_reply, 0},
      {details_prompt + "Ready;offset=5\n", errc::malformed_reply, 0},
      {details_prompt + "Ready;offset=x\n", errc::malformed_reply, 0},
      {"a\x01\n", errc::malformed_reply, 0},
      {stored_hello + std::string(5000, 'x'), errc::malformed_reply, 1},
  };
  for (const end& e : ends) {
    CAPTURE(e.replies);
    batch_by_hand batch{features + dialogue{C(hello_up + abc_up), S(e.replies)}};
    std::vector<to_upload> files{file_of("hello", "hello"), file_of("abc", "abc")};
    CHECK(batch.upload(files) == e.ec);
    CHECK(batch.results.size() == e.told);
    CHECK(batch.state.origin == failure_origin::peer);
    CHECK_FALSE(batch.state.synchronized);
  }
}

TEST_CASE("what a server says beyond its replies is left for what follows") {
  const std::string more = stored_abc + refusal(errc::shutting_down);
  {
    batch_by_hand batch{features + dialogue{C(hello_up), S(stored_hello + more)}};
    std::vector<to_upload> files{file_of("hello", "hello")};
    CHECK_FALSE(batch.upload(files));
    CHECK(batch.results == texts{"hello"});
    CHECK(batch.state.connection.in.size() == more.size());
  }
  {
    batch_by_hand batch{features + dialogue{C("UPLOAD\na;5;id=" + hello.id + ";have\n"),
                                            S(details_prompt + hello.id + "\n" + more)}};
    std::vector<to_ask> files{{"a", 5, id_of(hello)}};
    CHECK_FALSE(batch.ask(files));
    CHECK(batch.results == texts{"a held"});
  }
  batch_by_hand batch{features + dialogue{C("DOWNLOAD\n" + hello.id + ";mtime\n"),
                                          S(id_prompt + hello.id + ";h;5\nhello" + more)}};
  std::vector<to_download> files{{id_of(hello), {}}};
  CHECK_FALSE(batch.download(files));
  CHECK(batch.results == texts{"hello"});
  CHECK(batch.state.connection.in.size() == more.size());
}

TEST_CASE("a refusal before the last byte is told, and the connection is over") {
  const std::string first = "UPLOAD\nlarge;250000;nowait\n";
  batch_by_hand batch{features + dialogue{C(first), S(details_prompt + refusal(errc::too_large))}};
  std::vector<to_upload> files{file_of("large", pattern(250'000)), file_of("abc", "abc")};
  CHECK(batch.upload(files) == errc::truncated);
  CHECK(batch.results == texts{told("large", errc::too_large)});
  CHECK_FALSE(batch.state.synchronized);
  CHECK(batch.driver.peer.said().size() < 150'000);  // no more was sent
}

TEST_CASE("an id before the last byte breaks the protocol") {
  const std::string first = "UPLOAD\nlarge;250000;nowait\n";
  batch_by_hand batch{features + dialogue{C(first), S(stored_hello)}};
  std::vector<to_upload> files{file_of("large", pattern(250'000))};
  CHECK(batch.upload(files) == errc::malformed_reply);
  CHECK(batch.results.empty());
}

TEST_CASE("a write that fails is told after what had been answered before") {
  batch_by_hand batch{features + dialogue{C("UPLOAD\n"), S(stored_hello)}};
  batch.driver.failure = {2, std::make_error_code(std::errc::broken_pipe), 20};
  batch.driver.failure.duration = test::injected_failure::lasts::once;
  std::vector<to_upload> files{file_of("hello", "hello"), file_of("abc", "abc")};
  CHECK(batch.upload(files) == std::make_error_code(std::errc::broken_pipe));
  CHECK(batch.results == texts{"hello"});
  CHECK(batch.state.origin == failure_origin::stream);
}

TEST_CASE("a bounded number of commands is ahead of its replies") {
  for (const std::size_t window : {std::size_t{1}, std::size_t{2}, std::size_t{2048}}) {
    CAPTURE(window);
    batch_by_hand batch{features + dialogue{C(std::string(1'000'000, 'x')), S("never")}};
    batch.state.options.max_in_flight = window;
    std::vector<to_upload> files;
    for (int n = 0; n < 10'000; ++n) files.push_back(file_of("f", ""));
    CHECK(batch.upload(files) == errc::timed_out);  // of the driver, which waits for the peer
    const auto& said = batch.driver.peer.said();
    std::size_t commands = 0;
    for (auto at = said.find("UPLOAD"); at != std::string::npos; at = said.find("UPLOAD", at + 1)) {
      ++commands;
    }
    CHECK(commands == window);
  }
}

TEST_CASE("what a callback throws ends the batch") {
  batch_by_hand batch{features + dialogue{C(hello_up + abc_up), S(stored_hello + stored_abc)}};
  std::vector<to_upload> files{file_of("hello", "hello"), file_of("abc", "abc")};
  int calls = 0;
  std::error_code ec;
  auto main = [&](std::error_code& failed) {
    return filexfer::detail::upload_all<md5>(
        batch.state, files,
        [&](auto&&...) {
          ++calls;
          throw std::system_error{make_error_code(std::errc::io_error)};
        },
        failed);
  };
  batch.driver.run(main, ec);
  CHECK(ec == std::errc::io_error);
  CHECK(calls == 1);
  CHECK_FALSE(batch.state.synchronized);
}

// ---------------------------------------------------------------------------------------- questions

TEST_CASE("questions leave at once, and each answer is told") {
  const std::string asked = "UPLOAD\na;5;id=" + hello.id + ";have\nUPLOAD\nb;3;id=" + test::abc.id +
                            ";have;mtime=2\nUPLOAD\nc;0;id=" + nothing.id + ";have\n";
  const std::string replies = details_prompt + hello.id + "\n" + details_prompt +
                              refusal(errc::not_found) + details_prompt + refusal(errc::no_space);
  for (const std::size_t chunk : test::chunkings(replies.size())) {
    batch_by_hand batch{features + dialogue{C(asked), S(replies)}};
    batch.driver.chunk = chunk;
    std::vector<to_ask> files{{"a", 5, id_of(hello)},
                              {"..", 1, id_of(hello)},
                              {"b", 3, id_of(test::abc), filexfer::file_time{2s}},
                              {"c", 0, id_of(nothing)}};
    REQUIRE_FALSE(batch.ask(files));
    REQUIRE(batch.results ==
            texts{"a held", told("..", errc::bad_name), "b", told("c", errc::no_space)});
    REQUIRE(batch.driver.peer.said() == "FEATURES\n" + asked);
    REQUIRE(batch.state.synchronized);
  }
}

TEST_CASE("a server that can't be asked holds nothing") {
  batch_by_hand batch{dialogue{C("FEATURES\n"), S("version=1\ndigest=md5\n\n")}};
  std::vector<to_ask> files{{"a", 5, id_of(hello)}, {"b", 3, id_of(test::abc)}};
  CHECK_FALSE(batch.ask(files));
  CHECK(batch.results == texts{"a", "b"});
}

TEST_CASE("an answer that is another file's id breaks the protocol") {
  batch_by_hand batch{features + dialogue{C("UPLOAD\na;5;id=" + hello.id + ";have\n"),
                                          S(details_prompt + test::abc.id + "\n")}};
  std::vector<to_ask> files{{"a", 5, id_of(hello)}};
  CHECK(batch.ask(files) == errc::malformed_reply);
  CHECK(batch.results.empty());
}

// ---------------------------------------------------------------------------------------- downloads

namespace {

const std::string asks_for_both =
    "DOWNLOAD\n" + hello.id + ";mtime\nDOWNLOAD\n" + test::abc.id + ";mtime\n";
const std::string hello_down = id_prompt + hello.id + ";h;5\nhello";
const std::string abc_down = id_prompt + test::abc.id + ";a;3\nabc";

std::vector<to_download> both_files() { return {{id_of(hello), {}}, {id_of(test::abc), {}}}; }

}  // namespace

TEST_CASE("downloads are asked for at once, and come however they are cut") {
  const std::string replies = hello_down + abc_down;
  for (const std::size_t chunk : test::chunkings(replies.size())) {
    batch_by_hand batch{features + dialogue{C(asks_for_both), S(replies)}};
    batch.driver.chunk = chunk;
    auto files = both_files();
    REQUIRE_FALSE(batch.download(files));
    REQUIRE(batch.results == texts{"hello", "abc"});
    REQUIRE(batch.driver.peer.said() == "FEATURES\n" + asks_for_both);
    REQUIRE(batch.state.synchronized);
  }
}

TEST_CASE("a file that the server has not, or that is another, is told, and the others come") {
  batch_by_hand batch{features + dialogue{C(asks_for_both + "DOWNLOAD\n" + hello.id + ";mtime\n"),
                                          S(id_prompt + refusal(errc::not_found) + abc_down +
                                            id_prompt + hello.id + ";h;5\nHELLO")}};
  auto files = both_files();
  files.push_back({id_of(hello), {}});
  CHECK_FALSE(batch.download(files));
  CHECK(batch.results == texts{told("", errc::not_found), "abc", told("h", errc::digest_mismatch)});
  CHECK_FALSE(files[2].sink.committed);
  CHECK(batch.state.synchronized);
}

TEST_CASE("a sink that fails, at whatever point, costs the other files nothing") {
  const auto io = std::make_error_code(std::errc::io_error);
  for (const int point : {0, 1, 2}) {
    batch_by_hand batch{features + dialogue{C(asks_for_both), S(hello_down + abc_down)}};
    auto files = both_files();
    recording_sink& sink = files[0].sink;
    if (point == 0) sink.announce_error = io;
    if (point == 1) sink.failing_write = 0;
    sink.write_error = io;
    if (point == 2) sink.commit_error = io;
    CHECK_FALSE(batch.download(files));
    CHECK(batch.results == texts{told("h", io), "abc"});
    CHECK_FALSE(sink.committed);
    CHECK(batch.state.synchronized);
  }
}

TEST_CASE("a sink that fails with much to come ends the batch") {
  const std::string large = pattern(2'000'000);
  const std::string entry = hello.id + ";large;" + std::to_string(large.size()) + "\n";
  batch_by_hand batch{features + dialogue{C(asks_for_both), S(id_prompt + entry + large)}};
  auto files = both_files();
  files[0].sink.announce_error = std::make_error_code(std::errc::io_error);
  CHECK(batch.download(files) == std::errc::io_error);
  CHECK(batch.results.size() == 1);
  CHECK_FALSE(batch.state.synchronized);
}

TEST_CASE("downloads that are cancelled leave their buffer, which a read may be pending in") {
  std::size_t cancelled = 0;
  for (std::size_t action = 0;; ++action) {
    batch_by_hand batch{features + dialogue{C(asks_for_both), S(hello_down + abc_down)}};
    batch.driver.chunk = 10;
    batch.driver.cancelled_from = action;
    auto files = both_files();
    if (!batch.download(files)) break;
    if (batch.driver.peer.said() == "FEATURES\n" || batch.driver.peer.said().empty()) continue;
    REQUIRE(batch.state.connection.in.space().size() > filexfer::max_line_length);
    ++cancelled;
  }
  CHECK(cancelled > 3);
}

TEST_CASE("a download that breaks off is told of nobody, and the files before it are there") {
  const std::string replies = hello_down + abc_down;
  for (std::size_t end = 0; end < replies.size(); ++end) {
    batch_by_hand batch{features + dialogue{C(asks_for_both), S(replies.substr(0, end))}};
    auto files = both_files();
    REQUIRE(batch.download(files) == errc::truncated);
    REQUIRE(batch.results == (end < hello_down.size() ? texts{} : texts{"hello"}));
    REQUIRE_FALSE(files[1].sink.committed);
    REQUIRE_FALSE(batch.state.synchronized);
  }
}

// -------------------------------------------------------------------------------- over a memory pipe

namespace {

// A client and a session, with faults on the client's side.
struct meeting {
  using faulty = fault_stream<memory_pipe>;

  meeting(memory_store<>& store, std::size_t capacity, const fault_plan& plan = {})
      : ends{filexfer::make_memory_pipe(context, capacity)},
        session{std::move(ends.second), store},
        client{faulty{std::move(ends.first), plan}, options()} {
    session.async_run([this](std::error_code) { session_ended = true; });
  }

  static filexfer::client_options options() {
    filexfer::client_options small;
    small.chunk_size = small.small_file_size = 1000;
    return small;
  }

  // Names that were told to be stored.
  texts upload(std::vector<to_upload>& files) {
    texts stored;
    client.async_upload_all(
        files,
        [&](const auto& request, std::error_code ec, const auto&) {
          if (!ec) stored.push_back(request.name);
        },
        asio::bind_cancellation_slot(cancel.slot(), [this](std::error_code e) { ended = e; }));
    settle(context);
    return stored;
  }

  void end() {
    std::error_code ignored;
    client.next_layer().close(ignored);
    settle(context);
    CHECK(session_ended);
  }

  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  filexfer::session<memory_pipe, memory_store<>, md5, manual_timer> session;
  filexfer::client<faulty, md5, manual_timer> client;
  asio::cancellation_signal cancel;
  std::optional<std::error_code> ended;
  bool session_ended = false;
};

std::vector<to_upload> some_files() {
  std::vector<to_upload> files;
  for (const std::size_t size : {5U, 0U, 900U, 1000U, 1001U, 2500U, 3U, 40U}) {
    files.push_back(file_of("f" + std::to_string(size), pattern(size)));
  }
  return files;
}

}  // namespace

TEST_CASE("neither side waits for the other, however little lies between them") {
  for (const std::size_t capacity : {1U, 2U, 7U, 64U, 1000U, 100'000U}) {
    CAPTURE(capacity);
    for (const bool elsewhere : {true, false}) {
      memory_store<> store;
      asio::thread_pool pool{2};
      meeting met{store, capacity};
      if (elsewhere) met.client.work_executor(pool.get_executor());
      std::vector<to_upload> files = some_files();
      const int more = capacity < 64 ? 100 : 1500;  // than leave at once
      for (int n = 0; n < more; ++n) files.push_back(file_of("g" + std::to_string(n), "x"));
      std::vector<to_download> wanted;
      std::vector<to_ask> names;
      std::size_t held = 0;
      std::optional<std::error_code> ended;
      const auto last = [&](std::error_code ec) { ended = ec; };
      const auto fetch = [&](std::error_code ec) {
        REQUIRE_FALSE(ec);
        met.client.async_download_all(
            wanted,
            [&](auto& file, std::error_code failed, const auto&) {
              CHECK_FALSE(failed);
              CHECK(file.sink.committed);
            },
            last);
      };
      const auto ask = [&](std::error_code ec) {
        REQUIRE_FALSE(ec);
        const auto count = [&](const auto&, std::error_code failed, bool is_held) {
          held += !failed && is_held ? 1U : 0U;
        };
        met.client.async_add_names(names, count, fetch);
      };
      met.client.async_upload_all(
          files,
          [&](const auto& request, std::error_code ec, const auto& result) {
            CHECK_FALSE(ec);
            wanted.push_back({result.computed_there, {}});
            names.push_back({"again/" + request.name, result.bytes, result.computed_there});
          },
          ask);
      while (!ended) met.context.run_one();
      CHECK_FALSE(*ended);
      CHECK(held == files.size());
      CHECK(wanted.size() == files.size());
      CHECK(all_whole(store));
      CHECK(met.client.usable());
      met.end();
      pool.join();
    }
  }
}

TEST_CASE(
    "a batch that is cut at any byte tells of what is stored, and the rest can be sent again") {
  std::size_t cuts = 0;
  std::size_t bytes_in_all = 20'000;
  for (const bool reading : {true, false}) {
    for (std::uint64_t at = 0; at < bytes_in_all; at += reading ? 1 : 37) {
      CAPTURE(at);
      CAPTURE(reading);
      memory_store<> store;
      texts stored;
      {
        fault_plan plan;
        (reading ? plan.reset_after_read : plan.reset_after_written) = at;
        meeting met{store, 300, plan};
        auto files = some_files();
        stored = met.upload(files);
        REQUIRE(met.ended);
        met.end();
        if (!*met.ended) break;  // all that there is has passed
        REQUIRE_FALSE(met.client.usable());
        ++cuts;
      }
      REQUIRE(all_whole(store));
      const auto entries = entries_of(store);
      for (const std::string& name : stored) {
        const auto names_it = [&](const auto& entry) {
          return entry.find(';' + name + ';') != std::string::npos;
        };
        REQUIRE(std::any_of(entries.begin(), entries.end(), names_it));
      }
      auto rest = some_files();
      rest.erase(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(stored.size()));
      meeting again{store, 300};
      REQUIRE(again.upload(rest).size() == rest.size());
      REQUIRE(entries_of(store).size() == some_files().size());
      again.end();
    }
  }
  CHECK(cuts > 800);
}

TEST_CASE("a batch that is cancelled at any point leaves only whole files") {
  std::size_t cancels = 0;
  for (std::size_t turns = 0;; ++turns) {
    memory_store<> store;
    meeting met{store, 300};
    auto files = some_files();
    std::size_t told_of = 0;
    met.client.async_upload_all(
        files, [&](auto&&...) { ++told_of; },
        asio::bind_cancellation_slot(met.cancel.slot(), [&](std::error_code e) { met.ended = e; }));
    for (std::size_t n = 0; n < turns; ++n) met.context.poll_one();
    if (met.ended) {
      met.end();
      break;
    }
    met.cancel.emit(asio::cancellation_type::terminal);
    settle(met.context);
    REQUIRE(met.ended);
    // It may have come to its end all the same.
    if (*met.ended) {
      REQUIRE(*met.ended == asio::error::operation_aborted);
      REQUIRE_FALSE(met.client.usable());
    } else {
      REQUIRE(told_of == files.size());
    }
    met.end();
    REQUIRE(all_whole(store));
    ++cancels;
  }
  CHECK(cancels > 20);
}

TEST_CASE("a server that neither reads nor answers is waited for as long as the limits say") {
  for (const bool reads : {true, false}) {
    asio::io_context context;
    auto ends = filexfer::make_memory_pipe(context, 1000);
    test::pipe_peer peer{ends.second};
    filexfer::client<memory_pipe, md5, manual_timer> client{std::move(ends.first)};
    std::optional<std::error_code> ended;
    std::vector<to_upload> files{file_of("f", pattern(50'000))};
    peer.listen(9);
    client.async_upload_all(
        files, [](auto&&...) {}, [&](std::error_code ec) { ended = ec; });
    settle(context);
    peer.say("version=1\ndigest=md5\nnowait\n\n");
    settle(context);
    if (reads) peer.listen();
    settle(context);
    REQUIRE_FALSE(ended);
    pass(context, (reads ? 600s : 60s) - 1ns);
    CHECK_FALSE(ended);
    pass(context, 1ns);
    pass(context, 2s);  // for what the server may have said
    REQUIRE(ended);
    CHECK(*ended == errc::timed_out);
    CHECK_FALSE(client.usable());
  }
}

TEST_CASE("a batch is an operation like others: one at a time, throwing on request") {
  asio::io_context context;
  auto ends = filexfer::make_memory_pipe(context, 1000);
  filexfer::client<memory_pipe> client{std::move(ends.first)};
  std::vector<to_upload> files{file_of("f", "x")};
  client.async_features([](std::error_code, const auto&) {});
  settle(context);
  std::error_code ec;
  client.upload_all(
      files, [](auto&&...) {}, ec);
  CHECK(ec == errc::operation_in_progress);
  std::vector<to_ask> names{{"f", 1, id_of(hello)}};
  CHECK_THROWS_AS(client.add_names(names, [](auto&&...) {}), std::system_error);
  std::vector<to_download> wanted{{id_of(hello), {}}};
  CHECK_THROWS_AS(client.download_all(wanted, [](auto&&...) {}), std::system_error);
  CHECK_THROWS_AS(client.upload_all(files, [](auto&&...) {}), std::system_error);
}

}  // namespace batch_tests
