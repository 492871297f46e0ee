// An asynchronous client with co_await: reads like the blocking one, but blocks no thread.

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>

#include <asio/detail/config.hpp>

#include <iostream>

#if defined(ASIO_HAS_CO_AWAIT)

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <chrono>
#include <future>
#include <string>
#include <utility>

using asio::use_awaitable;
using asio::ip::tcp;

asio::awaitable<std::string> round_trip(tcp::endpoint server, std::string text,
                                        asio::any_io_executor workers) {
  tcp::socket socket{co_await asio::this_coro::executor};
  co_await socket.async_connect(server, use_awaitable);
  filexfer::client client{std::move(socket)};
  client.work_executor(workers);  // hashes large files there while the next bytes move

  filexfer::memory_source source{std::move(text)};
  const auto uploaded = co_await client.async_upload(source, "note.txt", use_awaitable);

  filexfer::memory_sink sink{16 * 1024 * 1024};
  co_await client.async_download(uploaded.remote_digest, sink, use_awaitable);
  co_return std::string{sink.text()};
}

int main() {
  filexfer::memory_store<> store;
  asio::io_context context;
  asio::thread_pool workers{2};
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.work_executor(workers.get_executor());
  server.start();

  const std::string text(5'000'000, 'x');
  auto copy = asio::co_spawn(
      context, round_trip(server.local_endpoint(), text, workers.get_executor()), asio::use_future);
  while (copy.wait_for(std::chrono::seconds{0}) != std::future_status::ready) context.run_one();
  const bool same = copy.get() == text;
  std::cout << (same ? "the same\n" : "not the same\n");
  return same ? 0 : 1;
}

#else

int main() { std::cout << "this compiler's asio has no awaitable\n"; }

#endif
