#include "support/server_fixture.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <future>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace server_threads_tests {

using namespace server_tests;

namespace {

/// Blocks those that pass until it is opened.
class gate {
 public:
  void pass() {
    std::unique_lock lock{mutex_};
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void wait_for_caller() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }
  void open() {
    const std::lock_guard lock{mutex_};
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

/// A store whose commits wait at a gate.
class slow_store : public memory_store<> {
 public:
  class upload : public memory_store<>::upload {
   public:
    upload(memory_store<>::upload inner, gate& g)
        : memory_store<>::upload{std::move(inner)}, gate_{&g} {}
    void commit(const digest_type& id, std::error_code& ec) {
      gate_->pass();
      memory_store<>::upload::commit(id, ec);
    }

   private:
    gate* gate_;
  };

  std::optional<upload> create(const filexfer::upload_details<digest_type>& details,
                               std::error_code& ec) {
    auto inner = memory_store<>::create(details, ec);
    if (!inner) return std::nullopt;
    return upload{std::move(*inner), commits};
  }

  gate commits;
};

}  // namespace

TEST_CASE("a slow commit of one file does not delay other connections") {
  slow_store store;
  asio::io_context context;
  asio::thread_pool pool{1};
  filexfer::server<tcp, slow_store> server{context.get_executor(),
                                           any_endpoint<tcp>(scratch_folder{}), store};
  server.work_executor(pool.get_executor());
  server.start();
  peer<tcp> slow{context, server.local_endpoint()};
  slow.send("UPLOAD\nname;5\nhello");
  slow.wait_for("Ready");
  run_until_idle_or_fail(context);
  store.commits.wait_for_caller();
  peer<tcp> quick{context, server.local_endpoint()};
  quick.send("FEATURES\n");
  quick.wait_for("\n\n");
  CHECK(slow.received().ends_with("Ready to receive the file\n"));
  store.commits.open();
  slow.wait_for(id_of("hello").to_string());
}

TEST_CASE("destroying a server during a commit closes the connection after the commit") {
  asio::thread_pool pool{1};
  slow_store store;
  asio::io_context context;
  std::optional<filexfer::server<tcp, slow_store>> server;
  server.emplace(context.get_executor(), any_endpoint<tcp>(scratch_folder{}), store);
  server->work_executor(pool.get_executor());
  server->start();
  peer<tcp> client{context, server->local_endpoint()};
  client.send("UPLOAD\nname;5\nhello");
  client.wait_for("Ready");
  run_until_idle_or_fail(context);
  store.commits.wait_for_caller();
  server.reset();
  run_until_idle_or_fail(context);
  store.commits.open();
  client.wait_for_end();
  pool.join();
  CHECK(fetch(store, id_of("hello")) == "hello");  // but not acknowledged
}

TEST_CASE("stopping a server on several threads during transfers loses no acknowledged upload") {
  constexpr int clients = 24;
  const std::string bytes = noise(300'000);
  const auto id = id_of(bytes);
  asio::thread_pool work{2};
  memory_store<> store;
  asio::io_context context;
  std::atomic<std::size_t> events = 0;
  std::optional<filexfer::server<tcp, memory_store<>>> server;
  server.emplace(context.get_executor(), any_endpoint<tcp>(scratch_folder{}), store,
                 server_options{.max_connections = clients - 4, .grace = 5s});
  server->work_executor(work.get_executor());
  server->observe([&](const std::string&, const session_event&) { ++events; });
  server->start();
  const auto endpoint = server->local_endpoint();
  std::vector<std::thread> threads;
  auto guard = std::make_optional(asio::make_work_guard(context));
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { context.run(); });

  // Each uploads the same bytes under names of its own until it gets an error.
  struct outcome {
    int acknowledged = 0;
    std::error_code error;
  };
  std::atomic<int> total = 0;
  std::vector<std::future<outcome>> outcomes;
  for (int i = 0; i < clients; ++i) {
    outcomes.push_back(std::async(std::launch::async, [&, i] {
      outcome result;
      asio::io_context client_context;
      tcp::socket socket{client_context};
      socket.connect(endpoint, result.error);
      filexfer::client<tcp::socket&> client{socket};
      for (int n = 0; !result.error && n < 10'000; ++n) {
        filexfer::memory_source source{as_bytes(bytes)};
        const auto name = std::to_string(i) + '-' + std::to_string(n);
        const auto uploaded = client.upload(source, name, result.error);
        if (result.error) break;
        if (uploaded.remote_digest != id) throw std::runtime_error{"a wrong digest"};
        ++result.acknowledged;
        ++total;
      }
      return result;
    }));
  }
  while (total < 3 * clients) std::this_thread::yield();
  auto stopped = server->async_stop(asio::use_future);
  REQUIRE(stopped.wait_for(60s) == std::future_status::ready);
  stopped.get();
  int acknowledged = 0;
  for (auto& future : outcomes) {
    const outcome result = future.get();
    acknowledged += result.acknowledged;
    CHECK(result.error);
  }
  server.reset();
  guard.reset();
  for (auto& t : threads) t.join();
  work.join();
  // Every acknowledged upload is listed; each client's last one may be, unacknowledged.
  const auto listed = static_cast<int>(entries(store).size());
  CHECK(listed >= acknowledged);
  CHECK(listed <= acknowledged + clients);
  CHECK(events > 0);
}

}  // namespace server_threads_tests
