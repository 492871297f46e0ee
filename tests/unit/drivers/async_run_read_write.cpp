#include "support/async_run_fixture.hpp"
#include "support/script.hpp"

#include <asio/error.hpp>
#include <asio/socket_base.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>

namespace async_run_read_write_tests {

using namespace async_run_tests;

namespace {

action read_write_of(std::string_view text, std::span<std::byte> buffer) {
  action both = write_of(text);
  both.io = io_kind::read_write;
  both.read_buffer = buffer;
  return both;
}

struct read_write_on_a_pipe : operation_on_a_pipe {
  explicit read_write_on_a_pipe(std::size_t capacity = 16) : operation_on_a_pipe{capacity} {}
  std::array<std::byte, 8> into{};
  action first = read_write_of("first, ", into);
  action rest = read_write_of("first, ", {});  // joins the same write
  action second = read_write_of("second", into);
  action only_reads = read_write_of("", into);
  action reading = read_into(into, io_kind::read_some);
  action cancelling;
  expected_outcomes call;
};

}  // namespace

TEST_CASE("a read_write that has written leaves its read pending, and a later action joins it") {
  for (const bool joins_by_read_write : {true, false}) {
    read_write_on_a_pipe op;
    op.start(op.call, {&op.first, &op.second, joins_by_read_write ? &op.only_reads : &op.reading});
    run_until_idle(op.context);
    CHECK(op.peer_read(100) == "first, second");
    CHECK_FALSE(op.call.called());
    op.peer_write("reply");
    const auto& outcomes = std::get<1>(op.call.result());
    REQUIRE(outcomes.size() == 3);
    CHECK(outcomes[0].written);
    CHECK_FALSE(outcomes[0].read);
    CHECK(outcomes[1].written);
    CHECK_FALSE(outcomes[1].read);
    CHECK_FALSE(outcomes[2].error);
    CHECK_FALSE(outcomes[2].written);
    if (joins_by_read_write) REQUIRE(outcomes[2].read);
    CHECK((joins_by_read_write ? outcomes[2].read->bytes : outcomes[2].bytes) == 5);
    CHECK(text_of(op.into).substr(0, 5) == "reply");
  }
}

TEST_CASE("a read_write that has read leaves its write pending, and a later action joins it") {
  read_write_on_a_pipe op{4};
  op.start(op.call, {&op.first, &op.first, &op.reading, &op.rest});
  run_until_idle(op.context);
  op.peer_write("now");
  op.peer_write("then");
  op.peer_write("last");  // read while the write is pending
  CHECK_FALSE(op.call.called());
  CHECK(op.peer_read(4) == "firs");
  CHECK(op.peer_read(4) == "t, ");
  const auto& outcomes = std::get<1>(op.call.result());
  REQUIRE(outcomes.size() == 4);
  for (const std::size_t n : {0U, 1U}) {
    REQUIRE(outcomes[n].read);
    CHECK(outcomes[n].read->bytes == 3 + n);
    CHECK_FALSE(outcomes[n].read->error);
    CHECK_FALSE(outcomes[n].written);
    CHECK_FALSE(outcomes[n].error);
  }
  CHECK(outcomes[2].bytes == 4);
  CHECK(outcomes[3].written);
  CHECK_FALSE(outcomes[3].read);
}

TEST_CASE(
    "bytes that arrive between two actions are reported by the second, whose write has started") {
  for (const bool writes : {true, false}) {
    read_write_on_a_pipe op;
    asio::thread_pool pool{1};
    op.settings.work_executor = pool.get_executor();
    blocking_work pause;
    action working;
    working.run_and_wait(pause.call);
    action end_of_second = read_write_of("second", {});
    op.start(op.call, {&op.first, &working, writes ? &op.second : &op.reading, &end_of_second});
    run_until_idle(op.context);
    REQUIRE(pause.wait_until_started());
    op.peer_write("now");
    pause.release();
    pool.wait();
    run_until_idle(op.context);
    const auto& outcomes = std::get<1>(op.call.result());
    REQUIRE(outcomes.size() == 4);
    if (writes) REQUIRE(outcomes[2].read);
    CHECK((writes ? outcomes[2].read->bytes : outcomes[2].bytes) == 3);
    CHECK(text_of(op.into).substr(0, 3) == "now");
    CHECK(op.peer_read(100) == "first, second");
  }
}

TEST_CASE(
    "a read_write that does not write leaves a pending write alone, and a later one joins it") {
  read_write_on_a_pipe op{4};
  op.start(op.call, {&op.first, &op.only_reads, &op.only_reads, &op.rest});
  run_until_idle(op.context);
  op.peer_write("1");  // ends the first one
  CHECK(op.peer_read(4) == "firs");
  CHECK(op.peer_read(4) == "t, ");  // the write has ended
  CHECK_FALSE(op.call.called());
  op.peer_write("2");
  op.peer_write("3");
  const auto& outcomes = std::get<1>(op.call.result());
  for (const std::size_t n : {0U, 1U, 2U}) {
    REQUIRE(outcomes[n].read);
    CHECK(outcomes[n].read->bytes == 1);
    CHECK_FALSE(outcomes[n].written);
  }
  CHECK(outcomes[3].written);
  std::array<char, 10> more{};
  bool is_sent_again = false;
  op.theirs.async_read_some(asio::buffer(more),
                            [&](std::error_code ec, std::size_t) { is_sent_again = !ec; });
  run_until_idle(op.context);
  CHECK_FALSE(is_sent_again);
  op.theirs.close();
  run_until_idle(op.context);
}

TEST_CASE("a read_write reports the end of the stream") {
  read_write_on_a_pipe op{4};
  op.start(op.call, {&op.first, &op.rest, &op.reading});
  run_until_idle(op.context);
  op.theirs.shutdown(asio::socket_base::shutdown_send);
  op.peer_read(4);
  op.peer_read(4);
  const auto& outcomes = std::get<1>(op.call.result());
  REQUIRE(outcomes[0].read);
  CHECK(outcomes[0].read->error == errc::end_of_stream);
  CHECK_FALSE(outcomes[0].error);
  CHECK(outcomes[1].written);
  CHECK(outcomes[2].error == errc::end_of_stream);
}

TEST_CASE("a read_write whose write fails reports that, and what was read") {
  read_write_on_a_pipe op{4};
  op.start(op.call, {&op.first, &op.rest, &op.reading});
  run_until_idle(op.context);
  op.peer_write("bye");
  op.theirs.close();
  run_until_idle(op.context);
  const auto& outcomes = std::get<1>(op.call.result());
  REQUIRE(outcomes[0].read);
  CHECK(outcomes[0].read->bytes == 3);
  CHECK(outcomes[1].error == asio::error::broken_pipe);
  CHECK_FALSE(outcomes[1].written);
}

TEST_CASE("a read_write has its deadline, and the read that joins its pending read has its own") {
  read_write_on_a_pipe op{4};
  op.reading.deadline = deadline::reply;
  op.start(op.call, {&op.first, &op.reading, &op.reading});
  run_until_idle(op.context);
  advance_clock(op.context, 60s);
  CHECK_FALSE(op.call.called());  // the write has timed out, the reply may still arrive
  advance_clock(op.context, 600s - epsilon);
  op.peer_write("late");
  CHECK_FALSE(op.call.called());
  advance_clock(op.context, 600s);
  const auto& outcomes = std::get<1>(op.call.result());
  CHECK(outcomes[0].error == errc::timed_out);
  CHECK_FALSE(outcomes[0].written);
  CHECK_FALSE(outcomes[1].error);
  CHECK(outcomes[1].bytes == 4);
  CHECK(outcomes[2].error == errc::timed_out);
}

TEST_CASE("progress in either direction restarts the idle timeout of a read_write") {
  for (const bool reads : {true, false}) {
    read_write_on_a_pipe op{4};
    op.settings.limits.least_rate = 0;
    action same = op.first;
    same.continues_deadline = true;
    op.start(op.call, {&op.first, &same});
    run_until_idle(op.context);
    advance_clock(op.context, 60s - epsilon);
    if (reads) op.peer_write("now");
    else op.peer_read(1);
    advance_clock(op.context, 60s - epsilon);
    CHECK_FALSE(op.call.called());
    advance_clock(op.context, epsilon);
    REQUIRE(op.call.called());
    CHECK(std::get<1>(op.call.result())[reads ? 1 : 0].error == errc::timed_out);
  }
}

TEST_CASE("a read_write that only reads times out and is cancelled like a read") {
  for (const bool cancels : {true, false}) {
    for (const bool joins_by_read_write : {true, false}) {
      read_write_on_a_pipe op;
      op.start(op.call, {&op.first, joins_by_read_write ? &op.only_reads : &op.reading});
      run_until_idle(op.context);
      if (cancels) op.signal.emit(cancel::terminal);
      advance_clock(op.context, cancels ? 0s : 60s);
      const auto& outcomes = std::get<1>(op.call.result());
      CHECK_FALSE(outcomes[0].error);
      CHECK(outcomes[1].error == (cancels ? aborted : make_error_code(errc::timed_out)));
    }
  }
}

TEST_CASE("cancelling a read_write ends its read and its write") {
  read_write_on_a_pipe op{4};
  op.start(op.call, {&op.first, &op.reading});
  run_until_idle(op.context);
  op.signal.emit(cancel::terminal);
  run_until_idle(op.context);
  const auto& outcomes = std::get<1>(op.call.result());
  CHECK(outcomes[0].error == aborted);
  CHECK(outcomes[1].error == aborted);
  op.peer_write("rest");  // the read has ended
  CHECK(text_of(op.into).substr(0, 1) == std::string(1, '\0'));
}

TEST_CASE("a pending write is cancelled by cancel_write, and when its operation is cancelled") {
  for (const bool cancels : {true, false}) {
    read_write_on_a_pipe op{4};
    op.cancelling.io = io_kind::cancel_write;
    action& last = cancels ? op.rest : op.cancelling;
    asio::thread_pool pool{1};
    op.settings.work_executor = pool.get_executor();
    blocking_work pause;
    action working;
    working.run_and_wait(pause.call);
    op.start(op.call, {&op.first, &working, &last});
    run_until_idle(op.context);
    op.peer_write("now");
    REQUIRE(pause.wait_until_started());
    if (cancels) op.signal.emit(cancel::terminal);
    pause.release();
    pool.join();
    run_until_idle(op.context);
    const auto& outcomes = std::get<1>(op.call.result());
    REQUIRE(outcomes.size() == 3);
    CHECK(outcomes[2].error == (cancels ? aborted : std::error_code{}));
    op.ours.close();
    CHECK(op.peer_read(100) == "firs");  // and nothing more
    CHECK_THROWS(op.peer_read(1));
  }
}

}  // namespace async_run_read_write_tests
