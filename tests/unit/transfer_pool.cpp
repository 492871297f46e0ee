// The pool in memory: sessions on memory pipes, one thread, virtual time.

#include "support/scratch_folder.hpp"
#include "support/store_use.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
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

using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::failure_origin;
using filexfer::memory_pipe;
using filexfer::memory_store;
using tests::virtual_timer;

namespace {

/// A file in memory, and how often it was opened.
struct memory_file {
  std::string its_name;
  std::string text;
  std::error_code fails{};
  int opened = 0;

  const std::string& name() const noexcept { return its_name; }
  filexfer::memory_source open(std::error_code& ec) {
    ++opened;
    ec = fails;
    return filexfer::memory_source{text};
  }
};

/// A download into memory, which keeps what came for the next attempt.
struct memory_target {
  struct sink {
    memory_target& to;
    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      ec = to.fails;
      to.arriving.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      to.bytes_written += bytes.size();
    }
    void commit(std::error_code& ec) {
      ec.clear();
      to.text = to.arriving;
      is_committed = true;
    }
    std::uint64_t held() const noexcept { return to.arriving.size(); }
    std::size_t read_held(std::span<std::byte> into, std::uint64_t offset, std::error_code& ec) {
      ec.clear();
      return to.arriving.copy(reinterpret_cast<char*>(into.data()), into.size(), offset);
    }
    void drop_held(std::error_code& ec) {
      ec.clear();
      to.arriving.clear();
    }
    void keep() { is_committed = true; }
    ~sink() {
      if (!is_committed) to.arriving.clear();
    }
    bool is_committed = false;
  };

  filexfer::any_digest wanted;
  std::string its_name;
  std::optional<std::uint64_t> its_size;
  std::error_code fails{};
  std::optional<std::string> is_there{};
  std::string arriving{};
  std::optional<std::string> text{};
  std::size_t bytes_written = 0;

  const std::string& name() const noexcept { return its_name; }
  const filexfer::any_digest& id() const noexcept { return wanted; }
  std::optional<std::uint64_t> size() const noexcept { return its_size; }
  std::optional<filexfer::memory_source> existing(std::error_code& ec) const {
    ec.clear();
    if (!is_there) return std::nullopt;
    return filexfer::memory_source{*is_there};
  }
  sink open(std::error_code& ec) {
    ec.clear();
    return sink{*this};
  }
};

/// A server of sessions on pipes, each of which breaks after so many bytes, if it is told to.
template <class Timer, class Store>
struct basic_pipe_server {
  using store_type = Store;
  using stream_type = filexfer::fault_stream<memory_pipe>;
  using session_type = filexfer::session<memory_pipe, store_type, filexfer::md5, Timer>;

  template <class... Args>
  explicit basic_pipe_server(asio::io_context& c, Args&&... args)
      : context{c}, store{std::forward<Args>(args)...} {}

  asio::io_context& context;
  store_type store;
  std::list<std::unique_ptr<session_type>> sessions;
  std::size_t connections = 0;  ///< That were made.
  std::size_t open = 0;
  std::size_t most_open = 0;
  std::size_t limit = 1000;                 ///< Of connections at once; further ones are refused.
  std::list<std::uint64_t> break_after;     ///< Bytes that the next connections take,
  std::list<std::uint64_t> end_read_after;  ///< and give.

  stream_type accept() {
    auto [here, there] = filexfer::make_memory_pipe(context.get_executor(), 65536);
    sessions.push_back(std::make_unique<session_type>(std::move(there), store));
    ++connections;
    most_open = std::max(most_open, ++open);
    sessions.back()->async_run([this](std::error_code) { --open; });
    filexfer::fault_plan plan;
    if (!break_after.empty()) {
      plan.reset_after_written = break_after.front();
      break_after.pop_front();
    }
    if (!end_read_after.empty()) {
      plan.reset_after_read = end_read_after.front();
      end_read_after.pop_front();
    }
    return stream_type{std::move(here), plan};
  }
};

template <class Timer, class Store>
struct basic_pipe_connector {
  using server_type = basic_pipe_server<Timer, Store>;
  using stream_type = typename server_type::stream_type;
  using timer_type = Timer;

  server_type* server;

  asio::any_io_executor get_executor() const { return server->context.get_executor(); }

