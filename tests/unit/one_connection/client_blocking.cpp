#include "support/client_fixture.hpp"
#include "support/known_files.hpp"
#include "support/recording_sink.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/session.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/system_executor.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace client_blocking_tests {

using namespace client_tests;

namespace {

// A session that serves a blocking client, on a thread of its own.
class blocking_server {
 public:
  blocking_server()
      : ends_{filexfer::make_memory_pipe(asio::system_executor{}, 10'000)},
        session_{ends_.second, store},
        thread_{[this] { session_.run(error_); }} {}
  ~blocking_server() {
    if (thread_.joinable()) close_and_join();
  }
  memory_pipe& connection() { return ends_.first; }
  std::error_code close_and_join() {
    ends_.first.close();
    thread_.join();
    return error_;
  }
  store_type store;

 private:
  std::pair<memory_pipe, memory_pipe> ends_;
  filexfer::session<memory_pipe&, store_type> session_;
  std::error_code error_;
  std::thread thread_;
};

}  // namespace

TEST_CASE(
    "a blocking client downloads what it uploaded, of any size, with error codes and throwing") {
  blocking_server server;
  filexfer::client client{server.connection(), small_chunks()};
  static_assert(std::is_same_v<decltype(client), filexfer::client<memory_pipe&>>);
  for (const known_file& s : known_files()) {
    std::error_code ec = errc::io;
    memory_source source{s.bytes};
    const auto up = client.upload(source, "with code", ec);
    REQUIRE_FALSE(ec);
    CHECK(up.remote_digest.to_string() == s.id);
    CHECK(up.sent);
    memory_source again{s.bytes};
    CHECK(client.upload(again, "thrown").local_digest.to_string() == s.id);

    recording_sink sink;
    ec = errc::io;
    const auto down = client.download(id_of(s), sink, ec);
    REQUIRE_FALSE(ec);
    CHECK(sink.committed);
    CHECK(sink.bytes == s.bytes);
    CHECK(down.file.size == s.bytes.size());
    recording_sink second;
    CHECK(client.download(id_of(s), second).local_digest == id_of(s));
    CHECK(second.bytes == s.bytes);
  }
  std::error_code ec = errc::io;
  CHECK(client.list_files(ec).size() == 2 * known_files().size());
  CHECK_FALSE(ec);
  CHECK(client.list_files().size() == 2 * known_files().size());
  CHECK(all_whole(server.store));
  CHECK(client.usable());
  CHECK_FALSE(server.close_and_join());
}

TEST_CASE(
    "a blocking client gets features, ranges, and entries one by one, with error codes and "
    "throwing") {
  blocking_server server;
  put(server.store, "a", hello);
  filexfer::client client{server.connection()};
  std::error_code ec = errc::io;
  CHECK(client.features(ec).digest == "md5");
  CHECK_FALSE(ec);
  CHECK(client.features().version == 1);

  recording_sink sink;
  ec = errc::io;
  CHECK(client.download_range({id_of(hello), 1, 3}, sink, ec).bytes() == 3);
  CHECK_FALSE(ec);
  client.download_range({id_of(hello), 4, std::nullopt}, sink);
  CHECK(sink.bytes == "ello");
  CHECK_FALSE(sink.committed);

  using entry = filexfer::client<memory_pipe&>::file_info;
  std::vector<std::string> names;
  ec = errc::io;
  client.list_files([&](const entry& file) { names.push_back(file.name); }, ec);
  CHECK_FALSE(ec);
  client.list_files([&](const entry& file, std::error_code&) { names.push_back(file.name); });
  CHECK(names == std::vector<std::string>{"a", "a"});
  memory_source source{hello.bytes};
  const auto held = client.upload(source, filexfer::upload_request<md5_digest>{"b", id_of(hello)});
  CHECK_FALSE(held.sent);
  CHECK(entries_of(server.store).size() == 2);
}

TEST_CASE("a refusal is the same as an error code and thrown, and leaves the client usable") {
  blocking_server server;
  filexfer::client client{server.connection()};
  recording_sink sink;
  std::error_code ec;
  client.download(id_of(hello), sink, ec);
  CHECK(ec == errc::not_found);
  CHECK(thrown_by([&] { client.download(id_of(hello), sink); }) == errc::not_found);
  CHECK(client.last_failure() == failure_origin::peer);
  CHECK(client.last_reply().starts_with("ERROR not-found"));
  CHECK(client.usable());
  memory_source source{hello.bytes};
  CHECK(thrown_by([&] { client.upload(source, "../a"); }) == errc::bad_name);
  CHECK(client.last_failure() == failure_origin::local);
  using entry = filexfer::client<memory_pipe&>::file_info;
  const auto stop = [](const entry&, std::error_code& failed) { failed = errc::too_many_entries; };
  put(server.store, "a", hello);
  CHECK(thrown_by([&] { client.list_files(stop); }) == errc::too_many_entries);
  CHECK_FALSE(client.usable());
  CHECK(thrown_by([&] { client.list_files(); }) == errc::connection_unusable);
  CHECK(thrown_by([&] { client.features(); }) == errc::connection_unusable);
}

TEST_CASE("a client owns a stream that was moved into it") {
  asio::io_context unused;
  auto ends = filexfer::make_memory_pipe(unused);
  {
    filexfer::client owner{std::move(ends.first)};
    static_assert(std::is_same_v<decltype(owner), filexfer::client<memory_pipe>>);
    CHECK(owner.next_layer().is_open());
  }
  std::error_code ec;
  char byte = 0;
  ends.second.read_some(asio::buffer(&byte, 1), ec);
  CHECK(ec == asio::error::eof);
}

// As of a file in /proc, which has no size.
struct source_that_grew : memory_source {
  source_that_grew() : memory_source{std::span<const std::byte>{}} {}
  static void check_unchanged(std::error_code& ec) { ec = errc::source_changed; }
};
static_assert(filexfer::guarded_source<source_that_grew>);

TEST_CASE("an empty file that turns out not to be empty is not uploaded, even if it was answered") {
  auto [near, far] = filexfer::make_memory_pipe(asio::system_executor{});
  asio::write(far, asio::buffer(details_prompt + ready_words + nothing.id + "\n"));
  filexfer::client client{std::move(near)};
  source_that_grew source;
  std::error_code ec;
  client.upload(source, "a", ec);
  CHECK(ec == errc::source_changed);
  CHECK(client.last_failure() == failure_origin::local);
}

}  // namespace client_blocking_tests
