#ifndef PROGRAMS_JSON_HPP
#define PROGRAMS_JSON_HPP

/// \file
/// Lines for machines.

#include <cstdint>
#include <string>
#include <string_view>

namespace programs {

/// `text` as a JSON string. It is UTF-8 whatever `text` is: an octet that is not becomes U+FFFD.
/// What could act on a terminal is escaped, as `filexfer::printable` does it.
std::string json_string(std::string_view text);

/// An object on a line of its own, member by member.
class json_line {
 public:
  explicit json_line(std::string_view event) { add("event", event); }

  json_line& add(std::string_view key, std::string_view text) {
    return add_value(key, json_string(text));
  }
  json_line& add(std::string_view key, std::uint64_t number) {
    return add_value(key, std::to_string(number));
  }
  /// `value` is JSON already.
  json_line& add_value(std::string_view key, std::string_view value);

  std::string text() const { return '{' + members_ + "}\n"; }

 private:
  std::string members_;
};

}  // namespace programs

#endif
