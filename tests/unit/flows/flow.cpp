#include <filexfer/detail/flow/flow.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace flow_tests {

using filexfer::errc;
using filexfer::detail::action;
using filexfer::detail::advance;
using filexfer::detail::error_of;
using filexfer::detail::flow;
using filexfer::detail::flow_context;
using filexfer::detail::io_kind;
using filexfer::detail::outcome;
using filexfer::detail::read_result;
using filexfer::detail::work;

namespace {

// Runs a flow whose actions succeed immediately.
template <class T>
T run(flow<T> main, std::error_code& ec) {
  flow_context context;
  main.start(context);
  while (advance(context) != nullptr) {
  }
  return main.take(ec);
}

flow<int> number(int value) { co_return value; }

flow<long> sum_of_flows(int count) {
  long sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await number(i);
  co_return sum;
}

flow<int> depth(int levels) {
  if (levels == 0) co_return 0;
  const int below = co_await depth(levels - 1);
  co_return below + 1;
}

flow<void> await_actions(int count, int& done) {
  action nothing;
  for (; done < count; ++done) co_await nothing;
}

// Counts its instances.
struct counted {
  explicit counted(int& count) : alive{&count} { ++*alive; }
  counted(const counted& other) : alive{other.alive} { ++*alive; }
  counted& operator=(const counted&) = delete;
  ~counted() { --*alive; }
  int* alive;
};

flow<int> hold(counted, int levels, int& alive) {
  const counted local{alive};
  action forever;
  if (levels == 0) co_await forever;
  else co_await hold(counted{alive}, levels - 1, alive);
  const counted never_reached{alive};
  co_return 1;
}

template <class Exception>
flow<std::string> throwing(Exception e) {
  action nothing;
  co_await nothing;
  if (e.what() != nullptr) throw e;
  co_return "not thrown";
}

template <class Exception>
flow<std::string> nested(Exception e) {
  auto child = throwing(std::move(e));
  std::string value = co_await std::move(child);
  co_return value + " and returned";
}

flow<std::string> catching() {
  try {
    co_await throwing(std::runtime_error{"seen by the parent"});
  } catch (const std::runtime_error& e) {
    co_return e.what();
  }
  co_return "not thrown";
}

template <class Exception>
std::error_code code_of(Exception e) {
  std::error_code ec;
  const auto value = run(nested(std::move(e)), ec);
  CHECK(value.empty());
  return ec;
}

}  // namespace

// ---------------------------------------------------------------------------------------- awaiting

