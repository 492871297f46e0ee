// Many files over several connections, with retries and a result for each file.

#include <filexfer/connector.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/thread_pool.hpp>

#include <iostream>
#include <string>
#include <system_error>
#include <vector>

using asio::ip::tcp;

/// A file to upload, opened when its transfer starts. For one on disk return a `file_source`.
struct note {
  std::string title;
  std::string text;

  const std::string& name() const { return title; }
  filexfer::memory_source open(std::error_code& ec) const {
    ec.clear();
    return filexfer::memory_source{text};
  }
};

int main() {
  filexfer::memory_store<> store;
  asio::io_context context;
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.start();
  const std::string port = std::to_string(server.local_endpoint().port());

  asio::thread_pool work{2};  // reads and hashes files; joined before the context is destroyed
  filexfer::transfer_pool pool{filexfer::tcp_connector{context.get_executor(), "127.0.0.1", port},
                               filexfer::pool_options{.connections = 4}};
  pool.work_executor(work.get_executor());

  std::vector<note> files{{"monday.txt", "rain"}, {"tuesday.txt", "sun"}, {"../x", "refused"}};
  const auto on_result = [](const filexfer::file_result<note>& result) {
    std::cout << result.element.name() << ": "
              << (result ? result.remote_digest.to_string() : result.failure.error.message())
              << '\n';
  };
  int exit_code = 1;
  pool.async_upload(files, on_result,
                    [&](std::error_code ec, const filexfer::transfer_totals& totals) {
                      exit_code = !ec && totals.transferred == 2 && totals.failed == 1 ? 0 : 1;
                      context.stop();
                    });
  context.run();
  work.join();
  return exit_code;
}
