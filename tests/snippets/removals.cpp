// Examples for the reference: removing files.

#include "support.hpp"

#include <filexfer/client.hpp>
#include <filexfer/connector.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <doctest/doctest.h>

#include <iostream>
#include <string>
#include <system_error>

namespace removals_snippets {
namespace {

using asio::ip::tcp;
using snippets::captured_output;

filexfer::server_options that_allow_it() {
  filexfer::server_options options;
  options.session.permitted.remove = true;
  return options;
}

struct server_with_file {
  snippets::loopback_server<> server{that_allow_it()};
  filexfer::md5::digest_type id = snippets::put(server.store, "a.txt", "hello");
  asio::io_context context;
  captured_output output;
};

}  // namespace

TEST_CASE_FIXTURE(server_with_file, "a client removes a file's name") {
  tcp::socket socket = server.connect(context);
  //! [remove]
  filexfer::client<tcp::socket&> client{socket};
  if (client.remove(id, "a.txt")) std::cout << "removed\n";
  else std::cout << "there was no such file\n";
  //! [remove]
  CHECK(output.take() == "removed\n");
  CHECK(snippets::names_in(server.store).empty());
}

TEST_CASE_FIXTURE(server_with_file, "a client removes a file's name asynchronously") {
  filexfer::client<tcp::socket> client{server.connect(context)};
  //! [async_remove]
  client.async_remove(id, "a.txt", [](std::error_code ec, bool found) {
    if (ec) std::cerr << ec.message() << '\n';
    else std::cout << (found ? "removed\n" : "there was no such file\n");
  });
  context.run();
  //! [async_remove]
  CHECK(output.take() == "removed\n");
}

TEST_CASE_FIXTURE(server_with_file, "a pool removes a file's name") {
  filexfer::transfer_pool pool{
      filexfer::tcp_connector{context.get_executor(), "127.0.0.1", server.port()}};
  //! [pool_async_remove]
  pool.async_remove(id, "a.txt", [](std::error_code ec, bool found) {
    if (ec) std::cerr << ec.message() << '\n';
    else std::cout << (found ? "removed\n" : "there was no such file\n");
  });
  context.run();
  //! [pool_async_remove]
  CHECK(output.take() == "removed\n");
}

TEST_CASE("a store removes a file with its last name") {
  const snippets::current_folder folder;
  filexfer::directory_store<> store{"files"};
  const auto id = snippets::put(store, "note.txt", "hello");
  //! [store_remove]
  std::error_code ec;
  const bool found = store.remove(id, "note.txt", ec);
  //! [store_remove]
  CHECK_FALSE(ec);
  CHECK(found);
  CHECK(snippets::names_in(store).empty());
}

TEST_CASE("the line that names what to remove is formatted and parsed") {
  captured_output output;
  //! [remove_request]
  using digest = filexfer::md5::digest_type;
  const std::string line = "5d41402abc4b2a76b9719d911017c592;a%3Bb.txt";
  std::error_code ec;
  const auto request = filexfer::parse_remove_request<digest>(line, ec);
  if (!ec) std::cout << request.name << '\n';
  //! [remove_request]
  CHECK(output.take() == "a;b.txt\n");
  CHECK(filexfer::format_remove_request(request) == line);
}

}  // namespace removals_snippets
