// Examples for the reference: a session on one connection.

#include "support.hpp"

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>
#include <filexfer/session_log.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/system_executor.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <iostream>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace session_snippets {

using asio::ip::tcp;
using snippets::captured_output;

namespace {

using store_type = filexfer::memory_store<>;
using session_type = filexfer::session<filexfer::memory_pipe, store_type>;

/// Uploads a note, then closes the connection.
template <class Stream>
void upload_note(Stream stream) {
  filexfer::client client{std::move(stream)};
  filexfer::memory_source note{std::string{"hello"}};
  client.upload(note, "note.txt");
}

}  // namespace

TEST_CASE("a session serves one connection until the client closes it") {
  asio::io_context context;
  tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
  store_type store;
  std::thread client_thread{[endpoint = acceptor.local_endpoint()] {
    asio::io_context own;
    tcp::socket socket{own};
    socket.connect(endpoint);
    upload_note(std::move(socket));
  }};
  //! [run]
  tcp::socket socket = acceptor.accept();
  filexfer::session session{std::move(socket), store};
  std::error_code ec;
  session.run(ec);  // until the client has closed the connection
  if (ec) std::cerr << "the connection failed: " << ec.message() << '\n';
  //! [run]
  client_thread.join();
  CHECK_FALSE(ec);
  CHECK(snippets::names_in(store) == "note.txt");
}

TEST_CASE("a session ends after the command in progress when it is asked to") {
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context);
  store_type store;
  session_type session{std::move(far), store};
  captured_output output;
  //! [async_run]
  asio::cancellation_signal stop;
  const auto on_end = [](std::error_code ec) {
    std::cout << (ec ? ec.message() : "the client is served") << '\n';
  };
  session.async_run(asio::bind_cancellation_slot(stop.slot(), on_end));
  const auto shut_down = [&] {  // lets the command in progress end
    stop.emit(asio::cancellation_type::total);
  };
  //! [async_run]
  context.poll();
  shut_down();
  near.close();
  context.run();
  CHECK(output.take() == "the client is served\n");
}

TEST_CASE("a session has each request allowed by its owner") {
  auto [near, far] = filexfer::make_memory_pipe(asio::system_executor{});
  store_type store;
  session_type session{std::move(far), store};
  //! [authorize]
  session.authorize([](const filexfer::peer_identity&, const filexfer::access_request& request,
                       const filexfer::access_answer& answer) {
    const bool private_name = request.name.starts_with("private/");
    answer(private_name ? filexfer::errc::denied : std::error_code{});
  });
  //! [authorize]
  std::thread client_thread{[end = std::move(near)]() mutable { upload_note(std::move(end)); }};
  session.run();
  client_thread.join();
  CHECK(snippets::names_in(store) == "note.txt");
}

TEST_CASE("a session reports each command to its observer") {
  auto [near, far] = filexfer::make_memory_pipe(asio::system_executor{});
  store_type store;
  session_type session{std::move(far), store};
  captured_output output;
  //! [observe]
  session.observe([](const filexfer::session_event& event) {
    const auto now = std::chrono::system_clock::now();
    std::cout << filexfer::format_event(now, "127.0.0.1:9", event) << '\n';
  });
  //! [observe]
  std::thread client_thread{[end = std::move(near)]() mutable { upload_note(std::move(end)); }};
  session.run();
  client_thread.join();
  CHECK(output.take().find("127.0.0.1:9 UPLOAD \"note.txt\" 5 bytes") != std::string::npos);
}

TEST_CASE("a session accesses its store on a blocking executor") {
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context);
  store_type store;
  session_type session{std::move(far), store};
  std::optional<std::error_code> ended;
  //! [blocking_executor]
  asio::thread_pool disk{16};  // declared after the context and the store
  session.blocking_executor(disk.get_executor());
  session.async_run([&](std::error_code ec) { ended = ec; });
  //! [blocking_executor]
  std::thread client_thread{[end = std::move(near)]() mutable { upload_note(std::move(end)); }};
  context.run();
  client_thread.join();
  CHECK(ended == std::error_code{});
  CHECK(snippets::names_in(store) == "note.txt");
}

TEST_CASE("a session hashes and flushes on a work executor") {
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context);
  store_type store;
  session_type session{std::move(far), store};
  std::optional<std::error_code> ended;
  //! [work_executor]
  asio::thread_pool workers{2};  // declared after the context and the store
  session.work_executor(workers.get_executor());
  session.async_run([&](std::error_code ec) { ended = ec; });
  //! [work_executor]
  std::thread client_thread{[end = std::move(near)]() mutable { upload_note(std::move(end)); }};
  context.run();
  client_thread.join();
  CHECK(ended == std::error_code{});
  CHECK(snippets::names_in(store) == "note.txt");
}

}  // namespace session_snippets
