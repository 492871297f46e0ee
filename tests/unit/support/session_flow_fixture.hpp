#ifndef FILEXFER_TESTS_SUPPORT_SESSION_FLOW_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_SESSION_FLOW_FIXTURE_HPP

// What the session_flow*.cpp share.

#include "support/failing_store.hpp"
#include "support/known_files.hpp"
#include "support/script.hpp"
#include "support/session_dialogues.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/detail/flow/session_flow.hpp>

#include <doctest/doctest.h>

#include <string>
#include <system_error>
#include <vector>

namespace session_flow_tests {

using namespace test;
using filexfer::command;
using filexfer::errc;
using filexfer::detail::io_kind;
using send_order = scripted_peer::send_order;

inline const std::string no_files = "No files available at the moment\n\n";

// A session whose peer is a script.
struct session {
  explicit session(const dialogue& talk, send_order order = send_order::in_turn)
      : driver{scripted_peer{talk, role::server, order}} {
    state.options.max_size = 1'000'000;
    state.on_end = [this](const filexfer::session_event& event) { events.push_back(event); };
    state.connection.chunk_size = state.connection.small_file_size = chunk_size;
  }

  std::error_code run() {
    std::error_code ec;
    filexfer::detail::session_flow<failing_store, filexfer::md5> flow{state, store};
    driver.run([&](std::error_code& e) { return flow.serve(e); }, ec);
    CHECK_FALSE(driver.used_after_close);
    CHECK(store.alive == 0);
    CHECK(all_whole(store.inner));
    return ec;
  }

  const std::string& sent() const { return driver.peer.received(); }

  failing_store store;
  filexfer::detail::session_state state;
  hand_driver driver;
  std::vector<filexfer::session_event> events;
};

inline void store_files_before(session& s, const session_dialogue& d) {
  int name = 0;
  for (const auto& file : d.before) put(s.store.inner, std::to_string(name++), file);
}

// Checks that the session sent `before` and an ERROR line, shut its sending side down, and closed.
inline void check_closed_with(session& s, filexfer::errc code, const std::string& before = {}) {
  CHECK(s.sent() == before + refusal(code));
  CHECK(s.driver.sending_ended);
  CHECK(s.driver.closed);
}

// Checks that the session sent `before` and no more, and closed.
inline void check_closed_silently(const session& s, const std::string& before = {}) {
  CHECK(s.sent() == before);
  CHECK_FALSE(s.driver.sending_ended);
  CHECK(s.driver.closed);
}

}  // namespace session_flow_tests

#endif
