// Examples for the reference: a client, its features and lists.

#include "connected_client.hpp"
#include "support.hpp"

#include <filexfer/client.hpp>
#include <filexfer/error.hpp>
#include <filexfer/file.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/sha256.hpp>
#include <filexfer/transfer.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <cstdint>
#include <iostream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace client_snippets {

using asio::ip::tcp;
using snippets::captured_output;
using snippets::client_type;
using snippets::connected_client;
using snippets::current_folder;
using snippets::digest;
using snippets::id_of;
using snippets::put;
using snippets::write_file;

TEST_CASE("a client is made of a connected socket, and reports or throws its errors") {
  current_folder folder;
  snippets::loopback_server<> server;
  const tcp::endpoint endpoint = server.endpoint();
  asio::io_context context;
  captured_output output;
  //! [client]
  tcp::socket socket{context};
  socket.connect(endpoint);
  socket.set_option(tcp::no_delay{true});
  filexfer::client client{std::move(socket)};  // owns the socket
  filexfer::memory_source note{std::string{"hello"}};
  client.upload(note, "note.txt");  // throws std::system_error

  const filexfer::md5::digest_type unknown_id;
  filexfer::file_sink copy{"copy.txt"};
  std::error_code ec;
  client.download(unknown_id, copy, ec);  // throws nothing
  if (ec == filexfer::errc::not_found) std::cout << client.last_reply() << '\n';
  //! [client]
  CHECK(output.take() == "ERROR not-found no file has that id\n");
  CHECK(snippets::names_in(server.store) == "note.txt");
}

TEST_CASE_FIXTURE(connected_client, "a work executor hashes while the next bytes move") {
  write_file("video.mp4", std::string(3'000'000, 'v'));
  //! [work_executor]
  filexfer::file_source video{"video.mp4"};
  asio::thread_pool workers{2};  // declared after the context and the source
  client.work_executor(workers.get_executor());
  auto uploaded = client.async_upload(video, std::string{"video.mp4"}, asio::use_future);
  context.run();
  std::cout << uploaded.get().bytes << " bytes sent\n";
  //! [work_executor]
  CHECK(output.take() == "3000000 bytes sent\n");
  CHECK(snippets::text_in(server.store, "video.mp4").size() == 3'000'000);
}

// ---------------------------------------------------------------------------------------- features

TEST_CASE_FIXTURE(connected_client, "features tell the version and the kind of digest") {
  //! [features]
  const filexfer::server_features features = client.features();
  std::cout << "version " << features.version << ", ids are " << features.digest << '\n';
  if (features.resume) std::cout << "interrupted uploads are kept\n";
  //! [features]
  CHECK(output.take() == "version 1, ids are md5\n");
}

TEST_CASE_FIXTURE(connected_client, "features can be asked for with a callback") {
  //! [async_features]
  client.async_features([](std::error_code ec, const filexfer::server_features& features) {
    if (ec) std::cerr << ec.message() << '\n';
    else if (features.have) std::cout << "names can be added without sending bytes\n";
  });
  context.run();
  //! [async_features]
  CHECK(output.take() == "names can be added without sending bytes\n");
}

TEST_CASE("a client of another digest takes over what the first one was told") {
  snippets::loopback_server<filexfer::memory_store<filexfer::sha256>, filexfer::sha256> server;
  put<filexfer::sha256>(server.store, "photos/dog.jpg", "woof");
  asio::io_context context;
  tcp::socket socket = server.connect(context);
  captured_output output;
  //! [known_features]
  filexfer::client<tcp::socket&> first{socket};  // does not own the socket
  const auto features = first.features();
  if (features.digest == filexfer::sha256::name()) {
    filexfer::client<tcp::socket&, filexfer::sha256> client{socket};
    client.known_features(features);
    for (const auto& file : client.list_files({.prefix = "photos/"})) {
      std::cout << file.id << '\n';
    }
  }
  //! [known_features]
  CHECK(output.take() == id_of<filexfer::sha256>("woof").to_string() + '\n');
}

// ------------------------------------------------------------------------------------------- lists

TEST_CASE_FIXTURE(connected_client, "a list is a vector") {
  put(server.store, "notes.txt", "hello");
  //! [list_files]
  for (const auto& file : client.list_files({.prefix = "photos/"})) {
    std::cout << file.id << ' ' << file.size << ' ' << filexfer::printable(file.name) << '\n';
  }
  //! [list_files]
  CHECK(output.take() == dog.to_string() + " 4 photos/dog.jpg\n");
}

TEST_CASE_FIXTURE(connected_client, "a list is as long as it is, if each entry is taken at once") {
  put(server.store, "notes.txt", "hello");
  //! [list_files_each]
  std::uint64_t bytes = 0;
  const auto on_entry = [&](const auto& file) { bytes += file.size; };
  client.list_files(on_entry);

  // One that takes an error code, too, may end the list.
  const filexfer::list_request photos{.prefix = "photos/", .mtime = true};
  const auto find_large = [](const client_type::file_info& file, std::error_code& ec) {
    if (file.size > 1'000'000'000) ec = filexfer::errc::too_large;
  };
  client.list_files(photos, find_large);
  //! [list_files_each]
  CHECK(bytes == 9);
}

TEST_CASE_FIXTURE(connected_client, "a list is a future") {
  //! [async_list_files]
  auto listed = client.async_list_files({.prefix = "photos/", .mtime = true}, asio::use_future);
  context.run();  // or another thread runs it
  for (const auto& file : listed.get()) {
    if (file.modified) std::cout << filexfer::printable(file.name) << " has a time\n";
  }
  //! [async_list_files]
  CHECK(output.take() == "photos/dog.jpg has a time\n");
}

TEST_CASE_FIXTURE(connected_client, "a list comes entry by entry, then the handler is called") {
  //! [async_list_files_each]
  const auto on_entry = [](const auto& file) {
    std::cout << filexfer::printable(file.name) << '\n';
  };
  client.async_list_files(on_entry, [](std::error_code ec) {
    std::cout << (ec ? ec.message() : "that is all") << '\n';
  });
  context.run();
  //! [async_list_files_each]
  CHECK(output.take() == "photos/dog.jpg\nthat is all\n");
}

}  // namespace client_snippets
