// Examples for the reference: a client's files, on disk, in memory, and at another server.

#include "support.hpp"

#include <filexfer/client.hpp>
#include <filexfer/connector.hpp>
#include <filexfer/digest_cache.hpp>
#include <filexfer/file.hpp>
#include <filexfer/file_download.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/publication.hpp>
#include <filexfer/remote_file.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace file_snippets {

using asio::ip::tcp;
using snippets::captured_output;

namespace {

using digest = filexfer::md5::digest_type;

struct connected_client {
  connected_client() { snippets::write_file("cat.jpg", "meow"); }

  snippets::current_folder folder;
  snippets::loopback_server<> server;
  digest id = snippets::put(server.store, "photos/dog.jpg", "woof");
  asio::io_context context;
  filexfer::client<tcp::socket> client{server.connect(context)};
  captured_output output;
};

}  // namespace

TEST_CASE_FIXTURE(connected_client, "a file_source reads a file, and notices changes") {
  //! [file_source]
  std::error_code ec;
  filexfer::file_source photo{"cat.jpg", ec};  // without ec it throws
  if (!ec) client.upload(photo, "photos/cat.jpg", ec);
  if (ec == filexfer::errc::source_changed) std::cerr << "cat.jpg is being edited\n";
  //! [file_source]
  CHECK_FALSE(ec);
  CHECK(snippets::text_in(server.store, "photos/cat.jpg") == "meow");
}

TEST_CASE_FIXTURE(connected_client, "a file_sink writes a file, which appears complete or not") {
  //! [file_sink]
  filexfer::file_sink copy{"cat.jpg", filexfer::on_existing::replace};
  client.download(id, copy);  // replaces cat.jpg at once, with all bytes
  //! [file_sink]
  CHECK(snippets::read_file("cat.jpg") == "woof");
}

TEST_CASE_FIXTURE(connected_client, "files are published together") {
  std::vector<std::string> names{"a", "b", "c"};
  //! [publish_all]
  std::deque<filexfer::file_sink> sinks;
  std::vector<filexfer::publication*> files;
  for (const std::string& name : names) {
    std::error_code ec;
    filexfer::file_sink& sink = sinks.emplace_back(name, filexfer::on_existing::keep, ec);
    if (!ec) sink.write(std::as_bytes(std::span{name}), ec);
    if (ec) continue;
    if (auto* const left = sink.begin_commit(ec)) files.push_back(left);
  }
  std::vector<std::error_code> errors(files.size());
  filexfer::publish_all(files, errors);  // the folder is flushed once
  //! [publish_all]
  for (const auto error : errors) CHECK_FALSE(error);
  CHECK(snippets::read_file("b") == "b");
}

TEST_CASE_FIXTURE(connected_client, "a file_sink with a part resumes") {
  snippets::write_file(".copy.part", "wo");
  std::error_code ec;
  std::uint64_t bytes = 0;
  //! [part]
  client.features();  // a server that has them can send a part
  filexfer::file_sink copy{"copy.jpg", filexfer::on_existing::keep, ".copy.part", ec};
  if (!ec) {
    bytes = client.download(id, copy, ec).bytes;  // of what follows the part
    if (ec) copy.keep();                          // for the next attempt
  }
  //! [part]
  CHECK_FALSE(ec);
  CHECK(bytes == 2);
  CHECK(snippets::read_file("copy.jpg") == "woof");
  CHECK_FALSE(std::filesystem::exists(".copy.part"));
}

TEST_CASE_FIXTURE(connected_client, "a descriptor_sink writes before the digest is known") {
  const int descriptor = ::open("out", O_WRONLY | O_CREAT, 0600);
  //! [descriptor_sink]
  filexfer::descriptor_sink out{descriptor};  // such as STDOUT_FILENO
  std::error_code ec;
  client.download(id, out, ec);
  if (ec) std::cerr << "do not use what was written: " << ec.message() << '\n';
  //! [descriptor_sink]
  ::close(descriptor);
  CHECK(snippets::read_file("out") == "woof");
}

TEST_CASE_FIXTURE(connected_client, "memory is uploaded") {
  //! [memory_source]
  filexfer::memory_source text{std::string{"hello"}};  // owns its bytes
  client.upload(text, "hello.txt");

  const std::vector<std::byte> pixels(1000);
  filexfer::memory_source image{std::span{pixels}};  // refers to them
  client.upload(image, "black.raw");
  //! [memory_source]
  CHECK(snippets::text_in(server.store, "hello.txt") == "hello");
  CHECK(snippets::text_in(server.store, "black.raw") == std::string(1000, '\0'));
}

TEST_CASE_FIXTURE(connected_client, "a download is kept in memory, up to a limit") {
  //! [memory_sink]
  filexfer::memory_sink photo{10'000'000};  // bytes at most
  client.download(id, photo);
  std::cout << photo.bytes().size() << " bytes, and the digest is right\n";
  //! [memory_sink]
  CHECK(output.take() == "4 bytes, and the digest is right\n");
  CHECK(photo.text() == "woof");
}