  template <class Token>
  auto async_connect(Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, stream_type)>(
        [](auto handler, server_type* to) {
          const bool refused = to->open >= to->limit;
          std::error_code ec;
          if (refused) ec = asio::error::connection_refused;
          auto [unused, other] = filexfer::make_memory_pipe(to->context.get_executor(), 16);
          stream_type stream = refused ? stream_type{std::move(unused), {}} : to->accept();
          const auto executor = asio::get_associated_executor(handler, to->context.get_executor());
          asio::post(executor, [h = std::move(handler), ec, s = std::move(stream)]() mutable {
            std::move(h)(ec, std::move(s));
          });
        },
        token, server);
  }
};

using result = filexfer::file_result<memory_file>;

/// A server, a pool, and what a job has told.
template <class Timer, class Store = memory_store<>>
struct basic_pool_fixture {
  using connector_type = basic_pipe_connector<Timer, Store>;

  template <class... Args>
  explicit basic_pool_fixture(filexfer::pool_options options = {}, Args&&... args)
      : server{context, std::forward<Args>(args)...},
        pool{std::in_place, connector_type{&server}, options} {
    pool->on_event([this](const filexfer::pool_event& e) { events.push_back(e); });
  }

  template <class Files>
  void upload(Files&& files) {
    ended.reset();
    pool->async_upload(
        std::forward<Files>(files), [this](const result& r) { told(r); },
        asio::bind_cancellation_slot(
            cancel.slot(), [this](std::error_code ec, const filexfer::transfer_totals& t) {
              ended = ec;
              totals = t;
            }));
  }

  template <class Files>
  void download(Files&& files) {
    ended.reset();
    pool->async_download(
        std::forward<Files>(files),
        [this](const filexfer::file_result<memory_target>& r) { told(r); },
        asio::bind_cancellation_slot(
            cancel.slot(), [this](std::error_code ec, const filexfer::transfer_totals& t) {
              ended = ec;
              totals = t;
            }));
  }

  void told(const filexfer::file_result<memory_target>& r) {
    ++tellings[r.element.name()];
    if (r.failure) failures[r.element.name()] = r.failure;
  }

  void told(const result& r) {
    ++tellings[r.element.name()];
    if (r.failure) failures[r.element.name()] = r.failure;
    if (on_told) on_told(r);
  }

  /// Runs all, and lets time pass where nothing else is to be done, until the job has ended.
  void run() {
    while (!ended) {
      context.restart();
      context.poll();
      if (!ended && !virtual_timer::pass_to_next()) break;
    }
  }

  /// Runs so many handlers, if there are as many before the job has ended.
  void run_steps(int count) {
    for (int n = 0; n < count && !ended; ++n) {
      context.restart();
      context.poll_one();
    }
  }

  /// Lets the sessions see the end of their connections, unless all goes at once.
  ~basic_pool_fixture() {
    if (is_dropped) return;
    pool.reset();
    context.restart();
    context.poll();
    while (server.open > 0 && virtual_timer::pass_to_next()) {
      context.restart();
      context.poll();
    }
  }

  bool is_dropped = false;
  asio::io_context context;
  basic_pipe_server<Timer, Store> server;
  std::map<std::string, int> tellings;
  std::map<std::string, filexfer::transfer_failure> failures;
  std::vector<filexfer::pool_event> events;
  std::function<void(const result&)> on_told;
  asio::cancellation_signal cancel;
  std::optional<std::error_code> ended;
  filexfer::transfer_totals totals;
  std::optional<filexfer::transfer_pool<connector_type>> pool;
};

using pool_fixture = basic_pool_fixture<virtual_timer>;

std::vector<memory_file> some_files(std::size_t count, std::size_t size = 100) {
  std::vector<memory_file> files;
  for (std::size_t n = 0; n < count; ++n) {
    files.push_back({"file " + std::to_string(n), tests::noise(size, static_cast<unsigned>(n))});
  }
  return files;
}

bool all_stored(pool_fixture& f, const std::vector<memory_file>& files) {
  const auto entries = tests::entries(f.server.store);
  for (const memory_file& file : files) {
    const std::string entry = tests::id_of(file.text).to_string() + ';' + file.name() + ';' +
                              std::to_string(file.text.size());
    if (std::find(entries.begin(), entries.end(), entry) == entries.end()) return false;
  }
  return entries.size() == files.size();
}

}  // namespace

