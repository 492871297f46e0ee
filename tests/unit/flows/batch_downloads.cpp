// `have` requests and downloads of many files in one operation.

#include "support/batch_fixture.hpp"
#include "support/known_files.hpp"
#include "support/recording_sink.hpp"
#include "support/script.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/batch.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace batch_downloads_tests {

using namespace batch_tests;

// ----------------------------------------------------------------------------------- have requests

TEST_CASE("`have` requests are pipelined, and each reply is reported") {
  const std::string asked = "UPLOAD\na;5;id=" + hello.id + ";have\nUPLOAD\nb;3;id=" + abc.id +
                            ";have;mtime=2\nUPLOAD\nc;0;id=" + nothing.id + ";have\n";
  const std::string replies = details_prompt + hello.id + "\n" + details_prompt +
                              refusal(errc::not_found) + details_prompt + refusal(errc::no_space);
  for (const std::size_t chunk : chunkings(replies.size())) {
    batch_by_hand batch{features + dialogue{C(asked), S(replies)}};
    batch.driver.chunk = chunk;
    std::vector<name_request> files{{"a", 5, id_of(hello)},
                                    {"..", 1, id_of(hello)},
                                    {"b", 3, id_of(abc), filexfer::file_time{2s}},
                                    {"c", 0, id_of(nothing)}};
    REQUIRE_FALSE(batch.add_names(files));
    REQUIRE(batch.results == texts{"a held", result_text("..", errc::bad_name), "b",
                                   result_text("c", errc::no_space)});
    REQUIRE(batch.driver.peer.received() == "FEATURES\n" + asked);
    REQUIRE(batch.state.synchronized);
  }
}

TEST_CASE("from a server without `have` every request is reported as not held") {
  batch_by_hand batch{dialogue{C("FEATURES\n"), S("version=1\ndigest=md5\n\n")}};
  std::vector<name_request> files{{"a", 5, id_of(hello)}, {"b", 3, id_of(abc)}};
  CHECK_FALSE(batch.add_names(files));
  CHECK(batch.results == texts{"a", "b"});
}

TEST_CASE("a reply with the id of another file breaks the protocol") {
  batch_by_hand batch{features + dialogue{C("UPLOAD\na;5;id=" + hello.id + ";have\n"),
                                          S(details_prompt + abc.id + "\n")}};
  std::vector<name_request> files{{"a", 5, id_of(hello)}};
  CHECK(batch.add_names(files) == errc::malformed_reply);
  CHECK(batch.results.empty());
}

// ---------------------------------------------------------------------------------------- downloads

namespace {

const std::string both_requests =
    "DOWNLOAD\n" + hello.id + ";mtime\nDOWNLOAD\n" + abc.id + ";mtime\n";
const std::string hello_down = id_prompt + hello.id + ";h;5\nhello";
const std::string abc_down = id_prompt + abc.id + ";a;3\nabc";

std::vector<download_item> both_files() { return {{id_of(hello), {}}, {id_of(abc), {}}}; }

}  // namespace

TEST_CASE("of files whose attributes were asked for, those are executable whose entry says so") {
  batch_by_hand batch{
      {C("FEATURES\n"), S("version=1\ndigest=md5\nexec\n\n"),
       C("DOWNLOAD\n" + hello.id + ";exec\nDOWNLOAD\n" + abc.id + ";exec\n"),
       S(id_prompt + hello.id + ";h;5;exec=1\nhello" + id_prompt + abc.id + ";a;3\nabc")}};
  auto files = both_files();
  std::vector<std::optional<bool>> executable;
  const auto on_result = [&](const auto&, std::error_code ec, const auto& result) {
    CHECK_FALSE(ec);
    executable.push_back(result.file.executable);
  };
  CHECK_FALSE(batch.run([&](std::error_code& ec) {
    return filexfer::detail::download_all<md5>(batch.state, files, on_result, ec);
  }));
  CHECK(executable == std::vector<std::optional<bool>>{true, false});
}

