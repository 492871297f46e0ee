// Where a server calls its store: not where it serves the network, and without waiting for locks.

#include "support/server_fixture.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace server_store_threads_tests {

using namespace server_tests;
using filexfer::file_attributes;
using filexfer::upload_details;

namespace {

/// A store that counts the calls that block the network's thread, and can stall or lock files.
class observed_store {
 public:
  using digest_type = filexfer::md5::digest_type;
  using memory = memory_store<>;
  class cursor;
  class reader;
  class upload;

  /// The thread that runs the context.
  std::thread::id network;
  std::atomic<int> calls = 0;
  std::atomic<int> calls_on_network_thread = 0;

  /// Files of this name stall when they are opened or committed, until `release`.
  std::string stalled_name;
  /// Files of this name can't be committed, named or removed while it is set, for a lock.
  std::string locked_name;
  std::atomic<bool> locked = true;
  std::atomic<int> refusals = 0;

  cursor list(std::error_code& ec);
  std::optional<filexfer::opened_file<digest_type, reader>> open(const digest_type& id,
                                                                 std::error_code& ec);
  std::optional<upload> create(const upload_details<digest_type>& details, std::error_code& ec);
  bool add_name(const digest_type& id, std::uint64_t size, std::string_view name,
                const file_attributes& attributes, std::error_code& ec) {
    enter();
    return !is_locked(name, ec) && inner_.add_name(id, size, name, attributes, ec);
  }
  bool remove(const digest_type& id, std::string_view name, std::error_code& ec) {
    enter();
    return !is_locked(name, ec) && inner_.remove(id, name, ec);
  }

  void wait_for_stalled(int count) {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return stalled_ >= count; });
  }
  void release() {
    const std::lock_guard lock{mutex_};
    released_ = true;
    changed_.notify_all();
  }

 private:
  void enter() {
    ++calls;
    if (std::this_thread::get_id() == network) ++calls_on_network_thread;
  }
  void stall(std::string_view name) {
    if (name != stalled_name) return;
    std::unique_lock lock{mutex_};
    ++stalled_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return released_; });
  }
  bool is_locked(std::string_view name, std::error_code& ec) {
    if (name != locked_name || !locked) return false;
    ++refusals;
    ec = make_error_code(std::errc::operation_would_block);
    return true;
  }

  memory inner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int stalled_ = 0;
  bool released_ = false;
};

class observed_store::cursor {
 public:
  cursor(observed_store& store, memory::cursor inner) : store_{&store}, inner_{std::move(inner)} {}
  std::optional<filexfer::file_info<digest_type>> next(std::error_code& ec) {
    store_->enter();
    return inner_.next(ec);
  }

 private:
  observed_store* store_;
  memory::cursor inner_;
};

class observed_store::reader {
 public:
  reader(observed_store& store, memory::reader inner) : store_{&store}, inner_{std::move(inner)} {}
  std::uint64_t size() const noexcept { return inner_.size(); }
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    store_->enter();
    return inner_.read(to, ec);
  }
  void seek(std::uint64_t offset, std::error_code& ec) { inner_.seek(offset, ec); }

 private:
  observed_store* store_;
  memory::reader inner_;
};

class observed_store::upload {
 public:
  upload(observed_store& store, memory::upload inner, std::string name)
      : store_{&store}, inner_{std::move(inner)}, name_{std::move(name)} {}
  upload(upload&& other) noexcept = default;
  upload& operator=(upload&& other) noexcept = default;
  ~upload() {
    if (inner_) store_->enter();  // may remove a temporary file
  }
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    store_->enter();
    inner_->write(bytes, ec);
  }
  void commit(const digest_type& id, std::error_code& ec) {
    store_->enter();
    store_->stall(name_);
    if (!store_->is_locked(name_, ec)) inner_->commit(id, ec);
  }

 private:
  struct moved_to_empty : std::optional<memory::upload> {
    moved_to_empty(memory::upload u) : std::optional<memory::upload>{std::move(u)} {}
    moved_to_empty(moved_to_empty&& other) noexcept
        : std::optional<memory::upload>{std::move(other)} {
      other.reset();
    }
    moved_to_empty& operator=(moved_to_empty&& other) noexcept {
      std::optional<memory::upload>::operator=(std::move(other));
      other.reset();
      return *this;
    }
  };
  observed_store* store_;
  moved_to_empty inner_;
  std::string name_;
};

observed_store::cursor observed_store::list(std::error_code& ec) {
  enter();
  return cursor{*this, inner_.list(ec)};
}

auto observed_store::open(const digest_type& id, std::error_code& ec)
    -> std::optional<filexfer::opened_file<digest_type, reader>> {
  enter();
  auto file = inner_.open(id, ec);
  if (!file) return std::nullopt;
  stall(file->info.name);
  return filexfer::opened_file<digest_type, reader>{file->info,
                                                    reader{*this, std::move(file->reader)}};
}

auto observed_store::create(const upload_details<digest_type>& details, std::error_code& ec)
    -> std::optional<upload> {
  enter();
  auto inner = inner_.create(details, ec);
  if (!inner) return std::nullopt;
  return upload{*this, std::move(*inner), details.name};
}

