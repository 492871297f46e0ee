#ifndef FILEXFER_TESTS_FUZZ_SUPPORT_GRAMMAR_HPP
#define FILEXFER_TESTS_FUZZ_SUPPORT_GRAMMAR_HPP

// The lines of the protocol, read a second time: from PROTOCOL.md alone, in the simplest way, with
// no code of the library but the names of its errors.
//
// A reading has every error that the line has, as the protocol does not say which of several comes
// first: the library must report one of them, and none if there is none.

#include "fuzz/support/fuzzing.hpp"

#include <filexfer/error.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fuzz::grammar {

using filexfer::errc;
using errors = std::set<errc>;

// ----------------------------------------------------------------------------------------- fields

/// The table of RFC 3629, section 4.
inline bool is_utf8(const std::string& text) {
  struct range {
    unsigned first, last;
  };
  static const std::vector<std::vector<range>> sequences{
      {{0x00, 0x7F}},
      {{0xC2, 0xDF}, {0x80, 0xBF}},
      {{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}},
      {{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}},
      {{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}},
      {{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}},
      {{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}},
      {{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}},
      {{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}};
  for (std::size_t at = 0; at < text.size();) {
    std::size_t length = 0;
    for (const auto& sequence : sequences) {
      bool matches = at + sequence.size() <= text.size();
      for (std::size_t i = 0; matches && i < sequence.size(); ++i) {
        const unsigned byte = static_cast<unsigned char>(text[at + i]);
        matches = byte >= sequence[i].first && byte <= sequence[i].last;
      }
      if (matches) length = sequence.size();
    }
    if (length == 0) return false;
    at += length;
  }
  return true;
}

inline bool is_name(const std::string& name) {
  if (name.empty() || name.size() > 1024 || !is_utf8(name)) return false;
  if (name.find('\0') != std::string::npos) return false;
  for (const std::string& part : split(name, '/')) {
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
  }
  return true;
}

inline std::optional<std::string> unescape(const std::string& text) {
  const std::string digits = "0123456789abcdef0123456789ABCDEF";
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      bytes += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const auto high = digits.find(text[i + 1]);
    const auto low = digits.find(text[i + 2]);
    if (high == digits.npos || low == digits.npos) return std::nullopt;
    bytes += static_cast<char>(high % 16 * 16 + low % 16);
    i += 2;
  }
  return bytes;
}

inline std::optional<std::string> name_of(const std::string& text) {
  auto name = unescape(text);
  if (name && !is_name(*name)) name.reset();
  return name;
}

inline bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

