// Uploads with tokens of their own, which a later job resumes.

#include "support/bytes.hpp"
#include "support/pool_fixture.hpp"
#include "support/scratch_folder.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/error.hpp>
#include <filexfer/transfer_types.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace pool_resume_tokens_tests {

using namespace test;
using namespace std::chrono_literals;

constexpr std::size_t size = 1'000'000;
constexpr std::uint64_t part_size = 400'000;
constexpr const char* token = "token-of-this-upload";

/// A file whose upload may have a token.
struct tokened_file : memory_file {
  std::string token_text{};
  bool interrupted = false;
  std::error_code failure{};
  int asked = 0;  ///< How often `was_interrupted` was called.

  std::error_code error() const noexcept { return failure; }
  const std::string& resume_token() const noexcept { return token_text; }
  bool was_interrupted() {
    ++asked;
    return interrupted;
  }
};
static_assert(filexfer::upload_element<tokened_file>);

std::vector<tokened_file> large_file(std::string token_text, bool interrupted) {
  return {{{"large", noise(size)}, std::move(token_text), interrupted}};
}

/// A pool without retries, as a program has one in each of its runs.
struct one_attempt
    : basic_pool_fixture<virtual_timer,
                         basic_pipe_server<virtual_timer, filexfer::directory_store<>>> {
  explicit one_attempt(const scratch_folder& folder)
      : basic_pool_fixture{{.retry_for = 0ms, .client = {.max_nowait_size = 1000}},
                           folder.path() / "store"} {}
};

/// Uploads the file over a connection that breaks.
void break_upload(const scratch_folder& folder, std::string token_text) {
  one_attempt first{folder};
  first.server.break_after = {part_size};
  auto files = large_file(std::move(token_text), false);
  first.upload(files);
  first.run();
  CHECK(first.totals.failed == 1);
}

TEST_CASE("an upload that breaks is resumed by another job with its token") {
  for (const bool only_missing : {false, true}) {
    CAPTURE(only_missing);
    const scratch_folder folder;
    break_upload(folder, token);
    one_attempt second{folder};
    // The first connection is only asked for the features, as the file is hashed without one. The
    // second suffices for the rest of the file.
    second.server.break_after = {part_size, size - part_size + 50'000};
    auto files = large_file(token, true);
    if (only_missing) second.upload_missing(files);
    else second.upload(files);
    second.run();
    CHECK(second.ended == std::error_code{});
    CHECK(second.totals.transferred == 1);
    CHECK(second.server.connections == 2);
    CHECK(files[0].asked == 1);
  }
}

TEST_CASE("an upload is not resumed with another token, a random one, or unless it is known") {
  const std::pair<std::string, bool> cases[] = {
      {"token-of-another-one", true}, {"", true}, {token, false}};
  for (const auto& one : cases) {
    const std::string& text = one.first;
    const bool interrupted = one.second;
    CAPTURE(text);
    CAPTURE(interrupted);
    const scratch_folder folder;
    break_upload(folder, token);
    one_attempt second{folder};
    second.server.break_after = {size - part_size + 50'000, size - part_size + 50'000};
    auto files = large_file(text, interrupted);
    second.upload(files);
    second.run();
    CHECK(second.totals.transferred == 0);
    CHECK(second.totals.failed == 1);
  }
}

TEST_CASE("a file that was interrupted before its first byte is sent from the beginning") {
  const scratch_folder folder;
  one_attempt only{folder};
  auto files = large_file(token, true);
  files.push_back({{"small", "abc"}});
  only.upload(files);
  only.run();
  CHECK(only.ended == std::error_code{});
  CHECK(only.totals.transferred == 2);
  const auto stored = entries(only.server.store);
  CHECK(std::set(stored.begin(), stored.end()) ==
        std::set{entry("large", files[0].text), entry("small", files[1].text)});
}

TEST_CASE("a file that was interrupted and can't be opened now fails, and no other") {
  const scratch_folder folder;
  one_attempt only{folder};
  auto files = large_file(token, true);
  files[0].open_error = std::make_error_code(std::errc::permission_denied);
  files.push_back({{"small", "abc"}});
  only.upload(files);
  only.run();
  CHECK(only.ended == std::error_code{});
  CHECK(only.failures.at("large").error == std::errc::permission_denied);
  CHECK(only.totals.transferred == 1);
}

TEST_CASE("a file that can't be sent is not asked whether it was interrupted") {
  const scratch_folder folder;
  one_attempt only{folder};
  auto files = large_file(token, true);
  files[0].failure = filexfer::errc::symbolic_link;
  only.upload(files);
  only.run();
  CHECK(only.failures.at("large").error == filexfer::errc::symbolic_link);
  CHECK(files[0].asked == 0);
}

}  // namespace pool_resume_tokens_tests
