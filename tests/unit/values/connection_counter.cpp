#include <filexfer/connection_counter.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace connection_counter_tests {

using namespace std::chrono_literals;
using filexfer::connection_counter;
using filexfer::detail::connection_limits;
using filexfer::detail::connection_slot;

namespace {

/// A counter, and a time that only the test advances.
struct counter_fixture {
  connection_slot open(const std::string& address, const connection_limits& limits = {}) {
    return {counter, address, limits, now};
  }

  /// Opens connections and closes them at once; returns how many there was room for.
  std::size_t open_and_close(std::size_t count, const connection_limits& limits,
                             const std::string& address = "a") {
    std::size_t opened = 0;
    for (std::size_t i = 0; i < count; ++i) opened += open(address, limits) ? 1 : 0;
    return opened;
  }

  std::shared_ptr<connection_counter> counter = std::make_shared<connection_counter>();
  std::chrono::nanoseconds now = 100h;
};

TEST_CASE_FIXTURE(counter_fixture, "connections are counted in total and by address until closed") {
  const connection_limits limits{.connections = 3, .per_address = 2};
  auto first = open("a", limits);
  auto second = open("a", limits);
  CHECK(first);
  CHECK(second);
  CHECK_FALSE(open("a", limits));
  auto other = open("b", limits);
  CHECK(other);
  CHECK_FALSE(open("c", limits));
  CHECK(counter->connections() == 3);
  CHECK(counter->addresses() == 2);
  connection_slot moved{std::move(first)};
  CHECK_FALSE(first);
  CHECK(counter->connections() == 3);
  moved.release();
  moved.release();
  CHECK(counter->connections() == 2);
  CHECK(open("a", limits));
}

TEST_CASE_FIXTURE(counter_fixture, "an address may open its rate, and ten times that at once") {
  const connection_limits limits{.rate_per_address = 4};
  CHECK(open_and_close(100, limits) == 40);
  now += 250ms - 1ns;
  CHECK(open_and_close(1, limits) == 0);
  now += 1ns;
  CHECK(open_and_close(2, limits) == 1);
  now += 5s;
  const auto kept = open("a", limits);  // so that the address is not forgotten
  CHECK(open_and_close(100, limits) == 19);
  now += 1h;  // a bucket holds no more than its size
  CHECK(open_and_close(100, limits) == 40);
  CHECK(open_and_close(1, limits, "b") == 1);
}

TEST_CASE_FIXTURE(counter_fixture, "rejected connections do not count against the rate") {
  const connection_limits limits{.per_address = 1, .rate_per_address = 1};
  auto open_one = open("a", limits);
  CHECK(open_and_close(100, limits) == 0);
  open_one.release();
  CHECK(open_and_close(100, limits) == 9);
}

TEST_CASE_FIXTURE(counter_fixture, "a rate of none admits none, and no rate admits all") {
  CHECK(open_and_close(10, {.rate_per_address = 0}) == 0);
  CHECK(open_and_close(10'000, {}) == 10'000);
  CHECK(open_and_close(10'000, {.rate_per_address = 2'000'000'000}) == 10'000);
}

TEST_CASE_FIXTURE(counter_fixture, "an address without connections is forgotten once it is idle") {
  CHECK(open_and_close(1000, {}) == 1000);
  CHECK(counter->addresses() == 0);
  const connection_limits limits{.rate_per_address = 10};
  for (int i = 0; i < 500; ++i) open_and_close(1, limits, std::to_string(i));
  CHECK(counter->addresses() == 500);
  now += 100ms;  // each had opened one
  for (int i = 0; i < 500; ++i) open_and_close(1, {}, "another");
  CHECK(counter->addresses() == 0);
}

TEST_CASE_FIXTURE(counter_fixture, "rejected connections are not remembered") {
  for (int i = 0; i < 10; ++i) open_and_close(1, {.connections = 0}, std::to_string(i));
  CHECK(counter->addresses() == 0);
}

TEST_CASE_FIXTURE(counter_fixture, "any number of addresses takes a bounded amount of memory") {
  const connection_limits limits{.rate_per_address = 1};
  std::vector<connection_slot> open_ones;
  for (int i = 0; i < 100; ++i) open_ones.push_back(open("open " + std::to_string(i), limits));
  for (int i = 0; i < 20'000; ++i) {
    open_and_close(1, limits, std::to_string(i));
    REQUIRE(counter->addresses() <= 100 + connection_counter::max_idle_addresses + 1);
  }
  CHECK(counter->addresses() == 100 + connection_counter::max_idle_addresses);
  for (const connection_slot& slot : open_ones) CHECK(slot);
  open_ones.clear();
  CHECK(counter->connections() == 0);
}

TEST_CASE_FIXTURE(counter_fixture, "any number of threads may count at once") {
  const connection_limits limits{.connections = 3, .per_address = 2};
  std::atomic<bool> is_exceeded = false;
  const auto open_and_close_many = [&](const std::string& address) {
    for (int i = 0; i < 10'000; ++i) {
      const auto first = open(address, limits);
      const auto second = open(address, limits);
      if (counter->connections() > 3) is_exceeded = true;
    }
  };
  std::thread other{open_and_close_many, "a"};
  open_and_close_many("b");
  other.join();
  CHECK_FALSE(is_exceeded);
  CHECK(counter->connections() == 0);
  CHECK(counter->addresses() == 0);
}

TEST_CASE_FIXTURE(counter_fixture, "a slot keeps its counter") {
  auto slot = open("a");
  const std::weak_ptr<connection_counter> observer{counter};
  counter.reset();
  CHECK_FALSE(observer.expired());
  slot.release();
}

}  // namespace

}  // namespace connection_counter_tests