TEST_CASE("awaiting a million flows that end immediately does not overflow the stack") {
  std::error_code ec;
  CHECK(run(sum_of_flows(1'000'000), ec) == 499'999'500'000);
  CHECK_FALSE(ec);
}

TEST_CASE("awaiting a million actions that end immediately does not overflow the stack") {
  std::error_code ec;
  int done = 0;
  run(await_actions(1'000'000, done), ec);
  CHECK(done == 1'000'000);
}

TEST_CASE("flows that await flows, ten thousand deep, do not overflow the stack") {
  std::error_code ec;
  CHECK(run(depth(10'000), ec) == 10'000);
}

TEST_CASE("a flow does nothing until it is driven, and then awaits one action at a time") {
  const auto two_actions = [](std::vector<std::string>& seen) -> flow<void> {
    seen.emplace_back("begun");
    action first;
    first.io = io_kind::write;
    co_await first;
    seen.emplace_back("first done");
    action second;
    second.io = io_kind::close;
    co_await second;
    seen.emplace_back("ended");
  };
  std::vector<std::string> seen;
  auto main = two_actions(seen);
  flow_context context;
  main.start(context);
  CHECK(seen.empty());
  const action* wanted = advance(context);
  REQUIRE(wanted != nullptr);
  CHECK(wanted->io == io_kind::write);
  CHECK(seen == std::vector<std::string>{"begun"});
  wanted = advance(context);
  REQUIRE(wanted != nullptr);
  CHECK(wanted->io == io_kind::close);
  CHECK(seen.size() == 2);
  CHECK(advance(context) == nullptr);
  CHECK(seen.back() == "ended");
}

TEST_CASE("an action gets its own outcome, never that of the action before") {
  const auto two_reads = [](std::vector<outcome>& outcomes) -> flow<void> {
    action reading;
    outcomes.push_back(co_await reading);
    outcomes.push_back(co_await reading);
  };
  std::vector<outcome> outcomes;
  auto main = two_reads(outcomes);
  flow_context context;
  main.start(context);
  REQUIRE(advance(context) != nullptr);
  context.result.error = errc::truncated;
  context.result.bytes = 7;
  context.result.read = read_result{errc::truncated, 3};
  REQUIRE(advance(context) != nullptr);
  CHECK_FALSE(context.result.error);
  CHECK(advance(context) == nullptr);
  REQUIRE(outcomes.size() == 2);
  CHECK(outcomes[0].error == errc::truncated);
  CHECK(outcomes[0].bytes == 7);
  CHECK(outcomes[0].read.has_value());
  CHECK_FALSE(outcomes[1].error);
  CHECK(outcomes[1].bytes == 0);
  CHECK_FALSE(outcomes[1].read.has_value());
}

// ----------------------------------------------------------------------------- values and failures

TEST_CASE("a flow returns a value that can only be moved") {
  const auto make = []() -> flow<std::unique_ptr<int>> { co_return std::make_unique<int>(5); };
  const auto forward = [](flow<std::unique_ptr<int>> child) -> flow<std::unique_ptr<int>> {
    co_return co_await std::move(child);
  };
  std::error_code ec;
  const auto value = run(forward(make()), ec);
  REQUIRE(value != nullptr);
  CHECK(*value == 5);
}

TEST_CASE("an exception that leaves the outermost flow becomes an error code") {
  CHECK(code_of(std::system_error{make_error_code(errc::collision)}) == errc::collision);
  CHECK(code_of(std::system_error{std::make_error_code(std::errc::io_error)}) ==
        std::errc::io_error);
  CHECK(code_of(std::bad_alloc{}) == std::errc::not_enough_memory);
  CHECK(code_of(std::runtime_error{"something else"}) == errc::store_failed);
}

TEST_CASE("a flow that catches its child's exception continues") {
  std::error_code ec;
  CHECK(run(catching(), ec) == "seen by the parent");
  CHECK_FALSE(ec);
}

TEST_CASE("an exception of a type that is not the standard library's becomes store_failed") {
  CHECK(error_of(std::make_exception_ptr(42)) == errc::store_failed);
}

// ---------------------------------------------------------------------------------------- lifetime

TEST_CASE("destroying a suspended flow destroys all that it and its children hold") {
  int alive = 0;
  {
    auto main = hold(counted{alive}, 5, alive);
    flow_context context;
    main.start(context);
    REQUIRE(advance(context) != nullptr);
    CHECK(alive >= 12);
  }
  CHECK(alive == 0);
}

TEST_CASE("a flow that never ran destroys its arguments") {
  int alive = 0;
  { const auto main = hold(counted{alive}, 5, alive); }
  CHECK(alive == 0);
}

TEST_CASE("a flow that has ended has destroyed all that it held") {
  int alive = 0;
  std::error_code ec;
  CHECK(run(hold(counted{alive}, 3, alive), ec) == 1);
  CHECK(alive == 0);
}

TEST_CASE("a suspended flow that is moved continues") {
  int alive = 0;
  std::error_code ec;
  std::optional<flow<int>> main = hold(counted{alive}, 1, alive);
  flow_context context;
  main->start(context);
  REQUIRE(advance(context) != nullptr);
  flow<int> moved{std::move(*main)};
  main.reset();
  flow<int> assigned = number(1);
  assigned = std::move(moved);
  CHECK(advance(context) == nullptr);
  CHECK(assigned.take(ec) == 1);
}

// -------------------------------------------------------------------------------------------- work

TEST_CASE("work reports the error of its last run, and none if that run set none") {
  int runs = 0;
  work failing_first{[&](std::error_code& ec) {
    if (++runs == 1) ec = errc::no_space;
  }};
  CHECK_FALSE(failing_first.error());
  failing_first.run();
  CHECK(failing_first.error() == errc::no_space);
  failing_first.run();
  CHECK_FALSE(failing_first.error());
  failing_first.cancel();
  CHECK(failing_first.error() == std::errc::operation_canceled);
  CHECK(runs == 2);
}

TEST_CASE("an exception that work throws becomes its error") {
  work out_of_memory{[](std::error_code&) { throw std::bad_alloc{}; }};
  out_of_memory.run();
  CHECK(out_of_memory.error() == std::errc::not_enough_memory);
  work failing{[](std::error_code&) { throw std::system_error{make_error_code(errc::io)}; }};
  failing.run();
  CHECK(failing.error() == errc::io);
  work throwing_an_int{[](std::error_code&) { throw 1; }};
  throwing_an_int.run();
  CHECK(throwing_an_int.error() == errc::store_failed);
}

}  // namespace flow_tests
