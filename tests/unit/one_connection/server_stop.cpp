#include "support/server_fixture.hpp"
#include "support/store_helpers.hpp"

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

namespace server_stop_tests {

using namespace server_tests;

TEST_CASE_TEMPLATE(
    "a stopping server sends shutting-down to idle connections, and accepts no new ones", P, tcp,
    local) {
  server_fixture<P> fixture;
  const auto idle = fixture.connect_served();
  expected_call<void(std::error_code)> stopped;
  stop(*fixture.server, stopped);
  idle->wait_for("ERROR shutting-down ");
  idle->wait_for_end();
  typename P::socket late{fixture.context};
  std::error_code refused;
  late.connect(fixture.endpoint, refused);
  CHECK(refused);
  CHECK_FALSE(stopped.called());  // it waits for the peer to close
  idle->close();
  run_until(fixture.context, [&] { return stopped.called(); });
  CHECK_FALSE(std::get<0>(stopped.result()));
}

TEST_CASE_TEMPLATE("a stopping server waits no longer than the linger time for its peers to close",
                   P, tcp, local) {
  server_fixture<P> fixture;
  const auto idle = fixture.connect_served();
  expected_call<void(std::error_code)> stopped;
  stop(*fixture.server, stopped);
  idle->wait_for_end();
  virtual_timer::advance(2s - 1ms);
  run_until_idle_or_fail(fixture.context);
  CHECK_FALSE(stopped.called());
  virtual_timer::advance(1ms);
  run_until_idle_or_fail(fixture.context);
  CHECK(stopped.called());
}

TEST_CASE_TEMPLATE("a transfer in progress when the server stops is finished", P, tcp, local) {
  server_fixture<P> fixture;
  const auto busy = fixture.connect_served();
  busy->send("UPLOAD\nname;5\n");
  busy->wait_for("Ready");
  expected_call<void(std::error_code)> stopped;
  stop(*fixture.server, stopped);
  run_until_idle_or_fail(fixture.context);
  busy->send("he");
  virtual_timer::advance(9s);
  run_until_idle_or_fail(fixture.context);
  busy->send("llo");
  busy->wait_for(id_of("hello").to_string() + "\nERROR shutting-down ");
  busy->wait_for_end();
  busy->close();
  run_until(fixture.context, [&] { return stopped.called(); });
  CHECK(fetch(fixture.store, id_of("hello")) == "hello");
}

TEST_CASE_TEMPLATE("transfers that outlast the grace period are aborted, and store nothing", P, tcp,
                   local) {
  server_fixture<P> fixture{{.grace = 10s}};
  REQUIRE_FALSE(put(fixture.store, "big", std::string(16 << 20, 'x')));
  const auto incomplete = fixture.connect_served();
  incomplete->send("UPLOAD\nname;5\n");
  incomplete->wait_for("Ready");
  incomplete->send("hell");
  typename P::socket not_reading{fixture.context};  // downloads, but does not read
  not_reading.connect(fixture.endpoint);
  asio::write(not_reading,
              asio::buffer("DOWNLOAD\n" + id_of(std::string(16 << 20, 'x')).to_string() + "\n"));
  run_until_idle_or_fail(fixture.context);
  expected_call<void(std::error_code)> stopped;
  stop(*fixture.server, stopped);
  run_until_idle_or_fail(fixture.context);
  virtual_timer::advance(10s - 1ms);
  run_until_idle_or_fail(fixture.context);
  CHECK_FALSE(stopped.called());
  CHECK_FALSE(incomplete->ended());
  virtual_timer::advance(1ms);
  run_until(fixture.context, [&] { return stopped.called(); });
  incomplete->wait_for_end();
  CHECK(incomplete->received().ends_with("Ready to receive the file\n"));
  CHECK(entries(fixture.store).size() == 1);
}

TEST_CASE_TEMPLATE("a server without connections stops immediately, and can be stopped repeatedly",
                   P, tcp, local) {
  server_fixture<P> fixture;
  expected_call<void(std::error_code)> first;
  expected_call<void(std::error_code)> second;
  expected_call<void(std::error_code)> third;
  stop(*fixture.server, first);
  stop(*fixture.server, second);
  run_until_idle_or_fail(fixture.context);
  CHECK(first.called());
  CHECK(second.called());
  stop(*fixture.server, third);
  run_until_idle_or_fail(fixture.context);
  CHECK(third.called());
}

TEST_CASE_TEMPLATE("rejected connections do not keep a server from stopping", P, tcp, local) {
  server_fixture<P> fixture{{.max_connections = 1, .grace = 10s}};
  const auto busy = fixture.connect_served();
  busy->send("UPLOAD\nname;5\n");
  busy->wait_for("Ready");
  auto rejected = fixture.connect();  // does not close its end
  rejected.wait_for_end();
  expected_call<void(std::error_code)> stopped;
  stop(*fixture.server, stopped);
  busy->send("hello");
  busy->wait_for_end();
  busy->close();
  run_until_idle_or_fail(fixture.context);
  CHECK_FALSE(stopped.called());
  virtual_timer::advance(2s);  // the linger time of the rejected ones
  run_until_idle_or_fail(fixture.context);
  CHECK(stopped.called());
  CHECK(fetch(fixture.store, id_of("hello")) == "hello");
}

TEST_CASE("the handler of async_stop runs on its executor") {
  server_fixture<tcp> fixture;
  const auto idle = fixture.connect_served();
  asio::io_context other;
  expected_call<void(std::error_code)> stopped;
  stopped.start_on(other.get_executor(),
                   [&](auto handler) { fixture.server->async_stop(std::move(handler)); });
  idle->wait_for_end();
  idle->close();
  run_until_idle_or_fail(fixture.context);
  CHECK_FALSE(stopped.called());
  run_until(other, [&] { return stopped.called(); });
  CHECK_FALSE(std::get<0>(stopped.result()));
}

TEST_CASE_TEMPLATE("destroying a server closes all its connections immediately", P, tcp, local) {
  const std::size_t before = open_descriptors();
  {
    server_fixture<P> fixture{{.max_connections = 2}};
    const auto idle = fixture.connect_served();
    const auto busy = fixture.connect_served();
    auto rejected = fixture.connect();
    busy->send("UPLOAD\nname;5\nhell");
    busy->wait_for("Ready");
    rejected.wait_for("ERROR busy ");
    fixture.server.reset();
    run_until_idle_or_fail(fixture.context);
    idle->wait_for_end();
    busy->wait_for_end();
    CHECK(idle->received().find("ERROR") == std::string::npos);
    CHECK(entries(fixture.store).empty());
    typename P::socket late{fixture.context};
    std::error_code refused;
    late.connect(fixture.endpoint, refused);
    CHECK(refused);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE_TEMPLATE("destroying a server while it is stopping completes async_stop", P, tcp, local) {
  server_fixture<P> fixture;
  const auto busy = fixture.connect_served();
  busy->send("UPLOAD\nname;5\nhell");
  busy->wait_for("Ready");
  expected_call<void(std::error_code)> stopped;
  stop(*fixture.server, stopped);
  run_until_idle_or_fail(fixture.context);
  CHECK_FALSE(stopped.called());
  fixture.server.reset();
  run_until_idle_or_fail(fixture.context);
  CHECK(stopped.called());
}

TEST_CASE_TEMPLATE("destroying a context with open connections leaves no descriptors and no files",
                   P, tcp, local) {
  const std::size_t before = open_descriptors();
  const scratch_folder folder;
  memory_store<> store;
  {
    asio::io_context context;
    filexfer::server<P, memory_store<>> server{
        context.get_executor(), any_endpoint<P>(folder), store, {.max_connections = 2}};
    server.start();
    peer<P> idle{context, server.local_endpoint()};
    peer<P> busy{context, server.local_endpoint()};
    busy.send("UPLOAD\nname;5\nhell");
    busy.wait_for("Ready");
    peer<P> rejected{context, server.local_endpoint()};
    rejected.wait_for("ERROR busy ");
  }
  CHECK(open_descriptors() == before);
  CHECK(entries(store).empty());
}

}  // namespace server_stop_tests
