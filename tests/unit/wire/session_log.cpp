#include <filexfer/error.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/session_log.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <system_error>

namespace session_log_tests {

using namespace std::chrono_literals;
using filexfer::command;
using filexfer::errc;
using filexfer::session_event;

namespace {

const std::string id = "5d41402abc4b2a76b9719d911017c592";

std::string log_line(const session_event& event, std::string_view peer = "127.0.0.1:9") {
  return format_event(std::chrono::system_clock::time_point{1'000'000'000s}, peer, event);
}

TEST_CASE("a log line holds the time, peer, command, file, result, duration and rate") {
  const session_event upload{.verb = command::upload,
                             .name = "a",
                             .id = id,
                             .size = 3'000'000,
                             .bytes = 3'000'000,
                             .elapsed = 1500ms};
  CHECK(log_line(upload) ==
        "2001-09-09T01:46:40Z 127.0.0.1:9 UPLOAD \"a\" 3000000 bytes " + id + " 1.500 s 2.0 MB/s");
  CHECK(log_line({.verb = command::list_files, .size = 7, .elapsed = 1us}) ==
        "2001-09-09T01:46:40Z 127.0.0.1:9 LIST_FILES 7 entries 0.000 s");
}

TEST_CASE("a log line of a failure holds the bytes moved before it, and its reason") {
  session_event event{.verb = command::download, .name = "a", .size = 10, .bytes = 4};
  event.error = std::make_error_code(std::errc::connection_reset);
  CHECK(log_line(event) ==
        "2001-09-09T01:46:40Z 127.0.0.1:9 DOWNLOAD \"a\" 4 of 10 bytes failed: " +
            event.error.message() + " 0.000 s 0.0 MB/s");
  event = {.verb = command::upload, .error = errc::io};
  event.cause = std::make_error_code(std::errc::no_space_on_device);
  CHECK(log_line(event).find(event.error.message() + " (" + event.cause.message() + ')') !=
        std::string::npos);
}

TEST_CASE("bytes from a peer can't control the terminal that shows the log, nor end a log line") {
  const std::string hostile = "\"x\"\n\x1b[31m";
  const std::string line =
      log_line({.verb = command::upload, .name = hostile, .id = hostile}, hostile);
  CHECK(line.find('\n') == std::string::npos);
  CHECK(line.find('\x1b') == std::string::npos);
  CHECK(line.find(R"("\"x\")") != std::string::npos);
  CHECK(log_line({.error = errc::bad_request}, "").starts_with("2001-09-09T01:46:40Z - failed: "));
}

}  // namespace

}  // namespace session_log_tests
