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

/// Uploads something, so that this example has a client too.
bool visit(const tcp::endpoint& where) {
  asio::io_context context;
  tcp::socket socket{context};
  socket.connect(where);
  filexfer::client client{std::move(socket)};
  filexfer::memory_source note{std::string{"hello"}};
  std::error_code ec;
  client.upload(note, "note.txt", ec);
  return !ec;
}

int main() {
  const auto folder = std::filesystem::temp_directory_path() /
                      ("filexfer-embed-server-" + std::to_string(::getpid()));

  // A program of your own may have these ten lines and `context.run()`.
  filexfer::directory_store<> store{folder};  // outlives what may still run in the context
  asio::io_context context;
  asio::thread_pool workers{2};  // for hashing and flushing, so that no client delays another
  filexfer::server<tcp, filexfer::directory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.work_executor(workers.get_executor());
  server.observe([](const std::string& peer, const filexfer::session_event& event) {
    std::cout << peer + ": " + filexfer::printable(event.name) + ": " + event.error.message() +
                     '\n';
  });
  server.start();

  // Any number of threads may run the context.
  std::thread one{[&] { context.run(); }};
  std::thread other{[&] { context.run(); }};
  const bool visited = visit(server.local_endpoint());

  // Transfers under way may end within `server_options::grace`; then run() returns.
  server.async_stop([](std::error_code) { std::cout << "stopped\n"; });
  one.join();
  other.join();

  // The files are plain files: <folder>/<id>/<name>.
  const auto file = folder / "5d41402abc4b2a76b9719d911017c592" / "note.txt";
  const bool stored = std::filesystem::file_size(file) == 5;
  std::filesystem::remove_all(folder);
  return visited && stored ? 0 : 1;
}
