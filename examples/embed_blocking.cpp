// The simplest client: blocking calls that throw. The client is round_trip(); main() also runs a
// server for it.

#include <filexfer/filexfer.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <exception>
#include <iostream>
#include <string>
#include <system_error>
#include <thread>

using asio::ip::tcp;

/// Uploads a text, downloads it again, and returns what arrived.
std::string round_trip(const tcp::endpoint& server, const std::string& text) {
  asio::io_context context;
  tcp::socket socket{context};
  socket.connect(server);
  socket.set_option(tcp::no_delay{true});
  filexfer::client client{std::move(socket)};

  // Returns once the server has stored the file and both sides have computed the same digest.
  filexfer::memory_source source{text};
  const auto uploaded = client.upload(source, "notes/today.txt");

  for (const auto& file : client.list_files()) {
    std::cout << file.id << "  " << file.size << "  " << filexfer::printable(file.name) << '\n';
  }

  // A file's id is its digest. The sink keeps the bytes only if they match it.
  filexfer::memory_sink sink{1024 * 1024};
  client.download(uploaded.remote_digest, sink);

  // Each function also takes an error_code as its last argument, and then does not throw.
  std::error_code ec;
  const filexfer::md5::digest_type unknown_id;
  client.download(unknown_id, sink, ec);
  if (ec == filexfer::errc::not_found) std::cout << "as expected: " << client.last_reply() << '\n';
  return std::string{sink.text()};
}

int main() {
  filexfer::memory_store<> store;
  asio::io_context context;
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.start();
  std::thread server_thread{[&] { context.run(); }};

  int exit_code = 1;
  try {
    exit_code = round_trip(server.local_endpoint(), "hello") == "hello" ? 0 : 1;
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
  }
  server.async_stop([](std::error_code) {});
  server_thread.join();
  return exit_code;
}
