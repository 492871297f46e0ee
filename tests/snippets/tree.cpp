// Examples for the reference: folders.

#include "support.hpp"

#include <filexfer/client.hpp>
#include <filexfer/tree_sink.hpp>
#include <filexfer/tree_source.hpp>

#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <filesystem>
#include <iostream>
#include <system_error>

namespace tree_snippets {

using snippets::captured_output;

TEST_CASE("a tree_source walks through a folder") {
  const snippets::current_folder folder;
  snippets::write_file("photos/2021/dog.jpg", "woof");
  snippets::write_file("photos/cat.jpg", "meow");
  std::filesystem::create_symlink("cat.jpg", "photos/link.jpg");
  captured_output output;
  //! [tree_source]
  filexfer::tree_source files{"photos", filexfer::on_symlink::skip};
  for (const filexfer::tree_file& file : files) {
    if (file.error()) std::cout << file.path() << ": " << file.error().message() << '\n';
    else std::cout << file.name() << '\n';
  }
  //! [tree_source]
  CHECK(output.take() ==
        "2021/dog.jpg\ncat.jpg\n\"photos/link.jpg\": a symbolic link, which is not followed\n");
}

TEST_CASE("a file of a tree is opened in its turn") {
  const snippets::current_folder folder;
  snippets::write_file("photos/cat.jpg", "meow");
  snippets::loopback_server<> server;
  asio::io_context context;
  filexfer::client client{server.connect(context)};
  //! [tree_file]
  filexfer::tree_source files{"photos"};
  for (const filexfer::tree_file& file : files) {
    std::error_code ec = file.error();
    if (ec) continue;
    filexfer::file_source source = file.open(ec);
    if (!ec) client.upload(source, file.name(), ec);
    if (ec) std::cerr << file.path() << ": " << ec.message() << '\n';
  }
  //! [tree_file]
  CHECK(snippets::text_in(server.store, "cat.jpg") == "meow");
}

TEST_CASE("a tree_sink gives files the names that they have at the server") {
  const snippets::current_folder folder;
  snippets::loopback_server<> server;
  snippets::put(server.store, "2021/dog.jpg", "woof");
  std::filesystem::create_directory("copies");
  asio::io_context context;
  filexfer::client client{server.connect(context)};
  //! [tree_sink]
  filexfer::tree_sink copies{"copies", filexfer::on_existing::replace};
  for (const auto& file : client.list_files()) {
    client.download(file.id, copies);  // as copies/2021/dog.jpg, in a new folder
  }
  //! [tree_sink]
  CHECK(snippets::read_file("copies/2021/dog.jpg") == "woof");
}

TEST_CASE("a tree_root is shared by the sinks of several connections") {
  const snippets::current_folder folder;
  snippets::loopback_server<> server;
  const auto id = snippets::put(server.store, "2021/dog.jpg", "woof");
  std::filesystem::create_directory("copies");
  asio::io_context context;
  filexfer::client client{server.connect(context)};
  //! [tree_root]
  filexfer::tree_root copies{"copies"};  // must outlive the sinks
  std::error_code ec;
  if (!copies.existing("2021/dog.jpg", ec)) {
    filexfer::tree_sink sink{copies};
    client.download(id, sink);
  }
  //! [tree_root]
  CHECK(ec == std::errc::no_such_file_or_directory);
  CHECK(copies.existing("2021/dog.jpg", ec));
}

}  // namespace tree_snippets
