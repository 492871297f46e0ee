// Uploads of many files in one operation: pipelining, the result of each file, and failures.

#include "support/batch_fixture.hpp"
#include "support/client_dialogues.hpp"
#include "support/known_files.hpp"
#include "support/script.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/batch.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

namespace batch_tests {

namespace {

const std::string hello_up = "UPLOAD\nhello;5;nowait\nhello";
const std::string abc_up = "UPLOAD\nabc;3;nowait\nabc";
const std::string stored_hello = details_prompt + ready_words + hello.id + "\n";
const std::string stored_abc = details_prompt + ready_words + abc.id + "\n";

}  // namespace

TEST_CASE("uploads are pipelined, and reported in their order however the replies are split") {
  const std::string replies = stored_hello + stored_abc;
  for (const std::size_t chunk : chunkings(replies.size())) {
    batch_by_hand batch{features + dialogue{C(hello_up + abc_up), S(replies)}};
    batch.driver.chunk = chunk;
    std::vector<upload_item> files{file_of("hello", "hello"), file_of("abc", "abc")};
    REQUIRE_FALSE(batch.upload(files));
    REQUIRE(batch.results == texts{"hello", "abc"});
    REQUIRE(batch.state.synchronized);
    REQUIRE(batch.driver.peer.received() ==
            std::string{"FEATURES\n"}.append(hello_up).append(abc_up));
  }
}

TEST_CASE("an empty batch sends FEATURES and nothing else") {
  batch_by_hand batch{features};
  std::vector<upload_item> files;
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.state.synchronized);
  CHECK(batch.driver.peer.received() == "FEATURES\n");
}

TEST_CASE("an upload of a batch carries the id and the mtime of its file") {
  const std::string line = "UPLOAD\nhello;5;id=" + hello.id + ";nowait;mtime=1.5\nhello";
  batch_by_hand batch{features + dialogue{C(line), S(stored_hello)}};
  std::vector<upload_item> files{file_of("hello", "hello")};
  files[0].request.expected = id_of(hello);
  files[0].request.modified = filexfer::file_time{1'500ms};
  files[0].request.resume = "a-token-of-sixteen";  // ignored: an upload with nowait is not resumed
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.driver.peer.received() == "FEATURES\n" + line);
}

TEST_CASE("without nowait each file is sent after the reply to the one before") {
  for (const bool has_features : {true, false}) {
    const std::string reply =
        has_features ? "version=1\ndigest=md5\n\n" : "ERROR unknown-command\n";
    dialogue talk{C("FEATURES\n"), S(reply)};
    for (const std::string line : {"hello;5\n", "abc;3\n"}) {
      const bool first = line[0] == 'h';
      if (has_features)
        talk = talk + dialogue{C("UPLOAD\n" + line), S(details_prompt + ready_words)};
      else talk = talk + dialogue{C("UPLOAD\n"), S(details_prompt), C(line), S(ready_words)};
      talk = talk + dialogue{C(first ? "hello" : "abc"), S((first ? hello.id : abc.id) + "\n")};
    }
    batch_by_hand batch{talk};
    std::vector<upload_item> files{file_of("hello", "hello"), file_of("abc", "abc")};
    CHECK_FALSE(batch.upload(files));
    CHECK(batch.results == texts{"hello", "abc"});
    CHECK(batch.driver.peer.received() == bytes_sent_by(role::client, talk));
  }
}

TEST_CASE("without can_pipeline each file is sent after the one before, and FEATURES is not sent") {
  batch_by_hand batch{upload_dialogue("hello;5", "Ready") +
                      dialogue{C("hello"), S(hello.id + "\n")}};
  batch.state.connection.can_pipeline = false;
  std::vector<upload_item> files{file_of("hello", "hello")};
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.results == texts{"hello"});
}

