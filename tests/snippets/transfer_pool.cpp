// Examples for the reference: a pool's jobs.

#include "support.hpp"

#include <filexfer/connector.hpp>
#include <filexfer/digest_cache.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/file_download.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/remote_file.hpp>
#include <filexfer/transfer_pool.hpp>
#include <filexfer/tree_source.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/compose.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace transfer_pool_snippets {

using asio::ip::tcp;
using snippets::captured_output;

namespace {

using namespace std::chrono_literals;
using pool_type = filexfer::transfer_pool<filexfer::tcp_connector>;

/// A folder, a server, and a pool.
struct pool_and_server {
  pool_and_server() {
    snippets::write_file("photos/cat.jpg", "meow");
    snippets::write_file("photos/2021/dog.jpg", "woof");
  }

  snippets::current_folder folder;
  snippets::loopback_server<> server;
  asio::io_context context;
  pool_type pool{filexfer::tcp_connector{context.get_executor(), "127.0.0.1", server.port()}};
  captured_output output;
};

/// Its first connection breaks after some bytes, the later ones do not.
class breaking_connector {
 public:
  using stream_type = filexfer::fault_stream<tcp::socket>;

  breaking_connector(filexfer::tcp_connector tcp, std::uint64_t bytes)
      : tcp_{std::move(tcp)}, next_{.reset_after_written = bytes} {}

  asio::any_io_executor get_executor() const noexcept { return tcp_.get_executor(); }

  template <class Token>
  auto async_connect(Token&& token) {
    const auto executor = tcp_.get_executor();
    return asio::async_compose<Token, void(std::error_code, stream_type)>(
        operation{this, std::exchange(next_, {})}, token, executor);
  }

 private:
  struct operation {
    breaking_connector* connector;
    filexfer::fault_plan plan;

    template <class Self>
    void operator()(Self& self) {
      auto& tcp = connector->tcp_;
      tcp.async_connect(std::move(self));
    }
    template <class Self>
    void operator()(Self& self, std::error_code ec, tcp::socket socket) {
      self.complete(ec, stream_type{std::move(socket), plan});
    }
  };

  filexfer::tcp_connector tcp_;
  filexfer::fault_plan next_;
};

}  // namespace

TEST_CASE("a pool uploads a folder over several connections") {
  const snippets::current_folder folder;
  snippets::write_file("photos/cat.jpg", "meow");
  snippets::loopback_server<> server;
  const std::string port = server.port();
  captured_output output;
  //! [transfer_pool]
  asio::io_context context;
  const filexfer::tcp_connector connector{context.get_executor(), "127.0.0.1", port};
  filexfer::transfer_pool pool{connector, {.connections = 8, .retry_for = 2min}};
  filexfer::tree_source files{"photos"};
  asio::thread_pool work{4};  // declared last, so that it is joined first
  pool.work_executor(work.get_executor());
  const auto ignore = [](const auto&) {};
  auto uploaded = pool.async_upload(files, ignore, asio::use_future);
  context.run();
  std::cout << uploaded.get().transferred << " sent\n";
  //! [transfer_pool]
  CHECK(output.take() == "1 sent\n");
  CHECK(snippets::text_in(server.store, "cat.jpg") == "meow");
}

// -------------------------------------------------------------------------------------- callbacks

TEST_CASE_FIXTURE(pool_and_server, "a pool reads and hashes on a work executor") {
  filexfer::tree_source files{"photos"};
  //! [work_executor]
  asio::thread_pool work{2};  // declared after the context and the files
  pool.work_executor(work.get_executor());
  //! [work_executor]
  auto uploaded = pool.async_upload(
      files, [](const auto&) {}, asio::use_future);
  context.run();
  CHECK(uploaded.get().transferred == 2);
}

TEST_CASE_FIXTURE(pool_and_server, "a pool reads no file whose digest is cached") {
  //! [use_digest_cache]
  filexfer::file_digest_cache cache{"digests"};  // may be shared by several programs
  pool.use_digest_cache(cache);
  //! [use_digest_cache]
  const int file = ::open("photos/cat.jpg", O_RDONLY);
  const filexfer::any_digest wrong = snippets::id_of("purr");
  const auto much_later = std::chrono::system_clock::now() + 1h;
  cache.add(file, "md5", much_later, wrong);
  ::close(file);
  snippets::put(server.store, "elsewhere", "purr");
  filexfer::tree_source files{"photos"};
  auto ended = pool.async_upload_missing(
      files, [](const auto&) {}, asio::use_future);
  context.run();
  CHECK(ended.get().already_present == 1);  // the cache was believed
}

