// Examples for the reference: retries over one connection at a time.

#include "support.hpp"

#include <filexfer/client.hpp>
#include <filexfer/file.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/transfer.hpp>

#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <iostream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace transfer_snippets {

using asio::ip::tcp;
using snippets::captured_output;

namespace {

using namespace std::chrono_literals;

/// A server that can be reached from the second attempt on.
struct late_server {
  late_server() { snippets::write_file("video.mp4", "a video"); }

  tcp::socket connect(std::error_code& ec) {
    tcp::socket socket{context};
    if (++attempts == 1) ec = asio::error::connection_refused;
    else socket.connect(server.endpoint(), ec);
    return socket;
  }

  snippets::current_folder folder;
  snippets::loopback_server<> server;
  asio::io_context context;
  int attempts = 0;
  captured_output output;
};

}  // namespace

TEST_CASE_FIXTURE(late_server, "an upload is retried until it is stored") {
  const auto connect_to_server = [this](std::error_code& ec) { return connect(ec); };
  //! [upload_with_retries]
  const filexfer::retry_policy policy{.retry_for = 2min, .first_pause = 10ms};
  filexfer::file_source video{"video.mp4"};
  std::error_code ec;
  const auto uploaded =
      filexfer::upload_with_retries(connect_to_server, video, {"video.mp4"}, policy, ec);
  if (!ec) std::cout << "stored as " << uploaded.remote_digest << '\n';
  //! [upload_with_retries]
  CHECK(output.take() == "stored as " + snippets::id_of("a video").to_string() + '\n');
  CHECK(attempts == 2);
}

TEST_CASE_FIXTURE(late_server, "the attempts at one upload are made by the caller") {
  //! [upload_attempts]
  filexfer::file_source video{"video.mp4"};
  filexfer::upload_attempts<filexfer::md5, filexfer::file_source> attempts_at{video, {"video.mp4"}};
  const auto attempt = [&](std::error_code& ec) {  // returns whether another may succeed
    auto request = attempts_at.next(ec);
    if (ec) return false;
    tcp::socket socket = connect(ec);
    if (ec) return attempts_at.may_pass(ec, filexfer::failure_origin::stream, {});
    filexfer::client client{std::move(socket)};
    const auto result = client.upload(video, std::move(request), ec);
    return attempts_at.may_pass(ec, client.last_failure(), result);
  };
  //! [upload_attempts]
  std::error_code ec;
  CHECK(attempt(ec));
  CHECK(ec == asio::error::connection_refused);
  CHECK_FALSE(attempt(ec));
  CHECK_FALSE(ec);
  CHECK(snippets::text_in(server.store, "video.mp4") == "a video");
}

TEST_CASE_FIXTURE(late_server, "a download is retried as the schedule says") {
  const auto id = snippets::put(server.store, "note.txt", "hello");
  filexfer::memory_sink note{100};
  const auto attempt = [&](std::error_code& ec, filexfer::failure_origin& origin) {
    origin = filexfer::failure_origin::stream;
    tcp::socket socket = connect(ec);
    if (ec) return;
    filexfer::client client{std::move(socket)};
    client.download(id, note, ec);
    origin = client.last_failure();
  };
  std::error_code ec;
  filexfer::failure_origin origin{};
  //! [retry_schedule]
  filexfer::retry_schedule<> schedule{{.retry_for = 2min, .first_pause = 10ms}};
  for (attempt(ec, origin); filexfer::is_retryable(ec, origin); attempt(ec, origin)) {
    const auto pause = schedule.next();
    if (!pause) break;  // for two minutes nothing has moved
    std::this_thread::sleep_for(*pause);
  }
  //! [retry_schedule]
  CHECK_FALSE(ec);
  CHECK(attempts == 2);
  CHECK(note.text() == "hello");
}

TEST_CASE_FIXTURE(late_server, "a source is hashed before it is sent") {
  captured_output digests;
  //! [hash_of]
  filexfer::file_source video{"video.mp4"};
  std::error_code ec;
  const auto id = filexfer::hash_of<filexfer::md5>(video, ec);
  if (!ec) std::cout << id << '\n';  // as md5sum prints it
  //! [hash_of]
  CHECK(digests.take() == snippets::id_of("a video").to_string() + '\n');
}

}  // namespace transfer_snippets
