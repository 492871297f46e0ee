#ifndef PROGRAMS_CLI_HPP
#define PROGRAMS_CLI_HPP

/// \file
/// What the programs' command lines have in common.

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

/// CLI11 takes the word `[a,b]` for two. This mark before it keeps it whole.
inline constexpr char mark = '\x01';

inline bool needs_mark(std::string_view word) {
  return word.starts_with(mark) || (word.starts_with('[') && word.ends_with(']'));
}

/// Adds an option or an argument; `take(words)` is called with what is given for it.
template <class Take>
CLI::Option* add_words(CLI::App& app, const std::string& name, Take take,
                       const std::string& description) {
  const CLI::callback_t call = [name, take](CLI::results_t words) {
    for (std::string& word : words) {
      if (word.starts_with(mark)) word.erase(0, 1);
    }
    try {
      take(words);
    } catch (const bad_argument& e) {
      throw CLI::ValidationError{name, e.what()};
    }
    return true;
  };
  return app.add_option(name, call, description)->expected(1, -1)->allow_extra_args();
}

/// Adds an option whose text `parse` reads into `target`.
template <class Target, class Parse>
CLI::Option* add_option(CLI::App& app, const std::string& name, Target& target, Parse parse,
                        const std::string& description) {
  const auto read = [&target, parse](const auto& words) { target = parse(words.front()); };
  return add_words(app, name, read, description)->expected(1)->allow_extra_args(false);
}

/// For arguments that are taken as they stand.
inline std::string as_it_stands(const std::string& text) { return text; }

/// Reads the command line. Returns how the program ends if there is nothing more to do: after
/// `--help`, `--version` and wrong usage.
inline std::optional<exit_code> parse(CLI::App& app, int argc, char** argv) {
  const std::string version = std::to_string(FILEXFER_VERSION_MAJOR) + "." +
                              std::to_string(FILEXFER_VERSION_MINOR) + "." +
                              std::to_string(FILEXFER_VERSION_PATCH);
  app.set_version_flag("--version", "filexfer " + version);
  std::vector<std::string> words(argv + 1, argv + argc);
  for (std::string& word : words) {
    if (needs_mark(word)) word.insert(word.begin(), mark);
  }
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  try {
    app.parse(std::move(words));
    return std::nullopt;
  } catch (const CLI::ParseError& e) {
    return after_output(app.exit(e) == 0 ? done : wrong_usage);
  }
}

}  // namespace programs

#endif