TEST_CASE("downloads are pipelined, and complete however the replies are split") {
  const std::string replies = hello_down + abc_down;
  for (const std::size_t chunk : chunkings(replies.size())) {
    batch_by_hand batch{features + dialogue{C(both_requests), S(replies)}};
    batch.driver.chunk = chunk;
    auto files = both_files();
    REQUIRE_FALSE(batch.download(files));
    REQUIRE(batch.results == texts{"hello", "abc"});
    REQUIRE(batch.driver.peer.received() == "FEATURES\n" + both_requests);
    REQUIRE(batch.state.synchronized);
  }
}

TEST_CASE("a missing file and a digest mismatch are reported, and the other files are downloaded") {
  batch_by_hand batch{features + dialogue{C(both_requests + "DOWNLOAD\n" + hello.id + ";mtime\n"),
                                          S(id_prompt + refusal(errc::not_found) + abc_down +
                                            id_prompt + hello.id + ";h;5\nHELLO")}};
  auto files = both_files();
  files.push_back({id_of(hello), {}});
  CHECK_FALSE(batch.download(files));
  CHECK(batch.results ==
        texts{result_text("", errc::not_found), "abc", result_text("h", errc::digest_mismatch)});
  CHECK_FALSE(files[2].sink.committed);
  CHECK(batch.state.synchronized);
}

TEST_CASE("a sink that fails at any call is reported, and the other files are downloaded") {
  enum class sink_call { announce, write, commit };
  const auto io = std::make_error_code(std::errc::io_error);
  for (const auto call : {sink_call::announce, sink_call::write, sink_call::commit}) {
    batch_by_hand batch{features + dialogue{C(both_requests), S(hello_down + abc_down)}};
    auto files = both_files();
    recording_sink& sink = files[0].sink;
    if (call == sink_call::announce) sink.announce_error = io;
    if (call == sink_call::write) sink.failing_write = 0;
    sink.write_error = io;
    if (call == sink_call::commit) sink.commit_error = io;
    CHECK_FALSE(batch.download(files));
    CHECK(batch.results == texts{result_text("h", io), "abc"});
    CHECK_FALSE(sink.committed);
    CHECK(batch.state.synchronized);
  }
}

TEST_CASE("a sink that fails with many bytes left ends the batch") {
  const std::string large = pattern(2'000'000);
  const std::string entry = hello.id + ";large;" + std::to_string(large.size()) + "\n";
  batch_by_hand batch{features + dialogue{C(both_requests), S(id_prompt + entry + large)}};
  auto files = both_files();
  files[0].sink.announce_error = std::make_error_code(std::errc::io_error);
  CHECK(batch.download(files) == std::errc::io_error);
  CHECK(batch.results.size() == 1);
  CHECK_FALSE(batch.state.synchronized);
}

TEST_CASE("cancelled downloads keep their read buffer, as a read may be pending in it") {
  std::size_t cancelled = 0;
  for (std::size_t action = 0;; ++action) {
    batch_by_hand batch{features + dialogue{C(both_requests), S(hello_down + abc_down)}};
    batch.driver.chunk = 10;
    batch.driver.cancelled_from = action;
    auto files = both_files();
    if (!batch.download(files)) break;
    if (batch.driver.peer.received() == "FEATURES\n" || batch.driver.peer.received().empty())
      continue;
    REQUIRE(batch.state.connection.in.space().size() > filexfer::max_line_length);
    ++cancelled;
  }
  CHECK(cancelled > 3);
}

TEST_CASE("a truncated download is not reported, and the files before it are committed") {
  const std::string replies = hello_down + abc_down;
  for (std::size_t end = 0; end < replies.size(); ++end) {
    batch_by_hand batch{features + dialogue{C(both_requests), S(replies.substr(0, end))}};
    auto files = both_files();
    REQUIRE(batch.download(files) == errc::truncated);
    REQUIRE(batch.results == (end < hello_down.size() ? texts{} : texts{"hello"}));
    REQUIRE_FALSE(files[1].sink.committed);
    REQUIRE_FALSE(batch.state.synchronized);
  }
}

}  // namespace batch_downloads_tests
