#include <filexfer/error.hpp>

#include <asio/error.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <initializer_list>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace error_tests {

using filexfer::condition;
using filexfer::errc;

namespace {

constexpr std::array refusals{
    errc::unknown_command,
    errc::bad_request,
    errc::line_too_long,
    errc::bad_name,
    errc::bad_size,
    errc::bad_id,
    errc::bad_range,
    errc::not_found,
    errc::too_large,
    errc::no_space,
    errc::mismatch,
    errc::collision,
    errc::io,
    errc::read_only,
    errc::superseded,
    errc::busy,
    errc::timeout,
    errc::shutting_down,
    errc::denied,
    errc::refused,
};

constexpr std::array local_errors{
    errc::end_of_stream,         errc::truncated,           errc::malformed_reply,
    errc::digest_mismatch,       errc::wrong_digest_kind,   errc::timed_out,
    errc::too_many_entries,      errc::source_changed,      errc::short_source,
    errc::operation_in_progress, errc::connection_unusable, errc::store_failed,
    errc::file_exists,           errc::digest_changed,      errc::symbolic_link,
    errc::special_file,          errc::folder_cycle,        errc::not_private,
    errc::bad_proxy_header,      errc::untrusted_proxy,
};

// Checks that exactly `members`, of all codes, meet `c`.
void check_members(condition c, std::initializer_list<errc> members) {
  const std::set<errc> expected{members};
  for (const errc e : refusals) {
    CAPTURE(make_error_code(e));
    CHECK((make_error_code(e) == c) == expected.contains(e));
  }
  for (const errc e : local_errors) {
    CAPTURE(make_error_code(e));
    CHECK((make_error_code(e) == c) == expected.contains(e));
  }
}

}  // namespace

TEST_CASE("a code and a condition convert implicitly to the standard library's types") {
  const std::error_code code = errc::not_found;
  const std::error_condition refused = condition::refused;
  CHECK(code == errc::not_found);
  CHECK(code != errc::no_space);
  CHECK(code == refused);
  CHECK(code.category() == filexfer::error_category());
  CHECK(refused.category() == filexfer::condition_category());
  CHECK(code.category().name() == std::string_view{"filexfer"});
  CHECK(refused.category().name() == std::string_view{"filexfer.condition"});
}

TEST_CASE("every code converts to an error, with a message of its own") {
  std::set<std::string> messages;
  for (const errc e : refusals) {
    CHECK(make_error_code(e));
    messages.insert(make_error_code(e).message());
  }
  for (const errc e : local_errors) {
    CHECK(make_error_code(e));
    messages.insert(make_error_code(e).message());
  }
  messages.insert("unknown filexfer error");
  CHECK(messages.size() == refusals.size() + local_errors.size() + 1);
}

TEST_CASE("a number that is no code has a message, too") {
  for (const int number : {0, -1, 21, 63, 84, 1'000'000}) {
    CHECK(filexfer::error_category().message(number) == "unknown filexfer error");
    CHECK(filexfer::condition_category().message(number + 100) == "unknown filexfer condition");
  }
}

TEST_CASE("every condition has a message of its own") {
  std::set<std::string> messages{"unknown filexfer condition"};
  for (const condition c :
       {condition::protocol_violation, condition::verification_failed, condition::limit_exceeded,
        condition::timeout, condition::refused, condition::may_pass}) {
    messages.insert(make_error_condition(c).message());
  }
  CHECK(messages.size() == 7);
}

TEST_CASE("each condition holds for exactly its codes") {
  check_members(condition::protocol_violation, {errc::malformed_reply, errc::truncated});
  check_members(condition::verification_failed,
                {errc::mismatch, errc::digest_mismatch, errc::collision});
  check_members(condition::limit_exceeded, {errc::line_too_long, errc::too_large, errc::no_space,
                                            errc::busy, errc::too_many_entries});
  check_members(condition::timeout, {errc::timeout, errc::timed_out});
  check_members(condition::may_pass,
                {errc::busy, errc::timeout, errc::shutting_down, errc::io, errc::no_space});
}

TEST_CASE("exactly the codes that a peer can send are refusals") {
  for (const errc e : refusals) CHECK(make_error_code(e) == condition::refused);
  for (const errc e : local_errors) CHECK(make_error_code(e) != condition::refused);
}

TEST_CASE("success meets no condition") {
  for (const condition c :
       {condition::protocol_violation, condition::verification_failed, condition::limit_exceeded,
        condition::timeout, condition::refused, condition::may_pass}) {
    CHECK(std::error_code{} != c);
    CHECK(std::error_code(0, filexfer::error_category()) != c);
  }
}

TEST_CASE("ETIMEDOUT is a timeout, and no other system error meets a condition") {
  CHECK(std::error_code{ETIMEDOUT, std::system_category()} == condition::timeout);
  CHECK(std::make_error_code(std::errc::timed_out) == condition::timeout);
  CHECK(std::make_error_code(std::errc::timed_out) != condition::may_pass);
  CHECK(std::error_code{asio::error::timed_out} == condition::timeout);
  CHECK(std::error_code{asio::error::connection_reset} != condition::timeout);
  for (const condition c :
       {condition::protocol_violation, condition::verification_failed, condition::limit_exceeded,
        condition::timeout, condition::refused, condition::may_pass}) {
    // The numbers of `errc` in another category.
    for (int number = 1; number < 80; ++number) {
      if (number == ETIMEDOUT && c == condition::timeout) continue;
      CHECK(std::error_code{number, std::system_category()} != c);
    }
  }
}

}  // namespace error_tests
