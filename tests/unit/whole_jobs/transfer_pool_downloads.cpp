#include "support/pool_fixture.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/any_digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/cancellation_type.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace transfer_pool_downloads_tests {

using namespace test;
using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::failure_origin;

namespace {

std::vector<memory_target> targets_of(const std::vector<memory_file>& files, bool sizes_known) {
  std::vector<memory_target> targets;
  for (const memory_file& file : files) {
    memory_target target{id_of(file.text), file.name(), std::nullopt};
    if (sizes_known) target.listed_size = file.text.size();
    targets.push_back(std::move(target));
  }
  return targets;
}

/// Uploads the files to the server.
void fill(pool_fixture& f, std::vector<memory_file>& files) {
  f.upload(files);
  f.run();
  REQUIRE(f.totals.transferred + f.totals.already_present == files.size());
  f.reports.clear();
}

}  // namespace

TEST_CASE("all requested files are downloaded, and each is reported once") {
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
        CHECK(f.totals.transferred == 40);
        CHECK(f.reports.size() == 40);
        for (std::size_t n = 0; n < targets.size(); ++n) CHECK(targets[n].text == files[n].text);
        for (const auto& [name, times] : f.reports) CHECK(times == 1);
      }
    }
  }
}

TEST_CASE("a download over connections that break resumes from the received bytes") {
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
    CHECK(f.totals.transferred == 3);
    for (std::size_t n = 0; n < targets.size(); ++n) {
      CHECK(targets[n].text == files[n].text);
      CHECK(targets[n].bytes_written < 200000);
    }
  }
}

TEST_CASE("a partial file that is read for longer than the idle timeout is read once and resumed") {
  for (const bool is_fresh : {false, true}) {
    CAPTURE(is_fresh);
    pool_fixture f;
    const std::string text = noise(200'000);
    std::vector<memory_file> up{{"large", text}};
    f.upload(up);
    f.run();
    if (is_fresh) f.pool.emplace(pool_fixture::connector_type{&f.server});
    std::vector<memory_target> files{{id_of(text), "large", std::nullopt}};
    files[0].partial_text = text.substr(0, 150'000);
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

TEST_CASE("a connection that broke while idle costs no attempt; one that breaks later does") {
  auto files = some_files(1, 100000);
  for (const std::uint64_t received : {0u, 50000u}) {
    pool_fixture f{{.retry_for = 0ms, .max_batched_size = 0}};
    f.server.end_read_after = {received + 200};  // the upload reads fewer than 200
    fill(f, files);
    auto targets = targets_of(files, true);
    f.download(targets);
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.transferred == (received == 0 ? 1 : 0));
    CHECK(f.totals.failed == (received == 0 ? 0 : 1));
  }
}

TEST_CASE("an existing file is not downloaded") {
  pool_fixture f;
  auto files = some_files(5);
  fill(f, files);
  auto targets = targets_of(files, true);
  targets[1].existing_text = files[1].text;
  targets[2].existing_text = files[1].text;  // a different file
  f.download(targets);
  f.run();
  CHECK(f.totals.already_present == 1);
  CHECK(f.totals.transferred == 4);
  CHECK(!targets[1].text);
  CHECK(targets[2].text == files[2].text);
}

TEST_CASE("a file that is not on the server, or can't be stored, fails alone") {
  pool_fixture f{{.connections = 2}};
  auto files = some_files(20, 2000);
  fill(f, files);
  auto targets = targets_of(files, true);
  targets[3].expected_id = id_of("not stored");
  targets[9].write_error = std::make_error_code(std::errc::no_space_on_device);
  targets[12].expected_id = *filexfer::any_digest::from_hex(std::string(64, 'a'));
  f.download(targets);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.transferred == 17);
  CHECK(f.failures.at("file 3").error == errc::not_found);
  CHECK(f.failures.at("file 3").origin == failure_origin::peer);
  CHECK(f.failures.at("file 9").error == std::errc::no_space_on_device);
  CHECK(f.failures.at("file 9").origin == failure_origin::local);
  CHECK(f.failures.at("file 12").error == errc::digest_changed);
  for (const auto& [name, times] : f.reports) CHECK(times == 1);
}

TEST_CASE("a partial file with the wrong contents is discarded, and the file is downloaded whole") {
  pool_fixture f{{.max_batched_size = 0}};
  auto files = some_files(2, 5000);
  fill(f, files);
  auto targets = targets_of(files, true);
  targets[0].partial_text = std::string(100, 'x');
  targets[1].partial_text = std::string(6000, 'x');  // longer than the file
  f.download(targets);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.transferred == 2);
  for (std::size_t n = 0; n < 2; ++n) CHECK(targets[n].text == files[n].text);
}

TEST_CASE("a download that is cancelled at any step ends, and stores only whole files") {
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
    for (const auto& [name, times] : f.reports) CHECK(times == 1);
    for (std::size_t n = 0; n < targets.size(); ++n) {
      if (targets[n].text) CHECK(*targets[n].text == files[n].text);
    }
  }
}

}  // namespace transfer_pool_downloads_tests