TEST_CASE("a pool tells of the retries") {
  const snippets::current_folder folder;
  snippets::write_file("photos/large.jpg", std::string(100'000, 'x'));
  snippets::loopback_server<> server;
  asio::io_context context;
  filexfer::tcp_connector tcp{context.get_executor(), "127.0.0.1", server.port()};
  filexfer::transfer_pool pool{breaking_connector{tcp, 50'000}};
  captured_output output{std::clog};
  //! [on_event]
  pool.on_event([](const filexfer::pool_event& event) {
    if (event.kind != filexfer::pool_event_kind::retrying) return;
    std::clog << "retrying " << event.name << ": " << event.failure.error.message() << '\n';
  });
  //! [on_event]
  filexfer::tree_source files{"photos"};
  auto ended = pool.async_upload(
      files, [](const auto&) {}, asio::use_future);
  context.run();
  CHECK(output.take().starts_with("retrying large.jpg: Connection reset"));
  CHECK(ended.get().transferred == 1);
}

TEST_CASE_FIXTURE(pool_and_server, "a pool tells of its progress") {
  filexfer::tree_source files{"photos"};
  //! [on_progress]
  pool.on_progress(500ms, [](const filexfer::transfer_progress::snapshot& now) {
    std::cout << now.files << " files, " << now.bytes << " bytes\n";
  });
  //! [on_progress]
  auto ended = pool.async_upload(
      files, [](const auto&) {}, asio::use_future);
  context.run();
  CHECK(output.take().ends_with("2 files, 8 bytes\n"));
}

// ------------------------------------------------------------------------------------------- jobs

TEST_CASE_FIXTURE(pool_and_server, "a pool uploads, with a result for each file") {
  //! [async_upload]
  filexfer::tree_source files{"photos"};
  const auto on_result = [](const filexfer::file_result<filexfer::tree_file>& result) {
    std::cout << result.element.name() << ": "
              << (result ? result.remote_digest.to_string() : result.failure.error.message())
              << '\n';
  };
  const auto on_end = [](std::error_code ec, const filexfer::transfer_totals& totals) {
    std::cout << (ec ? ec.message() : std::to_string(totals.failed) + " failed") << '\n';
  };
  pool.async_upload(files, on_result, on_end);
  context.run();
  //! [async_upload]
  const std::string text = output.take();
  CHECK(text.find("cat.jpg: " + snippets::id_of("meow").to_string()) != std::string::npos);
  CHECK(text.ends_with("0 failed\n"));
  CHECK(snippets::names_in(server.store) == "2021/dog.jpg cat.jpg");
}

TEST_CASE_FIXTURE(pool_and_server, "a pool verifies that files have arrived") {
  snippets::put(server.store, "cat.jpg", "meow");
  //! [async_verify]
  filexfer::tree_source files{"photos"};
  const auto on_result = [](const filexfer::file_result<filexfer::tree_file>& result) {
    if (result.failure.error == filexfer::errc::not_found) {
      std::cout << "the server lacks " << result.element.name() << '\n';
    }
  };
  auto verified = pool.async_verify(files, on_result, asio::use_future);
  context.run();
  verified.get();  // throws if the server could not be asked
  //! [async_verify]
  CHECK(output.take() == "the server lacks 2021/dog.jpg\n");
}

TEST_CASE("a pool copies from server to server") {
  snippets::loopback_server<> first;
  snippets::loopback_server<> second;
  snippets::put(first.store, "a.txt", "hello");
  asio::io_context context;
  const auto executor = context.get_executor();
  pool_type from{filexfer::tcp_connector{executor, "127.0.0.1", first.port()}};
  pool_type to{filexfer::tcp_connector{executor, "127.0.0.1", second.port()}};
  captured_output output;
  //! [async_mirror]
  asio::thread_pool work{2};  // waits for the bytes of `from`
  to.work_executor(work.get_executor());
  const auto on_result = [](const filexfer::file_result<filexfer::remote_file<pool_type>>& result) {
    if (!result) std::cerr << result.element.name() << " was not copied\n";
  };
  const filexfer::list_request all_files;
  auto copied = to.async_mirror(from, all_files, on_result, asio::use_future);
  context.run();
  std::cout << copied.get().transferred << " copied\n";
  //! [async_mirror]
  CHECK(output.take() == "1 copied\n");
  CHECK(snippets::text_in(second.store, "a.txt") == "hello");
}

TEST_CASE_FIXTURE(pool_and_server, "a pool reads a part of a file") {
  const filexfer::any_digest id = snippets::put(server.store, "a.txt", "hello world");
  //! [async_read_at]
  const auto on_bytes = [](std::error_code ec, const std::vector<std::byte>& bytes) {
    if (ec) std::cerr << ec.message() << '\n';
    else std::cout << bytes.size() << " bytes from offset 6\n";
  };
  pool.async_read_at(id, 6, 1024, on_bytes);
  context.run();
  //! [async_read_at]
  CHECK(output.take() == "5 bytes from offset 6\n");
}

TEST_CASE_FIXTURE(pool_and_server, "a pool lists the files of a server, whatever its digest") {
  snippets::put(server.store, "photos/cat.jpg", "meow");
  snippets::put(server.store, "notes.txt", "hello");
  //! [async_list_files]
  const auto on_entry = [](const filexfer::listed_file& file) {
    std::cout << filexfer::printable(file.name) << '\n';
  };
  const filexfer::list_request photos{.prefix = "photos/"};
  auto entries = pool.async_list_files(photos, on_entry, asio::use_future);
  context.run();
  std::cout << entries.get() << " photos\n";
  //! [async_list_files]
  CHECK(output.take() == "photos/cat.jpg\n1 photos\n");
}

TEST_CASE_FIXTURE(pool_and_server, "a pool asks for the features") {
  //! [async_features]
  pool.async_features([](std::error_code ec, const filexfer::server_features& features) {
    if (ec) std::cerr << "no server can be reached: " << ec.message() << '\n';
    else std::cout << "ids are " << features.digest << '\n';
  });
  context.run();
  //! [async_features]
  CHECK(output.take() == "ids are md5\n");
}

TEST_CASE_FIXTURE(pool_and_server, "a pool counts the files, so that the progress has totals") {
  //! [async_count]
  filexfer::tree_source to_count{"photos"};
  filexfer::tree_source files{"photos"};
  const auto ignore = [](const auto&) {};
  auto counted = pool.async_count(to_count, asio::use_future);
  auto uploaded = pool.async_upload(files, ignore, asio::use_future);
  context.run();
  const auto now = pool.progress().now();
  std::cout << now.files << " of " << now.files_known << (now.all_known ? "" : "+") << " files\n";
  //! [async_count]
  CHECK(output.take() == "2 of 2 files\n");
  CHECK(counted.get() == 2);
  CHECK(uploaded.get().transferred == 2);
}

// -------------------------------------------------------------------------------------- coroutines

#if defined(ASIO_HAS_CO_AWAIT)

namespace {

//! [async_upload_missing]
asio::awaitable<void> back_up(pool_type& pool) {
  filexfer::tree_source files{"photos"};
  const auto on_result = [](const filexfer::file_result<filexfer::tree_file>& result) {
    if (!result) std::cerr << result.element.path() << " was not sent\n";
  };
  const auto totals = co_await pool.async_upload_missing(files, on_result, asio::use_awaitable);
  std::cout << totals.transferred << " sent, " << totals.already_present << " were there\n";
}
//! [async_upload_missing]

//! [async_download]
asio::awaitable<void> restore(pool_type& pool) {
  const auto target = filexfer::download_target::folder(".");
  std::vector<filexfer::file_download> files;
  const auto add = [&](const filexfer::listed_file& file) { files.emplace_back(target, file); };
  const filexfer::list_request wanted{.prefix = "backup/", .mtime = true};
  co_await pool.async_list_files(wanted, add, asio::use_awaitable);
  const auto ignore = [](const auto&) {};
  const auto totals = co_await pool.async_download(files, ignore, asio::use_awaitable);
  std::cout << totals.transferred << " fetched, " << totals.failed << " failed\n";
}
//! [async_download]

}  // namespace

TEST_CASE_FIXTURE(pool_and_server, "a coroutine uploads what is missing") {
  snippets::put(server.store, "cat.jpg", "meow");
  snippets::run(context, back_up(pool));
  CHECK(output.take() == "1 sent, 1 were there\n");
  CHECK(snippets::names_in(server.store) == "2021/dog.jpg cat.jpg");
}

TEST_CASE_FIXTURE(pool_and_server, "a coroutine lists and downloads") {
  snippets::put(server.store, "backup/cat.jpg", "meow");
  snippets::run(context, restore(pool));
  CHECK(output.take() == "1 fetched, 0 failed\n");
  CHECK(snippets::read_file("backup/cat.jpg") == "meow");
}

#endif

}  // namespace transfer_pool_snippets
