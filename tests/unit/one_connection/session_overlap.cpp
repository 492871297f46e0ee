// A session receives requests while it carries out earlier ones.

#include "support/known_files.hpp"
#include "support/session_fixture.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>
#include <filexfer/storage.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <future>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace session_overlap_tests {

using namespace session_tests;

namespace {

// A session whose store works in a context of its own, when the test says so.
struct session_with_disk : session_on_a_pipe {
  explicit session_with_disk(std::size_t capacity = 100'000) : session_on_a_pipe{{}, capacity} {
    session.blocking_executor(disk.get_executor());
  }

  void run_disk() {
    disk.restart();
    disk.poll();
    run_until_idle(context);
  }

  void run_both() {
    for (int n = 0; n < 1000 && !call.called(); ++n) run_disk();
  }

  // Sends in parts, after each of which something happens.
  template <class Step>
  void send_in_parts(std::string_view text, std::size_t part_size, Step step) {
    for (; !text.empty(); text.remove_prefix(std::min(part_size, text.size()))) {
      send(std::string{text.substr(0, part_size)});
      step();
    }
  }

  asio::io_context disk;
};

// Waits in the commit of an upload.
class slow_store : public filexfer::memory_store<> {
 public:
  std::promise<void> has_begun;
  std::promise<void> may_end;

  void commit_all(std::span<filexfer::upload_commit<upload, digest_type>> uploads) {
    has_begun.set_value();
    may_end.get_future().wait();
    for (auto& one : uploads) one.upload->commit(one.id, one.error);
  }
};

static_assert(filexfer::group_commit_store<slow_store, slow_store::digest_type>);

std::string upload_of(const std::string& bytes) {
  return "UPLOAD\nf;" + std::to_string(bytes.size()) + ";nowait\n" + bytes;
}

std::string upload_reply(const std::string& bytes) {
  return details_prompt + ready_words + id_of(bytes).to_string() + "\n";
}

}  // namespace

TEST_CASE("uploads are received while earlier ones are stored, and answered in their order") {
  // Larger than the pipe: sent only if the session reads.
  const std::string first(50, 'a');
  const std::string second(3000, 'b');
  const std::string third(3000, 'c');
  session_with_disk s{100};
  s.start_and_receive();
  s.send(upload_of(first));
  bool is_read = false;
  const std::string more = upload_of(second) + upload_of(third);
  asio::async_write(s.ends.second, asio::buffer(more),
                    [&](std::error_code ec, std::size_t) { is_read = !ec; });
  run_until_idle(s.context);
  CHECK(is_read);
  CHECK(entries_of(s.store.inner).empty());
  CHECK(s.peer.received.empty());
  for (int n = 0; n < 10; ++n) s.run_disk();
  CHECK(s.peer.received == upload_reply(first) + upload_reply(second) + upload_reply(third));
  CHECK(entries_of(s.store.inner).size() == 3);
  CHECK_FALSE(s.result());
}

TEST_CASE("what is refused while the store works is read no further than its replies are kept") {
  session_with_disk s{100};
  s.start_and_receive();
  s.send(upload_of("a"));
  std::string refused;
  std::string refusals;
  for (int n = 0; n < 1000; ++n) {
    refused += "UPLOAD\n..;1\n";
    refusals += details_prompt + refusal(errc::bad_name);
  }
  bool is_read = false;
  asio::async_write(s.ends.second, asio::buffer(refused),
                    [&](std::error_code ec, std::size_t) { is_read = !ec; });
  run_until_idle(s.context);
  CHECK_FALSE(is_read);
  for (int n = 0; n < 5; ++n) s.run_disk();
  CHECK(is_read);
  CHECK(s.peer.received == upload_reply("a") + refusals);
  CHECK_FALSE(s.result());
}

TEST_CASE("a reply is sent once the file is stored, whatever the client has begun to send") {
  const std::string next = upload_of(std::string(500, 'b')) + "FEATURES\n";
  for (std::size_t part = 0; part < next.size(); ++part) {
    session_with_disk s;
    s.start_and_receive();
    s.send(upload_of("a"));
    s.send(next.substr(0, part));
    CHECK(s.peer.received.empty());
    for (int n = 0; n < 5; ++n) s.run_disk();
    REQUIRE(s.peer.received.starts_with(upload_reply("a")));
    s.send(next.substr(part));
    for (int n = 0; n < 5; ++n) s.run_disk();
    REQUIRE(s.peer.received ==
            upload_reply("a") + upload_reply(std::string(500, 'b')) + features_reply);
    REQUIRE_FALSE(s.result());
  }
}

