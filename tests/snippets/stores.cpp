// Examples for the reference: the stores of a server.

#include "support.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/sha256.hpp>
#include <filexfer/storage.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <fstream>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace store_snippets {

using snippets::captured_output;

TEST_CASE("a directory_store keeps plain files") {
  const snippets::current_folder folder;
  //! [directory_store]
  filexfer::directory_store_options options;
  options.quota = std::uint64_t{100} << 30;
  options.max_names = 1'000'000;
  options.min_free = {.bytes = std::uint64_t{10} << 30, .percent = 5};
  options.flushing = filexfer::flush_mode::on;  // off: faster, not safe from power cuts
  options.log = [](std::string_view text) { std::clog << text << '\n'; };
  std::error_code ec;
  filexfer::directory_store<filexfer::sha256> store{"files", options, ec};
  if (ec) std::cerr << "files: " << ec.message() << '\n';
  //! [directory_store]
  REQUIRE_FALSE(ec);
  const auto id = snippets::put<filexfer::sha256>(store, "a/note.txt", "hello");
  CHECK(snippets::read_file("files/" + id.to_string() + "/a/note.txt") == "hello");
}

TEST_CASE("a store lists its files") {
  const snippets::current_folder folder;
  filexfer::directory_store<> store{"files"};
  snippets::put(store, "note.txt", "hello");
  captured_output output;
  //! [list]
  std::error_code ec;
  auto cursor = store.list(ec);
  while (!ec) {
    const auto file = cursor.next(ec);
    if (!file) break;
    std::cout << file->size << ' ' << filexfer::printable(file->name) << '\n';
  }
  //! [list]
  CHECK(output.take() == "5 note.txt\n");
  CHECK_FALSE(ec);
}

TEST_CASE("a stored file is read by its id") {
  filexfer::memory_store<> store;
  const auto id = snippets::put(store, "note.txt", "hello");
  captured_output output;
  //! [open]
  std::error_code ec;
  if (auto file = store.open(id, ec)) {
    std::string text(file->reader.size(), '\0');
    file->reader.read(std::as_writable_bytes(std::span{text}), ec);
    if (!ec) std::cout << file->info.name << ": " << text << '\n';
  }
  //! [open]
  CHECK(output.take() == "note.txt: hello\n");
}

TEST_CASE("a file is put into a store without a client") {
  const snippets::current_folder folder;
  filexfer::directory_store<> store{"files"};
  //! [create]
  const std::string text = "hello";
  const auto bytes = std::as_bytes(std::span{text});
  filexfer::md5 hash;
  hash.update(bytes);
  filexfer::upload_details<filexfer::md5::digest_type> details{};
  details.name = "note.txt";
  details.size = bytes.size();
  std::error_code ec;
  auto upload = store.create(details, ec);
  if (upload) upload->write(bytes, ec);
  if (upload && !ec) upload->commit(hash.finish(), ec);  // listed, and durable
  //! [create]
  CHECK_FALSE(ec);
  CHECK(snippets::text_in(store, "note.txt") == "hello");
}

TEST_CASE("several uploads are committed together") {
  const snippets::current_folder folder;
  filexfer::directory_store<> store{"files"};
  //! [commit_all]
  using store_type = filexfer::directory_store<>;
  std::deque<store_type::upload> uploads;
  std::vector<filexfer::upload_commit<store_type::upload, store_type::digest_type>> commits;
  for (const std::string text : {"one", "two", "three"}) {
    const auto bytes = std::as_bytes(std::span{text});
    filexfer::md5 hash;
    hash.update(bytes);
    std::error_code ec;
    auto upload = store.create({text + ".txt", bytes.size(), {}}, ec);
    if (upload) upload->write(bytes, ec);
    if (!upload || ec) continue;
    uploads.push_back(std::move(*upload));
    commits.push_back({&uploads.back(), hash.finish()});
  }
  store.commit_all(commits);  // a few flushes for all; each has its own `error`
  //! [commit_all]
  for (const auto& one : commits) CHECK_FALSE(one.error);
  CHECK(snippets::text_in(store, "three.txt") == "three");
}

TEST_CASE("a stored file gets another name") {
  const snippets::current_folder folder;
  filexfer::directory_store<> store{"files"};
  const auto id = snippets::put(store, "note.txt", "hello");
  //! [add_name]
  std::error_code ec;
  const auto now = std::chrono::system_clock::now();
  const bool held = store.add_name(id, 5, "copies/note.txt", {.modified = now}, ec);
  //! [add_name]
  CHECK_FALSE(ec);
  CHECK(held);
  CHECK(snippets::names_in(store) == "copies/note.txt note.txt");
}

TEST_CASE("a store is verified") {
  const snippets::current_folder folder;
  filexfer::directory_store<> store{"files"};
  const auto id = snippets::put(store, "note.txt", "hello");
  std::ofstream{"files/" + id.to_string() + "/note.txt"} << "jello";
  captured_output output;
  //! [verify]
  const auto report = [](const auto& file) {
    if (file.state == filexfer::stored_state::intact) return;
    std::cout << file.info.id << ' ' << filexfer::printable(file.info.name) << ": damaged\n";
  };
  std::error_code ec;
  const auto totals = store.verify({.max_rate = 50'000'000}, report, ec);  // bytes per second
  if (!ec) std::cout << totals.files << " files, " << totals.damaged << " damaged\n";
  //! [verify]
  CHECK(output.take() == id.to_string() + " note.txt: damaged\n1 files, 1 damaged\n");
  CHECK(snippets::names_in(store).empty());
}

TEST_CASE("an interrupted upload is resumed") {
  const snippets::current_folder folder;
  filexfer::directory_store<> store{"files"};
  filexfer::upload_details<filexfer::md5::digest_type> details{};
  details.name = "note.txt";
  details.size = 5;
  details.id = snippets::id_of("hello");
  const std::string first = "hel";
  const std::string rest = "lo";
  //! [resume]
  details.resume = "a-random-token-of-the-client";
  std::error_code ec;
  if (auto interrupted = store.resume(details, ec)) {
    interrupted->write(std::as_bytes(std::span{first}), ec);
    interrupted->keep();
  }
  if (auto resumed = store.resume(details, ec); resumed && resumed->held() == first.size()) {
    resumed->write(std::as_bytes(std::span{rest}), ec);
    if (!ec) resumed->commit(*details.id, ec);
  }
  //! [resume]
  CHECK_FALSE(ec);
  CHECK(snippets::text_in(store, "note.txt") == "hello");
}

TEST_CASE("a memory_store has limits") {
  //! [memory_store]
  filexfer::memory_store_options options;
  options.quota = 1'000'000;  // bytes of all files
  filexfer::memory_store<filexfer::sha256> store{options};
  //! [memory_store]
  CHECK_THROWS_AS(snippets::put<filexfer::sha256>(store, "large", std::string(1'000'001, 'x')),
                  std::system_error);
  snippets::put<filexfer::sha256>(store, "small", "hello");
  CHECK(snippets::names_in(store) == "small");
}

}  // namespace store_snippets
