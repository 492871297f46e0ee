// Examples for the reference: streams over pipes, in memory, and for tests.

#include "support.hpp"

#include <filexfer/client.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/peer_identity.hpp>
#include <filexfer/pipe_stream.hpp>
#include <filexfer/recording_stream.hpp>
#include <filexfer/session.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/system_executor.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <unistd.h>

namespace stream_snippets {

using snippets::captured_output;

TEST_CASE("a client and a session talk through a memory_pipe") {
  //! [memory_pipe]
  filexfer::memory_store<> store;
  auto [client_end, server_end] = filexfer::make_memory_pipe(asio::system_executor{});
  filexfer::session session{std::move(server_end), store};
  std::thread server_thread{[&] { session.run(); }};
  filexfer::client client{std::move(client_end)};
  filexfer::memory_source note{std::string{"hello"}};
  client.upload(note, "note.txt");
  client.next_layer().close();  // which ends the session
  server_thread.join();
  //! [memory_pipe]
  CHECK(snippets::text_in(store, "note.txt") == "hello");
}

TEST_CASE("both ends of a memory_pipe are used on one context") {
  captured_output output;
  //! [make_memory_pipe]
  asio::io_context context;
  auto [first, second] = filexfer::make_memory_pipe(context);
  const std::string_view text = "hello";
  std::array<char, 100> received{};
  first.async_write_some(asio::buffer(text), [](std::error_code, std::size_t) {});
  second.async_read_some(asio::buffer(received), [&](std::error_code ec, std::size_t bytes) {
    if (!ec) std::cout << std::string_view{received.data(), bytes} << '\n';
  });
  context.run();
  //! [make_memory_pipe]
  CHECK(output.take() == "hello\n");
}

TEST_CASE("a pipe_stream is made of two pipes") {
  std::array<int, 2> up{};
  std::array<int, 2> down{};
  REQUIRE(::pipe(up.data()) == 0);
  REQUIRE(::pipe(down.data()) == 0);
  filexfer::memory_store<> store;
  snippets::put(store, "note.txt", "hello");
  asio::io_context unused;
  filexfer::session session{filexfer::pipe_stream{unused.get_executor(), up[0], down[1]}, store};
  std::thread server_thread{[&] { session.run(); }};
  const int from_server = down[0];
  const int to_server = up[1];
  captured_output output;
  //! [pipe_stream]
  asio::io_context context;
  filexfer::pipe_stream stream{context.get_executor(), from_server, to_server};  // owns both
  filexfer::client client{std::move(stream)};
  std::cout << client.list_files().size() << " files\n";
  client.next_layer().close();
  //! [pipe_stream]
  server_thread.join();
  CHECK(output.take() == "1 files\n");
}

TEST_CASE("a local socket knows whose process is at the other end") {
  asio::io_context context;
  asio::local::stream_protocol::socket socket{context};
  asio::local::stream_protocol::socket other{context};
  asio::local::connect_pair(socket, other);
  captured_output output;
  //! [identify_peer]
  const filexfer::peer_identity peer = filexfer::identify_peer(socket);
  if (peer.user_id == ::geteuid()) std::cout << "one of our own\n";
  //! [identify_peer]
  CHECK(output.take() == "one of our own\n");
}

TEST_CASE("a session serves standard input and output") {
  std::array<int, 2> up{};
  std::array<int, 2> down{};
  REQUIRE(::pipe(up.data()) == 0);
  REQUIRE(::pipe(down.data()) == 0);
  std::cout.flush();
  const std::array<int, 2> before{::dup(STDIN_FILENO), ::dup(STDOUT_FILENO)};
  ::dup2(up[0], STDIN_FILENO);
  ::dup2(down[1], STDOUT_FILENO);
  ::close(up[0]);
  ::close(down[1]);
  std::string uploaded;
  std::thread client_thread{[&] {
    asio::io_context unused;
    filexfer::client client{filexfer::pipe_stream{unused.get_executor(), down[0], up[1]}};
    filexfer::memory_source note{std::string{"hello"}};
    std::error_code ec;
    client.upload(note, "note.txt", ec);
  }};
  {
    //! [take_standard_streams]
    const auto standard = filexfer::take_standard_streams();
    asio::io_context context;
    filexfer::pipe_stream stream{context.get_executor(), standard.input, standard.output};
    filexfer::memory_store<> store;
    filexfer::session session{std::move(stream), store};
    session.run();
    //! [take_standard_streams]
    uploaded = snippets::names_in(store);
  }
  client_thread.join();
  ::dup2(before[0], STDIN_FILENO);
  ::dup2(before[1], STDOUT_FILENO);
  ::close(before[0]);
  ::close(before[1]);
  CHECK(uploaded == "note.txt");
}

TEST_CASE("a fault_stream breaks where it is told to") {
  filexfer::memory_store<> store;
  auto [near, far] = filexfer::make_memory_pipe(asio::system_executor{});
  filexfer::session session{std::move(far), store};
  std::error_code session_ended;
  std::thread server_thread{[&] { session.run(session_ended); }};
  filexfer::memory_pipe end = std::move(near);
  captured_output output;
  {
    //! [fault_stream]
    filexfer::fault_stream<filexfer::memory_pipe> faulty{std::move(end),
                                                         {.reset_after_written = 20}};
    filexfer::client client{std::move(faulty)};
    filexfer::memory_source note{std::string(1000, 'x')};
    std::error_code ec;
    client.upload(note, "note.txt", ec);  // as if the connection broke after 20 bytes
    if (ec == asio::error::connection_reset) std::cout << "the code under test noticed\n";
    //! [fault_stream]
  }
  server_thread.join();
  CHECK(output.take() == "the code under test noticed\n");
  CHECK(session_ended);
  CHECK(snippets::names_in(store).empty());
}

TEST_CASE("the plan of a fault_stream is changed later") {
  auto [near, far] = filexfer::make_memory_pipe(asio::system_executor{});
  //! [plan]
  filexfer::fault_stream<filexfer::memory_pipe&> faulty{near};
  std::array<char, 10> bytes{};
  std::error_code ec;
  faulty.write_some(asio::buffer(bytes), ec);
  faulty.plan({.break_after_written = faulty.bytes_written()});
  faulty.write_some(asio::buffer(bytes), ec);  // asio::error::broken_pipe
  //! [plan]
  CHECK(ec == asio::error::broken_pipe);
  CHECK(faulty.bytes_written() == 10);
}

TEST_CASE("a recording_stream shows the dialogue") {
  filexfer::memory_store<> store;
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context);
  filexfer::session session{std::move(far), store};
  session.async_run([](std::error_code) {});
  filexfer::memory_pipe pipe = std::move(near);
  captured_output output;
  //! [recording_stream]
  filexfer::recording_stream<filexfer::memory_pipe> recorded{std::move(pipe)};
  filexfer::client client{std::move(recorded)};
  client.async_list_files([&](std::error_code ec, const auto&) { client.next_layer().close(ec); });
  context.run();
  filexfer::recording& sent = client.next_layer().sent();
  while (const auto line = sent.take_line()) std::cout << "C: " << *line << '\n';
  filexfer::recording& received = client.next_layer().received();
  while (const auto line = received.take_line()) std::cout << "S: " << *line << '\n';
  //! [recording_stream]
  CHECK(output.take() == "C: LIST_FILES\nS: No files available at the moment\nS: \n");
}

}  // namespace stream_snippets