TEST_CASE("requests are answered alike, however they arrive and whenever the store works") {
  std::string requests;
  std::string replies;
  for (std::size_t n = 0; n < 150; ++n) {
    const std::string bytes = std::to_string(n) + std::string(n % 7 * 300, '.');
    requests += upload_of(bytes);
    replies += upload_reply(bytes);
    if (n % 3 == 0) {
      const auto id = id_of(bytes).to_string();
      requests += "DOWNLOAD\n" + id + "\n";
      replies.append(id_prompt).append(id).append(";f;").append(std::to_string(bytes.size()));
      replies.append("\n").append(bytes);
    }
    if (n % 50 == 49) {
      requests += "DOWNLOAD\n" + id_of("absent").to_string() + "\nFEATURES\n";
      replies.append(id_prompt).append(refusal(errc::not_found)).append(features_reply);
    }
  }
  for (unsigned seed = 0; seed < 100; ++seed) {
    CAPTURE(seed);
    std::mt19937 random{seed};
    session_with_disk s{1'000'000};
    s.start_and_receive();
    const std::size_t part_size = 1 + random() % (seed % 2 == 0 ? 300 : 30'000);
    s.send_in_parts(requests, part_size, [&] {
      if (random() % 3 == 0) s.run_disk();
    });
    for (int n = 0; n < 1000 && s.peer.received.size() < replies.size(); ++n) s.run_disk();
    REQUIRE(s.peer.received == replies);
    REQUIRE_FALSE(s.result());
  }
}

TEST_CASE("a reply is sent while later requests are carried out") {
  session_with_disk s;
  s.start_and_receive();
  s.send(upload_of("a"));
  s.send(upload_of("b"));
  s.run_disk();
  CHECK(s.peer.received == upload_reply("a") + details_prompt + ready_words);
  s.send(upload_of("c"));
  s.run_disk();
  CHECK(s.peer.received == upload_reply("a") + upload_reply("b") + details_prompt + ready_words);
  s.run_disk();
  CHECK(s.peer.received == upload_reply("a") + upload_reply("b") + upload_reply("c"));
  CHECK_FALSE(s.result());
}

TEST_CASE("a client that ends its stream in an upload gets the replies to all complete lines") {
  const std::string next = upload_of("bytes");
  for (std::size_t part = 0; part < next.size(); ++part) {
    session_with_disk s;
    std::vector<std::error_code> errors;
    s.session.observe([&](const session_event& event) { errors.push_back(event.error); });
    s.start_and_receive();
    s.send(upload_of("a"));
    s.send(next.substr(0, part));
    s.peer.stop_sending();
    run_until_idle(s.context);
    s.run_both();
    const auto lines = std::count(next.begin(), next.begin() + static_cast<long>(part), '\n');
    REQUIRE(s.peer.received ==
            upload_reply("a") + (lines > 0 ? details_prompt : "") + (lines > 1 ? ready_words : ""));
    REQUIRE(s.call.called());
    REQUIRE(errors.size() == (part > 0 ? 2 : 1));
    REQUIRE_FALSE(errors.front());
    REQUIRE(s.result() == (part > 0 ? make_error_code(errc::truncated) : std::error_code{}));
  }
}

TEST_CASE("a list shows the uploads before it that were being stored when it was asked for") {
  session_with_disk s;
  s.start_and_receive();
  s.send(upload_of("a"));
  s.send(upload_of("b") + "LIST_FILES\n");
  for (int n = 0; n < 5; ++n) s.run_disk();
  const std::string list =
      s.peer.received.substr(s.peer.received.find(upload_reply("b")) + upload_reply("b").size());
  CHECK(list.find(id_of("a").to_string()) != list.npos);
  CHECK(list.find(id_of("b").to_string()) != list.npos);
  CHECK_FALSE(s.result());
}

TEST_CASE("a client that has sent all and ended its stream has all of it stored and answered") {
  session_with_disk s;
  s.start_and_receive();
  s.send(upload_of("a"));
  s.send(upload_of("b"));
  s.peer.stop_sending();
  run_until_idle(s.context);
  for (int n = 0; n < 5; ++n) s.run_disk();
  CHECK(s.peer.received == upload_reply("a") + upload_reply("b"));
  CHECK(entries_of(s.store.inner).size() == 2);
  CHECK_FALSE(s.result());
}

TEST_CASE("a session that is stopped while it stores answers first, and then says so") {
  for (const bool stops_early : {true, false}) {
    session_with_disk s;
    s.start_and_receive();
    s.send(upload_of("a"));
    if (!stops_early) s.run_disk();
    s.emit(cancel::total);
    for (int n = 0; n < 5; ++n) s.run_disk();
    check_ends_with(s, upload_reply("a"), errc::shutting_down);
    CHECK_FALSE(s.result());
  }
}

TEST_CASE("a session that is stopped reads no more commands, however busy its client is") {
  session_with_disk s;
  s.start_and_receive();
  s.send(upload_of("a"));
  s.emit(cancel::total);
  std::string received;
  for (char file = 'b'; file <= 'z'; ++file) {
    s.send(upload_of(std::string{file}));
    s.run_disk();
  }
  for (int n = 0; n < 5; ++n) s.run_disk();
  CHECK(s.peer.received.ends_with(refusal(errc::shutting_down)));
  CHECK(entries_of(s.store.inner).size() <= 2);  // the second was being read
  s.wait(2s);
  CHECK_FALSE(s.result());
}

TEST_CASE("the limit for a line begins once earlier requests are answered") {
  session_with_disk s;
  s.start_and_receive();
  s.send(upload_of("a"));
  s.wait(600s);
  CHECK_FALSE(s.peer.ended);
  s.run_disk();
  CHECK(s.peer.received == upload_reply("a"));
  s.wait(59s);
  CHECK_FALSE(s.peer.ended);
  s.wait(2s);
  CHECK(s.peer.ended);
  CHECK(s.result() == errc::timeout);
}

TEST_CASE("a session that is cancelled while its store works waits for that") {
  slow_store store;
  asio::thread_pool disk{1};
  asio::io_context context;
  auto ends = filexfer::make_memory_pipe(context, 1000);
  filexfer::session<memory_pipe, slow_store> session{std::move(ends.first), store};
  session.blocking_executor(disk.get_executor());
  std::size_t events = 0;
  session.observe([&](const session_event&) { ++events; });
  asio::cancellation_signal signal;
  std::optional<std::error_code> ended;
  session.async_run(
      asio::bind_cancellation_slot(signal.slot(), [&](std::error_code ec) { ended = ec; }));
  ends.second.write_some(asio::buffer(upload_of("a")));
  run_until_idle(context);
  store.has_begun.get_future().wait();
  signal.emit(cancel::terminal);
  run_until_idle(context);
  CHECK_FALSE(ended);
  CHECK(events == 0);
  store.may_end.set_value();
  disk.join();
  run_until_idle(context);
  REQUIRE(ended);
  CHECK(*ended == aborted);
  CHECK(events == 2);  // the end of the upload, and of the session
}

TEST_CASE("a session cancelled at any point waits for its store, and leaves whole files only") {
  const std::string requests = upload_of("a") + upload_of("b") + "DOWNLOAD\n" +
                               id_of("a").to_string() + "\n" + upload_of("c");
  for (std::size_t point = 0; point <= requests.size(); ++point) {
    for (const int works : {0, 1, 2}) {
      CAPTURE(point);
      session_with_disk s;
      std::size_t events = 0;
      s.session.observe([&](const session_event&) { ++events; });
      s.start_and_receive();
      s.send(requests.substr(0, point / 2));
      if (works == 1) s.run_disk();
      s.send(requests.substr(point / 2, point - point / 2));
      if (works == 2) s.run_disk();
      s.emit(cancel::terminal);
      s.run_both();
      REQUIRE(s.call.called());
      REQUIRE(s.result() == aborted);
      REQUIRE(s.store.alive == 0);
      REQUIRE(all_whole(s.store.inner));
      REQUIRE(events <= 5);
    }
  }
}

}  // namespace session_overlap_tests
