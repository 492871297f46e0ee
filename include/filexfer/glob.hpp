#ifndef FILEXFER_GLOB_HPP
#define FILEXFER_GLOB_HPP

/// \file
/// Patterns for names, as in a shell.

#include <filexfer/detail/utf8.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace filexfer {

namespace detail {

/// Removes the first character of `text`, which is not empty. A byte that is not UTF-8 is a
/// character by itself, beyond those of Unicode.
constexpr char32_t take_character(std::string_view& text) noexcept {
  const code_point first = first_code_point(text);
  const char32_t invalid = 0x110000u + static_cast<unsigned char>(text.front());
  text.remove_prefix(std::max<std::size_t>(first.bytes, 1));
  return first.bytes == 0 ? invalid : first.value;
}

/// As `take_character`; a backslash makes the character after it ordinary.
constexpr char32_t take_literal(std::string_view& pattern) noexcept {
  if (pattern.size() > 1 && pattern.front() == '\\') pattern.remove_prefix(1);
  return take_character(pattern);
}

enum class glob_kind {
  literal,         ///< One character.
  any_character,   ///< `?`
  set,             ///< `[a-z]`
  any_characters,  ///< `*`
  anything,        ///< `**`
  folders,         ///< `**` with `/`
};

/// What a pattern consists of.
struct glob_element {
  glob_kind kind = glob_kind::literal;
  char32_t character = 0;   ///< Of a literal.
  std::string_view set{};   ///< Between the brackets, without `!`.
  bool is_negated = false;  ///< The set begins with `!` or `^`.
};

/// The bytes of the set at the beginning of `pattern` up to its `]`; npos if it has none.
constexpr std::size_t set_size(std::string_view pattern) noexcept {
  std::size_t i = 1;
  if (i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^')) ++i;
  const std::size_t first = i;  // a `]` here is a member
  for (; i < pattern.size(); ++i) {
    if (pattern[i] == '\\') ++i;
    else if (pattern[i] == ']' && i > first) return i;
  }
  return std::string_view::npos;
}

/// Whether `character` is in the set, which may be negated. No set has a `/`.
constexpr bool is_in_set(const glob_element& element, char32_t character) noexcept {
  if (character == U'/') return false;
  bool found = false;
  for (std::string_view rest = element.set; !rest.empty();) {
    const char32_t low = take_literal(rest);
    char32_t high = low;
    if (rest.size() > 1 && rest.front() == '-') {  // a `-` at the end is a member
      rest.remove_prefix(1);
      high = take_literal(rest);
    }
    if (low <= character && character <= high) found = true;
  }
  return found != element.is_negated;
}

/// Removes the first element of `pattern`, which is not empty.
///
/// \param at_component  The element is the pattern's first, or follows a `/`.
constexpr glob_element take_element(std::string_view& pattern, bool at_component) noexcept {
  if (pattern.front() == '*') {
    const std::size_t stars = std::min(pattern.find_first_not_of('*'), pattern.size());
    pattern.remove_prefix(stars);
    if (stars == 1) return {glob_kind::any_characters};
    if (!at_component || !pattern.starts_with('/')) return {glob_kind::anything};
    pattern.remove_prefix(1);
    return {glob_kind::folders};
  }
  if (pattern.front() == '?') {
    pattern.remove_prefix(1);
    return {glob_kind::any_character};
  }
  const std::size_t size = pattern.front() == '[' ? set_size(pattern) : std::string_view::npos;
  if (size == std::string_view::npos) return {glob_kind::literal, take_literal(pattern)};
  const bool is_negated = pattern[1] == '!' || pattern[1] == '^';
  const std::size_t begin = is_negated ? 2 : 1;
  const glob_element set{glob_kind::set, 0, pattern.substr(begin, size - begin), is_negated};
  pattern.remove_prefix(size + 1);
  return set;
}

inline std::vector<glob_element> glob_elements(std::string_view pattern) {
  std::vector<glob_element> elements;
  bool at_component = true;
  while (!pattern.empty()) {
    elements.push_back(take_element(pattern, at_component));
    const glob_element& last = elements.back();
    at_component = last.kind == glob_kind::folders || last.character == U'/';
  }
  return elements;
}

/// All the places in a pattern that some way of matching the name's characters so far leads to. So
/// the time is the product of the two lengths, however many `*` there are.
class glob_state {
 public:
  explicit glob_state(const std::vector<glob_element>& elements)
      : elements_{elements}, before_(elements.size() + 1), inside_(elements.size() + 1) {
    reach(0);
  }

  /// Matches the next character of the name.
  void match(char32_t character) {
    glob_state next{elements_, nowhere{}};
    for (std::size_t i = 0; i < elements_.size(); ++i) {
      if (before_[i]) next.match_element(i, character);
      else if (inside_[i]) next.match_folders(i, character);
    }
    before_.swap(next.before_);
    inside_.swap(next.inside_);
  }

  bool is_at_end() const { return before_.back(); }

 private:
  struct nowhere {};
  glob_state(const std::vector<glob_element>& elements, nowhere)
      : elements_{elements}, before_(elements.size() + 1), inside_(elements.size() + 1) {}

  /// Reaches the element `i`, and those after it if it may match nothing.
  void reach(std::size_t i) {
    for (; !before_[i]; ++i) {
      before_[i] = true;
      if (i == elements_.size() || elements_[i].kind < glob_kind::any_characters) return;
    }
  }

  void match_element(std::size_t i, char32_t character) {
    const glob_element& element = elements_[i];
    const bool is_slash = character == U'/';
    switch (element.kind) {
      case glob_kind::literal:
        if (character == element.character) reach(i + 1);
        return;
      case glob_kind::any_character:
        if (!is_slash) reach(i + 1);
        return;
      case glob_kind::set:
        if (is_in_set(element, character)) reach(i + 1);
        return;
      case glob_kind::any_characters:
        if (!is_slash) reach(i);
        return;
      case glob_kind::anything: reach(i); return;
      case glob_kind::folders: match_folders(i, character); return;
    }
  }

  /// Only at the end of a component may a `**` with `/` end.
  void match_folders(std::size_t i, char32_t character) {
    if (character == U'/') reach(i);
    else inside_[i] = true;
  }

  const std::vector<glob_element>& elements_;
  std::vector<bool> before_;  ///< The next character has to match this element.
  std::vector<bool> inside_;  ///< In a component that a `**` with `/` matches.
};

}  // namespace detail

/// Whether a text has one of the characters `*`, `?` and `[`, so that it may be a pattern.
///
/// \param text  Any.
/// \return Whether it has.
///
/// \snippet names.cpp glob
constexpr bool has_glob_characters(std::string_view text) noexcept {
  return text.find_first_of("*?[") != std::string_view::npos;
}

/// Matches a whole name with a pattern.
///
/// | in the pattern | matches |
/// | --- | --- |
/// | `*` | any characters but `/`, or none |
/// | `**` | any characters, or none |
/// | `**` with a `/` behind it, first or after a `/` | any folders, or none |
/// | `?` | one character but `/` |
/// | `[a-z_]` | one character of the set: members, and ranges |
/// | `[!x]`, `[^x]` | one character that is neither of the set nor `/` |
/// | `\*` | the character after the backslash, also in a set |
/// | any other character | itself; upper and lower case differ |
///
/// In a set `]` is a member if it is the first, and `-` if it is the first or the last.
///
/// No pattern is invalid: a `[` without its `]`, and a `\` at the end, match themselves; a range
/// whose ends are in the wrong order matches nothing. A dot at the beginning of a name is like any
/// other character. A character is a code point of UTF-8, or a byte that is not UTF-8.
///
/// Takes time in proportion to the product of the lengths, whatever the pattern.
///
/// \param pattern  The pattern.
/// \param name     The name, with `/` between its components.
/// \return Whether all of `name` matches all of `pattern`.
/// \throws std::bad_alloc  Memory is lacking.
///
/// \snippet names.cpp glob
inline bool glob_match(std::string_view pattern, std::string_view name) {
  const auto elements = detail::glob_elements(pattern);
  detail::glob_state state{elements};
  while (!name.empty()) state.match(detail::take_character(name));
  return state.is_at_end();
}

/// The beginning that all names have that match a pattern: for example to request only those in a
/// list.
///
/// \param pattern  As for `glob_match`.
/// \return The characters before the first `*`, `?` or set, without the backslashes of escapes.
///
/// \snippet names.cpp glob
inline std::string glob_prefix(std::string_view pattern) {
  std::string prefix;
  while (!pattern.empty()) {
    std::string_view rest = pattern;
    if (detail::take_element(rest, false).kind != detail::glob_kind::literal) break;
    const bool is_escaped = pattern.size() > 1 && pattern.front() == '\\';
    pattern.remove_prefix(is_escaped ? 1 : 0);
    prefix += pattern.substr(0, pattern.size() - rest.size());
    pattern = rest;
  }
  return prefix;
}

}  // namespace filexfer

#endif
