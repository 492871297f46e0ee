// Servers that change, are busy or use another digest; very many files, and a large one among them.

#include "support/pool_fixture.hpp"
#include "support/store_helpers.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/any_digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>
#include <filexfer/sha256.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/buffer.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace pool_traps_tests {

using namespace test;
using namespace std::chrono_literals;
using filexfer::errc;

// --------------------------------------------------------------------------- a server that changes

/// A server whose ids are MD5 or SHA-256 digests, and which can be busy.
struct changing_server : pipe_listener {
  using pipe_listener::pipe_listener;

  memory_store<filexfer::md5> with_md5{};
  memory_store<filexfer::sha256> with_sha256{};
  bool is_sha256 = false;
  bool changes = false;  ///< Uses SHA-256 from the second connection on.
  int busy = 0;          ///< The number of connections to reject as busy.

 private:
  void serve(memory_pipe connection) override {
    is_sha256 = is_sha256 || (changes && connections > 1);
    if (busy > 0) {
      --busy;
      auto rejected = std::make_shared<memory_pipe>(std::move(connection));
      static constexpr char reply[] = "ERROR busy come again\n";
      asio::async_write(*rejected, asio::buffer(reply, sizeof reply - 1),
                        [this, rejected](std::error_code, std::size_t) { --open; });
    } else if (is_sha256) {
      serve(std::move(connection), with_sha256);
    } else {
      serve(std::move(connection), with_md5);
    }
  }

  template <class Hasher>
  void serve(memory_pipe connection, memory_store<Hasher>& store) {
    using session_type =
        filexfer::session<memory_pipe, memory_store<Hasher>, Hasher, virtual_timer>;
    auto session = std::make_shared<session_type>(std::move(connection), store);
    sessions_.push_back(session);
    session->async_run([this](std::error_code) { --open; });
  }

  std::list<std::shared_ptr<void>> sessions_;
};

struct changing_fixture : basic_pool_fixture<virtual_timer, changing_server, filexfer::sha256> {
  using base = basic_pool_fixture<virtual_timer, changing_server, filexfer::sha256>;

  explicit changing_fixture(filexfer::pool_options options = {}) : base{options} {
    on_report = [this](const memory_file_result& r) { ids[r.element.name()] = r.remote_digest; };
  }

  std::error_code upload(std::vector<memory_file>& files) {
    base::upload(files);
    run();
    return ended.value();
  }

  std::map<std::string, filexfer::any_digest> ids;
};

TEST_CASE("a pool learns from the server which digest its ids are") {
  changing_fixture f;
  f.server.is_sha256 = true;
  auto files = some_files(5);
  CHECK(!f.upload(files));
  CHECK(f.totals.transferred == 5);
  for (const auto& [name, id] : f.ids) {
    CHECK(id.size() == filexfer::sha256::digest_type::hex_digits / 2);
  }
  CHECK(entries(f.server.with_sha256).size() == 5);
}

TEST_CASE("a server that changes its digest ends the job, and each file is reported once") {
  for (const std::uint64_t offset : {300u, 2000u, 20000u}) {
    changing_fixture f;
    f.server.break_after = {offset};
    auto files = some_files(30, 1000);
    f.server.changes = true;
    CHECK(f.upload(files) == errc::digest_changed);
    CHECK(f.totals.failed > 0);
    for (const auto& [name, times] : f.reports) CHECK(times == 1);
    CHECK(entries(f.server.with_sha256).empty());
  }
}

TEST_CASE("a busy server is retried until it accepts") {
  changing_fixture f{{.retry_for = 30s}};
  f.server.busy = 4;
  auto files = some_files(3);
  CHECK(!f.upload(files));
  CHECK(f.totals.transferred == 3);
  CHECK(f.server.connections == 5);
  CHECK(f.events.size() == 4);
  for (const auto& event : f.events) {
    CHECK(event.kind == filexfer::pool_event_kind::retrying);
    CHECK(event.failure.error == errc::busy);
  }
}

