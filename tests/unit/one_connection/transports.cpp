// Whole transfers between a client and a session: one table of streams, stores, modes of either
// side, and files.

#include "support/connected_streams.hpp"
#include "support/end_to_end.hpp"
#include "support/once_handler.hpp"
#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/client.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>

#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace transports_tests {

using namespace test;
using filexfer::directory_store;
using filexfer::memory_store;

namespace {

// Three chunks are more than any of the streams buffers, TCP excepted.
constexpr std::size_t small = 4'000;
constexpr std::size_t chunk = 100'000;

// -------------------------------------------------------------------------------------- the stores

struct in_memory {
  static constexpr const char* name = "in memory";
  memory_store<> store;
};

/// A folder in memory where there is one, as these tests are not about surviving a crash.
std::filesystem::path fast_folder() {
  const std::filesystem::path shared_memory{"/dev/shm"};
  return std::filesystem::is_directory(shared_memory) ? shared_memory
                                                      : std::filesystem::temp_directory_path();
}

struct in_directory {
  static constexpr const char* name = "in a directory";
  scratch_folder folder{fast_folder()};
  directory_store<> store{folder / "store"};
};

// --------------------------------------------------------------------------------- modes of a side

enum class mode { blocking, asynchronous, with_work_executor };

constexpr std::array all_modes{mode::blocking, mode::asynchronous, mode::with_work_executor};

const char* name_of(mode m) {
  constexpr std::array names{"blocking", "asynchronous", "asynchronous, with work elsewhere"};
  return names[static_cast<std::size_t>(m)];
}

/// A client whose operations block, or run the context until they have completed.
template <class Stream>
class either_client {
  using client_type = filexfer::client<Stream&>;

 public:
  either_client(Stream& stream, asio::io_context& context, mode m, asio::thread_pool& pool)
      : client_{stream, {.chunk_size = chunk, .small_file_size = small}},
        context_{context},
        mode_{m} {
    if (m == mode::with_work_executor) client_.work_executor(pool.get_executor());
  }

  auto list_files(std::error_code& ec) {
    if (mode_ == mode::blocking) return client_.list_files(ec);
    return finish<std::vector<listed_file>>(
        ec, [&](auto handler) { client_.async_list_files(std::move(handler)); });
  }

  auto upload(filexfer::memory_source& source, const std::string& name, std::error_code& ec) {
    if (mode_ == mode::blocking) return client_.upload(source, name, ec);
    return finish<typename client_type::upload_result>(
        ec, [&](auto handler) { client_.async_upload(source, name, std::move(handler)); });
  }

  auto download(const md5_digest& id, collecting_sink& sink, std::error_code& ec) {
    if (mode_ == mode::blocking) return client_.download(id, sink, ec);
    return finish<typename client_type::download_result>(
        ec, [&](auto handler) { client_.async_download(id, sink, std::move(handler)); });
  }

  auto download_range(const typename client_type::download_request& request, collecting_sink& sink,
                      std::error_code& ec) {
    if (mode_ == mode::blocking) return client_.download_range(request, sink, ec);
    return finish<typename client_type::download_entry>(
        ec, [&](auto handler) { client_.async_download_range(request, sink, std::move(handler)); });
  }

 private:
  template <class Result, class Start>
  Result finish(std::error_code& ec, Start start) {
    expected_call<void(std::error_code, Result)> call;
    call.start(start);
    context_.restart();
    context_.run();
    ec = std::get<0>(call.result());
    return std::get<1>(std::move(call.result()));
  }

  client_type client_;
  asio::io_context& context_;
  mode mode_;
};

/// A session on its own thread until the client closes.
template <class Stream, class Store>
class served {
 public:
  served(Stream& stream, Store& store, asio::io_context& context, mode m, asio::thread_pool& pool)
      : session_{stream, store, {.chunk_size = chunk, .small_file_size = small}} {
    if (m == mode::blocking) {
      thread_ = std::thread{[this] { session_.run(error_); }};
      return;
    }
    if (m == mode::with_work_executor) session_.work_executor(pool.get_executor());
    session_.async_run([this](std::error_code ec) { error_ = ec; });
    thread_ = std::thread{[&context] { context.run(); }};
  }

  ~served() {
    if (thread_.joinable()) thread_.join();
  }

  std::error_code wait_for_end() {
    thread_.join();
    return error_;
  }

 private:
  filexfer::session<Stream&, Store> session_;
  std::error_code error_;
  std::thread thread_;
};

// --------------------------------------------------------------------------------------- the files

struct named_file {
  std::string name;
  sample contents;

  listed_file entry() const { return {contents.id, name, contents.bytes.size()}; }
};

const std::vector<named_file>& files() {
  static const std::vector<named_file> all = [] {
    std::vector<named_file> f;
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, small - 1, small, small + 1,
                                   chunk - 1, chunk, chunk + 1, 3 * chunk}) {
      f.push_back({"noise/" + std::to_string(size) + " bytes",
                   sample{noise(size, static_cast<unsigned>(size) + 1)}});
    }
    // Neither the contents nor the name may matter.
    for (const char* const words :
         {"EOF", "DONE", "\n", "\r\n\r\n", "LIST_FILES\n", "UPLOAD\nname;3\nabc",
          "ERROR io it failed\n", "d41d8cd98f00b204e9800998ecf8427e\n", ";%00;;"}) {
      f.push_back({words, sample{words}});
    }
    std::string every_byte;
    for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
    f.push_back({"every byte", sample{every_byte}});
    // The same words across the ends of chunks.
    std::string across = noise(3 * chunk, 7);
    across.replace(chunk - 3, 15, "EOF\nLIST_FILES\n");
    across.replace(2 * chunk - 1, 5, "DONE\n");
    f.push_back({"words across chunks", sample{across + "EOF"}});
    return f;
  }();
  return all;
}

