// The conventions of Asio that its users rely on: executors, allocators, completion tokens.

#include <filexfer/client.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>
#include <filexfer/session.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <doctest/doctest.h>

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace asio_conventions_tests {

using asio::ip::tcp;

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 inlines Asio's allocation of a coroutine's frame, but not its deallocation, and warns that
// the two do not match.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

namespace {

// A stream and its connector that initiate operations as was usual before `async_initiate`.
struct earlier_stream {
  using executor_type = asio::any_io_executor;
  executor_type get_executor() { return {}; }

  template <class Token>
  using result_of =
      typename asio::async_result<std::decay_t<Token>, void(std::error_code, std::size_t)>;

  template <class Buffers, class Token>
  typename result_of<Token>::return_type async_read_some(const Buffers&, Token&& token) {
    asio::async_completion<Token, void(std::error_code, std::size_t)> initiated{token};
    return initiated.result.get();
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers&, Token&& token) {
    asio::async_completion<Token, void(std::error_code, std::size_t)> initiated{token};
    return initiated.result.get();
  }
};
static_assert(filexfer::async_stream<earlier_stream>);

struct earlier_connector {
  using stream_type = earlier_stream;
  asio::any_io_executor get_executor() { return {}; }

  template <class Token>
  auto async_connect(Token&& token) {
    asio::async_completion<Token, void(std::error_code, stream_type)> initiated{token};
    return initiated.result.get();
  }
};
static_assert(filexfer::connector<earlier_connector>);

}  // namespace

TEST_CASE(
    "client, session, server and pool have the executor of the objects they are constructed from") {
  asio::io_context context;
  filexfer::memory_store<> store;
  using default_socket = asio::detached_t::as_default_on_t<tcp::socket>;
  using client_type = filexfer::client<default_socket>;
  using session_type = filexfer::session<tcp::socket, filexfer::memory_store<>>;
  static_assert(std::same_as<client_type::executor_type, default_socket::executor_type>);
  static_assert(std::same_as<client_type::default_token, asio::detached_t>);
  static_assert(std::same_as<session_type::executor_type, tcp::socket::executor_type>);
  client_type client{default_socket{context}};
  session_type session{tcp::socket{context}, store};
  CHECK(client.get_executor() == client.next_layer().get_executor());
  CHECK(session.get_executor() == session.next_layer().get_executor());
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  CHECK(server.get_executor() == asio::any_io_executor{context.get_executor()});
  filexfer::transfer_pool pool{filexfer::tcp_connector{context.get_executor(), "127.0.0.1", "1"}};
  CHECK(pool.get_executor().get_inner_executor() == asio::any_io_executor{context.get_executor()});
}

#ifdef ASIO_HAS_CO_AWAIT

namespace {

asio::awaitable<void> round_trip(asio::io_context& context, tcp::endpoint server,
                                 std::string& downloaded) {
  asio::use_awaitable_t<>::as_default_on_t<tcp::socket> socket{context};
  co_await socket.async_connect(server);
  filexfer::client client{std::move(socket)};
  filexfer::memory_source source{"hello"};
  const auto uploaded = co_await client.async_upload(source, "name");
  const auto files = co_await client.async_list_files();
  CHECK(files.size() == 1);
  filexfer::memory_sink sink{100};
  co_await client.async_download(uploaded.remote_digest, sink);
  downloaded = sink.text();
  const auto features = co_await client.async_features();
  CHECK(features.version == 1);
}

}  // namespace

TEST_CASE("a client's operations have the default completion token of its socket") {
  asio::io_context context;
  filexfer::memory_store<> store;
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.start();
  std::string downloaded;
  std::exception_ptr thrown;
  asio::co_spawn(context, round_trip(context, server.local_endpoint(), downloaded),
                 [&](std::exception_ptr e) {
                   thrown = std::move(e);
                   server.async_stop(asio::detached);
                 });
  context.run();
  CHECK(!thrown);
  CHECK(downloaded == "hello");
}

namespace {

/// A file to upload, which can't be copied.
struct move_only_file {
  explicit move_only_file(std::string n) : text{std::move(n)} {}
  move_only_file(move_only_file&&) = default;
  move_only_file& operator=(move_only_file&&) = default;

  const std::string& name() const { return text; }
  filexfer::memory_source open(std::error_code& ec) const {
    ec.clear();
    return filexfer::memory_source{text};
  }

  std::string text;
};

using pool_type = filexfer::transfer_pool<filexfer::tcp_connector, filexfer::md5>;

asio::awaitable<void> upload_twice(pool_type& pool, std::vector<move_only_file>& files,
                                   bool& same_elements) {
  const auto check_element = [&](const filexfer::file_result<move_only_file>& result) {
    same_elements = same_elements && &result.element == &files[result.index];
  };
  const auto totals = co_await pool.async_upload(files, check_element, asio::use_awaitable);
  CHECK(totals.transferred == 2);
  std::vector<move_only_file> more_files;
  more_files.emplace_back("c");
  const auto ignore = [](const filexfer::file_result<move_only_file>&) {};
  const auto more_totals =
      co_await pool.async_upload(std::move(more_files), ignore, asio::use_awaitable);
  CHECK(more_totals.transferred == 1);
}

}  // namespace

TEST_CASE("a pool's operation refers to an lvalue range without copying it, whatever the token") {
  asio::io_context context;
  filexfer::memory_store<> store;
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.start();
  pool_type pool{filexfer::tcp_connector{context.get_executor(), "127.0.0.1",
                                         std::to_string(server.local_endpoint().port())}};
  std::vector<move_only_file> files;
  files.emplace_back("a");
  files.emplace_back("b");
  bool same_elements = true;
  asio::co_spawn(context, upload_twice(pool, files, same_elements),
                 [&](std::exception_ptr) { server.async_stop(asio::detached); });
  context.run();
  CHECK(same_elements);
}

#endif

namespace {

/// Counts its allocations.
template <class T>
struct counting_allocator {
  using value_type = T;

  explicit counting_allocator(int& c) noexcept : count{&c} {}
  template <class U>
  counting_allocator(const counting_allocator<U>& other) noexcept : count{other.count} {}

  T* allocate(std::size_t n) {
    ++*count;
    return std::allocator<T>{}.allocate(n);
  }
  void deallocate(T* p, std::size_t n) noexcept { std::allocator<T>{}.deallocate(p, n); }
  friend bool operator==(const counting_allocator&, const counting_allocator&) = default;

  int* count;
};

/// A handler with an executor and an allocator of its own.
struct associated_handler {
  using executor_type = asio::strand<asio::io_context::executor_type>;
  using allocator_type = counting_allocator<std::byte>;

  executor_type get_executor() const noexcept { return strand; }
  allocator_type get_allocator() const noexcept { return allocator_type{*allocations}; }

  template <class... Results>
  void operator()(std::error_code, Results&&...) {
    *called_on_strand = strand.running_in_this_thread();
  }

  executor_type strand;
  int* allocations;
  bool* called_on_strand;
};

}  // namespace

TEST_CASE("an operation uses the executor and the allocator of its handler") {
  asio::io_context context;
  asio::thread_pool work{2};
  filexfer::memory_store<> store;
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.start();
  const auto strand = asio::make_strand(context.get_executor());
  int allocations = 0;
  bool called_on_strand = false;
  const auto check = [&](auto start) {
    allocations = 0;
    called_on_strand = false;
    start(associated_handler{strand, &allocations, &called_on_strand});
    while (!called_on_strand && context.run_one() > 0) {
    }
    CHECK(called_on_strand);
    CHECK(allocations > 0);
  };

  tcp::socket socket{context};
  socket.connect(server.local_endpoint());
  filexfer::client client{std::move(socket)};
  filexfer::memory_source source{"hello"};
  check([&](auto handler) { client.async_upload(source, "name", std::move(handler)); });
  check([&](auto handler) { client.async_features(std::move(handler)); });

  filexfer::transfer_pool<filexfer::tcp_connector, filexfer::md5> pool{filexfer::tcp_connector{
      context.get_executor(), "127.0.0.1", std::to_string(server.local_endpoint().port())}};
  pool.work_executor(work.get_executor());
  check([&](auto handler) {
    pool.async_list_files(
        {}, [](const filexfer::listed_file&) {}, std::move(handler));
  });
  check([&](auto handler) { pool.async_features(std::move(handler)); });
  server.async_stop(asio::detached);
  work.join();
}

TEST_CASE("digests can be keys of ordered and unordered containers") {
  const auto first = *filexfer::md5::digest_type::from_hex("00112233445566778899aabbccddeeff");
  const auto second = *filexfer::md5::digest_type::from_hex("0f112233445566778899aabbccddeeff");
  std::unordered_set<filexfer::md5::digest_type> seen{first, second, first};
  CHECK(seen.size() == 2);
  CHECK(first < second);
  CHECK(std::hash<filexfer::md5::digest_type>{}(first) !=
        std::hash<filexfer::md5::digest_type>{}(second));
}

}  // namespace asio_conventions_tests