TEST_CASE("a busy server's features and list are asked for again until it accepts") {
  changing_fixture f{{.retry_for = 30s}};
  auto files = some_files(3);
  for (const memory_file& file : files) CHECK(!put(f.server.with_md5, file.name(), file.text));
  f.server.busy = 4;
  SUBCASE("features") {
    f.pool->async_features([&](std::error_code ec, const filexfer::server_features& known) {
      f.ended = ec;
      CHECK(known.digest == "md5");
    });
  }
  SUBCASE("list") {
    f.pool->async_list_files(
        {}, [](const auto&) {},
        [&](std::error_code ec, std::uint64_t entries) {
          f.ended = ec;
          CHECK(entries == 3);
        });
  }
  SUBCASE("verify") { f.pool->async_verify(files, f.on_result(), f.on_end()); }
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.server.connections == 5);
  CHECK(f.events.size() == 4);
  for (const auto& event : f.events) CHECK(event.failure.error == errc::busy);
}

TEST_CASE("a server that stays busy ends the job after retry_for") {
  changing_fixture f{{.retry_for = 30s}};
  f.server.busy = 1000;
  auto files = some_files(3);
  CHECK(f.upload(files) == errc::busy);
  CHECK(f.totals.transferred == 0);
  CHECK(f.server.connections < 30);
}

TEST_CASE("a file whose connections break before a byte has moved fails after retry_for") {
  changing_fixture f{{.retry_for = 30s, .client = {.max_nowait_size = 10}}};
  f.server.break_after.assign(1000, 12);  // FEATURES is sent, and a few bytes of what follows
  std::vector<memory_file> files{{"large", noise(100'000)}};
  CHECK(!f.upload(files));
  CHECK(f.totals.failed == 1);
  CHECK(f.server.connections < 30);
}

// -------------------------------------------------------------------------------------- many files

/// Counts its objects.
struct counted_file {
  static inline std::size_t alive = 0;
  static inline std::size_t max_alive = 0;

  explicit counted_file(std::size_t n) : number{n} { count(); }
  counted_file(counted_file&& other) noexcept : number{other.number} { count(); }
  counted_file& operator=(counted_file&&) noexcept = default;
  ~counted_file() { --alive; }

  static void count() { max_alive = std::max(max_alive, ++alive); }

  std::string name() const { return "file"; }
  filexfer::memory_source open(std::error_code& ec) const {
    ec.clear();
    return filexfer::memory_source{"tiny"};
  }

  std::size_t number;
};

/// Makes each file when the iterator reaches it.
struct generated_files {
  std::size_t count;
  std::size_t next = 0;
  std::optional<counted_file> current{};

  struct iterator {
    using iterator_concept = std::input_iterator_tag;
    using value_type = counted_file;
    using difference_type = std::ptrdiff_t;
    generated_files* range = nullptr;
    counted_file& operator*() const { return *range->current; }
    iterator& operator++() {
      range->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !range->current; }
  };

  void advance() {
    current.reset();
    if (next < count) current.emplace(next++);
  }
  iterator begin() {
    advance();
    return {this};
  }
  static std::default_sentinel_t end() { return {}; }
};

TEST_CASE("of a hundred thousand tiny files few exist at a time") {
  constexpr std::size_t count = 100'000;
  for (const std::size_t connections : {1u, 4u}) {
    pool_fixture f{{.connections = connections}};
    generated_files files{count};
    counted_file::max_alive = 0;
    std::size_t stored = 0;
    f.pool->async_upload(
        files, [&](const filexfer::file_result<counted_file>& r) { stored += !r.failure; },
        f.on_end());
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(stored == count);
    CHECK(counted_file::alive == 0);
    CHECK(counted_file::max_alive < 2 * filexfer::client_options{}.max_in_flight + 10);
    if (connections > 1) CHECK(counted_file::max_alive < 1000);
  }
}

TEST_CASE("small files do not wait behind a large one where there are other connections") {
  pool_fixture f{{.connections = 3}};
  std::vector<memory_file> files{{"small 0", noise(100)}, {"large", noise(20'000'000)}};
  for (unsigned n = 1; n < 100; ++n) {
    files.push_back({"small " + std::to_string(n), noise(1000, n)});
  }
  std::size_t small_before_large = 0;
  bool large_finished = false;
  f.on_report = [&](const memory_file_result& r) {
    if (r.element.name() == "large") large_finished = true;
    else if (!large_finished) ++small_before_large;
  };
  f.upload(files);
  f.run();
  CHECK(f.totals.transferred == files.size());
  CHECK(small_before_large == files.size() - 1);
}

}  // namespace pool_traps_tests
