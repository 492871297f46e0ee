#ifndef PROGRAMS_CLIENT_RETRIES_HPP
#define PROGRAMS_CLIENT_RETRIES_HPP

/// \file
/// One file's transfer over as many connections as it takes.

#include "client/jobs.hpp"

#include <filexfer/results.hpp>
#include <filexfer/transfer.hpp>

#include <asio/error.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace programs {

/// What an attempt came to.
struct attempt {
  failure why;                              ///< `why.code` is `done` if it succeeded.
  std::uint64_t octets = 0;                 ///< That moved.
  std::optional<std::string> subject = {};  ///< What the failure is about, if not the file.
  bool was_connected = true;
};

/// Connects and calls `try_once(client)`, which returns an `attempt`, until that succeeds or there
/// is no sense in another; returns the last. `made` is one that was made before, if any was.
template <class TryOnce>
attempt with_retries(workplace& at, const std::string& what, TryOnce try_once,
                     std::optional<attempt> made = std::nullopt) {
  filexfer::retry_schedule<> schedule{{.patience = at.chosen.retry_for}};
  for (;; made.reset()) {
    attempt last = made ? *made : attempt{at.server.connect()};
    if (!made) {
      last.was_connected = last.why.code == done;
      if (last.was_connected) last = at.server.with_client(try_once);
    }
    if (last.why.code == done) return last;
    if (interruption::came()) {
      last.why = explain(asio::error::operation_aborted, filexfer::failure_origin::stream, {});
      return last;
    }
    if (last.octets > 0) schedule.progress();
    const auto pause = last.why.may_pass ? schedule.next() : std::nullopt;
    if (!pause) return last;
    std::string_view why = last.why.text;
    if (why.ends_with(trying_again_is_safe)) {
      why.remove_suffix(std::string_view{trying_again_is_safe}.size());
    }
    at.say.trying_again(what, why);
    at.operations.wait(*pause);
  }
}

/// Sees to it that there is a connection, before something that is done once.
inline attempt connect_with_retries(workplace& at, const std::string& what) {
  return with_retries(at, what, [](auto&) { return attempt{}; });
}

}  // namespace programs

#endif
