// What a pool meets: servers that change, are busy or speak another digest; files that fail at
// every call; a crowd of small files, and a large one among them.

#include "support/pool_fixture.hpp"
#include "support/store_use.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>
#include <filexfer/sha256.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace pool_traps_tests {

using namespace std::chrono_literals;
using namespace tests;
using filexfer::errc;
using filexfer::failure_origin;

// ------------------------------------------------------------------------- a server that changes

/// A server whose ids are MD5 digests, or SHA-256, and which may have no time.
struct moody_server : pipe_listener {
  using pipe_listener::pipe_listener;

  memory_store<filexfer::md5> with_md5{};
  memory_store<filexfer::sha256> with_sha256{};
  bool is_sha256 = false;
  bool changes = false;  ///< From the second connection on it is.
  int busy = 0;          ///< So many connections are turned away.

 private:
  void serve(memory_pipe there) override {
    is_sha256 = is_sha256 || (changes && connections > 1);
    if (busy > 0) {
      --busy;
      auto away = std::make_shared<memory_pipe>(std::move(there));
      static constexpr char words[] = "ERROR busy come again\n";
      asio::async_write(*away, asio::buffer(words, sizeof words - 1),
                        [this, away](std::error_code, std::size_t) { --open; });
    } else if (is_sha256) {
      serve(std::move(there), with_sha256);
    } else {
      serve(std::move(there), with_md5);
    }
  }

  template <class Hasher>
  void serve(memory_pipe there, memory_store<Hasher>& store) {
    using session = filexfer::session<memory_pipe, memory_store<Hasher>, Hasher, virtual_timer>;
    auto made = std::make_shared<session>(std::move(there), store);
    kept_.push_back(made);
    made->async_run([this](std::error_code) { --open; });
  }

  std::list<std::shared_ptr<void>> kept_;
};

struct moody_fixture : basic_pool_fixture<virtual_timer, moody_server, filexfer::sha256> {
  using base = basic_pool_fixture<virtual_timer, moody_server, filexfer::sha256>;

  explicit moody_fixture(filexfer::pool_options options = {}) : base{options} {
    on_told = [this](const result& r) { ids[r.element.name()] = r.computed_there; };
  }

  std::error_code upload(std::vector<memory_file>& files) {
    base::upload(files);
    run();
    return ended.value();
  }

  std::map<std::string, filexfer::any_digest> ids;
};

TEST_CASE("the digest of the server's ids is learnt from the server") {
  moody_fixture f;
  f.server.is_sha256 = true;
  auto files = some_files(5);
  CHECK(!f.upload(files));
  CHECK(f.totals.moved == 5);
  for (const auto& [name, id] : f.ids) {
    CHECK(id.size() == filexfer::sha256::digest_type::hex_digits / 2);
  }
  CHECK(tests::entries(f.server.with_sha256).size() == 5);
}

TEST_CASE("a server that comes back with another digest ends the job, and each file is told once") {
  for (const std::uint64_t at : {300u, 2000u, 20000u}) {
    moody_fixture f;
    f.server.break_after = {at};
    auto files = some_files(30, 1000);
    f.server.changes = true;
    CHECK(f.upload(files) == errc::digest_changed);
    CHECK(f.totals.failed > 0);
    for (const auto& [name, times] : f.tellings) CHECK(times == 1);
    CHECK(tests::entries(f.server.with_sha256).empty());
  }
}

TEST_CASE("a server that is busy for a while is waited for") {
  moody_fixture f{{.retry_for = 30s}};
  f.server.busy = 4;
  auto files = some_files(3);
  CHECK(!f.upload(files));
  CHECK(f.totals.moved == 3);
  CHECK(f.server.connections == 5);
  CHECK(f.events.size() == 4);
  for (const auto& event : f.events) {
    CHECK(event.what == filexfer::pool_event::kind::retrying);
    CHECK(event.why.error == errc::busy);
  }
}

TEST_CASE("one that stays busy is given up once patience has ended") {
  moody_fixture f{{.retry_for = 30s}};
  f.server.busy = 1000;
  auto files = some_files(3);
  CHECK(f.upload(files) == errc::busy);
  CHECK(f.totals.moved == 0);
  CHECK(f.server.connections < 30);
}

