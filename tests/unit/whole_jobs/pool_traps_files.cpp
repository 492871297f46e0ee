// Files whose sources, sinks or elements fail or throw at each of their calls.

#include "support/pool_fixture.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/any_digest.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/transfer_pool.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace pool_traps_files_tests {

using namespace test;
using filexfer::failure_origin;

// ------------------------------------------------------------------------------------------ errors

/// Fails the call that is made when `calls_left` is 0.
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
    std::shared_ptr<failure_plan> plan;

    std::uint64_t size() const { return bytes.size(); }
    std::size_t read(std::span<std::byte> to, std::error_code& ec) {
      return plan->fails(ec) ? 0 : bytes.read(to, ec);
    }
    void seek(std::uint64_t offset, std::error_code& ec) {
      if (!plan->fails(ec)) bytes.seek(offset, ec);
    }
    void check_unchanged(std::error_code& ec) const { plan->fails(ec); }
  };

  std::string file_name;
  std::string text;
  std::shared_ptr<failure_plan> plan;

  const std::string& name() const { return file_name; }
  source open(std::error_code& ec) {
    plan->fails(ec);
    return {filexfer::memory_source{text}, plan};
  }
};

struct failing_target {
  struct sink {
    failing_target& to;
    void announce(const filexfer::file_info<filexfer::md5::digest_type>&, std::error_code& ec) {
      to.plan->fails(ec);
    }
    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      if (!to.plan->fails(ec)) {
        partial_text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      }
    }
    void commit(std::error_code& ec) {
      if (!to.plan->fails(ec)) to.text = partial_text;
    }
    std::string partial_text{};
  };

  filexfer::any_digest wanted;
  std::string file_name;
  std::optional<std::uint64_t> listed_size;
  std::shared_ptr<failure_plan> plan;
  std::optional<std::string> text{};

  const std::string& name() const { return file_name; }
  const filexfer::any_digest& id() const { return wanted; }
  std::optional<std::uint64_t> size() const { return listed_size; }
  sink open(std::error_code& ec) {
    plan->fails(ec);
    return {*this};
  }
};

/// Checks that all of five files moved but the third, if that failed, and that it failed by its
/// plan. Returns whether it failed.
bool third_has_failed(const pool_fixture& f,
                      const std::map<std::string, filexfer::transfer_failure>& results) {
  CHECK(results.size() == 5);
  const filexfer::transfer_failure& failure = results.at("file 2");
  const bool has_failed = static_cast<bool>(failure);
  if (has_failed) {
    CHECK(failure.error == std::errc::io_error);
    CHECK(failure.origin == failure_origin::local);
  }
  CHECK(f.totals.transferred == (has_failed ? 4 : 5));
  return has_failed;
}

/// Runs the job that `start` starts, and returns each file's failure.
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

TEST_CASE("a source that fails at any call fails its file and no other") {
  for (const std::size_t size : {100u, 700'000u}) {
    for (const bool missing_only : {false, true}) {
      bool has_failed = true;
      for (int call = 0; has_failed; ++call) {
        REQUIRE(call < 100);
        CAPTURE(call);
        pool_fixture f;
        std::vector<failing_file> files;
        for (unsigned n = 0; n < 5; ++n) {
          files.push_back({"file " + std::to_string(n), noise(size, n),
                           std::make_shared<failure_plan>(failure_plan{n == 2 ? call : never})});
        }
        const auto results = run_job<failing_file>(f, [&](auto on_result, auto handler) {
          if (missing_only) f.pool->async_upload_missing(files, on_result, handler);
          else f.pool->async_upload(files, on_result, handler);
        });
        has_failed = third_has_failed(f, results);
        CHECK(entries(f.server.store).size() == f.totals.transferred);
      }
    }
  }
}

TEST_CASE("a sink that fails at any call fails its file and no other") {
  for (const std::size_t size : {100u, 700'000u}) {
    for (const bool sizes_known : {false, true}) {
      bool has_failed = true;
      for (int call = 0; has_failed; ++call) {
        REQUIRE(call < 100);
        CAPTURE(call);
        pool_fixture f;
        auto files = some_files(5, size);
        f.upload(files);
        f.run();
        std::vector<failing_target> targets;
        for (const memory_file& file : files) {
          targets.push_back({id_of(file.text), file.name(),
                             sizes_known ? std::optional<std::uint64_t>{size} : std::nullopt,
                             std::make_shared<failure_plan>(
                                 failure_plan{file.name() == "file 2" ? call : never})});
        }
        const auto results = run_job<failing_target>(f, [&](auto on_result, auto handler) {
          f.pool->async_download(targets, on_result, handler);
        });
        has_failed = third_has_failed(f, results);
        for (std::size_t n = 0; n < targets.size(); ++n) {
          if (n != 2) CHECK(targets[n].text == files[n].text);
        }
      }
    }
  }
}

// -------------------------------------------------------------------------------------- exceptions

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

  std::string file_name;
  std::string text;
  bool open_throws = false;
  bool read_throws = false;

  const std::string& name() const { return file_name; }
  source open(std::error_code& ec) const {
    ec.clear();
    if (open_throws) throw std::system_error{std::make_error_code(std::errc::io_error)};
    return {filexfer::memory_source{text}, read_throws};
  }
};

TEST_CASE("an exception from an element or its source fails its file and no other") {
  for (const bool missing_only : {false, true}) {
    for (const bool open_throws : {true, false}) {
      if (!missing_only && !open_throws) continue;  // this ends the client's operation
      pool_fixture f;
      std::vector<throwing_file> files;
      for (unsigned n = 0; n < 5; ++n) {
        files.push_back({"file " + std::to_string(n), noise(100, n)});
      }
      (open_throws ? files[2].open_throws : files[2].read_throws) = true;
      const auto results = run_job<throwing_file>(f, [&](auto on_result, auto handler) {
        if (missing_only) f.pool->async_upload_missing(files, on_result, handler);
        else f.pool->async_upload(files, on_result, handler);
      });
      CHECK(results.size() == 5);
      CHECK(results.at("file 2").error == std::errc::io_error);
      CHECK(f.totals.transferred == 4);
    }
  }
}

}  // namespace pool_traps_files_tests
