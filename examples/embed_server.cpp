// A server in ten lines, and how to stop it.

#include <filexfer/client.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/server.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/thread_pool.hpp>

#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>
#include <thread>

#include <unistd.h>

using asio::ip::tcp;

/// A client for this example: whether it could upload a file.
bool upload_note(const tcp::endpoint& server) {
  asio::io_context context;
  tcp::socket socket{context};
  socket.connect(server);
  filexfer::client client{std::move(socket)};
  filexfer::memory_source source{std::string{"hello"}};
  std::error_code ec;
  client.upload(source, "note.txt", ec);
  return !ec;
}

int main() {
  const auto folder = std::filesystem::temp_directory_path() /
                      ("filexfer-embed-server-" + std::to_string(::getpid()));

  // Your own program may consist of these ten lines and `context.run()`.
  filexfer::directory_store<> store{folder};  // must outlive the context's handlers
  asio::io_context context;
  asio::thread_pool workers{2};  // hash and flush, so that no client delays another
  filexfer::server<tcp, filexfer::directory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.work_executor(workers.get_executor());
  server.observe([](const std::string& peer, const filexfer::session_event& event) {
    std::cout << peer + ": " + filexfer::printable(event.name) + ": " + event.error.message() +
                     '\n';
  });
  server.start();

  // Any number of threads may run the context.
  std::thread thread_1{[&] { context.run(); }};
  std::thread thread_2{[&] { context.run(); }};
  const bool uploaded = upload_note(server.local_endpoint());

  // Transfers in flight may finish within `server_options::grace`; then run() returns.
  server.async_stop([](std::error_code) { std::cout << "stopped\n"; });
  thread_1.join();
  thread_2.join();

  // The files are plain files: <folder>/<id>/<name>.
  const auto file = folder / "5d41402abc4b2a76b9719d911017c592" / "note.txt";
  const bool stored = std::filesystem::file_size(file) == 5;
  std::filesystem::remove_all(folder);
  return uploaded && stored ? 0 : 1;
}
