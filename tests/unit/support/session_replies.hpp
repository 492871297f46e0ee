#ifndef FILEXFER_TESTS_SUPPORT_SESSION_REPLIES_HPP
#define FILEXFER_TESTS_SUPPORT_SESSION_REPLIES_HPP

// What the sessions of the tests send.

#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/protocol.hpp>

#include <cstdint>
#include <string>

namespace test {

// The FEATURES lines of the tests' sessions, without max-size and the final empty line.
inline const std::string all_features =
    "version=1\ndigest=md5\nhave\nnowait\nmtime\nexec\nprefix\n"
    "max-name=1024\n";

inline const std::string details_prompt = "Please send the file name and file size\n";
inline const std::string id_prompt = "Please send a file ID\n";
inline const std::string ready_words = "Ready to receive the file\n";

// The ERROR line of the library's session.
inline std::string refusal(filexfer::errc code) {
  return filexfer::format_error(code, make_error_code(code).message()) + '\n';
}

// The same, for a refusal that names a limit.
inline std::string refusal(filexfer::errc code, std::uint64_t limit) {
  const auto limit_text = ": the limit is " + std::to_string(limit) + " octets";
  return filexfer::format_error(code, make_error_code(code).message() + limit_text) + '\n';
}

}  // namespace test

#endif