struct range {
  std::uint64_t offset;
  std::optional<std::uint64_t> length;
};

constexpr std::array ranges{range{0, std::nullopt},
                            range{0, 0},
                            range{0, 1},
                            range{1, std::nullopt},
                            range{small - 1, 2},
                            range{chunk - 1, 2},
                            range{chunk, small},
                            range{chunk, chunk + 1},
                            range{small, 2 * chunk},
                            range{3 * chunk - 1, 100},
                            range{3 * chunk, 1}};

// ----------------------------------------------------------------------------------- the transfers

template <class Client>
void expect_list(Client& client, std::vector<listed_file> expected) {
  std::error_code ec;
  auto listed = client.list_files(ec);
  CHECK_FALSE(ec);
  const auto by_entry = [](const listed_file& a, const listed_file& b) {
    return std::tie(a.id, a.name) < std::tie(b.id, b.name);
  };
  std::sort(listed.begin(), listed.end(), by_entry);
  std::sort(expected.begin(), expected.end(), by_entry);
  CHECK((listed == expected));
}

template <class Client>
void expect_upload(Client& client, const named_file& file) {
  std::error_code ec;
  filexfer::memory_source source{as_bytes(file.contents.bytes)};
  const auto result = client.upload(source, file.name, ec);
  CHECK_FALSE(ec);
  CHECK(result.local_digest == file.contents.id);
  CHECK(result.remote_digest == file.contents.id);
  CHECK(result.sent);
}

template <class Client>
void expect_download(Client& client, const named_file& file) {
  std::error_code ec;
  collecting_sink sink;
  auto result = client.download(file.contents.id, sink, ec);
  CHECK_FALSE(ec);
  CHECK(result.local_digest == file.contents.id);
  result.file.modified.reset();  // present if FEATURES was asked for before
  result.file.executable.reset();
  CHECK((result.file == file.entry()));
  CHECK((sink.bytes == file.contents.bytes));
  CHECK(sink.commits == 1);
}

template <class Client>
void expect_ranges(Client& client, const named_file& file) {
  for (const range& r : ranges) {
    if (r.offset > file.contents.bytes.size()) continue;
    CAPTURE(r.offset);
    std::error_code ec;
    collecting_sink sink;
    const auto entry = client.download_range({file.contents.id, r.offset, r.length}, sink, ec);
    CHECK_FALSE(ec);
    const auto expected =
        file.contents.bytes.substr(r.offset, r.length.value_or(std::string::npos));
    CHECK(entry.bytes() == expected.size());
    CHECK((entry.file == file.entry()));
    CHECK((sink.bytes == expected));
    CHECK(sink.commits == 0);
  }
}

/// Lists, uploads all, lists, downloads and compares all, in whole and in parts: one connection.
template <class Over, class Store>
void whole_transfers(Store& store, mode client_mode, mode server_mode) {
  using stream = typename Over::stream;
  asio::io_context client_context;
  asio::io_context server_context;
  asio::thread_pool pool{1};
  auto ends = Over::connect(client_context, server_context);
  served<stream, Store> session{ends.second, store, server_context, server_mode, pool};
  {
    stream client_end = std::move(ends.first);
    either_client<stream> client{client_end, client_context, client_mode, pool};
    expect_list(client, {});
    std::vector<listed_file> all;
    for (const named_file& file : files()) {
      CAPTURE(file.name);
      expect_upload(client, file);
      all.push_back(file.entry());
    }
    expect_list(client, all);
    for (const named_file& file : files()) {
      CAPTURE(file.name);
      expect_download(client, file);
      expect_ranges(client, file);
    }
  }
  CHECK_FALSE(session.wait_for_end());
}

template <class Over, class Fixture>
void in_all_modes() {
  CAPTURE(Fixture::name);
  for (const mode client : all_modes) {
    for (const mode server : all_modes) {
      CAPTURE(name_of(client));
      CAPTURE(name_of(server));
      Fixture fresh;
      whole_transfers<Over>(fresh.store, client, server);
    }
  }
}

}  // namespace

TEST_CASE_TEMPLATE(
    "files of any size and any bytes are transferred whole, over any stream, in any store", Over,
    over_memory, over_tcp, over_unix, over_pipes, wrapped<over_memory>, wrapped<over_tcp>,
    wrapped<over_unix>, wrapped<over_pipes>) {
  in_all_modes<Over, in_memory>();
  in_all_modes<Over, in_directory>();
}

// ------------------------------------------------------------------------------- checked by md5sum

namespace {

/// The output of `md5sum` for a file; nullopt if there is no such program.
std::optional<std::string> md5sum(const std::filesystem::path& file) {
  const std::string command = "md5sum <'" + file.string() + "' 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> output{::popen(command.c_str(), "r"), &::pclose};
  std::array<char, 32> digits{};
  if (!output || std::fread(digits.data(), 1, digits.size(), output.get()) != digits.size()) {
    return std::nullopt;
  }
  return std::string{digits.data(), digits.size()};
}

}  // namespace

TEST_CASE("md5sum confirms the digest of each file in a directory store") {
  if (!md5sum("/dev/null")) {
    MESSAGE("skipped: there is no md5sum");
    return;
  }
  in_directory fresh;
  whole_transfers<over_tcp>(fresh.store, mode::asynchronous, mode::asynchronous);
  for (const named_file& file : files()) {
    CAPTURE(file.name);
    const auto path = fresh.folder / "store" / file.contents.id.to_string() / file.name;
    CHECK(md5sum(path) == file.contents.id.to_string());
    CHECK((contents(path) == file.contents.bytes));
  }
}

}  // namespace transports_tests
