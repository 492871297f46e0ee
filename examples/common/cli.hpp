#ifndef PROGRAMS_CLI_HPP
#define PROGRAMS_CLI_HPP

/// \file
/// Shared parsing of the programs' command lines, with CLI11.

#include "common/arguments.hpp"
#include "common/failure.hpp"

#include <filexfer/version.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
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

/// Adds an option or a positional argument. `on_words(words)` is called with its values.
template <class OnWords>
CLI::Option* add_words(CLI::App& app, const std::string& name, OnWords on_words,
                       const std::string& description) {
  const CLI::callback_t call = [name, on_words](CLI::results_t words) {
    for (std::string& word : words) {
      if (word.starts_with(no_split_prefix)) word.erase(0, 1);
    }
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

/// The parser of arguments that are used unchanged.
inline std::string verbatim(const std::string& text) { return text; }

/// Parses the command line. Returns an exit code if the program has to end: after `--help`,
/// `--version` or wrong usage.
inline std::optional<exit_code> parse(CLI::App& app, int argc, char** argv) {
  const std::string version = std::to_string(FILEXFER_VERSION_MAJOR) + "." +
                              std::to_string(FILEXFER_VERSION_MINOR) + "." +
                              std::to_string(FILEXFER_VERSION_PATCH);
  app.set_version_flag("--version", "filexfer " + version);
  std::vector<std::string> words(argv + 1, argv + argc);
  for (std::string& word : words) {
    if (needs_prefix(word)) word.insert(word.begin(), no_split_prefix);
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