inline std::optional<std::uint64_t> size_of(const std::string& text) {
  const std::string most = "9223372036854775807";
  if (!is_number(text) || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  if (text.size() > most.size() || (text.size() == most.size() && text > most)) return std::nullopt;
  return std::stoull(text);
}

/// The id in lower case, if it has that many digits.
inline std::optional<std::string> id_of(const std::string& text,
                                        const std::set<std::size_t>& sizes) {
  std::string id;
  for (const char c : text) id += static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
  if (!sizes.contains(id.size())) return std::nullopt;
  if (id.find_first_not_of("0123456789abcdef") != id.npos) return std::nullopt;
  return id;
}

/// A time, in the form in which it must be written: without zeros at the end of the fraction, and
/// without a sign for 1970.
inline std::optional<std::string> time_of(std::string text) {
  const bool negative = !text.empty() && text[0] == '-';
  if (negative) text.erase(0, 1);
  const auto point = text.find('.');
  std::string seconds = text.substr(0, point);
  if (!size_of(seconds)) return std::nullopt;
  std::string fraction;
  if (point != text.npos) {
    fraction = text.substr(point + 1);
    if (!is_number(fraction) || fraction.size() > 9) return std::nullopt;
    while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  }
  if (!fraction.empty()) seconds += '.' + fraction;
  return negative && seconds != "0" ? '-' + seconds : seconds;
}

inline bool is_token(const std::string& text) {
  const std::string characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return text.size() >= 16 && text.size() <= 64 && text.find_first_not_of(characters) == text.npos;
}

// ------------------------------------------------------------------------------------- parameters

/// The parameters after the fixed fields, and their errors.
class parameters {
 public:
  parameters(const std::vector<std::string>& fields, std::size_t fixed, errors& found)
      : errors_{found} {
    for (std::size_t i = fixed; i < fields.size(); ++i) {
      const auto equals = fields[i].find('=');
      const std::string key = fields[i].substr(0, equals);
      const bool is_key =
          !key.empty() && key[0] >= 'a' && key[0] <= 'z' &&
          key.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == key.npos;
      std::optional<std::string> value;
      if (equals != key.npos) value = fields[i].substr(equals + 1);
      const bool is_new = values_.try_emplace(key, value).second;
      if (!is_key || !is_new || (value && value->empty())) errors_.insert(errc::bad_request);
    }
  }

  bool has(const std::string& key) const { return values_.contains(key); }

  bool flag(const std::string& key) {
    if (has(key) && values_[key]) errors_.insert(errc::bad_request);
    return has(key);
  }

  /// The value, read by `read`, which returns an optional; if it has none, the line has the error
  /// `malformed`.
  template <class Read>
  auto value(const std::string& key, errc malformed, Read read) -> decltype(read(key)) {
    if (!has(key)) return std::nullopt;
    if (!values_[key]) errors_.insert(errc::bad_request);
    if (!values_[key]) return std::nullopt;
    auto result = read(*values_[key]);
    if (!result) errors_.insert(malformed);
    return result;
  }

  std::optional<bool> executable() {
    return value("exec", errc::bad_request, [](const std::string& text) {
      return text == "0" || text == "1" ? std::optional{text == "1"} : std::nullopt;
    });
  }

 private:
  std::map<std::string, std::optional<std::string>> values_;
  errors& errors_;
};

// ------------------------------------------------------------------------------------------ lines

using id_sizes = std::set<std::size_t>;

struct details {
  errors wrong{};
  std::string name{};
  std::uint64_t size = 0;
  std::optional<std::string> id{};
  std::optional<std::string> mtime{};
  std::optional<bool> executable{};
  std::string resume{};
  bool have = false;    ///< Also if the line has errors.
  bool nowait = false;  ///< Also if the line has errors.
};

inline details read_details(const std::string& line, const id_sizes& sizes) {
  details result;
  const auto fields = split(line, ';');
  for (std::size_t i = 1; i < fields.size(); ++i) {
    const std::string key = split(fields[i], '=')[0];
    if (key == "have") result.have = true;
    if (key == "nowait") result.nowait = true;
  }
  if (fields.size() < 2) {
    result.wrong.insert(errc::bad_request);
    return result;
  }
  if (const auto name = name_of(fields[0])) result.name = *name;
  else result.wrong.insert(errc::bad_name);
  if (const auto size = size_of(fields[1])) result.size = *size;
  else result.wrong.insert(errc::bad_size);
  parameters params{fields, 2, result.wrong};
  result.id =
      params.value("id", errc::bad_id, [&](const std::string& text) { return id_of(text, sizes); });
  result.mtime = params.value("mtime", errc::bad_request, time_of);
  result.executable = params.executable();
  const auto token = params.value("resume", errc::bad_request, [](const std::string& text) {
    return is_token(text) ? std::optional{text} : std::nullopt;
  });
  result.resume = token.value_or("");
  params.flag("nowait");
  if (params.flag("have") && !params.has("id")) result.wrong.insert(errc::bad_request);
  return result;
}

struct entry {
  errors wrong{};
  std::string id{};
  std::string name{};
  std::uint64_t size = 0;
  std::optional<std::uint64_t> offset{};
  std::optional<std::uint64_t> length{};
  std::optional<std::string> mtime{};
  std::optional<bool> executable{};
};

inline entry read_entry(const std::string& line, const id_sizes& sizes) {
  entry result;
  const auto fields = split(line, ';');
  if (fields.size() < 3) {
    result.wrong.insert(errc::bad_request);
    return result;
  }
  if (const auto id = id_of(fields[0], sizes)) result.id = *id;
  else result.wrong.insert(errc::bad_id);
  if (const auto name = name_of(fields[1])) result.name = *name;
  else result.wrong.insert(errc::bad_name);
  if (const auto size = size_of(fields[2])) result.size = *size;
  else result.wrong.insert(errc::bad_size);
  parameters params{fields, 3, result.wrong};
  result.offset = params.value("offset", errc::bad_range, size_of);
  result.length = params.value("length", errc::bad_range, size_of);
  result.mtime = params.value("mtime", errc::bad_request, time_of);
  result.executable = params.executable();
  return result;
}

struct id_line {
  errors wrong{};
  std::string id{};
  std::optional<std::uint64_t> offset{};
  std::optional<std::uint64_t> length{};
  bool mtime = false;
  bool exec = false;
};

inline id_line read_id_line(const std::string& line, const id_sizes& sizes) {
  id_line result;
  const auto fields = split(line, ';');
  if (const auto id = id_of(fields[0], sizes)) result.id = *id;
  else result.wrong.insert(errc::bad_id);
  parameters params{fields, 1, result.wrong};
  result.offset = params.value("offset", errc::bad_range, size_of);
  result.length = params.value("length", errc::bad_range, size_of);
  result.mtime = params.flag("mtime");
  result.exec = params.flag("exec");
  return result;
}

struct ready {
  errors wrong{};
  std::optional<std::uint64_t> offset{};
};

inline ready read_ready(const std::string& line) {
  ready result;
  parameters params{split(line, ';'), 1, result.wrong};
  result.offset = params.value("offset", errc::bad_range, size_of);
  return result;
}

struct removal {
  errors wrong{};
  std::string id{};
  std::string name{};
};

inline removal read_removal(const std::string& line, const id_sizes& sizes) {
  removal result;
  const auto fields = split(line, ';');
  if (fields.size() != 2) {
    result.wrong.insert(errc::bad_request);
    return result;
  }
  if (const auto id = id_of(fields[0], sizes)) result.id = *id;
  else result.wrong.insert(errc::bad_id);
  if (const auto name = name_of(fields[1])) result.name = *name;
  else result.wrong.insert(errc::bad_name);
  return result;
}

struct command {
  errors wrong{};
  std::string verb{};  ///< `LIST_FILES` for its other spellings, too.
  // Of LIST_FILES, with its errors:
  errors wrong_list{};
  std::string prefix{};
  bool mtime = false;
  bool exec = false;
};

inline command read_command(const std::string& line) {
  command result;
  const auto fields = split(line, ';');
  result.verb = fields[0];
  for (const char* const spelling : {"LIST FILES", "LIST_FILE", "LIST FILE"}) {
    if (fields[0] == spelling) result.verb = "LIST_FILES";
  }
  const std::set<std::string> known{"LIST_FILES", "UPLOAD", "DOWNLOAD", "FEATURES", "REMOVE"};
  const std::string letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  if (line.empty()) {
    result.wrong.insert(errc::unknown_command);
  } else if (fields[0].find_first_of(letters) != 0 ||
             fields[0].find_first_not_of(letters + "_ ") != std::string::npos) {
    result.wrong.insert(errc::bad_request);  // does not look like a command
  } else if (!known.contains(result.verb)) {
    result.wrong.insert(errc::unknown_command);
  }
  parameters params{fields, 1, result.wrong};
  parameters of_list{fields, 1, result.wrong_list};
  result.mtime = of_list.flag("mtime");
  result.exec = of_list.flag("exec");
  result.prefix = of_list.value("prefix", errc::bad_name, unescape).value_or("");
  return result;
}

/// The code of an ERROR line; nothing if it is none.
inline std::optional<std::string> error_code_of(const std::string& line) {
  const auto words = split(line, ' ');
  if (words[0] != "ERROR") return std::nullopt;
  return words.size() > 1 ? words[1] : "";
}

inline std::string code_of(errc error) {
  switch (error) {
    case errc::unknown_command: return "unknown-command";
    case errc::bad_request: return "bad-request";
    case errc::line_too_long: return "line-too-long";
    case errc::bad_name: return "bad-name";
    case errc::bad_size: return "bad-size";
    case errc::bad_id: return "bad-id";
    case errc::bad_range: return "bad-range";
    case errc::not_found: return "not-found";
    case errc::too_large: return "too-large";
    case errc::no_space: return "no-space";
    case errc::mismatch: return "mismatch";
    case errc::collision: return "collision";
    case errc::io: return "io";
    case errc::read_only: return "read-only";
    case errc::superseded: return "superseded";
    case errc::busy: return "busy";
    case errc::timeout: return "timeout";
    case errc::shutting_down: return "shutting-down";
    default: return "";
  }
}

}  // namespace fuzz::grammar

#endif
