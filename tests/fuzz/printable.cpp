// What a peer sends is displayed: whatever it is, the result is a line of valid UTF-8 that no
// terminal obeys, and from which the text can be had back.
//
// Input: a line with a number, the most bytes to use; then the text.

#include "fuzz/support/fuzzing.hpp"
#include "fuzz/support/grammar.hpp"

#include <filexfer/printable.hpp>
#include <filexfer/session_log.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

using fuzz::require;

/// Sequences of UTF-8 that a terminal obeys, or that change the direction of writing.
bool has_controls(const std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const unsigned byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7F) return true;
  }
  std::vector<std::string> forbidden{"\xD8\x9C", "\xE2\x80\x8E", "\xE2\x80\x8F"};
  for (char last = '\x80'; last <= '\x9F'; ++last) forbidden.push_back(std::string{"\xC2"} + last);
  for (char last = '\xA8'; last <= '\xAE'; ++last) {  // U+2028 to U+202E
    forbidden.push_back(std::string{"\xE2\x80"} + last);
  }
  for (char last = '\xA6'; last <= '\xA9'; ++last) {  // U+2066 to U+2069
    forbidden.push_back(std::string{"\xE2\x81"} + last);
  }
  return std::any_of(forbidden.begin(), forbidden.end(),
                     [&](const std::string& sequence) { return text.find(sequence) != text.npos; });
}

std::string decoded(const std::string& shown) {
  std::string text;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    if (shown[i] != '\\') {
      text += shown[i];
    } else if (shown.substr(i, 2) == "\\\\") {
      text += '\\';
      ++i;
    } else {
      require(shown.substr(i, 2) == "\\x" && i + 4 <= shown.size(), "an escape is whole", shown);
      text += static_cast<char>(std::stoi(shown.substr(i + 2, 2), nullptr, 16));
      i += 3;
    }
  }
  return text;
}

void check(const std::string& text, std::size_t limit) {
  std::string shown = filexfer::printable(text, limit);
  require(!has_controls(shown), "what is displayed has no controls", shown);
  require(fuzz::grammar::is_utf8(shown), "what is displayed is UTF-8", shown);
  if (text.size() > limit) {
    require(shown.ends_with("..."), "what is cut ends in dots", shown);
    shown.resize(shown.size() - 3);
  }
  require(decoded(shown) == text.substr(0, limit), "the text can be had back", shown);
  require(shown.find('\\') != shown.npos || filexfer::printable(shown) == shown,
          "what can be displayed is left as it is", shown);
}

void check_log(const std::string& text) {
  filexfer::session_event event;
  event.verb = filexfer::command::upload;
  event.name = event.id = text;
  event.error = filexfer::errc::bad_name;
  const std::string line =
      filexfer::format_event(std::chrono::system_clock::time_point{}, text, event);
  require(!has_controls(line) && fuzz::grammar::is_utf8(line), "the log has whole lines", line);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input input{data, size};
  const auto limit = fuzz::grammar::size_of(std::string{input.line()}).value_or(4096);
  const std::string text{input.rest()};
  check(text, static_cast<std::size_t>(limit));
  check_log(text);
  return 0;
}