/// A server on a thread of its own, with a pool of threads for the store.
struct running_server {
  explicit running_server(std::size_t threads) : disk{threads} {
    server.work_executor(work.get_executor());
    server.blocking_executor(disk.get_executor());
    server.start();
    network = std::thread{[this] {
      store.network = std::this_thread::get_id();
      context.run();
    }};
  }
  ~running_server() {
    store.release();
    server.async_stop([](std::error_code) {});
    network.join();
  }

  tcp::socket connect() {
    tcp::socket socket{client_context};
    socket.connect(server.local_endpoint());
    return socket;
  }

  observed_store store;
  asio::io_context context;
  asio::io_context client_context;
  filexfer::server<tcp, observed_store> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store, {.grace = 5s}};
  asio::thread_pool work{1};
  asio::thread_pool disk;
  std::thread network;
};

std::string received(tcp::socket& socket, std::string_view end) {
  std::string all;
  std::array<char, 4096> buffer;
  while (all.find(end) == std::string::npos) {
    all.append(buffer.data(), socket.read_some(asio::buffer(buffer)));
  }
  return all;
}

}  // namespace

TEST_CASE("a server calls its store on no thread that serves the network") {
  running_server s{2};
  filexfer::client client{s.connect(), {.max_nowait_size = 500'000}};
  const std::string large = noise(1'000'000);
  for (const std::string_view bytes : {std::string_view{"small"}, std::string_view{large}}) {
    filexfer::memory_source source{as_bytes(bytes)};
    const auto up = client.upload(source, "a");
    filexfer::memory_sink sink{2'000'000};
    client.download(up.remote_digest, sink);
    CHECK(sink.bytes().size() == bytes.size());
    CHECK(client.add_name(up.remote_digest, bytes.size(), "b"));
  }
  client.list_files();
  tcp::socket raw = s.connect();
  const std::string requests =
      "UPLOAD\nnowait;4;nowait\nbyteUPLOAD\nnowait2;4;nowait\nbyteDOWNLOAD\n" +
      id_of("small").to_string() + "\nUPLOAD\nwrong;4;nowait;id=" + id_of("small").to_string() +
      "\nbyteUPLOAD\nbroken;500000\n";
  asio::write(raw, asio::buffer(requests));
  received(raw, "Ready to receive the file\n");
  CHECK(s.store.calls > 20);
  const int calls = s.store.calls;
  raw.close();  // the upload that was begun is discarded
  while (s.store.calls == calls) std::this_thread::yield();
  CHECK(s.store.calls_on_network_thread == 0);
}

TEST_CASE("files that stall hold a thread for each connection that uses them, and no other waits") {
  running_server s{3};
  filexfer::client client{s.connect()};
  filexfer::memory_source source{as_bytes("stalled")};
  const auto id = client.upload(source, "stalled").remote_digest;
  s.store.stalled_name = "stalled";
  tcp::socket opening = s.connect();
  asio::write(opening, asio::buffer("DOWNLOAD\n" + id.to_string() + "\n"));
  tcp::socket committing = s.connect();
  asio::write(committing, asio::buffer(std::string{"UPLOAD\nstalled;3;nowait\nabc"}));
  s.store.wait_for_stalled(2);
  for (const std::string name : {"x", "y"}) {
    filexfer::memory_source other{as_bytes(name)};
    filexfer::memory_sink sink{2'000'000};
    client.download(client.upload(other, name).remote_digest, sink);
    CHECK(client.list_files().size() > 1);
  }
  s.store.release();
  CHECK(received(opening, ";7\nstalled").size() > 0);
  CHECK(received(committing, id_of("abc").to_string()).size() > 0);
}

TEST_CASE("a lock that somebody holds makes only the requests wait that need it, and no thread") {
  running_server s{1};
  filexfer::client client{s.connect()};
  filexfer::memory_source source{as_bytes("before")};
  const auto id = client.upload(source, "before").remote_digest;
  s.store.locked_name = "locked";
  std::vector<tcp::socket> waiting;
  const std::string requests[] = {
      "UPLOAD\nlocked;3;nowait\nabc", "UPLOAD\nlocked;6;have;id=" + id.to_string() + "\n",
      "UPLOAD\nlocked;100000\n" + noise(100'000), "UPLOAD\nlocked;3\nabc"};
  for (const std::string& request : requests) {
    waiting.push_back(s.connect());
    asio::write(waiting.back(), asio::buffer(request));
  }
  while (s.store.refusals < 20) std::this_thread::yield();
  filexfer::memory_source other{as_bytes("other")};
  client.upload(other, "other");
  CHECK(client.list_files().size() == 2);
  s.store.locked = false;
  CHECK(received(waiting[0], id_of("abc").to_string()).size() > 0);
  CHECK(received(waiting[1], id.to_string()).size() > 0);
  CHECK(received(waiting[2], id_of(noise(100'000)).to_string()).size() > 0);
  CHECK(received(waiting[3], id_of("abc").to_string()).size() > 0);
}

}  // namespace server_store_threads_tests
