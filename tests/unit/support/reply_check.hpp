#ifndef FILEXFER_TESTS_SUPPORT_REPLY_CHECK_HPP
#define FILEXFER_TESTS_SUPPORT_REPLY_CHECK_HPP

// Whether what a server sent is a valid dialogue.

#include "support/end_to_end.hpp"

#include <filexfer/protocol.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace test {

/// Checks what a server sent in a dialogue of one command, complete or cut off: at most one final
/// reply, and nothing after it but an ERROR line that closes the connection.
class reply_check {
 public:
  /// Returns a description of the violation; empty if there is none.
  static std::string violation(task t, std::string_view sent) {
    reply_check check{sent};
    return check.is_valid(t) ? std::string{} : "the server said: " + std::string{sent};
  }

 private:
  explicit reply_check(std::string_view sent) : rest_{sent} {}

  // Takes the next line; true if there is none, as the dialogue was cut off.
  bool is_cut() {
    const auto end = rest_.find('\n');
    if (end == rest_.npos) return true;
    line_ = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return false;
  }
  bool refused() const { return line_.starts_with("ERROR "); }

  bool is_valid(task t) {
    if (t == task::upload_declared || t == task::upload_held) {
      do {
        if (is_cut()) return true;
        if (refused()) return is_at_end();
      } while (!line_.empty());
    }
    if (t == task::list) {
      do {
        if (is_cut()) return true;
      } while (!line_.empty() && !refused());
      return is_at_end();
    }
    if (is_cut()) return true;  // the prompt
    if (refused()) return is_at_end();
    if (is_cut()) return true;  // the ready line, or the entry
    if (refused()) return is_at_end();
    if (t == task::download) {
      std::error_code ec;
      const auto entry = filexfer::parse_entry<md5_digest>(line_, ec);
      if (ec) return false;
      rest_.remove_prefix(
          static_cast<std::size_t>(std::min<std::uint64_t>(rest_.size(), entry.bytes())));
      return is_at_end();
    }
    if (is_cut()) return true;  // the id
    return is_at_end();
  }

  // After the final reply.
  bool is_at_end() {
    if (is_cut()) return true;
    return refused() && rest_.empty();
  }

  std::string_view rest_;
  std::string_view line_;
};

}  // namespace test

#endif
