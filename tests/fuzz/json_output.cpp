// The JSON lines of filexfer-client: whatever the names of files are, a line is ASCII, and has the
// same names.
//
// Input: a name, a path and a server's words, with a byte 0x1E between them.

#include "common/reporter.hpp"
#include "fuzz/support/fuzzing.hpp"
#include "fuzz/support/grammar.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <tuple>

namespace {

using fuzz::require;
using json = nlohmann::json;

/// Collects what is written on standard output.
class captured_output {
 public:
  captured_output() : before_{std::cout.rdbuf(text_.rdbuf())} {}
  captured_output(const captured_output&) = delete;
  captured_output& operator=(const captured_output&) = delete;
  ~captured_output() { std::cout.rdbuf(before_); }

  /// The only line that was written since the last call.
  json take_line() {
    const std::string line = text_.str();
    text_.str({});
    require(line.ends_with('\n') && std::count(line.begin(), line.end(), '\n') == 1,
            "an event is a line", line);
    require(std::all_of(line.begin(), line.end() - 1, [](char c) { return c >= ' ' && c <= '~'; }),
            "a line is printable ASCII", line);
    return json::parse(line);
  }

 private:
  std::ostringstream text_;
  std::streambuf* before_;
};

void check_same(const json& found, const std::string& text) {
  require(found.is_string(), "a name is a string", found.dump());
  const auto shown = found.get<std::string>();
  if (fuzz::grammar::is_utf8(text)) require(shown == text, "a name is printed as it is", text);
  else require(shown.find("\xEF\xBF\xBD") != shown.npos, "what is no UTF-8 is replaced", text);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto parts = fuzz::split({reinterpret_cast<const char*>(data), size}, '\x1E');
  parts.resize(3);
  const auto& [name, path, text] = std::tie(parts[0], parts[1], parts[2]);
  captured_output output;
  programs::reporter out{programs::output_format::json, programs::progress_mode::never};

  out.report_file(
      {programs::outcome::success, programs::transfer_direction::up, "", "", name, path, 5});
  const json file = output.take_line();
  require(file.at("event") == "file" && file.at("size") == 5, "the event is a file's");
  require(file.contains("name") != name.empty(), "a name is printed if it is known");
  if (!name.empty()) check_same(file.at("name"), name);
  check_same(file.at("path"), path);

  filexfer::listed_file entry;
  entry.name = name;
  out.report_entry(entry);
  check_same(output.take_line().at("name"), name);

  out.report(path, {programs::refused, text});
  const json message = output.take_line();
  require(message.at("event") == "message" && message.at("exit_code") == programs::refused,
          "the event is a message");
  check_same(message.at("subject"), path);
  check_same(message.at("text"), text);
  return 0;
}
