// Examples for the reference: a server.

#include "support.hpp"

#include <filexfer/client.hpp>
#include <filexfer/connection_counter.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/ip_network.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>
#include <filexfer/session_log.hpp>

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/thread_pool.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace server_snippets {

using asio::ip::tcp;
using snippets::captured_output;

namespace {

using server_type = filexfer::server<tcp, filexfer::memory_store<>>;
using namespace std::chrono_literals;

void upload_note(const tcp::endpoint& endpoint) {
  asio::io_context context;
  tcp::socket socket{context};
  socket.connect(endpoint);
  filexfer::client client{std::move(socket)};
  filexfer::memory_source note{std::string{"hello"}};
  client.upload(note, "note.txt");
}

struct memory_server {
  filexfer::memory_store<> store;
  asio::io_context context;
  server_type server{context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};

  /// Runs the context while a client uploads, and until the server has stopped.
  void serve_upload() {
    std::thread client_thread{[this] {
      upload_note(server.local_endpoint());
      server.async_stop([](std::error_code) {});
    }};
    context.run();
    client_thread.join();
  }
};

}  // namespace

TEST_CASE("a server serves a folder on any number of threads") {
  const snippets::current_folder folder;
  const tcp::endpoint endpoint{asio::ip::address_v4::loopback(), 0};
  //! [start]
  filexfer::directory_store<> store{"files"};  // must outlive the context's handlers
  asio::io_context context;
  filexfer::server<tcp, filexfer::directory_store<>> server{context.get_executor(), endpoint,
                                                            store};
  server.start();
  std::thread first{[&] { context.run(); }};
  std::thread second{[&] { context.run(); }};
  //! [start]
  upload_note(server.local_endpoint());
  server.async_stop([](std::error_code) {});
  first.join();
  second.join();
  CHECK(std::filesystem::exists("files/5d41402abc4b2a76b9719d911017c592/note.txt"));
}

TEST_CASE_FIXTURE(memory_server, "a server has each request allowed by its owner") {
  //! [authorize]
  server.authorize([](const filexfer::peer_identity& peer, const filexfer::access_request& request,
                      const filexfer::access_answer& answer) {
    const bool local = peer.address.starts_with("127.0.0.1:");
    const bool allowed = local || request.verb == filexfer::command::download;
    answer(allowed ? std::error_code{} : filexfer::errc::denied);  // may be called later, too
  });
  //! [authorize]
  server.start();
  serve_upload();
  CHECK(snippets::text_in(store, "note.txt") == "hello");
}

TEST_CASE_FIXTURE(memory_server, "a server behind a load balancer logs its client's address") {
  captured_output output{std::clog};
  server.observe([this](const std::string& peer, const filexfer::session_event& event) {
    std::clog << filexfer::format_event(std::chrono::system_clock::now(), peer, event) + '\n';
    server.async_stop([](std::error_code) {});
  });
  //! [expect_proxy]
  const auto balancers = filexfer::parse_ip_network("10.1.0.0/30");
  const auto local = filexfer::parse_ip_network("127.0.0.1");
  server.expect_proxy({*balancers, *local});  // nobody else is served
  server.start();
  //! [expect_proxy]
  tcp::socket balancer{context};
  balancer.connect(server.local_endpoint());
  const std::string bytes = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 9999\r\nLIST_FILES\n";
  asio::write(balancer, asio::buffer(bytes));
  balancer.shutdown(tcp::socket::shutdown_send);
  context.run();
  CHECK(output.take().find(" 192.0.2.7:4711 LIST_FILES 0 entries ") != std::string::npos);
}

TEST_CASE_FIXTURE(memory_server, "a server logs each command with the peer's address") {
  captured_output output{std::clog};
  //! [observe]
  server.observe([](const std::string& peer, const filexfer::session_event& event) {
    const auto now = std::chrono::system_clock::now();
    std::clog << filexfer::format_event(now, peer, event) + '\n';  // one write: threads share it
  });
  //! [observe]
  server.start();
  serve_upload();
  CHECK(output.take().find(" UPLOAD \"note.txt\" 5 bytes 5d4140") != std::string::npos);
}

TEST_CASE_FIXTURE(memory_server, "a server hashes and flushes on a work executor") {
  //! [work_executor]
  asio::thread_pool workers{2};  // declared after the context and the store
  server.work_executor(workers.get_executor());
  server.start();
  //! [work_executor]
  serve_upload();
  CHECK(snippets::text_in(store, "note.txt") == "hello");
}

TEST_CASE_FIXTURE(memory_server, "a server accesses its store on a blocking executor") {
  //! [blocking_executor]
  asio::thread_pool workers{2};  // one for each core, for hashing
  asio::thread_pool disk{64};    // as many files may be stalled before a client notices
  server.work_executor(workers.get_executor());
  server.blocking_executor(disk.get_executor());
  server.start();
  //! [blocking_executor]
  serve_upload();
  CHECK(snippets::text_in(store, "note.txt") == "hello");
}

TEST_CASE("servers with one counter keep to common limits") {
  filexfer::memory_store<> store;
  asio::io_context context;
  const asio::ip::address loopback = asio::ip::address_v4::loopback();
  //! [connection_counter]
  filexfer::server_options options{.max_connections = 200, .max_connections_per_address = 1};
  options.counter = std::make_shared<filexfer::connection_counter>();
  server_type server{context.get_executor(), {loopback, 0}, store, options};
  server_type other{context.get_executor(), {loopback, 0}, store, options};  // 200 in total
  //! [connection_counter]
  server.start();
  other.start();
  tcp::socket first{context};
  first.connect(server.local_endpoint());
  while (options.counter->connections() == 0) context.run_one();
  tcp::socket second{context};
  second.connect(other.local_endpoint());
  std::string reply(1000, ' ');
  std::size_t bytes = 0;
  second.async_read_some(asio::buffer(reply), [&](std::error_code, std::size_t n) { bytes = n; });
  while (bytes == 0) context.run_one();
  CHECK(reply.starts_with("ERROR busy "));
}

TEST_CASE("a server stops within its grace period") {
  filexfer::memory_store<> store;
  asio::io_context context;
  const tcp::endpoint endpoint{asio::ip::address_v4::loopback(), 0};
  captured_output output;
  //! [async_stop]
  server_type server{context.get_executor(), endpoint, store, {.grace = 30s}};
  server.start();
  const auto on_signal = [&](std::error_code, int) {
    server.async_stop([](std::error_code) { std::cout << "stopped\n"; });
  };
  //! [async_stop]
  on_signal({}, SIGTERM);
  context.run();
  CHECK(output.take() == "stopped\n");
}

}  // namespace server_snippets
