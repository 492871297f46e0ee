#ifndef FILEXFER_TESTS_SNIPPETS_CONNECTED_CLIENT_HPP
#define FILEXFER_TESTS_SNIPPETS_CONNECTED_CLIENT_HPP

// A client that is connected to a server, for the examples of its operations.

#include "support.hpp"

#include <filexfer/client.hpp>
#include <filexfer/md5.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

namespace snippets {

using digest = filexfer::md5::digest_type;
using client_type = filexfer::client<tcp::socket>;

/// A server with a file, and a client of it.
struct connected_client {
  connected_client() { write_file("cat.jpg", "meow"); }

  current_folder folder;
  snippets::loopback_server<> server;
  digest dog = put(server.store, "photos/dog.jpg", "woof");
  asio::io_context context;
  client_type client{server.connect(context)};
  captured_output output;
};

}  // namespace snippets

#endif