TEST_CASE("all files of a range are stored, and each is told once") {
  for (const std::size_t connections : {1u, 4u}) {
    for (const std::size_t count : {0u, 1u, 7u, 300u}) {
      CAPTURE(connections);
      CAPTURE(count);
      pool_fixture f{{.connections = connections}};
      auto files = some_files(count);
      f.upload(files);
      f.run();
      CHECK(f.ended == std::error_code{});
      CHECK(f.totals.moved == count);
      CHECK(f.totals.failed == 0);
      CHECK(f.tellings.size() == count);
      CHECK(all_stored(f, files));
      CHECK(f.server.most_open <= connections);
      for (const auto& file : files) CHECK(file.opened == 1);
      for (const auto& [name, times] : f.tellings) CHECK(times == 1);
    }
  }
}

TEST_CASE("nothing is connected for a job without files") {
  pool_fixture f;
  f.upload(std::vector<memory_file>{});
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.server.connections == 0);
}

TEST_CASE("further connections join a job of many files") {
  pool_fixture f{{.connections = 4}};
  auto files = some_files(200, 70000);
  f.upload(files);
  f.run();
  CHECK(f.totals.moved == files.size());
  CHECK(f.server.most_open == 4);
}

TEST_CASE("a server that takes fewer connections gets all files over those") {
  for (const std::size_t limit : {1u, 3u}) {
    pool_fixture f{{.connections = 8}};
    f.server.limit = limit;
    auto files = some_files(100, 5000);
    f.upload(files);
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.moved == files.size());
    CHECK(all_stored(f, files));
    CHECK(f.server.most_open == limit);
    REQUIRE(f.events.size() == 1);
    CHECK(f.events[0].what == filexfer::pool_event::kind::fewer_connections);
  }
}

TEST_CASE("a connection that breaks at any byte costs no file, and none is told twice") {
  auto files = some_files(3, 40);
  for (std::uint64_t at = 0; at < 700; ++at) {
    CAPTURE(at);
    for (auto& file : files) file.opened = 0;
    pool_fixture f;
    f.server.break_after = {1000, at};
    f.server.break_after.pop_front();
    f.upload(files);
    f.run();
    // A server that has never answered is not waited for.
    if (f.server.connections == 1 && f.ended != std::error_code{}) {
      CHECK(f.totals.moved == 0);
      continue;
    }
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.moved + f.totals.already_there == 3);
    CHECK(all_stored(f, files));
    for (const auto& [name, times] : f.tellings) CHECK(times == 1);
  }
}

TEST_CASE("a large upload that breaks sends nothing again that has arrived") {
  const tests::scratch_folder folder;
  using store_type = filexfer::directory_store<>;
  basic_pool_fixture<virtual_timer, store_type> f{{.client = {.nowait_octets = 1000}},
                                                  folder.path() / "store"};
  auto files = some_files(1, 1'000'000);
  // Two and a half connections' worth: were any of it sent again, a fourth would be needed.
  f.server.break_after = {400'000, 400'000, 400'000};
  f.upload(files);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.moved == 1);
  CHECK(f.server.connections == 3);
}

TEST_CASE("what a callback throws ends the job") {
  pool_fixture f{{.connections = 2}};
  auto files = some_files(100);
  bool thrown = false;
  f.on_told = [&](const result& r) {
    if (!r.failure && !std::exchange(thrown, true)) {
      throw std::system_error{std::make_error_code(std::errc::io_error)};
    }
  };
  f.upload(files);
  f.run();
  CHECK(f.ended == std::make_error_code(std::errc::io_error));
  CHECK(f.tellings.size() < files.size());
  for (const auto& [name, times] : f.tellings) CHECK(times == 1);
}

TEST_CASE("a file that can't be opened fails by itself") {
  pool_fixture f{{.connections = 2}};
  auto files = some_files(9);
  for (const std::size_t n : {0u, 4u, 8u}) files[n].fails = errc::store_failed;
  f.upload(files);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.moved == 6);
  CHECK(f.totals.failed == 3);
  REQUIRE(f.failures.size() == 3);
  for (const auto& [name, why] : f.failures) {
    CHECK(why.error == errc::store_failed);
    CHECK(why.origin == failure_origin::local);
  }
  for (const auto& [name, times] : f.tellings) CHECK(times == 1);
}

TEST_CASE("a server that was never there is not waited for") {
  pool_fixture f{{.connections = 4}};
  f.server.limit = 0;
  auto files = some_files(5);
  f.upload(files);
  f.run();
  CHECK(f.ended == std::error_code{asio::error::connection_refused});
  CHECK(f.events.empty());
  CHECK(f.totals.moved == 0);
  CHECK(f.failures.size() == f.totals.failed);
  CHECK(f.failures.at("file 0").connecting);
}

