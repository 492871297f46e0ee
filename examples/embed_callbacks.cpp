// An asynchronous client with callbacks: deadlines, cancelling, and one thread for everything.

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

filexfer::client_options short_patience() {
  filexfer::client_options options;
  options.limits.reply = std::chrono::seconds{30};
  return options;
}

/// Uploads a file and fetches it again. It has to live until `on_end` is called: the client, the
/// source and the sink are used meanwhile.
class errand {
 public:
  errand(tcp::socket socket, std::string text)
      : client_{std::move(socket), short_patience()}, source_{std::move(text)} {}

  template <class OnEnd>
  void start(OnEnd on_end) {
    client_.async_upload(source_, "note.txt", [this, on_end](std::error_code ec, auto sent) {
      if (ec) return on_end(ec, std::string{});
      client_.async_download(sent.computed_there, sink_, [this, on_end](std::error_code ec2, auto) {
        on_end(ec2, std::string{sink_.text()});
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
  errand note{std::move(socket), "hello"};
  int result = 1;
  note.start([&](std::error_code ec, const std::string& copy) {
    std::cout << (ec ? ec.message() : copy) << '\n';
    result = !ec && copy == "hello" ? 0 : 1;
    context.stop();
  });
  context.run();
  return result;
}
