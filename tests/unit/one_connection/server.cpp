#include "support/server_fixture.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/client.hpp>

#include <asio/error.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <malloc.h>

namespace server_tests {

using filexfer::command;

// --------------------------------------------------------------------------- limits on connections

TEST_CASE_TEMPLATE("a connection over the limit receives busy and is closed", P, tcp, local) {
  server_fixture<P> fixture{{.max_connections = 2}};
  const auto first = fixture.connect_served();
  const auto second = fixture.connect_served();
  auto third = fixture.connect();
  third.send("LIST_FILES\n");
  third.wait_for_end();
  CHECK(third.received().starts_with("ERROR busy "));
  CHECK(lines_in(third.received()) == 1);
  CHECK(fixture.count(errc::busy) == 1);
  first->send("LIST_FILES\n");
  first->wait_for(empty_list);
}

TEST_CASE_TEMPLATE("a closed connection makes room for the next", P, tcp, local) {
  server_fixture<P> fixture{{.max_connections = 1}};
  auto first = fixture.connect_served();
  {
    auto rejected = fixture.connect();
    rejected.wait_for_end();
    CHECK(rejected.received().starts_with("ERROR busy "));
  }
  first->close();
  run_until_idle_or_fail(fixture.context);
  for (int turn = 0; turn < 3; ++turn) {
    auto next = fixture.connect_served();
    next->reset();
    run_until_idle_or_fail(fixture.context);
  }
}

TEST_CASE_TEMPLATE("a client's operation on a busy server fails with busy", P, tcp, local) {
  server_fixture<P> fixture{{.max_connections = 0}};
  typename P::socket socket{fixture.context};
  socket.connect(fixture.endpoint);
  filexfer::client<typename P::socket&> client{socket};
  expected_call<void(std::error_code, std::vector<filexfer::client<tcp::socket>::file_info>)> call;
  call.start([&](auto handler) { client.async_list_files(std::move(handler)); });
  run_until(fixture.context, [&] { return call.called(); });
  CHECK(std::get<0>(call.result()) == errc::busy);
  CHECK_FALSE(client.usable());
}

TEST_CASE("connections from one address have a limit of their own") {
  server_fixture<tcp> fixture{{.max_connections = 10, .max_connections_per_address = 2}};
  const tcp::endpoint other_address{asio::ip::make_address("127.0.0.2"), 0};
  const auto first = fixture.connect_served();
  const auto second = fixture.connect_served();
  auto third = fixture.connect();
  third.wait_for_end();
  CHECK(third.received().starts_with("ERROR busy "));
  peer<tcp> other{fixture.context, fixture.endpoint, other_address};
  other.send("LIST_FILES\n");
  other.wait_for(empty_list);
  first->close();
  run_until_idle_or_fail(fixture.context);
  fixture.connect_served();
}

TEST_CASE("the limit per address does not apply to connections without an address") {
  server_fixture<local> fixture{{.max_connections_per_address = 1}};
  const auto first = fixture.connect_served();
  const auto second = fixture.connect_served();
  CHECK(fixture.count(errc::busy) == 0);
}

TEST_CASE("rejected connections linger for the linger time at most, and a limited number of them") {
  server_fixture<tcp> fixture{{.max_connections = 1}};
  const auto served = fixture.connect_served();
  const std::size_t before = open_descriptors();
  std::vector<std::unique_ptr<peer<tcp>>> rejected;
  for (int i = 0; i < 100; ++i) {
    rejected.push_back(std::make_unique<peer<tcp>>(fixture.context, fixture.endpoint));
  }
  for (const auto& p : rejected) p->wait_for_end();
  const auto answered = std::count_if(rejected.begin(), rejected.end(), [](const auto& p) {
    return p->received().starts_with("ERROR busy ");
  });
  CHECK(answered == 64);
  CHECK(open_descriptors() == before + 100 + 64);
  virtual_timer::advance(2s);
  run_until_idle_or_fail(fixture.context);
  CHECK(open_descriptors() == before + 100);
  auto next = fixture.connect();
  next.wait_for("ERROR busy ");
}

// --------------------------------------------------------------------------------------- observers

TEST_CASE_TEMPLATE("an observer is notified of every command, with its peer and its result", P, tcp,
                   local) {
  server_fixture<P> fixture;
  const auto client = fixture.connect_served();
  const std::string id = id_of("hello").to_string();
  client->send("UPLOAD\nmy file;5\nhello");
  client->wait_for(id);
  client->send("LIST_FILES\n");
  client->wait_for(id + ";my file;5\n\n");
  client->send("DOWNLOAD\n" + id + "\n");
  client->wait_for("5\nhello");
  client->send("DOWNLOAD\n" + std::string(32, '0') + "\n");
  client->wait_for("ERROR not-found");
  client->send("UPLOAD\nother;10\n123");
  run_until(fixture.context,
            [&] { return client->received().ends_with("Ready to receive the file\n"); });
  client->close();
  run_until(fixture.context, [&] { return fixture.events.size() == 6; });

  const auto& events = fixture.events;
  if constexpr (std::is_same_v<P, tcp>) {
    CHECK(events[0].peer.starts_with("127.0.0.1:"));
  } else {
    CHECK(events[0].peer == "unix:");
  }
  for (const auto& o : events) CHECK(o.peer == events[0].peer);
  CHECK(events[0].event.verb == command::features);
  const auto& upload = events[1].event;
  CHECK(upload.verb == command::upload);
  CHECK(upload.name == "my file");
  CHECK(upload.id == id);
  CHECK(upload.size == 5);
  CHECK(upload.bytes == 5);
  CHECK_FALSE(upload.error);
  CHECK(events[2].event.verb == command::list_files);
  CHECK(events[2].event.size == 1);
  const auto& download = events[3].event;
  CHECK(download.verb == command::download);
  CHECK(download.name == "my file");
  CHECK(download.id == id);
  CHECK(download.bytes == 5);
  CHECK_FALSE(download.error);
  CHECK(events[4].event.error == errc::not_found);
  CHECK(events[5].event.verb == command::upload);
  CHECK(events[5].event.bytes == 3);
  CHECK(events[5].event.error == errc::truncated);
}

TEST_CASE("an observer can tell a peer that was lost before it sent a byte") {
  server_fixture<tcp> fixture;
  const auto lost_after = [&](std::string_view sent) {
    auto client = fixture.connect();
    run_until_idle_or_fail(fixture.context);
    client.send(sent);
    run_until_idle_or_fail(fixture.context);
    client.reset();
    fixture.events.clear();
    run_until(fixture.context, [&] { return !fixture.events.empty(); });
    return fixture.events.back().event;
  };
  CHECK(lost_after("").error == asio::error::connection_reset);
  CHECK(lost_after("").from_silent_peer);
  CHECK_FALSE(lost_after("U").from_silent_peer);
  CHECK_FALSE(lost_after("FEATURES\n").from_silent_peer);
  CHECK_FALSE(lost_after("UPLOAD\n").from_silent_peer);
  auto endless = fixture.connect();
  endless.send(std::string(5000, 'A'));
  endless.wait_for("ERROR line-too-long");
  endless.close();
  run_until(fixture.context, [&] { return fixture.count(errc::line_too_long) == 1; });
  CHECK_FALSE(fixture.events.back().event.from_silent_peer);
}

// ------------------------------------------------------------------------------------------- leaks

namespace {

/// The bytes that `malloc` has allocated; 0 with a sanitizer, which has an allocator of its own.
std::size_t memory_in_use() {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
  return ::mallinfo2().uordblks;
#else
  return 0;
#endif
}

}  // namespace

TEST_CASE_TEMPLATE("a thousand sessions leak no memory and no descriptors", P, tcp, local) {
  server_fixture<P> fixture{{.max_connections = 2}};
  REQUIRE_FALSE(put(fixture.store, "name", "hello"));
  const std::string id = id_of("hello").to_string();
  const auto sessions = [&](int count) {
    for (int i = 0; i < count; ++i) {
      auto p = fixture.connect();
      switch (i % 8) {
        case 0: p.send("LIST_FILES\n"), p.wait_for("\n\n"); break;
        case 1: p.send("UPLOAD\nname;5\nhello"), p.wait_for(id); break;
        case 2: p.send("DOWNLOAD\n" + id + "\n"), p.wait_for("hello"); break;
        case 3: p.send("UPLOAD\nname;50\nhello"), p.wait_for("Ready"); break;
        case 4: p.send("GET / HTTP/1.1\r\n\r\n"), p.wait_for_end(); break;
        case 5: p.send("UPLOAD\nname;50\nhello"), p.wait_for("Ready"), p.reset(); break;
        case 6: p.send("UPLO"); break;
        case 7: {
          const auto second = fixture.connect();
          auto third = fixture.connect();
          third.wait_for_end();
          break;
        }
      }
      p.close();
      run_until_idle_or_fail(fixture.context);
      fixture.events.clear();
    }
  };
  sessions(200);
  const std::size_t descriptors = open_descriptors();
  const std::size_t memory = memory_in_use();
  sessions(1000);
  CHECK(open_descriptors() == descriptors);
  CHECK(memory_in_use() <= memory + 16 * 1024);
  CHECK(entries(fixture.store) == std::vector{entry("name", "hello")});
}

}  // namespace server_tests
