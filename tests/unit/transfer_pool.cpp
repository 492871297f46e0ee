// The pool in memory: sessions on memory pipes, one thread, virtual time.

#include "support/pool_fixture.hpp"
#include "support/scratch_folder.hpp"
#include "support/store_use.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/file.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace transfer_pool_tests {

using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::failure_origin;

using namespace tests;

namespace {

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
  basic_pool_fixture<virtual_timer, basic_pipe_server<virtual_timer, store_type>> f{
      {.client = {.max_nowait_size = 1000}}, folder.path() / "store"};
  auto files = some_files(1, 1'000'000);
  // Two and a half connections' worth: were any of it sent again, a fourth would be needed.
  f.server.break_after = {400'000, 400'000, 400'000};
  f.upload(files);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.moved == 1);
  CHECK(f.server.connections == 3);
}

TEST_CASE("nor does one whose connection has served before") {
  const tests::scratch_folder folder;
  using store_type = filexfer::directory_store<>;
  basic_pool_fixture<virtual_timer, basic_pipe_server<virtual_timer, store_type>> f{
      {.client = {.max_nowait_size = 1000}}, folder.path() / "store"};
  f.server.break_after = {400'000, 400'000, 400'000};
  auto small = some_files(1);
  f.upload(small);
  f.run();
  std::vector<memory_file> large{{"large", noise(1'000'000)}};
  f.upload(large);
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
  CHECK(f.failures.at("file 0").phase == filexfer::transfer_phase::connecting);
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

TEST_CASE("a part that takes longer to read than the server waits is read once, and gone on with") {
  for (const bool is_fresh : {false, true}) {
    CAPTURE(is_fresh);
    pool_fixture f;
    const std::string text = noise(200'000);
    std::vector<memory_file> up{{"large", text}};
    f.upload(up);
    f.run();
    if (is_fresh) f.pool.emplace(pool_fixture::connector_type{&f.server});
    std::vector<memory_target> files{{id_of(text), "large", std::nullopt}};
    files[0].arriving = text.substr(0, 150'000);
    files[0].held_read_takes = 2min;
    f.download(files);
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(files[0].text == text);
    CHECK(files[0].bytes_written == 50'000);
    CHECK(files[0].held_reads == 1);
    CHECK(f.server.connections == (is_fresh ? 3 : 2));
  }
}

TEST_CASE(
    "a connection that was idle and has broken costs no attempt; one that breaks later does") {
  auto files = some_files(1, 100000);
  for (const std::uint64_t come : {0u, 50000u}) {
    pool_fixture f{{.retry_for = 0ms, .max_batched_size = 0}};
    f.server.end_read_after = {come + 200};  // the upload takes less than those
    fill(f, files);
    auto targets = targets_of(files, true);
    f.download(targets);
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.moved == (come == 0 ? 1 : 0));
    CHECK(f.totals.failed == (come == 0 ? 0 : 1));
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

// --------------------------------------------------------------------------------- what is missing

namespace {

/// Puts files into the fixture's store.
void store(pool_fixture& f, std::vector<memory_file> files) {
  f.upload(files);
  f.run();
  REQUIRE(f.totals.failed == 0);
  REQUIRE(f.ended == std::error_code{});
  f.tellings.clear();
}

std::size_t bytes_moved(pool_fixture& f) { return f.pool->progress().now().bytes; }

/// The first files of some, behind which it throws.
class throwing_range {
 public:
  throwing_range(const std::vector<memory_file>& files, std::size_t good)
      : files_{&files}, good_{good} {}

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = memory_file;
    using difference_type = std::ptrdiff_t;

    explicit iterator(throwing_range& all) : all_{&all} { ++*this; }
    memory_file& operator*() const { return all_->current_; }
    iterator& operator++() {
      if (all_->given_ == all_->good_) {
        throw std::system_error{std::make_error_code(std::errc::io_error)};
      }
      all_->current_ = (*all_->files_)[all_->given_++];
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return false; }

   private:
    throwing_range* all_;
  };

  iterator begin() { return iterator{*this}; }
  std::default_sentinel_t end() const { return {}; }

 private:
  const std::vector<memory_file>* files_;
  std::size_t good_;
  std::size_t given_ = 0;
  memory_file current_;
};

/// A file whose text changes between the times that it is opened.
struct changing_file {
  std::vector<std::string> texts;
  std::string its_name = "changing";
  std::size_t opened = 0;

  const std::string& name() const noexcept { return its_name; }
  filexfer::memory_source open(std::error_code& ec) {
    ec.clear();
    return filexfer::memory_source{texts[std::min(opened++, texts.size() - 1)]};
  }
};

}  // namespace

TEST_CASE("of what is missing the server gets each file once, and the names of all") {
  for (const std::size_t connections : {1u, 4u}) {
    CAPTURE(connections);
    pool_fixture f{{.connections = connections}};
    const auto files = some_files(300, 1000);
    store(f, {files.begin(), files.begin() + 100});
    const std::size_t before = bytes_moved(f);
    std::vector<memory_file> wanted = files;
    wanted.push_back({"a twin of the first", files[0].text});
    wanted.push_back({"a twin of the last", files[299].text});
    f.upload_missing(wanted);
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.moved == 200);
    CHECK(f.totals.already_there == 102);
    CHECK(bytes_moved(f) - before == 200 * 1000);
    CHECK(tests::entries(f.server.store).size() == 302);
    for (const auto& [name, times] : f.tellings) CHECK(times == 1);
  }
}

TEST_CASE("a file that changed since it was read is read again, and sent") {
  pool_fixture f;
  std::vector<changing_file> files{{{"as it was read", "as it is"}}};
  f.pool->async_upload_missing(
      files, [&](const filexfer::file_result<changing_file>& r) { CHECK(!r.failure); }, f.on_end());
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.moved == 1);
  const auto entries = tests::entries(f.server.store);
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].starts_with(tests::id_of("as it is").to_string()));
}

TEST_CASE("a file that changed between two attempts is read again, and sent as it is then") {
  const tests::scratch_folder folder;
  using store_type = filexfer::directory_store<>;
  basic_pool_fixture<virtual_timer, basic_pipe_server<virtual_timer, store_type>> f{
      {.client = {.max_nowait_size = 1000}}, folder.path() / "store"};
  f.server.break_after = {400'000};
  auto files = some_files(1, 1'000'000);
  const std::string later = noise(1'000'000, 99);
  f.upload(files);
  while (f.events.empty() && !f.ended) f.run_steps(1);
  files[0].text = later;
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.moved == 1);
  CHECK(tests::entries(f.server.store).front().starts_with(tests::id_of(later).to_string()));
}

TEST_CASE("a file that is not what its element says is refused, and not tried again") {
  struct claiming_file : memory_file {
    filexfer::any_digest id() const { return tests::id_of("something else"); }
  };
  pool_fixture f;
  std::vector<claiming_file> files{{{"file", "text"}}};
  std::error_code error;
  f.pool->async_upload_missing(
      files, [&](const filexfer::file_result<claiming_file>& r) { error = r.failure.error; },
      f.on_end());
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.failed == 1);
  CHECK(error == errc::mismatch);
  CHECK(files[0].opened == 2);
  CHECK(tests::entries(f.server.store).empty());
}

