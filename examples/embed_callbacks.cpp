// An asynchronous client with callbacks: one thread runs client and server, and has deadlines.

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <chrono>
#include <iostream>
#include <string>
#include <system_error>
#include <utility>

using asio::ip::tcp;

filexfer::client_options options_with_deadline() {
  filexfer::client_options options;
  options.limits.reply = std::chrono::seconds{30};
  return options;
}

/// Uploads a file and downloads it again. Must live until `on_complete` is called: the operations
/// refer to the client, the source and the sink.
class round_trip {
 public:
  round_trip(tcp::socket socket, std::string text)
      : client_{std::move(socket), options_with_deadline()}, source_{std::move(text)} {}

  template <class OnComplete>
  void start(OnComplete on_complete) {
    client_.async_upload(source_, "note.txt", [=, this](std::error_code ec, auto uploaded) {
      if (ec) return on_complete(ec, std::string{});
      client_.async_download(uploaded.remote_digest, sink_, [=, this](std::error_code ec2, auto) {
        on_complete(ec2, std::string{sink_.text()});
      });
    });
  }

 private:
  filexfer::client<tcp::socket> client_;
  filexfer::memory_source source_;
  filexfer::memory_sink sink_{1024 * 1024};
};

int main() {
  filexfer::memory_store<> store;
  asio::io_context context;
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.start();

  tcp::socket socket{context};
  socket.connect(server.local_endpoint());
  round_trip operation{std::move(socket), "hello"};
  int exit_code = 1;
  operation.start([&](std::error_code ec, const std::string& copy) {
    std::cout << (ec ? ec.message() : copy) << '\n';
    exit_code = !ec && copy == "hello" ? 0 : 1;
    context.stop();
  });
  context.run();
  return exit_code;
}
