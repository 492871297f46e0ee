#include <filexfer/detail/driver/work_queue.hpp>

#include <doctest/doctest.h>

#include <string>
#include <system_error>

namespace work_queue_tests {

using filexfer::detail::work;
using filexfer::detail::work_queue;

TEST_CASE("a queue runs its work in the order in which it was pushed") {
  work_queue queue;
  std::string order;
  work first{[&](std::error_code&) { order += '1'; }};
  work second{[&](std::error_code&) { order += '2'; }};
  CHECK(queue.push(first));
  CHECK_FALSE(queue.push(second));  // the caller that runs the first runs it next
  CHECK(queue.run_next().more);
  CHECK_FALSE(queue.run_next().more);
  CHECK(order == "12");
  CHECK(queue.push(first));  // the queue was idle
  CHECK_FALSE(queue.run_next().more);
  CHECK(order == "121");
}

TEST_CASE("a queue reports the end of work that is waited for, and of no other") {
  work_queue queue;
  work first{[](std::error_code&) {}};
  work second{[](std::error_code&) {}};
  CHECK(queue.done_or_notify(first));  // never started
  queue.push(first);
  queue.push(second);
  CHECK_FALSE(queue.done_or_notify(second));
  CHECK_FALSE(queue.run_next().awaited);
  CHECK(queue.done_or_notify(first));
  CHECK(queue.run_next().awaited);
  CHECK(queue.done_or_notify(second));
}

TEST_CASE("a queue that is cancelled runs no more work, and still empties") {
  work_queue queue;
  int runs = 0;
  work counting{[&](std::error_code&) { ++runs; }};
  queue.push(counting);
  CHECK_FALSE(queue.done_or_notify(counting));
  queue.cancel();
  const auto progress = queue.run_next();
  CHECK(progress.awaited);
  CHECK_FALSE(progress.more);
  CHECK(runs == 0);
  CHECK(counting.error() == std::errc::operation_canceled);
}

}  // namespace work_queue_tests
