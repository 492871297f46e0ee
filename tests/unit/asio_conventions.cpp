// What Asio's users expect of anything that is asynchronous.

#include <filexfer/client.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>
#include <filexfer/session.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/any_io_executor.hpp>
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
#include <exception>
#include <memory>
#include <string>
#include <system_error>
#include <unordered_set>
#include <utility>
#include <vector>

namespace asio_conventions_tests {

using asio::ip::tcp;

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 inlines how asio allocates a coroutine's frame, but not how it frees it, and takes the two
// for no pair.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

TEST_CASE("client, session, server and pool have the executor of what they are made of") {
  asio::io_context context;
  filexfer::memory_store<> store;
  using default_socket = asio::detached_t::as_default_on_t<tcp::socket>;
  using client = filexfer::client<default_socket>;
  using session = filexfer::session<tcp::socket, filexfer::memory_store<>>;
  static_assert(std::same_as<client::executor_type, default_socket::executor_type>);
  static_assert(std::same_as<client::default_token, asio::detached_t>);
  static_assert(std::same_as<session::executor_type, tcp::socket::executor_type>);
  client one{default_socket{context}};
  session other{tcp::socket{context}, store};
  CHECK(one.get_executor() == one.next_layer().get_executor());
  CHECK(other.get_executor() == other.next_layer().get_executor());
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  CHECK(server.get_executor() == asio::any_io_executor{context.get_executor()});
  filexfer::transfer_pool pool{filexfer::tcp_connector{context.get_executor(), "127.0.0.1", "1"}};
  CHECK(pool.get_executor().get_inner_executor() == asio::any_io_executor{context.get_executor()});
}

#ifdef ASIO_HAS_CO_AWAIT

namespace {

asio::awaitable<void> there_and_back(asio::io_context& context, tcp::endpoint where,
                                     std::string& fetched) {
  asio::use_awaitable_t<>::as_default_on_t<tcp::socket> socket{context};
  co_await socket.async_connect(where);
  filexfer::client client{std::move(socket)};
  filexfer::memory_source source{"hello"};
  const auto up = co_await client.async_upload(source, "name");
  const auto files = co_await client.async_list_files();
  CHECK(files.size() == 1);
  filexfer::memory_sink sink{100};
  co_await client.async_download(up.computed_there, sink);
  fetched = sink.text();
  const auto known = co_await client.async_features();
  CHECK(known.version == 1);
}

}  // namespace

TEST_CASE("a socket's default completion token is that of a client's operations, too") {
  asio::io_context context;
  filexfer::memory_store<> store;
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.start();
  std::string fetched;
  std::exception_ptr thrown;
  asio::co_spawn(context, there_and_back(context, server.local_endpoint(), fetched),
                 [&](std::exception_ptr e) {
                   thrown = std::move(e);
                   server.async_stop(asio::detached);
                 });
  context.run();
  CHECK(!thrown);
  CHECK(fetched == "hello");
}

namespace {

/// A file to send, which nobody copies.
struct uncopied_file {
  explicit uncopied_file(std::string n) : its_name{std::move(n)} {}
  uncopied_file(uncopied_file&&) = default;
  uncopied_file& operator=(uncopied_file&&) = default;

  const std::string& name() const { return its_name; }
  filexfer::memory_source open(std::error_code& ec) const {
    ec.clear();
    return filexfer::memory_source{its_name};
  }

  std::string its_name;
};

using pool_type = filexfer::transfer_pool<filexfer::tcp_connector, filexfer::md5>;

asio::awaitable<void> upload_twice(pool_type& pool, std::vector<uncopied_file>& files,
                                   bool& are_those) {
  const auto see = [&](const filexfer::file_result<uncopied_file>& result) {
    are_those = are_those && &result.element == &files[result.index];
  };
  const auto totals = co_await pool.async_upload(files, see, asio::use_awaitable);
  CHECK(totals.moved == 2);
  std::vector<uncopied_file> others;
  others.emplace_back("c");
  const auto ignore = [](const filexfer::file_result<uncopied_file>&) {};
  const auto more = co_await pool.async_upload(std::move(others), ignore, asio::use_awaitable);
  CHECK(more.moved == 1);
}

}  // namespace

TEST_CASE("a pool's operation refers to a range that is an lvalue, whatever the token") {
  asio::io_context context;
  filexfer::memory_store<> store;
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.start();
  pool_type pool{filexfer::tcp_connector{context.get_executor(), "127.0.0.1",
                                         std::to_string(server.local_endpoint().port())}};
  std::vector<uncopied_file> files;
  files.emplace_back("a");
  files.emplace_back("b");
  bool are_those = true;
  asio::co_spawn(context, upload_twice(pool, files, are_those),
                 [&](std::exception_ptr) { server.async_stop(asio::detached); });
  context.run();
  CHECK(are_those);
}

#endif

namespace {

/// Counts what is allocated with it.
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
struct particular_handler {
  using executor_type = asio::strand<asio::io_context::executor_type>;
  using allocator_type = counting_allocator<std::byte>;

  executor_type get_executor() const noexcept { return strand; }
  allocator_type get_allocator() const noexcept { return allocator_type{*allocations}; }

  template <class... Results>
  void operator()(std::error_code, Results&&...) {
    *was_there = strand.running_in_this_thread();
  }

  executor_type strand;
  int* allocations;
  bool* was_there;
};

}  // namespace

TEST_CASE("a handler's executor and allocator are those of the operation") {
  asio::io_context context;
  asio::thread_pool work{2};
  filexfer::memory_store<> store;
  filexfer::server<tcp, filexfer::memory_store<>> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.start();
  const auto strand = asio::make_strand(context.get_executor());
  int allocations = 0;
  bool was_there = false;
  const auto check = [&](auto start) {
    allocations = 0;
    was_there = false;
    start(particular_handler{strand, &allocations, &was_there});
    while (!was_there && context.run_one() > 0) {
    }
    CHECK(was_there);
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

TEST_CASE("digests can be keys of any container") {
  const auto one = *filexfer::md5::digest_type::from_hex("00112233445566778899aabbccddeeff");
  const auto other = *filexfer::md5::digest_type::from_hex("0f112233445566778899aabbccddeeff");
  std::unordered_set<filexfer::md5::digest_type> seen{one, other, one};
  CHECK(seen.size() == 2);
  CHECK(one < other);
  CHECK(std::hash<filexfer::md5::digest_type>{}(one) !=
        std::hash<filexfer::md5::digest_type>{}(other));
}

}  // namespace asio_conventions_tests
