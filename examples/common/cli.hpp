#ifndef PROGRAMS_CLI_HPP
#define PROGRAMS_CLI_HPP

/// \file
/// Shared parsing of the programs' command lines, with CLI11.

#include "common/arguments.hpp"
#include "common/failure.hpp"

#include <filexfer/version.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace programs {

/// CLI11 splits an argument `[a,b]` into two. This prefix prevents that.
inline constexpr char no_split_prefix = '\x01';

inline bool needs_prefix(std::string_view word) {
  return word.starts_with(no_split_prefix) || (word.starts_with('[') && word.ends_with(']'));
}

/// Removes the prefix.
inline std::string original_word(std::string word) {
  if (word.starts_with(no_split_prefix)) word.erase(0, 1);
  return word;
}

/// Adds an option or a positional argument. `on_words(words)` is called with its values.
template <class OnWords>
CLI::Option* add_words(CLI::App& app, const std::string& name, OnWords on_words,
                       const std::string& description) {
  const CLI::callback_t call = [name, on_words](CLI::results_t words) {
    for (std::string& word : words) word = original_word(std::move(word));
    try {
      on_words(words);
    } catch (const bad_argument& e) {
      throw CLI::ValidationError{name, e.what()};
    }
    return true;
  };
  return app.add_option(name, call, description)->expected(1, -1)->allow_extra_args();
}

/// Adds an option whose value is parsed with `parse` and assigned to `target`.
template <class Target, class Parse>
CLI::Option* add_option(CLI::App& app, const std::string& name, Target& target, Parse parse,
                        const std::string& description) {
  const auto read = [&target, parse](const auto& words) { target = parse(words.front()); };
  return add_words(app, name, read, description)->expected(1)->allow_extra_args(false);
}

/// Adds an option for a number of things, from 1 to a million, whose default is `shown`.
template <class Target>
CLI::Option* add_count(CLI::App& app, const std::string& name, Target& target, std::size_t shown,
                       const std::string& description) {
  return add_option(app, name, target, parse_count, description)
      ->type_name("N [" + std::to_string(shown) + "]");
}

/// Adds an option for a number whose default `target` has.
inline CLI::Option* add_count(CLI::App& app, const std::string& name, std::size_t& target,
                              const std::string& description) {
  return add_count(app, name, target, target, description);
}

/// Adds an option for a time whose default `target` has. `parse` is `parse_duration` or
/// `parse_timeout`.
template <class Parse>
CLI::Option* add_time(CLI::App& app, const std::string& name, std::chrono::milliseconds& target,
                      Parse parse, const std::string& description) {
  return add_option(app, name, target, parse, description)
      ->type_name("TIME [" + format_duration(target) + "]");
}

/// Adds an option for a number of bytes per second.
template <class Target>
CLI::Option* add_rate(CLI::App& app, const std::string& name, Target& target,
                      const std::string& description) {
  return add_option(app, name, target, parse_rate, description)->type_name("RATE");
}

/// The parser of arguments that are used unchanged.
inline std::string verbatim(const std::string& text) { return text; }

/// Parses the command line. Returns an exit code if the program has to end: after `--help`,
/// `--version` or a usage error.
inline std::optional<exit_code> parse(CLI::App& app, int argc, char** argv) {
  const std::string version = std::to_string(FILEXFER_VERSION_MAJOR) + "." +
                              std::to_string(FILEXFER_VERSION_MINOR) + "." +
                              std::to_string(FILEXFER_VERSION_PATCH);
  app.set_version_flag("--version", "filexfer " + version);
  std::vector<std::string> words(argv + 1, argv + argc);
  bool has_options = true;
  for (std::string& word : words) {
    if (word == "--") has_options = false;
    const bool is_option = has_options && word.starts_with("--");
    const std::size_t value = is_option ? word.find('=') + 1 : 0;  // npos + 1 is 0
    if (needs_prefix(std::string_view{word}.substr(value))) word.insert(value, 1, no_split_prefix);
  }
  std::reverse(words.begin(), words.end());  // CLI11 expects the last one first
  try {
    app.parse(std::move(words));
    return std::nullopt;
  } catch (const CLI::ParseError& e) {
    return flush_output(app.exit(e) == 0 ? done : wrong_usage);
  }
}

}  // namespace programs

#endif