TEST_CASE("a server that goes away for good ends the job once patience has") {
  pool_fixture f{{.connections = 2, .retry_for = 10s}};
  auto files = some_files(50, 70000);
  f.server.break_after = {200000, 200000};
  f.on_told = [&](const result&) { f.server.limit = 0; };
  const auto begun = test::manual_clock::now();
  f.upload(files);
  f.run();
  CHECK(f.ended == std::error_code{asio::error::connection_refused});
  CHECK(test::manual_clock::now() - begun >= 10s);
  CHECK(f.totals.failed > 0);
  for (const auto& [name, times] : f.tellings) CHECK(times == 1);
}

TEST_CASE("a cancelled job ends, whenever it is cancelled") {
  for (const auto type : {asio::cancellation_type::terminal, asio::cancellation_type::total}) {
    for (int steps = 0; steps < 150; ++steps) {
      CAPTURE(steps);
      auto files = some_files(12, 300);
      pool_fixture f{{.connections = 3}};
      f.upload(files);
      f.run_steps(steps);
      const bool in_the_middle = !f.ended;
      f.cancel.emit(type);
      f.run();
      REQUIRE(f.ended);
      if (in_the_middle && f.totals.moved < files.size()) {
        CHECK(*f.ended == std::error_code{asio::error::operation_aborted});
      }
      if (type == asio::cancellation_type::total) CHECK(f.totals.failed == 0);
      for (const auto& [name, times] : f.tellings) CHECK(times == 1);
      CHECK(tests::entries(f.server.store).size() >= f.totals.moved);
    }
  }
}

TEST_CASE("a pool that is destroyed in the middle breaks off its job, which ends") {
  for (int steps = 0; steps < 100; steps += 3) {
    CAPTURE(steps);
    auto files = some_files(12, 300);
    pool_fixture f{{.connections = 3}};
    f.upload(files);
    f.run_steps(steps);
    f.pool.reset();
    f.run();
    CHECK(f.ended);
  }
}

TEST_CASE("a context that is destroyed in the middle takes the job with it") {
  for (int steps = 0; steps < 100; ++steps) {
    auto files = some_files(12, 300);
    basic_pool_fixture<asio::steady_timer> f{{.connections = 3}};
    f.upload(files);
    f.run_steps(steps);
    f.is_dropped = true;
  }
}

namespace {

/// Makes each element when it is incremented.
struct generator {
  int count;
  int made = 0;
  memory_file now{};

  struct iterator {
    using value_type = memory_file;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    generator* all;
    memory_file& operator*() const { return all->now; }
    iterator& operator++() {
      all->make();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return all->made > all->count; }
  };

  void make() {
    if (++made <= count) now = {"f" + std::to_string(made), std::string(10, 'x')};
  }
  iterator begin() {
    make();
    return {this};
  }
  std::default_sentinel_t end() const { return {}; }
};

static_assert(filexfer::upload_elements<generator>);
static_assert(!filexfer::upload_elements<std::vector<std::string>>);

}  // namespace

TEST_CASE("elements of a range that is gone through once are moved into the job") {
  for (const std::size_t connections : {1u, 3u}) {
    pool_fixture f{{.connections = connections}};
    generator files{5};
    f.upload(files);
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.moved == 5);
    CHECK(f.tellings.size() == 5);
    CHECK(files.made == 6);
  }
}

TEST_CASE("the connections of one job serve the next") {
  pool_fixture f;
  auto files = some_files(3);
  f.upload(files);
  f.run();
  CHECK(f.server.connections == 1);
  auto more = some_files(6);
  f.upload(more);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.server.connections == 1);
  CHECK(tests::entries(f.server.store).size() == 6);
}

// --------------------------------------------------------------------------------------- downloads

namespace {

std::vector<memory_target> targets_of(const std::vector<memory_file>& files, bool sizes_known) {
  std::vector<memory_target> targets;
  for (const memory_file& file : files) {
    memory_target target{tests::id_of(file.text), file.name(), std::nullopt};
    if (sizes_known) target.its_size = file.text.size();
    targets.push_back(std::move(target));
  }
  return targets;
}

/// Has the server store them.
void fill(pool_fixture& f, std::vector<memory_file>& files) {
  f.upload(files);
  f.run();
  REQUIRE(f.totals.moved + f.totals.already_there == files.size());
  f.tellings.clear();
}

}  // namespace