TEST_CASE_FIXTURE(connected_client, "a file_download is an element of a pool's job") {
  filexfer::transfer_pool pool{
      filexfer::tcp_connector{context.get_executor(), "127.0.0.1", server.port()}};
  std::filesystem::create_directory("copies");
  const filexfer::any_digest other_id = snippets::put(server.store, "2021/cat.jpg", "meow");
  //! [file_download]
  const auto copies = filexfer::download_target::folder("copies");
  const auto single = filexfer::download_target::file("dog.jpg");
  std::vector<filexfer::file_download> files;
  files.emplace_back(single, id);
  files.emplace_back(copies, other_id);  // under the name that it has at the server
  const auto on_result = [](const filexfer::file_result<filexfer::file_download>& result) {
    if (!result) std::cerr << result.element.path() << " was not fetched\n";
  };
  auto downloaded = pool.async_download(files, on_result, asio::use_future);
  context.run();
  //! [file_download]
  CHECK(downloaded.get().transferred == 2);
  CHECK(snippets::read_file("dog.jpg") == "woof");
  CHECK(snippets::read_file("copies/2021/cat.jpg") == "meow");
}

TEST_CASE_FIXTURE(connected_client, "a target tells where a file goes") {
  std::filesystem::create_directory("copies");
  //! [download_target]
  const auto copies = filexfer::download_target::folder("copies", filexfer::on_existing::replace);
  const auto single = filexfer::download_target::file("dog.jpg");
  std::cout << copies.path_of("2021/cat.jpg") << '\n';  // copies/2021/cat.jpg
  //! [download_target]
  CHECK(output.take() == "\"copies/2021/cat.jpg\"\n");
  CHECK(single.path_of("2021/cat.jpg") == "dog.jpg");
}

TEST_CASE_FIXTURE(connected_client, "a file of another server is a source") {
  snippets::loopback_server<> other;
  const filexfer::listed_file entry{snippets::put(other.store, "a.txt", "hello"), "a.txt", 5};
  asio::io_context pool_context;
  filexfer::transfer_pool pool{
      filexfer::tcp_connector{pool_context.get_executor(), "127.0.0.1", other.port()}};
  auto guard = asio::make_work_guard(pool_context);
  std::thread pool_thread{[&] { pool_context.run(); }};
  //! [remote_source]
  filexfer::remote_source source{pool, entry};  // another thread runs the pool's context
  client.upload(source, "copies/" + entry.name);
  //! [remote_source]
  guard.reset();
  pool_thread.join();
  CHECK(snippets::text_in(server.store, "copies/a.txt") == "hello");
}

TEST_CASE_FIXTURE(connected_client, "files of another server are elements of a pool's job") {
  snippets::loopback_server<> other;
  const auto other_id = snippets::put(other.store, "a.txt", "hello");
  const std::vector<filexfer::listed_file> listed{{other_id, "a.txt", 5}};
  asio::io_context from_context;
  asio::thread_pool work{1};
  using pool_type = filexfer::transfer_pool<filexfer::tcp_connector>;
  pool_type from{filexfer::tcp_connector{from_context.get_executor(), "127.0.0.1", other.port()}};
  pool_type to{filexfer::tcp_connector{context.get_executor(), "127.0.0.1", server.port()}};
  to.work_executor(work.get_executor());
  auto guard = asio::make_work_guard(from_context);
  std::thread from_thread{[&] { from_context.run(); }};
  //! [remote_file]
  std::vector<filexfer::remote_file<pool_type>> files;
  files.reserve(listed.size());
  for (const filexfer::listed_file& file : listed) files.emplace_back(from, file);
  const auto on_result = [](const auto& result) {
    if (!result) std::cerr << result.element.name() << " was not copied\n";
  };
  auto copied = to.async_upload_missing(files, on_result, asio::use_future);
  context.run();
  //! [remote_file]
  guard.reset();
  from_thread.join();
  CHECK(copied.get().transferred == 1);
  CHECK(snippets::text_in(server.store, "a.txt") == "hello");
}

TEST_CASE_FIXTURE(connected_client, "digests of local files are cached between runs") {
  const auto old = std::filesystem::file_time_type::clock::now() - std::chrono::hours{1};
  std::filesystem::last_write_time("cat.jpg", old);
  const auto in_an_hour = std::chrono::system_clock::now() + std::chrono::hours{1};
  filexfer::file_source photo{"cat.jpg"};
  //! [file_digest_cache]
  filexfer::file_digest_cache cache{"digests"};
  const auto digest_of = [&](filexfer::file_source& file, auto now, std::error_code& ec) {
    if (const auto known = cache.find(file.native_handle(), filexfer::md5::name())) return *known;
    const filexfer::any_digest computed = filexfer::hash_of<filexfer::md5>(file, ec);
    if (!ec) cache.add(file.native_handle(), filexfer::md5::name(), now, computed);
    return computed;
  };
  //! [file_digest_cache]
  std::error_code ec;
  CHECK(digest_of(photo, in_an_hour, ec) == snippets::id_of("meow"));
  filexfer::file_digest_cache later{"digests"};
  CHECK(later.find(photo.native_handle(), "md5") == snippets::id_of("meow"));
}

}  // namespace file_snippets