TEST_CASE("an upload of what is missing goes on over a connection that breaks at any byte") {
  const auto files = some_files(4, 40);
  for (std::uint64_t at = 0; at < 900; at += 3) {
    CAPTURE(at);
    pool_fixture f;
    store(f, {files.begin(), files.begin() + 1});
    f.pool.emplace(basic_pipe_connector<virtual_timer>{&f.server}, filexfer::pool_options{});
    f.server.break_after = {1000, at};
    f.server.break_after.pop_front();
    auto wanted = files;
    f.upload_missing(wanted);
    f.run();
    if (f.ended != std::error_code{}) {
      CHECK(f.totals.moved == 0);
      continue;
    }
    CHECK(f.totals.moved + f.totals.already_there == 4);
    CHECK(all_stored(f, files));
    for (const auto& [name, times] : f.tellings) CHECK(times == 1);
  }
}

TEST_CASE("names that the server refuses, and files that can't be read, fail by themselves") {
  pool_fixture f;
  auto files = some_files(5);
  files[1].its_name = "../up";
  files[3].fails = errc::store_failed;
  f.upload_missing(files);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.moved == 3);
  CHECK(f.totals.failed == 2);
  CHECK(f.failures.at("../up").error == errc::bad_name);
  CHECK(f.failures.at("file 3").error == errc::store_failed);
}

TEST_CASE("a digest that is known is not computed again, and one that was wrong is forgotten") {
  const tests::scratch_folder folder;
  tests::write_file(folder / "file", "text");
  struct cache {
    std::optional<filexfer::any_digest> find(int, std::string_view) const {
      ++found;
      return known;
    }
    void add(int, std::string_view, std::chrono::system_clock::time_point,
             const filexfer::any_digest& digest) {
      known = digest;
      ++added;
    }
    void forget(int, std::string_view) {
      known.reset();
      ++forgotten;
    }
    std::optional<filexfer::any_digest> known;
    mutable int found = 0;
    int added = 0;
    int forgotten = 0;
  } digests;
  struct disk_file {
    std::filesystem::path path;
    std::string name() const { return "file"; }
    filexfer::file_source open(std::error_code& ec) const { return {path, ec}; }
  };
  pool_fixture f;
  f.pool->use_digest_cache(digests);
  const auto upload = [&] {
    std::vector<disk_file> files{{folder / "file"}};
    f.pool->async_upload_missing(
        files, [](const filexfer::file_result<disk_file>& r) { CHECK(!r.failure); }, f.on_end());
    f.run();
    CHECK(f.ended == std::error_code{});
  };
  const filexfer::any_digest right{tests::id_of("text")};
  digests.known = tests::id_of("something else");
  upload();
  CHECK(f.totals.moved == 1);
  CHECK(digests.forgotten == 1);
  CHECK(digests.added == 1);
  CHECK(digests.known == right);
  upload();
  CHECK(f.totals.already_there == 1);
  CHECK(digests.added == 1);
}

TEST_CASE("what a range throws ends the job, whichever of its files it comes from") {
  for (const std::size_t good : {0u, 1u, 2u, 5u}) {
    CAPTURE(good);
    pool_fixture f;
    auto files = some_files(10);
    throwing_range range{files, good};
    f.upload(range);
    f.run();
    CHECK(f.ended == std::make_error_code(std::errc::io_error));
    CHECK(f.totals.moved + f.totals.failed == good);
    for (const auto& [name, times] : f.tellings) CHECK(times == 1);
  }
}

}  // namespace transfer_pool_tests