TEST_CASE("a file that can't be sent is reported in its turn, and the others are sent") {
  batch_by_hand batch{features + dialogue{C(hello_up + abc_up), S(stored_hello + stored_abc)}};
  std::vector<upload_item> files{file_of("../x", "x"),        file_of("hello", "hello"),
                                 file_of("broken", "broken"), file_of("changed", "changed"),
                                 file_of("abc", "abc"),       file_of("empty", "")};
  files[2].source.fails_at = 3;
  files[3].source.changes = true;
  files[5].source.changes = true;
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.results == texts{result_text("../x", errc::bad_name), "hello",
                               result_text("broken", std::make_error_code(std::errc::io_error)),
                               result_text("changed", errc::source_changed), "abc",
                               result_text("empty", errc::source_changed)});
  using enum failure_origin;
  CHECK(batch.origins == std::vector{local, none, local, local, none, local});
  CHECK(batch.state.synchronized);
  CHECK(batch.driver.peer.received() == "FEATURES\n" + hello_up + abc_up);
}

TEST_CASE("a source that fails or changes after a part of its file was sent ends the batch") {
  const dialogue talk =
      features + dialogue{C(hello_up), S(stored_hello), C(pattern(250'000)), S("")};
  for (const bool changes : {true, false}) {
    batch_by_hand batch{talk};
    std::vector<upload_item> files{file_of("hello", "hello"), file_of("large", pattern(250'000)),
                                   file_of("abc", "abc")};
    files[1].source.fails_at = changes ? never : 150'000;
    files[1].source.changes = changes;
    const std::error_code expected =
        changes ? make_error_code(errc::source_changed) : std::make_error_code(std::errc::io_error);
    CHECK(batch.upload(files) == expected);
    CHECK(batch.results == texts{"hello", result_text("large", expected)});
    CHECK(batch.state.origin == failure_origin::local);
    CHECK_FALSE(batch.state.synchronized);
    const auto& sent = batch.driver.peer.received();
    CHECK(sent.size() < sent.find("large;") + 250'000);
  }
}

TEST_CASE("a refusal is reported for its file, and the others are sent") {
  batch_by_hand batch{features +
                      dialogue{C(hello_up + abc_up + "UPLOAD\nz;0;nowait\n"),
                               S(stored_hello + details_prompt + refusal(errc::no_space) +
                                 details_prompt + ready_words + refusal(errc::mismatch))}};
  std::vector<upload_item> files{file_of("hello", "hello"), file_of("abc", "abc"),
                                 file_of("z", "")};
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.results ==
        texts{"hello", result_text("abc", errc::no_space), result_text("z", errc::mismatch)});
  using enum failure_origin;
  CHECK(batch.origins == std::vector{none, peer, peer});
  CHECK(batch.state.synchronized);
}

TEST_CASE("a digest mismatch is reported for its file, and the others are sent") {
  batch_by_hand batch{features + dialogue{C(hello_up + abc_up), S(stored_abc + stored_abc)}};
  std::vector<upload_item> files{file_of("hello", "hello"), file_of("abc", "abc")};
  CHECK_FALSE(batch.upload(files));
  CHECK(batch.results == texts{result_text("hello", errc::digest_mismatch), "abc"});
}

TEST_CASE("an error that ends the connection ends the batch, and is reported for no file") {
  struct ending {
    std::string replies;
    std::error_code ec;
    std::size_t reported;
  };
  const std::vector<ending> endings{
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
  for (const ending& e : endings) {
    CAPTURE(e.replies);
    batch_by_hand batch{features + dialogue{C(hello_up + abc_up), S(e.replies)}};
    std::vector<upload_item> files{file_of("hello", "hello"), file_of("abc", "abc")};
    CHECK(batch.upload(files) == e.ec);
    CHECK(batch.results.size() == e.reported);
    CHECK(batch.state.origin == failure_origin::peer);
    CHECK_FALSE(batch.state.synchronized);
  }
}

TEST_CASE("no byte after the last reply of a batch is lost") {
  const std::string more = stored_abc + refusal(errc::shutting_down);
  {
    batch_by_hand batch{features + dialogue{C(hello_up), S(stored_hello + more)}};
    std::vector<upload_item> files{file_of("hello", "hello")};
    CHECK_FALSE(batch.upload(files));
    CHECK(batch.results == texts{"hello"});
    CHECK(batch.state.connection.in.size() > 0);
    CHECK(batch.state.connection.in.size() + batch.driver.peer.readable().size() == more.size());
  }
  {
    batch_by_hand batch{features + dialogue{C("UPLOAD\na;5;id=" + hello.id + ";have\n"),
                                            S(details_prompt + hello.id + "\n" + more)}};
    std::vector<name_request> files{{"a", 5, id_of(hello)}};
    CHECK_FALSE(batch.add_names(files));
    CHECK(batch.results == texts{"a held"});
  }
  batch_by_hand batch{features + dialogue{C("DOWNLOAD\n" + hello.id + ";mtime\n"),
                                          S(id_prompt + hello.id + ";h;5\nhello" + more)}};
  std::vector<download_item> files{{id_of(hello), {}}};
  CHECK_FALSE(batch.download(files));
  CHECK(batch.results == texts{"hello"});
  CHECK(batch.state.connection.in.size() == more.size());
}

TEST_CASE("a refusal before the last byte is reported, and ends the batch") {
  const std::string first = "UPLOAD\nlarge;250000;nowait\n";
  batch_by_hand batch{features + dialogue{C(first), S(details_prompt + refusal(errc::too_large))}};
  std::vector<upload_item> files{file_of("large", pattern(250'000)), file_of("abc", "abc")};
  CHECK(batch.upload(files) == errc::truncated);
  CHECK(batch.results == texts{result_text("large", errc::too_large)});
  CHECK_FALSE(batch.state.synchronized);
  CHECK(batch.driver.peer.received().size() < 150'000);  // no more was sent
}

TEST_CASE("an id before the last byte breaks the protocol") {
  const std::string first = "UPLOAD\nlarge;250000;nowait\n";
  batch_by_hand batch{features + dialogue{C(first), S(stored_hello)}};
  std::vector<upload_item> files{file_of("large", pattern(250'000))};
  CHECK(batch.upload(files) == errc::malformed_reply);
  CHECK(batch.results.empty());
}

TEST_CASE("a failed write is reported after the replies that had arrived before it") {
  batch_by_hand batch{features + dialogue{C("UPLOAD\n"), S(stored_hello)}};
  batch.driver.failure = {2, std::make_error_code(std::errc::broken_pipe), 20};
  batch.driver.failure.duration = injected_failure::lasts::once;
  std::vector<upload_item> files{file_of("hello", "hello"), file_of("abc", "abc")};
  CHECK(batch.upload(files) == std::make_error_code(std::errc::broken_pipe));
  CHECK(batch.results == texts{"hello"});
  CHECK(batch.state.origin == failure_origin::stream);
}

TEST_CASE("at most max_in_flight commands are sent ahead of their replies") {
  for (const std::size_t window : {std::size_t{1}, std::size_t{2}, std::size_t{2048}}) {
    CAPTURE(window);
    batch_by_hand batch{features + dialogue{C(std::string(1'000'000, 'x')), S("never")}};
    batch.state.options.max_in_flight = window;
    std::vector<upload_item> files;
    files.reserve(10'000);
    for (int n = 0; n < 10'000; ++n) files.push_back(file_of("f", ""));
    CHECK(batch.upload(files) == errc::timed_out);  // the driver's, as the peer sends nothing more
    const auto& sent = batch.driver.peer.received();
    std::size_t commands = 0;
    for (auto i = sent.find("UPLOAD"); i != std::string::npos; i = sent.find("UPLOAD", i + 1)) {
      ++commands;
    }
    CHECK(commands == window);
  }
}

TEST_CASE("an exception of a callback ends the batch") {
  batch_by_hand batch{features + dialogue{C(hello_up + abc_up), S(stored_hello + stored_abc)}};
  std::vector<upload_item> files{file_of("hello", "hello"), file_of("abc", "abc")};
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

}  // namespace batch_tests
