// Examples for the reference: how a pool connects, and streams that are chosen at run time.

#include "support.hpp"

#include <filexfer/any_stream.hpp>
#include <filexfer/client.hpp>
#include <filexfer/command_stream.hpp>
#include <filexfer/connector.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>
#include <filexfer/session.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <iostream>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace connector_snippets {

using asio::ip::tcp;
using snippets::captured_output;

TEST_CASE("a tcp_connector connects to a host") {
  snippets::loopback_server<> server;
  const std::string port = server.port();
  asio::io_context context;
  captured_output output;
  //! [tcp_connector]
  filexfer::tcp_connector connector{context.get_executor(), "127.0.0.1", port};
  connector.async_connect([](std::error_code ec, tcp::socket socket) {
    if (ec) return;
    filexfer::client client{std::move(socket)};
    std::cout << client.list_files().size() << " files\n";
  });
  context.run();
  //! [tcp_connector]
  CHECK(output.take() == "0 files\n");
}

TEST_CASE("a unix_connector connects to a socket's path") {
  const snippets::current_folder folder;
  filexfer::memory_store<> store;
  snippets::put(store, "note.txt", "hello");
  asio::io_context serving;
  using local = asio::local::stream_protocol;
  std::optional<filexfer::server<local, filexfer::memory_store<>>> server;
  server.emplace(serving.get_executor(), local::endpoint{"filexfer.sock"}, store);
  server->start();
  std::thread thread{[&] { serving.run(); }};
  asio::io_context context;
  captured_output output;
  //! [unix_connector]
  const filexfer::unix_connector connector{context.get_executor(), "filexfer.sock"};
  filexfer::transfer_pool pool{connector};
  const auto on_entry = [](const filexfer::listed_file& file) { std::cout << file.id << '\n'; };
  auto entries = pool.async_list_files({}, on_entry, asio::use_future);
  context.run();
  std::cout << entries.get() << " files\n";
  //! [unix_connector]
  server.reset();
  thread.join();
  CHECK(output.take() == snippets::id_of("hello").to_string() + "\n1 files\n");
}

TEST_CASE("an any_connector is chosen at run time") {
  snippets::loopback_server<> server;
  asio::io_context context;
  const auto executor = context.get_executor();
  const std::string port = server.port();
  const std::string address = "127.0.0.1";
  captured_output output;
  //! [any_connector]
  const auto connector_to = [&](const std::string& where) {
    if (where.starts_with("unix:")) {
      return filexfer::any_connector{filexfer::unix_connector{executor, where.substr(5)}};
    }
    return filexfer::any_connector{filexfer::tcp_connector{executor, where, port}};
  };
  filexfer::transfer_pool pool{connector_to(address)};  // of one type for both
  //! [any_connector]
  auto features = pool.async_features(asio::use_future);
  context.run();
  CHECK(features.get().digest == "md5");
}

TEST_CASE("an any_stream is a stream of any kind") {
  filexfer::memory_store<> store;
  asio::io_context context;
  auto [near, far] = filexfer::make_memory_pipe(context);
  filexfer::session session{std::move(far), store};
  session.async_run([](std::error_code) {});
  filexfer::memory_pipe pipe = std::move(near);
  captured_output output;
  //! [any_stream]
  filexfer::any_stream stream{std::move(pipe)};  // or a socket, or a command_stream
  filexfer::client<filexfer::any_stream> client{std::move(stream)};
  client.async_features([&](std::error_code ec, const filexfer::server_features& features) {
    std::cout << (ec ? ec.message() : features.digest) << '\n';
    client.next_layer().close(ec);
  });
  context.run();
  //! [any_stream]
  CHECK(output.take() == "md5\n");
}

TEST_CASE("a command_stream leads to a server, and tells why it ended") {
  asio::io_context context;
  captured_output output;
  // In place of: ssh host filexfer-server --listen stdio
  const std::string command =
      "read line; echo 'No files available at the moment'; echo; read line; exit 3";
  //! [command_stream]
  filexfer::command_stream stream{context.get_executor(), command};
  filexfer::client client{std::move(stream)};
  std::error_code ec;
  const auto files = client.list_files(ec);
  if (!ec) client.features(ec);
  if (ec) {
    const auto reason = client.next_layer().end_reason();
    std::cout << reason.value_or(ec.message()) << '\n';
  }
  //! [command_stream]
  CHECK(files.empty());
  CHECK(output.take() == "the command ended (exit status 3)\n");
}

TEST_CASE("a command_connector runs a command for each connection") {
  asio::io_context context;
  captured_output output;
  const std::string command = "read line; echo version=1; echo digest=md5; echo; read line";
  //! [command_connector]
  // such as "ssh host filexfer-server --listen stdio --store DIR"
  filexfer::transfer_pool pool{filexfer::command_connector{context.get_executor(), command}};
  auto features = pool.async_features(asio::use_future);
  context.run();
  std::cout << "ids are " << features.get().digest << '\n';
  //! [command_connector]
  CHECK(output.take() == "ids are md5\n");
}

}  // namespace connector_snippets
