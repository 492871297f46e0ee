// Tests of the handler that other tests rely on. Each `should_fail` case breaks the contract in one
// way.

#include "support/once_handler.hpp"

#include <asio/associated_allocator.hpp>
#include <asio/bind_executor.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>
#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>

namespace once_handler_tests {

using namespace test;
using handler = expected_call<void(int)>::handler;

namespace {

static_assert(std::is_move_constructible_v<handler>);
static_assert(!std::is_copy_constructible_v<handler>);

// Posts the call, like an operation that keeps the contract.
void post_call(asio::io_context& context, auto h) {
  asio::post(context, [h = std::move(h)]() mutable { h(7); });
}

}  // namespace

TEST_CASE("a handler that is called once, after initiation, with its memory returned, passes") {
  asio::io_context context;
  expected_call<void(int)> call;
  call.start([&](auto h) {
    auto allocator = asio::get_associated_allocator(h);
    allocator.deallocate(allocator.allocate(3), 3);
    post_call(context, std::move(h));
  });
  CHECK_FALSE(call.called());
  context.run();
  CHECK(call.result() == std::tuple{7});
  CHECK(call.allocations() == 1);
  CHECK_FALSE(call.dropped());
}

TEST_CASE("a call on another thread while the initiating function still runs passes") {
  expected_call<void(int)> call;
  call.start([](auto h) { std::thread{[&h] { h(7); }}.join(); });
  CHECK(call.result() == std::tuple{7});
}

TEST_CASE("a handler that may be dropped passes when it is") {
  expected_call<void(int)> call;
  call.may_be_dropped().start([](auto) {});
  CHECK(call.dropped());
}

TEST_CASE("a handler that is dropped fails the test" * doctest::should_fail()) {
  expected_call<void(int)> call;
  call.start([](auto) {});
}

TEST_CASE("a handler that is never called fails the test" * doctest::should_fail()) {
  std::optional<handler> kept;
  expected_call<void(int)> call;
  call.start([&](auto h) { kept.emplace(std::move(h)); });
}

TEST_CASE("a handler that is called twice fails the test" * doctest::should_fail()) {
  std::optional<handler> kept;
  expected_call<void(int)> call;
  call.start([&](auto h) { kept.emplace(std::move(h)); });
  (*kept)(7);
  (*kept)(8);
}

TEST_CASE("a handler that is called inside the initiating function fails the test" *
          doctest::should_fail()) {
  expected_call<void(int)> call;
  call.start([](auto h) { h(7); });
}

TEST_CASE("a handler that is called before its memory is returned fails the test" *
          doctest::should_fail()) {
  std::optional<handler> kept;
  expected_call<void(int)> call;
  call.start([&](auto h) { kept.emplace(std::move(h)); });
  auto allocator = kept->get_allocator();
  auto* memory = allocator.allocate(1);
  (*kept)(7);
  allocator.deallocate(memory, 1);
}

TEST_CASE("a handler that is called outside its executor fails the test" * doctest::should_fail()) {
  asio::io_context context;
  expected_call<void(int)> call;
  call.start_on(asio::make_strand(context), [&](auto h) { post_call(context, std::move(h)); });
  context.run();
}

}  // namespace once_handler_tests
