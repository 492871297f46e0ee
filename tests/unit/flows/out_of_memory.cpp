#include "support/allocations.hpp"
#include "support/client_dialogues.hpp"
#include "support/failing_store.hpp"
#include "support/known_files.hpp"
#include "support/recording_sink.hpp"
#include "support/script.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/detail/flow/session_flow.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

// This program's `new` counts the live allocations of each thread. On a thread that asks for it,
// one call fails: the nth.
namespace out_of_memory_tests {

namespace {

thread_local std::size_t calls_until_failure = 0;  // 0: none fails
thread_local bool failed = false;
thread_local std::ptrdiff_t live = 0;

void* allocate(std::size_t bytes) {
  if (calls_until_failure > 0 && --calls_until_failure == 0) {
    failed = true;
    throw std::bad_alloc{};
  }
  void* const memory = std::malloc(bytes > 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc{};
  ++live;
  return memory;
}

void release(void* memory) noexcept {
  if (memory != nullptr) --live;
  std::free(memory);
}

}  // namespace

}  // namespace out_of_memory_tests

std::ptrdiff_t test::live_allocations() noexcept { return out_of_memory_tests::live; }

void* operator new(std::size_t bytes) { return out_of_memory_tests::allocate(bytes); }
void* operator new[](std::size_t bytes) { return out_of_memory_tests::allocate(bytes); }
void operator delete(void* memory) noexcept { out_of_memory_tests::release(memory); }
void operator delete[](void* memory) noexcept { out_of_memory_tests::release(memory); }
void operator delete(void* memory, std::size_t) noexcept { out_of_memory_tests::release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { out_of_memory_tests::release(memory); }

namespace out_of_memory_tests {

namespace {

using namespace test;

// Runs `call` with its nth allocation failing; false if it has fewer. Sets `ec` if it throws.
template <class Call>
bool with_failing_allocation(std::size_t nth, std::error_code& ec, Call call) {
  failed = false;
  calls_until_failure = nth;
  try {
    call();
  } catch (const std::bad_alloc&) {
    // From the allocation of the outermost flow, before it starts.
    ec = std::make_error_code(std::errc::not_enough_memory);
  }
  calls_until_failure = 0;
  return failed;
}

}  // namespace

TEST_CASE("an upload reports the failure of any one of its allocations") {
  for (const known_file& s : {hello, known_files().back()}) {
    const auto size = std::to_string(s.bytes.size());
    const auto talk = upload_dialogue("f;" + size, "ready") + dialogue{C(s.bytes), S(s.id + "\n")};
    bool more = true;
    std::size_t nth = 1;
    for (; more; ++nth) {
      CAPTURE(nth);
      filexfer::detail::client_state state;
      state.connection.chunk_size = state.connection.small_file_size = chunk_size;
      hand_driver driver{scripted_peer{talk, role::client}};
      driver.read_write_reads = false;
      filexfer::memory_source source{s.bytes};
      std::string name = "f";
      // The driver's own records are not to allocate.
      driver.steps.reserve(100);
      driver.peer.reserve(s.bytes.size() + 100);
      std::error_code ec;
      more = with_failing_allocation(nth, ec, [&] {
        const auto result = driver.run(
            [&](std::error_code& e) {
              return filexfer::detail::upload<filexfer::md5>(state, source, {std::move(name)}, e);
            },
            ec);
        CHECK((ec || result.remote_digest == id_of(s)));
      });
      CHECK((more ? ec == std::errc::not_enough_memory : !ec));
      CHECK_FALSE(state.running);
      if (ec && !driver.steps.empty()) {
        CHECK_FALSE(state.synchronized);
        CHECK(state.origin == filexfer::failure_origin::local);
      }
    }
    CHECK(nth > 5);
  }
}

TEST_CASE("a download reports the failure of any one of its allocations, and commits nothing") {
  for (const known_file& s : {hello, known_files().back()}) {
    const auto size = std::to_string(s.bytes.size());
    const auto talk = download_dialogue(s.id) + dialogue{S(s.id + ";f;" + size + "\n" + s.bytes)};
    bool more = true;
    std::size_t nth = 1;
    for (; more; ++nth) {
      CAPTURE(nth);
      filexfer::detail::client_state state;
      state.connection.chunk_size = state.connection.small_file_size = chunk_size;
      hand_driver driver{scripted_peer{talk, role::client}};
      driver.steps.reserve(100);
      driver.peer.reserve(1000);
      recording_sink sink;
      std::error_code ec;
      more = with_failing_allocation(nth, ec, [&] {
        driver.run(
            [&](std::error_code& e) {
              return filexfer::detail::download<filexfer::md5>(state, id_of(s), sink, e);
            },
            ec);
      });
      CHECK((more ? ec == std::errc::not_enough_memory : !ec));
      CHECK(sink.committed == !ec);
      CHECK_FALSE(state.running);
    }
    CHECK(nth > 5);
  }
}

TEST_CASE(
    "a session with any one allocation failing stores only whole files, and frees what it held") {
  for (const std::string parameter : {"", ";nowait"}) {
    for (const known_file& s : {hello, known_files().back()}) {
      const auto details = "f;" + std::to_string(s.bytes.size()) + parameter;
      const dialogue talk{C("UPLOAD\n" + details + "\n" + s.bytes + "LIST_FILES\nDOWNLOAD\n" +
                            s.id + "\nFEATURES\n")};
      bool more = true;
      std::size_t nth = 1;
      for (; more; ++nth) {
        CAPTURE(nth);
        failing_store store;
        filexfer::detail::session_state state;
        state.connection.chunk_size = state.connection.small_file_size = chunk_size;
        std::error_code last_observed;
        state.on_end = [&](const filexfer::session_event& event) { last_observed = event.error; };
        hand_driver driver{scripted_peer{talk, role::server, scripted_peer::send_order::ahead}};
        driver.steps.reserve(100);
        driver.peer.reserve(2 * s.bytes.size() + 1000);
        filexfer::detail::session_flow<failing_store, filexfer::md5> flow{state, store};
        std::error_code ec;
        more = with_failing_allocation(
            nth, ec, [&] { driver.run([&](std::error_code& e) { return flow.serve(e); }, ec); });
        CHECK(store.alive == 0);
        CHECK(all_whole(store.inner));
        const auto listed = entries_of(store.inner);
        // An id that was sent is listed.
        if (driver.peer.received().find(s.id + "\n") != std::string::npos)
          CHECK(listed.size() == 1);
        if (!more) CHECK_FALSE(ec);
        // Once started, it always closes the stream and notifies the observer.
        if (ec && !driver.steps.empty()) {
          CHECK(last_observed);
          CHECK(driver.closed);
        }
      }
      CHECK(nth > 10);
    }
  }
}

}  // namespace out_of_memory_tests
