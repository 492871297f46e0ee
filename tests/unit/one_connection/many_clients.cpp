#include "support/store_helpers.hpp"

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace many_clients_tests {

using asio::ip::tcp;
using filexfer::memory_store;

namespace {

/// A client that uploads a file, downloads it, and lists.
class visitor {
 public:
  visitor(asio::io_context& context, const tcp::endpoint& to, std::string name, std::string bytes)
      : socket_{context}, name_{std::move(name)}, bytes_{std::move(bytes)} {
    socket_.connect(to);
  }
  visitor(const visitor&) = delete;
  visitor& operator=(const visitor&) = delete;

  void start() {
    client_.async_upload(source_, name_, [this](std::error_code ec, const auto& result) {
      uploaded = !ec && result.remote_digest == id_;
      if (uploaded) download();
    });
  }

  bool uploaded = false;
  bool downloaded = false;
  bool listed = false;

 private:
  void download() {
    client_.async_download(id_, sink_, [this](std::error_code ec, const auto&) {
      downloaded = !ec && sink_.text() == bytes_;
      if (downloaded) list();
    });
  }

  void list() {
    client_.async_list_files([this](std::error_code ec, const auto& files) {
      const filexfer::file_info<test::md5_digest> entry{id_, name_, bytes_.size()};
      listed = !ec && std::count(files.begin(), files.end(), entry) == 1;
      socket_.close();
    });
  }

  tcp::socket socket_;
  std::string name_;
  std::string bytes_;
  test::md5_digest id_ = test::id_of(bytes_);
  filexfer::memory_source source_{test::as_bytes(bytes_)};
  filexfer::memory_sink sink_{bytes_.size()};
  filexfer::client<tcp::socket&> client_{socket_};
};

}  // namespace

TEST_CASE("64 concurrent clients of a server on four threads each get their own bytes") {
  asio::thread_pool work{2};
  memory_store<> store;
  asio::io_context server_context;
  std::optional<filexfer::server<tcp, memory_store<>>> server;
  server.emplace(server_context.get_executor(), tcp::endpoint{asio::ip::address_v4::loopback(), 0},
                 store);
  server->work_executor(work.get_executor());
  server->start();
  std::vector<std::thread> threads;
  auto guard = std::make_optional(asio::make_work_guard(server_context));
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { server_context.run(); });

  asio::io_context client_context;
  std::vector<std::unique_ptr<visitor>> visitors;
  for (unsigned i = 0; i < 64; ++i) {
    visitors.push_back(std::make_unique<visitor>(client_context, server->local_endpoint(),
                                                 std::to_string(i), test::noise(i * 8191, i)));
  }
  for (const auto& v : visitors) v->start();
  client_context.run();
  server.reset();
  guard.reset();
  for (auto& t : threads) t.join();
  work.join();
  for (const auto& v : visitors) {
    CHECK(v->uploaded);
    CHECK(v->downloaded);
    CHECK(v->listed);
  }
  CHECK(test::entries(store).size() == 64);
}

}  // namespace many_clients_tests
