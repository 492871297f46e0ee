// A server that runs out of descriptors or memory, or loses a peer before it is accepted.

#include "support/server_fixture.hpp"

#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/socket_base.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace server_exhaustion_tests {

using namespace server_tests;

namespace {

/// Runs what the tests below run, with descriptors at hand. UBSan takes one to check an object of a
/// type that it sees for the first time, and reports the object as invalid if it gets none.
template <class Protocol>
void show_types_to_sanitizer() {
  server_fixture<Protocol> fixture;
  const auto served = fixture.connect_served();
  served->send("LIST_FILES\n");
  served->wait_for(empty_list);
  expected_call<void(std::error_code)> stopped;
  stop(*fixture.server, stopped);
  served->close();
  run_until(fixture.context, [&] { return stopped.called(); });
}

/// Lowers the limit on this process's descriptors, and opens as many as are left.
class descriptor_exhaustion {
 public:
  descriptor_exhaustion() {
    show_types_to_sanitizer<tcp>();
    show_types_to_sanitizer<local>();
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit low = before_;
    low.rlim_cur = std::min<rlim_t>(before_.rlim_cur, 256);
    ::setrlimit(RLIMIT_NOFILE, &low);
    for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) taken_.push_back(fd);
  }
  descriptor_exhaustion(const descriptor_exhaustion&) = delete;
  descriptor_exhaustion& operator=(const descriptor_exhaustion&) = delete;
  ~descriptor_exhaustion() { release(); }

  void release() {
    for (const int fd : std::exchange(taken_, {})) ::close(fd);
    ::setrlimit(RLIMIT_NOFILE, &before_);
  }

 private:
  rlimit before_{};
  std::vector<int> taken_;
};

}  // namespace

TEST_CASE_TEMPLATE(
    "a server out of descriptors retries accepting ten times a second until it succeeds", P, tcp,
    local) {
  server_fixture<P> fixture;
  const auto served = fixture.connect_served();
  typename P::socket socket{fixture.context, fixture.endpoint.protocol()};
  peer<P> waiting{fixture.context, std::move(socket)};
  descriptor_exhaustion exhaustion;
  waiting.connect(fixture.endpoint);
  run_until_idle_or_fail(fixture.context);
  const auto failures = [&] { return fixture.count(asio::error::no_descriptors); };
  CHECK(failures() == 1);
  CHECK(fixture.events.back().peer.empty());
  virtual_timer::advance(99ms);
  run_until_idle_or_fail(fixture.context);
  CHECK(failures() == 1);
  virtual_timer::advance(1ms);
  run_until_idle_or_fail(fixture.context);
  CHECK(failures() == 2);
  for (int tenth = 0; tenth < 10; ++tenth) {
    virtual_timer::advance(100ms);
    run_until_idle_or_fail(fixture.context);
  }
  CHECK(failures() == 12);
  served->send("LIST_FILES\n");  // existing connections are still served
  served->wait_for(empty_list);
  exhaustion.release();
  virtual_timer::advance(100ms);
  waiting.send("LIST_FILES\n");
  waiting.wait_for(empty_list);
  CHECK(failures() == 12);
}

TEST_CASE("a server out of descriptors can be stopped") {
  server_fixture<tcp> fixture;
  tcp::socket socket{fixture.context, fixture.endpoint.protocol()};
  descriptor_exhaustion exhaustion;
  socket.connect(fixture.endpoint);
  run_until_idle_or_fail(fixture.context);
  CHECK(fixture.count(asio::error::no_descriptors) == 1);
  exhaustion.release();
  expected_call<void(std::error_code)> stopped;
  stop(*fixture.server, stopped);
  run_until_idle_or_fail(fixture.context);
  CHECK(stopped.called());
  CHECK_FALSE(virtual_timer::any_waits());
}

TEST_CASE_TEMPLATE("a server out of descriptors can be destroyed", P, tcp, local) {
  server_fixture<P> fixture;
  typename P::socket socket{fixture.context, fixture.endpoint.protocol()};
  descriptor_exhaustion exhaustion;
  socket.connect(fixture.endpoint);
  run_until_idle_or_fail(fixture.context);
  CHECK(fixture.count(asio::error::no_descriptors) == 1);
  fixture.server.reset();
  run_until_idle_or_fail(fixture.context);
  CHECK_FALSE(virtual_timer::any_waits());
  CHECK(fixture.context.stopped());  // no handler of the server is left
}

TEST_CASE_TEMPLATE("a peer that disconnects before it is accepted does not stop the server", P, tcp,
                   local) {
  server_fixture<P> fixture;
  for (int i = 0; i < 10; ++i) {
    typename P::socket socket{fixture.context, fixture.endpoint.protocol()};
    socket.connect(fixture.endpoint);
    if constexpr (std::is_same_v<P, tcp>) socket.set_option(asio::socket_base::linger{true, 0});
  }
  fixture.connect_served();
}

namespace {

/// An observer whose copying fails with std::bad_alloc while `out_of_memory` is set.
struct throwing_observer {
  explicit throwing_observer(const bool& flag) : out_of_memory{flag} {}
  throwing_observer(const throwing_observer& other) : out_of_memory{other.out_of_memory} {
    if (out_of_memory) throw std::bad_alloc{};
  }
  void operator()(const std::string&, const session_event&) const {}

  const bool& out_of_memory;
};

}  // namespace

TEST_CASE_TEMPLATE("a server without memory for a connection closes it, and serves the next", P,
                   tcp, local) {
  bool out_of_memory = false;
  scratch_folder folder;
  memory_store<> store;
  asio::io_context context;
  {
    filexfer::server<P, memory_store<>> server{context.get_executor(),
                                               any_endpoint<P>(folder),
                                               store,
                                               {.max_connections = 1, .accept_pause = 1ms}};
    server.observe(throwing_observer{out_of_memory});
    server.start();
    out_of_memory = true;
    peer<P> unlucky{context, server.local_endpoint()};
    unlucky.wait_for_end();
    out_of_memory = false;
    peer<P> next{context, server.local_endpoint()};
    next.send("LIST_FILES\n");
    next.wait_for(empty_list);
  }
  run_until_idle_or_fail(context);
}

}  // namespace server_exhaustion_tests
