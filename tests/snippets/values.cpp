// Examples for the reference: errors, text for people, progress.

#include "support.hpp"

#include <filexfer/client.hpp>
#include <filexfer/error.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/session_log.hpp>
#include <filexfer/transfer_progress.hpp>

#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <iostream>
#include <string>
#include <system_error>

namespace value_snippets {

using snippets::captured_output;

TEST_CASE("errors are compared with codes and conditions") {
  captured_output output;
  const std::error_code ec = make_error_code(filexfer::errc::busy);
  //! [errors]
  if (ec == filexfer::errc::not_found) std::cout << "no such file\n";
  else if (ec == filexfer::condition::may_pass)
    std::cout << "retry later: " << ec.message() << '\n';
  else if (ec == filexfer::condition::refused) std::cout << "refused: " << ec.message() << '\n';
  else if (ec) std::cout << "failed: " << ec.message() << '\n';
  //! [errors]
  CHECK(output.take() == "retry later: the server has too many connections\n");
}

TEST_CASE("an errc and a condition are made into the standard types") {
  //! [make_error_code]
  const std::error_code ec = filexfer::errc::busy;                     // calls make_error_code
  const std::error_condition passing = filexfer::condition::may_pass;  // make_error_condition
  const bool retry = ec == passing;
  //! [make_error_code]
  CHECK(retry);
}

TEST_CASE("a call without an error code throws") {
  snippets::loopback_server<> server;
  asio::io_context context;
  filexfer::client client{server.connect(context)};
  captured_output output;
  //! [throws]
  try {
    client.list_files(filexfer::throws());  // as client.list_files()
    client.list_files({.prefix = std::string(2000, 'x')});
  } catch (const std::system_error& e) {
    if (e.code() == filexfer::errc::bad_name) std::cout << "the prefix is too long\n";
  }
  //! [throws]
  CHECK(output.take() == "the prefix is too long\n");
}

TEST_CASE("text of a peer is escaped before it is shown") {
  captured_output output;
  //! [printable]
  const std::string name = "cat\x1b[2J.jpg";  // would clear the screen
  std::cout << filexfer::printable(name) << '\n';
  //! [printable]
  CHECK(output.take() == "cat\\x1b[2J.jpg\n");
}

TEST_CASE("an event is a line of a log") {
  captured_output output;
  //! [format_event]
  using namespace std::chrono_literals;
  const filexfer::session_event event{.verb = filexfer::command::upload,
                                      .name = "a.txt",
                                      .size = 5,
                                      .error = filexfer::errc::no_space};
  const auto time = std::chrono::system_clock::time_point{} + 24h;
  std::cout << filexfer::format_event(time, "127.0.0.1:9", event) << '\n';
  //! [format_event]
  CHECK(output.take() ==
        "1970-01-02T00:00:00Z 127.0.0.1:9 UPLOAD \"a.txt\" 0 of 5 bytes "
        "failed: no space left in the store 0.000 s\n");
}

TEST_CASE("a time is formatted for a log") {
  captured_output output;
  //! [format_timestamp]
  const auto time = std::chrono::sys_days{std::chrono::year{2026} / 11 / 28};
  std::cout << filexfer::format_timestamp(time) << '\n';
  //! [format_timestamp]
  CHECK(output.take() == "2026-11-28T00:00:00Z\n");
}

TEST_CASE("progress is a line for people") {
  captured_output output;
  //! [format_progress]
  filexfer::transfer_progress progress;
  filexfer::transfer_rate rate;
  progress.expect(1'000'000);  // announced before it is sent
  progress.expect(2'000'000);
  progress.expect_no_more();
  const auto now = progress.now();
  std::cout << filexfer::format_progress(now, rate.after(now.bytes)) << '\n';
  //! [format_progress]
  CHECK(output.take().starts_with("0 of 2 files  0.0 MB of 3.0 MB"));
}

TEST_CASE("a file counts once, over all attempts at it") {
  filexfer::transfer_progress progress;
  //! [file_progress]
  progress.expect(1000);
  {
    filexfer::file_progress file{progress, 1000};
    file.start(1000);
    file.add(600);  // the connection breaks
    file.start(1000);
    file.seek(600);  // and is resumed
    file.add(400);
  }  // the file has ended
  //! [file_progress]
  CHECK(progress.now().files == 1);
  CHECK(progress.now().bytes == 1000);
}

}  // namespace value_snippets
