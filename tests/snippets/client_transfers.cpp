// Examples for the reference: a client's uploads and downloads.

#include "connected_client.hpp"
#include "support.hpp"

#include <filexfer/batch.hpp>
#include <filexfer/client.hpp>
#include <filexfer/file.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/transfer.hpp>

#include <asio/ip/tcp.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>
#include <vector>

namespace client_transfers_snippets {

using asio::ip::tcp;
using snippets::client_type;
using snippets::connected_client;
using snippets::digest;
using snippets::id_of;
using snippets::put;
using snippets::write_file;

// ----------------------------------------------------------------------------------------- uploads

TEST_CASE_FIXTURE(connected_client, "an upload returns once the digests agree") {
  //! [upload]
  filexfer::file_source photo{"cat.jpg"};
  const auto uploaded = client.upload(photo, "photos/cat.jpg");  // throws unless the digests agree
  std::cout << "stored as " << uploaded.remote_digest << '\n';
  //! [upload]
  CHECK(output.take() == "stored as " + id_of("meow").to_string() + '\n');
  CHECK(snippets::text_in(server.store, "photos/cat.jpg") == "meow");
}

TEST_CASE_FIXTURE(connected_client, "an upload with its time and digest sends nothing twice") {
  put(server.store, "cat.jpg", "meow");
  //! [upload_request]
  filexfer::file_source photo{"cat.jpg"};
  std::error_code ec;
  const auto id = filexfer::hash_of<filexfer::md5>(photo, ec);
  if (ec) throw std::system_error{ec};
  const auto uploaded = client.upload(
      photo, {.name = "photos/cat.jpg", .expected = id, .modified = photo.modified()});
  if (!uploaded.sent) std::cout << "the server had the bytes already\n";
  //! [upload_request]
  CHECK(output.take() == "the server had the bytes already\n");
  CHECK(snippets::text_in(server.store, "photos/cat.jpg") == "meow");
}

TEST_CASE_FIXTURE(connected_client, "an upload calls a handler") {
  //! [async_upload]
  filexfer::file_source photo{"cat.jpg"};  // must live until the handler is called
  const auto on_uploaded = [](std::error_code ec, const client_type::upload_result& uploaded) {
    if (ec) std::cerr << ec.message() << '\n';
    else std::cout << "stored as " << uploaded.remote_digest << '\n';
  };
  client.async_upload(photo, std::string{"photos/cat.jpg"}, on_uploaded);
  context.run();
  //! [async_upload]
  CHECK(output.take() == "stored as " + id_of("meow").to_string() + '\n');
  CHECK(snippets::text_in(server.store, "photos/cat.jpg") == "meow");
}

TEST_CASE_FIXTURE(connected_client, "a name is added to a file that the server holds") {
  write_file("dog.jpg", "woof");
  //! [add_name]
  filexfer::file_source photo{"dog.jpg"};
  std::error_code ec;
  const auto id = filexfer::hash_of<filexfer::md5>(photo, ec);
  if (ec) throw std::system_error{ec};
  const bool held = client.add_name(id, photo.size(), "copies/dog.jpg");
  if (!held) client.upload(photo, "copies/dog.jpg");
  //! [add_name]
  CHECK(held);
  CHECK(snippets::names_in(server.store) == "copies/dog.jpg photos/dog.jpg");
}

TEST_CASE_FIXTURE(connected_client, "a name is added asynchronously") {
  const std::uint64_t size = 4;
  const digest id = dog;
  //! [async_add_name]
  const auto taken = std::chrono::sys_days{std::chrono::year{2021} / 5 / 1};
  auto held =
      client.async_add_name(id, size, "2021/dog.jpg", {.modified = taken}, asio::use_future);
  context.run();
  std::cout << (held.get() ? "it has that name, too" : "the server lacks the file") << '\n';
  //! [async_add_name]
  CHECK(output.take() == "it has that name, too\n");
  CHECK(snippets::names_in(server.store) == "2021/dog.jpg photos/dog.jpg");
}

// --------------------------------------------------------------------------------------- downloads

TEST_CASE_FIXTURE(connected_client, "a download appears once its digest is right") {
  const digest id = dog;
  //! [download]
  filexfer::file_sink copy{"copy.jpg"};
  const auto downloaded = client.download(id, copy);  // copy.jpg appears once its digest is right
  std::cout << "was " << filexfer::printable(downloaded.file.name) << '\n';
  //! [download]
  CHECK(output.take() == "was photos/dog.jpg\n");
  CHECK(snippets::read_file("copy.jpg") == "woof");
}

TEST_CASE_FIXTURE(connected_client, "a part of a file is fetched, which nothing verifies") {
  const digest id = dog;
  //! [download_range]
  filexfer::memory_sink part{1024};
  const auto entry = client.download_range({.id = id, .offset = 1, .length = 2}, part);
  std::cout << entry.bytes() << " bytes of " << entry.file.size << '\n';
  std::error_code ec;
  part.commit(ec);  // the caller's to do, for the part could not be verified
  //! [download_range]
  CHECK(output.take() == "2 bytes of 4\n");
  CHECK(part.text() == "oo");
}

TEST_CASE_FIXTURE(connected_client, "a part of a file is fetched asynchronously") {
  const digest id = dog;
  //! [async_download_range]
  filexfer::memory_sink end{1024};
  const filexfer::client<tcp::socket>::download_request wanted{.id = id, .offset = 2};
  client.async_download_range(wanted, end, [&](std::error_code ec, const auto& entry) {
    if (!ec) end.commit(ec);
    if (ec) std::cerr << ec.message() << '\n';
    else std::cout << entry.bytes() << " bytes of " << entry.file.size << '\n';
  });
  context.run();
  //! [async_download_range]
  CHECK(output.take() == "2 bytes of 4\n");
  CHECK(end.text() == "of");
}

// -------------------------------------------------------------------------------------- many files

TEST_CASE_FIXTURE(connected_client, "many files are uploaded, with a result for each") {
  //! [upload_all]
  std::vector<filexfer::upload_item<filexfer::memory_source, digest>> files;
  files.push_back({filexfer::memory_source{std::string{"rain"}}, {"monday.txt"}});
  files.push_back({filexfer::memory_source{std::string{"sun"}}, {"../tuesday.txt"}});
  client.upload_all(files, [](const auto& request, std::error_code ec, const auto&) {
    std::cout << request.name << ": " << (ec ? ec.message() : "stored") << '\n';
  });
  //! [upload_all]
  CHECK(output.take() == "monday.txt: stored\n../tuesday.txt: not a name that can be stored\n");
  CHECK(snippets::text_in(server.store, "monday.txt") == "rain");
}

TEST_CASE_FIXTURE(connected_client, "many names are added, with a result for each") {
  const digest id = dog;
  const digest other_id = id_of("meow");
  //! [add_names]
  std::vector<filexfer::name_request<digest>> wanted{{"a/dog.jpg", 4, id},
                                                     {"a/cat.jpg", 4, other_id}};
  client.add_names(wanted, [](const auto& request, std::error_code ec, bool held) {
    if (!ec) std::cout << request.name << (held ? " is there\n" : " is to be uploaded\n");
  });
  //! [add_names]
  CHECK(output.take() == "a/dog.jpg is there\na/cat.jpg is to be uploaded\n");
  CHECK(snippets::names_in(server.store) == "a/dog.jpg photos/dog.jpg");
}

TEST_CASE_FIXTURE(connected_client, "many names are added asynchronously") {
  const digest id = dog;
  std::vector<filexfer::name_request<digest>> wanted{{"a/dog.jpg", 4, id}, {"b/dog.jpg", 4, id}};
  //! [async_add_names]
  std::size_t missing = 0;
  const auto on_result = [&](const auto&, std::error_code ec, bool held) {
    if (ec || !held) ++missing;
  };
  client.async_add_names(wanted, on_result, [&](std::error_code ec) {
    std::cout << (ec ? ec.message() : std::to_string(missing) + " are missing") << '\n';
  });
  context.run();
  //! [async_add_names]
  CHECK(output.take() == "0 are missing\n");
  CHECK(snippets::names_in(server.store) == "a/dog.jpg b/dog.jpg photos/dog.jpg");
}

TEST_CASE_FIXTURE(connected_client, "many files are downloaded, with a result for each") {
  const digest id = dog;
  const digest unknown_id = id_of("meow");
  //! [download_all]
  std::vector<filexfer::download_item<filexfer::memory_sink, digest>> files;
  files.push_back({id, filexfer::memory_sink{1'000'000}});
  files.push_back({unknown_id, filexfer::memory_sink{1'000'000}});
  client.download_all(files, [](auto& file, std::error_code ec, const auto&) {
    std::cout << (ec ? ec.message() : std::string{file.sink.text()}) << '\n';
  });
  //! [download_all]
  CHECK(output.take() == "woof\nno file has that id\n");
}

TEST_CASE_FIXTURE(connected_client, "many files are downloaded asynchronously") {
  std::vector<filexfer::download_item<filexfer::memory_sink, digest>> files;
  files.push_back({dog, filexfer::memory_sink{1'000'000}});
  //! [async_download_all]
  std::uint64_t bytes = 0;
  const auto on_result = [&](auto& file, std::error_code ec, const auto& downloaded) {
    if (ec) std::cerr << file.id << ": " << ec.message() << '\n';
    else bytes += downloaded.bytes;
  };
  auto ended = client.async_download_all(files, on_result, asio::use_future);
  context.run();
  ended.get();  // throws if the connection broke
  //! [async_download_all]
  CHECK(bytes == 4);
  CHECK(files.front().sink.text() == "woof");
}

// --------------------------------------------------------------------------------------- coroutines

#if defined(ASIO_HAS_CO_AWAIT)

namespace {

//! [async_upload_request]
asio::awaitable<void> send_photo(client_type& client, std::filesystem::path path) {
  filexfer::file_source photo{path};
  client_type::upload_request request{.name = path.filename()};
  request.modified = photo.modified();
  const auto uploaded = co_await client.async_upload(photo, request, asio::use_awaitable);
  std::cout << "stored as " << uploaded.remote_digest << '\n';
}
//! [async_upload_request]

//! [async_download]
asio::awaitable<void> fetch_photo(client_type& client, digest id) {
  filexfer::file_sink copy{"copy.jpg", filexfer::on_existing::replace};
  const auto downloaded = co_await client.async_download(id, copy, asio::use_awaitable);
  std::cout << downloaded.bytes << " bytes arrived\n";
}
//! [async_download]

//! [async_upload_all]
using upload_items = std::vector<filexfer::upload_item<filexfer::file_source, digest>>;

asio::awaitable<void> send_all(client_type& client, upload_items& files) {
  const auto on_result = [](const auto& request, std::error_code ec, const auto&) {
    std::cout << request.name << ": " << (ec ? ec.message() : "stored") << '\n';
  };
  co_await client.async_upload_all(files, on_result, asio::use_awaitable);
}
//! [async_upload_all]

}  // namespace

TEST_CASE_FIXTURE(connected_client, "a coroutine uploads") {
  snippets::run(context, send_photo(client, "cat.jpg"));
  CHECK(output.take() == "stored as " + id_of("meow").to_string() + '\n');
  CHECK(snippets::text_in(server.store, "cat.jpg") == "meow");
}

TEST_CASE_FIXTURE(connected_client, "a coroutine downloads") {
  snippets::run(context, fetch_photo(client, dog));
  CHECK(output.take() == "4 bytes arrived\n");
  CHECK(snippets::read_file("copy.jpg") == "woof");
}

TEST_CASE_FIXTURE(connected_client, "a coroutine uploads many files") {
  upload_items files;
  files.push_back({filexfer::file_source{"cat.jpg"}, {"photos/cat.jpg"}});
  snippets::run(context, send_all(client, files));
  CHECK(output.take() == "photos/cat.jpg: stored\n");
  CHECK(snippets::text_in(server.store, "photos/cat.jpg") == "meow");
}

#endif

}  // namespace client_transfers_snippets