TEST_CASE(
    "patience ends where each connection is answered, and then breaks before a byte has moved") {
  moody_fixture f{{.retry_for = 30s, .client = {.max_nowait_size = 10}}};
  f.server.break_after.assign(1000, 12);  // FEATURES leaves, and a few bytes of what follows
  std::vector<memory_file> files{{"large", noise(100'000)}};
  CHECK(!f.upload(files));
  CHECK(f.totals.failed == 1);
  CHECK(f.server.connections < 30);
}

// ------------------------------------------------------------------------- files that fail on this side

/// Fails at one of its calls, whichever that is.
struct failure_plan {
  int calls_left;
  bool fails(std::error_code& ec) {
    ec.clear();
    if (calls_left-- == 0) ec = std::make_error_code(std::errc::io_error);
    return static_cast<bool>(ec);
  }
};

struct failing_file {
  struct source {
    filexfer::memory_source bytes;
    std::shared_ptr<failure_plan> trouble;

    std::uint64_t size() const { return bytes.size(); }
    std::size_t read(std::span<std::byte> to, std::error_code& ec) {
      return trouble->fails(ec) ? 0 : bytes.read(to, ec);
    }
    void seek(std::uint64_t offset, std::error_code& ec) {
      if (!trouble->fails(ec)) bytes.seek(offset, ec);
    }
    void check_unchanged(std::error_code& ec) const { trouble->fails(ec); }
  };

  std::string its_name;
  std::string text;
  std::shared_ptr<failure_plan> trouble;

  const std::string& name() const { return its_name; }
  source open(std::error_code& ec) {
    trouble->fails(ec);
    return {filexfer::memory_source{text}, trouble};
  }
};

struct failing_target {
  struct sink {
    failing_target& to;
    void announce(const filexfer::file_info<filexfer::md5::digest_type>&, std::error_code& ec) {
      to.trouble->fails(ec);
    }
    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      if (!to.trouble->fails(ec)) {
        arriving.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      }
    }
    void commit(std::error_code& ec) {
      if (!to.trouble->fails(ec)) to.text = arriving;
    }
    std::string arriving{};
  };

  filexfer::any_digest wanted;
  std::string its_name;
  std::optional<std::uint64_t> its_size;
  std::shared_ptr<failure_plan> trouble;
  std::optional<std::string> text{};

  const std::string& name() const { return its_name; }
  const filexfer::any_digest& id() const { return wanted; }
  std::optional<std::uint64_t> size() const { return its_size; }
  sink open(std::error_code& ec) {
    trouble->fails(ec);
    return {*this};
  }
};

/// That all of five files moved but the third, if that has failed: then as a `failure_plan` does.
/// Whether it has.
bool third_has_failed(const pool_fixture& f,
                      const std::map<std::string, filexfer::transfer_failure>& results) {
  CHECK(results.size() == 5);
  const filexfer::transfer_failure& why = results.at("file 2");
  const bool has_failed = static_cast<bool>(why);
  if (has_failed) {
    CHECK(why.error == std::errc::io_error);
    CHECK(why.origin == failure_origin::local);
  }
  CHECK(f.totals.moved == (has_failed ? 4 : 5));
  return has_failed;
}

/// Has a job tell its results, and runs it.
template <class Element, class Start>
std::map<std::string, filexfer::transfer_failure> run_job(pool_fixture& f, Start start) {
  std::map<std::string, filexfer::transfer_failure> results;
  start(
      [&](const filexfer::file_result<Element>& r) {
        CHECK(!results.contains(r.element.name()));
        results[r.element.name()] = r.failure;
      },
      f.on_end());
  f.run();
  CHECK(f.ended == std::error_code{});
  return results;
}

constexpr int never = 1'000'000;

TEST_CASE("a source that fails, at whichever call, costs its file and no other") {
  for (const std::size_t size : {100u, 700'000u}) {
    for (const bool missing_only : {false, true}) {
      bool has_failed = true;
      for (int at = 0; has_failed; ++at) {
        REQUIRE(at < 100);
        CAPTURE(at);
        pool_fixture f;
        std::vector<failing_file> files;
        for (unsigned n = 0; n < 5; ++n) {
          files.push_back({"file " + std::to_string(n), noise(size, n),
                           std::make_shared<failure_plan>(failure_plan{n == 2 ? at : never})});
        }
        const auto results = run_job<failing_file>(f, [&](auto tell, auto handler) {
          if (missing_only) f.pool->async_upload_missing(files, tell, handler);
          else f.pool->async_upload(files, tell, handler);
        });
        has_failed = third_has_failed(f, results);
        CHECK(tests::entries(f.server.store).size() == f.totals.moved);
      }
    }
  }
}

TEST_CASE("a sink that fails, at whichever call, costs its file and no other") {
  for (const std::size_t size : {100u, 700'000u}) {
    for (const bool sizes_known : {false, true}) {
      bool has_failed = true;
      for (int at = 0; has_failed; ++at) {
        REQUIRE(at < 100);
        CAPTURE(at);
        pool_fixture f;
        auto files = some_files(5, size);
        f.upload(files);
        f.run();
        std::vector<failing_target> targets;
        for (const memory_file& file : files) {
          targets.push_back(
              {tests::id_of(file.text), file.name(),
               sizes_known ? std::optional<std::uint64_t>{size} : std::nullopt,
               std::make_shared<failure_plan>(failure_plan{file.name() == "file 2" ? at : never})});
        }
        const auto results = run_job<failing_target>(
            f, [&](auto tell, auto handler) { f.pool->async_download(targets, tell, handler); });
        has_failed = third_has_failed(f, results);
        for (std::size_t n = 0; n < targets.size(); ++n) {
          if (n != 2) CHECK(targets[n].text == files[n].text);
        }
      }
    }
  }
}

// --------------------------------------------------------------------------------------- crowds

/// Knows how many of its kind there are.
struct counted_file {
  static inline std::size_t live = 0;
  static inline std::size_t most = 0;

  explicit counted_file(std::size_t n) : number{n} { count(); }
  counted_file(counted_file&& other) noexcept : number{other.number} { count(); }
  counted_file& operator=(counted_file&&) noexcept = default;
  ~counted_file() { --live; }

  static void count() { most = std::max(most, ++live); }

  std::string name() const { return "file"; }
  filexfer::memory_source open(std::error_code& ec) const {
    ec.clear();
    return filexfer::memory_source{"tiny"};
  }

  std::size_t number;
};

/// Makes each file when it is its turn.
struct made_files {
  std::size_t count;
  std::size_t next = 0;
  std::optional<counted_file> current{};

  struct iterator {
    using iterator_concept = std::input_iterator_tag;
    using value_type = counted_file;
    using difference_type = std::ptrdiff_t;
    made_files* all = nullptr;
    counted_file& operator*() const { return *all->current; }
    iterator& operator++() {
      all->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !all->current; }
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

TEST_CASE("of a hundred thousand tiny files few are held at a time") {
  constexpr std::size_t count = 100'000;
  for (const std::size_t connections : {1u, 4u}) {
    pool_fixture f{{.connections = connections}};
    made_files files{count};
    counted_file::most = 0;
    std::size_t told = 0;
    f.pool->async_upload(
        files, [&](const filexfer::file_result<counted_file>& r) { told += !r.failure; },
        f.on_end());
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(told == count);
    CHECK(counted_file::live == 0);
    CHECK(counted_file::most < 2 * filexfer::client_options{}.max_in_flight + 10);
    if (connections > 1) CHECK(counted_file::most < 1000);
  }
}

TEST_CASE("small files do not wait behind a large one where there are other connections") {
  pool_fixture f{{.connections = 3}};
  std::vector<memory_file> files{{"small 0", noise(100)}, {"large", noise(20'000'000)}};
  for (unsigned n = 1; n < 100; ++n) {
    files.push_back({"small " + std::to_string(n), noise(1000, n)});
  }
  std::size_t before = 0;
  bool large_came = false;
  f.on_told = [&](const result& r) {
    if (r.element.name() == "large") large_came = true;
    else if (!large_came) ++before;
  };
  f.upload(files);
  f.run();
  CHECK(f.totals.moved == files.size());
  CHECK(before == files.size() - 1);
}

// ------------------------------------------------------------------------------- what is thrown

struct throwing_file {
  struct source {
    filexfer::memory_source bytes;
    bool throws = false;
    std::uint64_t size() const { return bytes.size(); }
    std::size_t read(std::span<std::byte> to, std::error_code& ec) {
      if (throws) throw std::system_error{std::make_error_code(std::errc::io_error)};
      return bytes.read(to, ec);
    }
    void seek(std::uint64_t offset, std::error_code& ec) { bytes.seek(offset, ec); }
  };

  std::string its_name;
  std::string text;
  bool open_throws = false;
  bool read_throws = false;

  const std::string& name() const { return its_name; }
  source open(std::error_code& ec) const {
    ec.clear();
    if (open_throws) throw std::system_error{std::make_error_code(std::errc::io_error)};
    return {filexfer::memory_source{text}, read_throws};
  }
};

TEST_CASE("what an element or its source throws is its file's result, and no other's") {
  for (const bool missing_only : {false, true}) {
    for (const bool at_open : {true, false}) {
      if (!missing_only && !at_open) continue;  // that ends the client's operation
      pool_fixture f;
      std::vector<throwing_file> files;
      for (unsigned n = 0; n < 5; ++n) {
        files.push_back({"file " + std::to_string(n), noise(100, n)});
      }
      (at_open ? files[2].open_throws : files[2].read_throws) = true;
      const auto results = run_job<throwing_file>(f, [&](auto tell, auto handler) {
        if (missing_only) f.pool->async_upload_missing(files, tell, handler);
        else f.pool->async_upload(files, tell, handler);
      });
      CHECK(results.size() == 5);
      CHECK(results.at("file 2").error == std::errc::io_error);
      CHECK(f.totals.moved == 4);
    }
  }
}

}  // namespace pool_traps_tests
