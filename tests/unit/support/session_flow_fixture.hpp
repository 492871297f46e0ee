#ifndef FILEXFER_TESTS_SESSION_FLOW_FIXTURE_HPP
#define FILEXFER_TESTS_SESSION_FLOW_FIXTURE_HPP

// What the session_flow*.cpp share.

#include "support/dialogues.hpp"
#include "support/failing_store.hpp"
#include "support/script.hpp"

#include <filexfer/detail/flow/session_flow.hpp>

#include <doctest/doctest.h>

#include <string>
#include <system_error>
#include <vector>

namespace session_flow_tests {

using test::details_prompt;
using test::dialogue;
using test::failing_store;
using test::hand_driver;
using test::id_prompt;
using test::ready_words;
using test::refusal;
using test::scripted_peer;
using test::session_dialogue;
using test::who;
using talks = scripted_peer::talks;

inline const std::string no_files = "No files available at the moment\n\n";

// A session whose peer is a script.
struct session {
  explicit session(const dialogue& talk, talks order = talks::in_turn)
      : driver{scripted_peer{talk, who::server, order}} {
    state.options.max_size = 1'000'000;
    state.on_end = [this](const filexfer::session_event& event) { events.push_back(event); };
    state.connection.chunk_size = state.connection.small_file_size = test::chunk_size;
  }

  std::error_code run() {
    std::error_code ec;
    filexfer::detail::session_flow<failing_store, filexfer::md5> flow{state, store};
    driver.run([&](std::error_code& e) { return flow.serve(e); }, ec);
    CHECK_FALSE(driver.used_after_close);
    CHECK(store.alive == 0);
    CHECK(test::all_whole(store.held));
    return ec;
  }

  const std::string& said() const { return driver.peer.said(); }

  failing_store store;
  filexfer::detail::session_state state;
  hand_driver driver;
  std::vector<filexfer::session_event> events;
};

inline void prepare(session& s, const session_dialogue& d) {
  int name = 0;
  for (const auto& file : d.before) put(s.store.held, std::to_string(name++), file);
}

// Checks that the session sent `before` and an ERROR line, shut its sending side down, and closed.
inline void check_closed_with(session& s, filexfer::errc code, const std::string& before = {}) {
  CHECK(s.said() == before + refusal(code));
  CHECK(s.driver.sending_ended);
  CHECK(s.driver.closed);
}

// Checks that the session sent `before` and no more, and closed.
inline void check_closed_silently(const session& s, const std::string& before = {}) {
  CHECK(s.said() == before);
  CHECK_FALSE(s.driver.sending_ended);
  CHECK(s.driver.closed);
}

}  // namespace session_flow_tests

#endif