TEST_CASE("all files that are asked for arrive, and each is told once") {
  for (const std::size_t connections : {1u, 4u}) {
    for (const bool sizes_known : {true, false}) {
      for (const std::size_t size : {0u, 100u, 70000u}) {
        CAPTURE(connections);
        CAPTURE(sizes_known);
        CAPTURE(size);
        pool_fixture f{{.connections = connections, .max_batched_size = 1000}};
        auto files = some_files(40, size);
        fill(f, files);
        auto targets = targets_of(files, sizes_known);
        f.download(targets);
        f.run();
        CHECK(f.ended == std::error_code{});
        CHECK(f.totals.moved == 40);
        CHECK(f.tellings.size() == 40);
        for (std::size_t n = 0; n < targets.size(); ++n) CHECK(targets[n].text == files[n].text);
        for (const auto& [name, times] : f.tellings) CHECK(times == 1);
      }
    }
  }
}

TEST_CASE("a download over connections that break goes on with what came") {
  pool_fixture f{{.max_batched_size = 1000}};
  auto files = some_files(3, 100000);
  fill(f, files);
  for (const bool sizes_known : {true, false}) {
    auto targets = targets_of(files, sizes_known);
    f.server.end_read_after = {};
    f.pool.emplace(pool_fixture::connector_type{&f.server}, filexfer::pool_options{});
    f.server.end_read_after = {40000, 40000, 40000, 40000, 40000, 40000, 40000, 40000, 40000};
    f.download(targets);
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.moved == 3);
    for (std::size_t n = 0; n < targets.size(); ++n) {
      CHECK(targets[n].text == files[n].text);
      CHECK(targets[n].bytes_written < 200000);
    }
  }
}

TEST_CASE("what is there already is not fetched") {
  pool_fixture f;
  auto files = some_files(5);
  fill(f, files);
  auto targets = targets_of(files, true);
  targets[1].is_there = files[1].text;
  targets[2].is_there = files[1].text;  // another file
  f.download(targets);
  f.run();
  CHECK(f.totals.already_there == 1);
  CHECK(f.totals.moved == 4);
  CHECK(!targets[1].text);
  CHECK(targets[2].text == files[2].text);
}

TEST_CASE("a file that the server has not, or that can't be kept, costs the others nothing") {
  pool_fixture f{{.connections = 2}};
  auto files = some_files(20, 2000);
  fill(f, files);
  auto targets = targets_of(files, true);
  targets[3].wanted = tests::id_of("nobody has it");
  targets[9].fails = std::make_error_code(std::errc::no_space_on_device);
  targets[12].wanted = *filexfer::any_digest::from_hex(std::string(64, 'a'));
  f.download(targets);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.moved == 17);
  CHECK(f.failures.at("file 3").error == errc::not_found);
  CHECK(f.failures.at("file 3").origin == failure_origin::peer);
  CHECK(f.failures.at("file 9").error == std::errc::no_space_on_device);
  CHECK(f.failures.at("file 9").origin == failure_origin::local);
  CHECK(f.failures.at("file 12").error == errc::digest_changed);
  for (const auto& [name, times] : f.tellings) CHECK(times == 1);
}

TEST_CASE("a part that is not of the file that is wanted is dropped, once") {
  pool_fixture f{{.max_batched_size = 0}};
  auto files = some_files(2, 5000);
  fill(f, files);
  auto targets = targets_of(files, true);
  targets[0].arriving = std::string(100, 'x');
  targets[1].arriving = std::string(6000, 'x');  // longer than the file
  f.download(targets);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.moved == 2);
  for (std::size_t n = 0; n < 2; ++n) CHECK(targets[n].text == files[n].text);
}

TEST_CASE("a cancelled download keeps what came, and ends") {
  auto files = some_files(12, 3000);
  for (int steps = 0; steps < 120; ++steps) {
    pool_fixture f{{.connections = 3}};
    fill(f, files);
    auto targets = targets_of(files, true);
    f.download(targets);
    f.run_steps(steps);
    f.cancel.emit(asio::cancellation_type::terminal);
    f.run();
    REQUIRE(f.ended);
    for (const auto& [name, times] : f.tellings) CHECK(times == 1);
    for (std::size_t n = 0; n < targets.size(); ++n) {
      if (targets[n].text) CHECK(*targets[n].text == files[n].text);
    }
  }
}
