// The simplest client: blocking calls that throw. main() begins with a server to talk to; the
// client's own code is the function above it.

#include <filexfer/filexfer.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <exception>
#include <iostream>
#include <string>
#include <system_error>
#include <thread>

using asio::ip::tcp;

/// Sends a text to the server at `where`, fetches it again and returns it.
std::string there_and_back(const tcp::endpoint& where, const std::string& text) {
  asio::io_context context;
  tcp::socket socket{context};
  socket.connect(where);
  socket.set_option(tcp::no_delay{true});
  filexfer::client client{std::move(socket)};

  // Returns when the server has stored the file and both ends have computed the same digest.
  filexfer::memory_source note{text};
  const auto sent = client.upload(note, "notes/today.txt");

  for (const auto& file : client.list_files()) {
    std::cout << file.id << "  " << file.size << "  " << filexfer::printable(file.name) << '\n';
  }

  // The digest is the file's id. The sink has the bytes once they are verified, else none.
  filexfer::memory_sink copy{1024 * 1024};
  client.download(sent.computed_there, copy);

  // Without exceptions: each function takes an error_code as its last argument.
  std::error_code ec;
  const filexfer::md5::digest_type nobody;
  client.download(nobody, copy, ec);
  if (ec == filexfer::errc::not_found) std::cout << "as expected: " << client.last_reply() << '\n';
  return std::string{copy.text()};
}

int main() {
  filexfer::memory_store<> store;
  asio::io_context context;
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.start();
  std::thread serving{[&] { context.run(); }};

  int result = 1;
  try {
    result = there_and_back(server.local_endpoint(), "hello") == "hello" ? 0 : 1;
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
  }
  server.async_stop([](std::error_code) {});
  serving.join();
  return result;
}
