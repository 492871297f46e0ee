#include <filexfer/digest.hpp>
#include <filexfer/protocol.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace protocol_tests {

namespace {

using filexfer::command;
using filexfer::errc;

using id_type = filexfer::digest<16>;
using file_info = filexfer::file_info<id_type>;
using download_entry = filexfer::download_entry<id_type>;
using download_request = filexfer::download_request<id_type>;
using upload_details = filexfer::upload_details<id_type>;
using number = std::optional<std::uint64_t>;

using namespace std::string_literals;

const std::string id_text = "9e107d9d372bb6826bd81d3542a419d6";
const std::string upper_id_text = "9E107D9D372BB6826BD81D3542A419D6";
const id_type id = *id_type::from_hex(id_text);
const std::string id64_text = id_text + id_text;
constexpr std::uint64_t largest = 9223372036854775807u;

std::error_code const ok{};

download_entry entry(std::string_view line, std::error_code expected = {}) {
  CAPTURE(line);
  std::error_code ec = errc::store_failed;
  auto result = filexfer::parse_entry<id_type>(line, ec);
  CHECK(ec == expected);
  return result;
}

download_request request(std::string_view line, std::error_code expected = {}) {
  CAPTURE(line);
  std::error_code ec = errc::store_failed;
  auto result = filexfer::parse_download_request<id_type>(line, ec);
  CHECK(ec == expected);
  return result;
}

upload_details details(std::string_view line, std::error_code expected = {}) {
  CAPTURE(line);
  std::error_code ec = errc::store_failed;
  auto result = filexfer::parse_upload_details<id_type>(line, ec);
  CHECK(ec == expected);
  return result;
}

std::error_code ready_error(std::string_view line) {
  std::error_code ec = errc::store_failed;
  filexfer::parse_ready(line, ec);
  return ec;
}

std::error_code command_error(std::string_view line) {
  std::error_code ec = errc::store_failed;
  filexfer::parse_command(line, ec);
  return ec;
}

// What is wrong with a line's parameters, whatever they mean.
const std::vector<std::string> malformed_parameters{
    ";",
    ";;",
    ";x;",
    ";;x",
    ";x;x",
    ";x;x=1",
    ";x=1;x=2",
    ";x=",
    ";=1",
    ";=",
    ";X",
    ";1",
    ";-x",
    ";x_y",
    "; x",
    ";x ",
    ";x =1",
    ";offset;offset=1",
    ";offset=1;offset=1",
    ";\xC3\xA9",
};

const std::vector<std::string> malformed_sizes{
    "",
    "01",
    "00",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1.5",
    "0x10",
    "a",
    "9223372036854775808",
    "18446744073709551616",
};

const std::vector<std::string> malformed_names{
    "",  ".",  "..",  "/a",   "a/",       "a//b",         "../x", "a%2F..",
    "%", "%4", "%zz", "a%00", "\xC0\xAF", "\xED\xA0\x80", "\xFF", std::string(256, 'a'),
};

const std::vector<std::string> malformed_ids{
    "",
    "d41d",
    id_text + "0",
    id_text.substr(1),
    id64_text,
    id_text.substr(1) + "g",
    " " + id_text,
    id_text + " ",
    "0x" + id_text.substr(2),
};

// Section 8's codes, as the page has them.
constexpr std::array<std::pair<errc, std::string_view>, 18> section_8{{
    {errc::unknown_command, "unknown-command"},
    {errc::bad_request, "bad-request"},
    {errc::line_too_long, "line-too-long"},
    {errc::bad_name, "bad-name"},
    {errc::bad_size, "bad-size"},
    {errc::bad_id, "bad-id"},
    {errc::bad_range, "bad-range"},
    {errc::not_found, "not-found"},
    {errc::too_large, "too-large"},
    {errc::no_space, "no-space"},
    {errc::mismatch, "mismatch"},
    {errc::collision, "collision"},
    {errc::io, "io"},
    {errc::read_only, "read-only"},
    {errc::superseded, "superseded"},
    {errc::busy, "busy"},
    {errc::timeout, "timeout"},
    {errc::shutting_down, "shutting-down"},
}};

// Draws what lines are made of, so that many of the texts are nearly right.
class line_maker {
 public:
  explicit line_maker(unsigned seed) : random_{seed} {}

  std::string line() {
    std::string text;
    for (auto pieces = below(7) + 1; pieces > 0; --pieces) text += piece();
    return text;
  }

  std::string name() {
    constexpr std::string_view bytes = "ab./;%\n \x7F\x01";
    std::string text;
    do {
      text.clear();
      for (auto length = below(9) + 1; length > 0; --length) text += bytes[below(bytes.size())];
      if (below(3) == 0) text += "\xE2\x82\xAC";
    } while (!filexfer::is_name(text));
    return text;
  }

  std::uint64_t size() {
    // As many short ones as long ones.
    const std::uint64_t value = std::uint64_t{random_()} << 32 | random_();
    return (value & largest) >> below(63);
  }

  number maybe_size() { return below(2) == 0 ? number{} : number{size()}; }

  id_type digest() {
    std::array<std::byte, 16> value;
    for (auto& byte : value) byte = static_cast<std::byte>(below(256));
    return id_type{value};
  }

  std::size_t below(std::size_t bound) { return random_() % bound; }

 private:
  std::string piece() {
    const std::array pieces{
        ";"s,         "="s,         id_text,
        "a.txt"s,     "0"s,         "17"s,
        ";offset=1"s, ";length=2"s, ";id="s + id_text,
        ";mtime"s,    ";x=y"s,      "LIST_FILES"s,
        "UPLOAD"s,    "DOWNLOAD"s,  "FEATURES"s,
        "ERROR "s,    "bad-id"s,    "%3B"s,
        "%"s,         "/"s,         ".."s,
        " "s,         "\x01"s,      "\xFF"s,
        ""s,
    };
    return pieces[below(pieces.size())];
  }

  std::mt19937 random_;
};

}  // namespace

// ----------------------------------------------------------------------------------------- commands

TEST_CASE("a command is its word, and LIST_FILES has three other spellings") {
  struct {
    std::string_view line;
    command verb;
  } const cases[] = {
      {"LIST_FILES", command::list_files}, {"LIST FILES", command::list_files},
      {"LIST_FILE", command::list_files},  {"LIST FILE", command::list_files},
      {"UPLOAD", command::upload},         {"DOWNLOAD", command::download},
      {"FEATURES", command::features},
  };
  for (const auto& each : cases) {
    CAPTURE(each.line);
    const auto& [line, verb] = each;
    for (const auto* params : {"", ";mtime", ";prefix=a b;x"}) {
      std::error_code ec = errc::io;
      CHECK(filexfer::parse_command(std::string{line} + params, ec).verb == verb);
      CHECK_FALSE(ec);
    }
    for (const auto& params : malformed_parameters) {
      CAPTURE(params);
      CHECK(command_error(std::string{line} + params) == errc::bad_request);
    }
  }
}

TEST_CASE("a client sends the words of the page") {
  CHECK(to_string(command::list_files) == "LIST_FILES");
  CHECK(to_string(command::upload) == "UPLOAD");
  CHECK(to_string(command::download) == "DOWNLOAD");
  CHECK(to_string(command::features) == "FEATURES");
}

TEST_CASE("a command's parameters can be asked for") {
  std::error_code ec;
  const auto parsed = filexfer::parse_command("LIST_FILES;prefix=photos/;mtime", ec);
  CHECK(parsed.params.find("prefix")->value == "photos/");
  CHECK(parsed.params.find("mtime"));
}

TEST_CASE("what looks like a command and is none, or is empty, is an unknown command") {
  for (const auto* line : {"", "A", "z", "list_files", "List_Files", "LIST_FILES ", "LIST  FILES",
                           "LISTFILES", "LIST_FILES_", "UPLOADS", "UPLOAD FILE", "upload",
                           "DOWNLOA", "FEATURE", "Hello world", "QUIT", "QUIT;x=1", "HELP;a;b"}) {
    CAPTURE(line);
    CHECK(command_error(line) == errc::unknown_command);
  }
}

TEST_CASE("what does not look like a command is a bad request") {
  for (const std::string_view line :
       {" ", " LIST_FILES", "_UPLOAD", ";", ";x", "GET / HTTP/1.1", "POST /upload", "Host: a", "1",
        "UPLOAD1", "UP-LOAD", "UPLOAD=1", "UPLOAD\t", "{\"a\":1}", "\x16\x03\x01", "UPLOAD\xC3\xA9",
        "a.txt", "QUIT;", "QUIT;x;x"}) {
    CAPTURE(line);
    CHECK(command_error(line) == errc::bad_request);
  }
}

TEST_CASE("of all bytes exactly the letters begin a command, and no others but _ and space go on") {
  for (int value = 0; value < 256; ++value) {
    if (value == ';') continue;
    CAPTURE(value);
    const std::string byte(1, static_cast<char>(value));
    const bool letter = (value >= 'A' && value <= 'Z') || (value >= 'a' && value <= 'z');
    const bool inner = letter || value == '_' || value == ' ';
    CHECK(command_error(byte) == (letter ? errc::unknown_command : errc::bad_request));
    CHECK(command_error("UPLOAD" + byte) == (inner ? errc::unknown_command : errc::bad_request));
  }
}

// ------------------------------------------------------------------------------------------ entries

TEST_CASE("an entry is written as on the page") {
  const file_info file{id, "my_file.jpg", 123456};
  CHECK(filexfer::format_entry(file) == id_text + ";my_file.jpg;123456");
  CHECK(filexfer::format_entry(file_info{id, "a;b%c\n", 0}) == id_text + ";a%3Bb%25c%0A;0");
  CHECK(filexfer::format_entry(download_entry{file, {}, {}}) == id_text + ";my_file.jpg;123456");
  CHECK(filexfer::format_entry(download_entry{file, 1, {}}) ==
        id_text + ";my_file.jpg;123456;offset=1");
  CHECK(filexfer::format_entry(download_entry{file, {}, 2}) ==
        id_text + ";my_file.jpg;123456;length=2");
  CHECK(filexfer::format_entry(download_entry{file, 0, largest}) ==
        id_text + ";my_file.jpg;123456;offset=0;length=9223372036854775807");
}

TEST_CASE("an entry is read, its id in either case, with the parameters that are known") {
  const file_info file{id, "my_file.jpg", 123456};
  CHECK(entry(id_text + ";my_file.jpg;123456").file == file);
  CHECK(entry(upper_id_text + ";my_file.jpg;123456").file == file);
  CHECK(entry(id_text + ";a%3Bb%2fc;0").file == file_info{id, "a;b/c", 0});
  CHECK(entry(id_text + ";a b;9223372036854775807").file == file_info{id, "a b", largest});
  const auto plain = entry(id_text + ";a;10;mtime=-1.5;unknown");
  CHECK_FALSE(plain.offset);
  CHECK_FALSE(plain.length);
  CHECK(plain.bytes() == 10);
  const auto ranged = entry(id_text + ";a;10;length=3;x=1;offset=7");
  CHECK(ranged.offset == 7);
  CHECK(ranged.length == 3);
  CHECK(ranged.bytes() == 3);
  CHECK(entry(id_text + ";a;10;offset=7").bytes() == 3);
  CHECK(entry(id_text + ";a;10;offset=7;length=2").bytes() == 2);
  CHECK(entry(id_text + ";a;10;offset=10").bytes() == 0);
  CHECK(entry(id_text + ";a;10;offset=11").bytes() == 0);  // of no use, but no underflow
}

TEST_CASE("an entry whose fields do not hold is refused by the first reason that counts") {
  for (const auto* line : {"", "a", ";", "No files available at the moment"}) {
    entry(line, errc::bad_request);
  }
  entry(id_text, errc::bad_request);
  entry(id_text + ";a", errc::bad_request);
  for (const auto& text : malformed_ids) entry(text + ";a;1", errc::bad_id);
  for (const auto& text : malformed_names) entry(id_text + ";" + text + ";1", errc::bad_name);
  for (const auto& text : malformed_sizes) entry(id_text + ";a;" + text, errc::bad_size);
  for (const auto& text : malformed_parameters) entry(id_text + ";a;1" + text, errc::bad_request);
  for (const auto& text : malformed_sizes) {
    if (text.empty()) continue;
    entry(id_text + ";a;1;offset=" + text, errc::bad_range);
    entry(id_text + ";a;1;length=" + text, errc::bad_range);
  }
  entry(id_text + ";a;1;offset", errc::bad_request);
  entry(id_text + ";a;1;length", errc::bad_request);
}

TEST_CASE("the longest entry and the longest details line fit into a line") {
  const std::string name(255, ';');
  using longest_id = filexfer::digest<32>;
  const filexfer::download_entry<longest_id> longest{{{}, name, largest}, largest, largest};
  CHECK(filexfer::format_entry(longest).size() + 2 <= filexfer::max_line_length);
  const filexfer::upload_details<longest_id> upload{name, largest, longest_id{}};
  CHECK(filexfer::format_upload_details(upload).size() + 2 <= filexfer::max_line_length);
}

// ----------------------------------------------------------------------------------------- download

TEST_CASE("an id line is written as on the page") {
  CHECK(filexfer::format_download_request(download_request{id, {}, {}}) == id_text);
  CHECK(filexfer::format_download_request(download_request{id, 0, {}}) == id_text + ";offset=0");
  CHECK(filexfer::format_download_request(download_request{id, 5, 6}) ==
        id_text + ";offset=5;length=6");
  CHECK(filexfer::download_prompt == "Please send a file ID");
}

TEST_CASE("an id line is read, the id in either case, unknown parameters left aside") {
  CHECK(request(id_text).id == id);
  CHECK(request(upper_id_text).id == id);
  CHECK_FALSE(request(id_text).offset);
  CHECK_FALSE(request(id_text).length);
  const auto ranged = request(id_text + ";mtime;length=0;unknown=1;offset=9223372036854775807");
  CHECK(ranged.offset == largest);
  CHECK(ranged.length == 0);
}

TEST_CASE("a malformed id line is bad-id, bad-request or bad-range, by its first fault") {
  for (const auto& text : malformed_ids) {
    request(text, errc::bad_id);
    request(text + ";;offset=x", errc::bad_id);
  }
  for (const auto& text : malformed_parameters) {
    request(id_text + text, errc::bad_request);
    request(id_text + ";length=x" + text, errc::bad_request);
  }
  for (const auto& text : malformed_sizes) {
    if (text.empty()) continue;
    request(id_text + ";offset=" + text, errc::bad_range);
    request(id_text + ";offset=0;length=" + text, errc::bad_range);
  }
  request(id_text + ";offset", errc::bad_request);
  request(id_text + ";offset=", errc::bad_request);
  request(id_text + ";length", errc::bad_request);
}

// ------------------------------------------------------------------------------------------- upload

TEST_CASE("a details line is written as on the page") {
  CHECK(filexfer::format_upload_details(upload_details{"my_file.jpg", 123456, {}}) ==
        "my_file.jpg;123456");
  CHECK(filexfer::format_upload_details(upload_details{"a;b", 0, id}) == "a%3Bb;0;id=" + id_text);
  CHECK(filexfer::upload_prompt == "Please send the file name and file size");
}

TEST_CASE("a details line is read, the id in either case, unknown parameters left aside") {
  const auto plain = details("my_file.jpg;123456");
  CHECK(plain.name == "my_file.jpg");
  CHECK(plain.size == 123456);
  CHECK_FALSE(plain.id);
  const auto with_id = details("a%3Bb;9223372036854775807;x;id=" + upper_id_text + ";y=1");
  CHECK(with_id.name == "a;b");
  CHECK(with_id.size == largest);
  CHECK(with_id.id == id);
  CHECK(details(" a ;0").name == " a ");
}

TEST_CASE("a details line's size is judged before its name, and that before its parameters") {
  for (const auto* line : {"", "a", "my_file.jpg"}) details(line, errc::bad_request);
  for (const auto& size : malformed_sizes) {
    details("a;" + size, errc::bad_size);
    details("..;" + size + ";;", errc::bad_size);
  }
  for (const auto& name : malformed_names) {
    CHECK(details(name + ";7", errc::bad_name).size == 7);
    CHECK(details(name + ";7;;", errc::bad_name).size == 7);
  }
  for (const auto& text : malformed_parameters) {
    const auto judged = details("a;7" + text, errc::bad_request);
    CHECK(judged.size == 7);
    CHECK(judged.name == "a");
    details("a;7;id=x" + text, errc::bad_request);
  }
  for (const auto& text : malformed_ids) {
    if (text.empty()) continue;
    const auto judged = details("a;7;id=" + text, errc::bad_id);
    CHECK(judged.size == 7);
    CHECK_FALSE(judged.id);
  }
  details("a;7;id", errc::bad_request);
  details("a;7;id=", errc::bad_request);
  details("a;b;7", errc::bad_size);  // a name's semicolon is escaped
}

TEST_CASE("a ready line is any words, and perhaps an offset") {
  CHECK(filexfer::format_ready({}) == "Ready to receive the file");
  CHECK(filexfer::format_ready({123456}) == "Ready to receive the file;offset=123456");
  std::error_code ec = errc::io;
  for (const auto* words : {"Ready to receive the file", "Go on", "", "ok: a=b, c"}) {
    CHECK_FALSE(filexfer::parse_ready(words, ec).offset);
    CHECK_FALSE(ec);
    CHECK(filexfer::parse_ready(words + ";x;offset=0"s, ec).offset == 0);
    CHECK_FALSE(ec);
  }
  for (const auto& text : malformed_parameters) {
    CHECK(ready_error("Go on" + text) == errc::bad_request);
  }
  for (const auto& text : malformed_sizes) {
    if (!text.empty()) CHECK(ready_error("Go on;offset=" + text) == errc::bad_range);
  }
  CHECK(ready_error("Go on;offset") == errc::bad_request);
}

// -------------------------------------------------------------------------------------------- times

TEST_CASE("a time is seconds since 1970, with a sign and nanoseconds where need be") {
  using filexfer::file_time;
  using std::chrono::nanoseconds;
  const std::vector<std::pair<std::string, std::int64_t>> times{
      {"0", 0},
      {"1", 1'000'000'000},
      {"1.5", 1'500'000'000},
      {"-1.5", -1'500'000'000},
      {"-0.000000001", -1},
      {"1700000000.123456789", 1'700'000'000'123'456'789}};
  for (const auto& each : times) {
    const std::string& text = each.first;
    const std::int64_t count = each.second;
    CAPTURE(text);
    CHECK(filexfer::parse_time(text) == file_time{nanoseconds{count}});
    CHECK(filexfer::format_time(file_time{nanoseconds{count}}) == text);
  }
  CHECK(filexfer::parse_time("1.500") == file_time{nanoseconds{1'500'000'000}});
  CHECK(filexfer::parse_time("-0") == file_time{});
}

TEST_CASE("a time that can't be held becomes the nearest that can") {
  CHECK(filexfer::parse_time("9223372036854775807") == filexfer::file_time::max());
  CHECK(filexfer::parse_time("-9223372036854775807.9") == filexfer::file_time::min());
  CHECK(filexfer::format_time(filexfer::file_time::min()) == "-9223372036.854775808");
}

TEST_CASE("what is no time is refused") {
  for (const std::string text : {"", "-", "+1", "01", "1.", ".5", "1.1234567890", "1.-5", "1e3",
                                 "9223372036854775808", " 1", "--1", "1.5.5"}) {
    CAPTURE(text);
    CHECK_FALSE(filexfer::parse_time(text));
    details("a;1;mtime=" + text, errc::bad_request);
  }
}

TEST_CASE("a time stands with a name in details, entries and what is asked for") {
  const filexfer::file_time time{std::chrono::milliseconds{1500}};
  CHECK(details("a;1;mtime=1.5").modified == time);
  CHECK(format_upload_details(upload_details{"a", 1, {}, false, time}) == "a;1;mtime=1.5");
  CHECK(entry(id_text + ";a;1;mtime=1.5").file == file_info{id, "a", 1, time});
  CHECK(filexfer::format_entry(file_info{id, "a", 1, time}) == id_text + ";a;1;mtime=1.5");
  CHECK(request(id_text + ";mtime").mtime);
  request(id_text + ";mtime=1", errc::bad_request);
  CHECK(filexfer::format_list_request({"a", true}) == "LIST_FILES;prefix=a;mtime");
}

// ----------------------------------------------------------------------------------------- features

TEST_CASE("FEATURES is answered as on the page") {
  CHECK(filexfer::format_features({1, "md5", {}}) == "version=1\ndigest=md5\n\n");
  CHECK(filexfer::format_features({1, "md5", 1073741824}) ==
        "version=1\ndigest=md5\nmax-size=1073741824\n\n");
  CHECK(filexfer::format_features({1, "md5", {}, true, true, true, true, true}) ==
        "version=1\ndigest=md5\nresume\nhave\nnowait\nmtime\nprefix\n\n");
}

TEST_CASE("the features that are known are read, the others skipped") {
  filexfer::server_features features;
  for (const auto* line :
       {"resume", "version=1", "have", "nowait", "digest=md5", "", "=", "x=y=z",
        "max-size=1073741824", "prefix", "versions=7", "Version=8", "max-siz=1", "digest2=a"}) {
    std::error_code ec = errc::io;
    features = filexfer::with_feature(features, line, ec);
    CHECK_FALSE(ec);
  }
  CHECK(features.version == 1);
  CHECK(features.digest == "md5");
  CHECK(features.max_size == 1073741824);
  CHECK(features.have);
  CHECK(features.nowait);
  CHECK(features.prefix);
}

TEST_CASE("a server that says nothing of itself has version 0, no digest and no limit") {
  const filexfer::server_features features;
  CHECK(features.version == 0);
  CHECK(features.digest.empty());
  CHECK_FALSE(features.max_size);
}

TEST_CASE("a version or a limit that is no number breaks the protocol, and changes nothing") {
  for (const auto* line :
       {"version", "version=", "version=x", "version=01", "version=-1", "max-size",
        "max-size=", "max-size=1G", "max-size=1 ", "max-size=9223372036854775808"}) {
    CAPTURE(line);
    std::error_code ec;
    const auto features = filexfer::with_feature({1, "md5", 5}, line, ec);
    CHECK(ec == errc::bad_request);
    CHECK(features.version == 1);
    CHECK(features.max_size == 5);
  }
}

// ------------------------------------------------------------------------------------------- errors

TEST_CASE("every code of section 8 is written and read") {
  for (const auto& each : section_8) {
    CAPTURE(each.second);
    const auto& [code, text] = each;
    CHECK(filexfer::format_error(code, "") == "ERROR " + std::string{text});
    CHECK(filexfer::format_error(code, "what; happened") ==
          "ERROR " + std::string{text} + " what; happened");
    CHECK(filexfer::parse_error("ERROR " + std::string{text}) == code);
    CHECK(filexfer::parse_error("ERROR " + std::string{text} + " ") == code);
    CHECK(filexfer::parse_error("ERROR " + std::string{text} + " what; happened") == code);
    CHECK(filexfer::parse_error("ERROR " + std::string{text} + "x") == errc::refused);
    CHECK(filexfer::parse_error("ERROR " + std::string{text.substr(1)}) == errc::refused);
    CHECK(filexfer::parse_error("ERROR " + std::string{text} + ";x") == errc::refused);
    CHECK(filexfer::to_refusal(code) == code);
  }
}

TEST_CASE("an ERROR line of a form or code that is not known is a refusal all the same") {
  for (const auto* line :
       {"ERROR", "ERROR ", "ERROR  busy", "ERROR Busy", "ERROR BUSY", "ERROR new-code",
        "ERROR new-code text", "ERROR bad_name", "ERROR 404"}) {
    CAPTURE(line);
    CHECK(filexfer::parse_error(line) == errc::refused);
  }
}

TEST_CASE("a line that is not ERROR and does not begin with ERROR and a space is a yes") {
  for (const auto* line :
       {"", "ERRO", "ERRORS", "ERROR;busy", "ERROR\tbusy", "Error busy", "error busy",
        " ERROR busy", "ERROR_busy", "Ready to receive the file"}) {
    CAPTURE(line);
    CHECK_FALSE(filexfer::parse_error(line));
  }
  CHECK_FALSE(filexfer::parse_error(filexfer::upload_prompt));
  CHECK_FALSE(filexfer::parse_error(filexfer::download_prompt));
  CHECK_FALSE(filexfer::parse_error(filexfer::no_files_words));
  CHECK(filexfer::no_files_words == "No files available at the moment");
}

TEST_CASE("what fails on a server becomes a refusal of section 8") {
  using std::generic_category, std::system_category;
  const std::pair<std::error_code, errc> cases[] = {
      {{ENOSPC, system_category()}, errc::no_space},
      {{ENOSPC, generic_category()}, errc::no_space},
      {{EDQUOT, system_category()}, errc::no_space},
      {{EDQUOT, generic_category()}, errc::no_space},
      {{EFBIG, system_category()}, errc::no_space},
      {{ENAMETOOLONG, system_category()}, errc::bad_name},
      {{EIO, system_category()}, errc::io},
      {{EACCES, system_category()}, errc::io},
      {{EROFS, generic_category()}, errc::io},
      {{EMFILE, system_category()}, errc::io},
      {{ENOENT, system_category()}, errc::io},
      // The numbers of `errc` in another category.
      {{static_cast<int>(errc::bad_request), system_category()}, errc::io},
      {errc::store_failed, errc::io},
      {errc::refused, errc::io},
      {errc::source_changed, errc::io},
      {errc::short_source, errc::io},
      {errc::digest_mismatch, errc::io},
      {std::make_error_code(std::errc::not_enough_memory), errc::io},
  };
  for (const auto& each : cases) {
    CAPTURE(each.first);
    const auto& [ec, expected] = each;
    CHECK(filexfer::to_refusal(ec) == expected);
  }
}

// ------------------------------------------------------------------------------- all lines, at random

TEST_CASE("every line that is written can be read back") {
  line_maker make{4};
  for (int i = 0; i < 5'000; ++i) {
    const download_entry sent_entry{
        {make.digest(), make.name(), make.size()}, make.maybe_size(), make.maybe_size()};
    const auto entry_line = filexfer::format_entry(sent_entry);
    CHECK(filexfer::is_clean_line(entry_line));
    const auto got_entry = entry(entry_line);
    CHECK(got_entry.file == sent_entry.file);
    CHECK(got_entry.offset == sent_entry.offset);
    CHECK(got_entry.length == sent_entry.length);

    const download_request sent_request{make.digest(), make.maybe_size(), make.maybe_size()};
    const auto got_request = request(filexfer::format_download_request(sent_request));
    CHECK(got_request.id == sent_request.id);
    CHECK(got_request.offset == sent_request.offset);
    CHECK(got_request.length == sent_request.length);

    upload_details sent_details{make.name(), make.size(), {}};
    if (make.below(2) == 0) sent_details.id = make.digest();
    const auto details_line = filexfer::format_upload_details(sent_details);
    CHECK(filexfer::is_clean_line(details_line));
    const auto got_details = details(details_line);
    CHECK(got_details.name == sent_details.name);
    CHECK(got_details.size == sent_details.size);
    CHECK(got_details.id == sent_details.id);

    const filexfer::ready_line sent_ready{make.maybe_size()};
    std::error_code ec;
    CHECK(filexfer::parse_ready(filexfer::format_ready(sent_ready), ec).offset ==
          sent_ready.offset);
    CHECK_FALSE(ec);
  }
}

TEST_CASE("any line is read or refused with a code of section 8, and what is read says the same") {
  line_maker make{5};
  std::size_t good = 0;
  const auto judge = [&](std::error_code ec) {
    if (ec) CHECK(filexfer::to_refusal(ec) == ec);
    else ++good;
    return !ec;
  };
  for (int i = 0; i < 50'000; ++i) {
    const std::string line = make.line();
    CAPTURE(line);
    std::error_code ec;
    if (const auto e = filexfer::parse_entry<id_type>(line, ec); judge(ec)) {
      CHECK(entry(filexfer::format_entry(e)).file == e.file);
    }
    if (const auto r = filexfer::parse_download_request<id_type>(line, ec); judge(ec)) {
      CHECK(request(filexfer::format_download_request(r)).length == r.length);
    }
    if (const auto d = filexfer::parse_upload_details<id_type>(line, ec); judge(ec)) {
      CHECK(details(filexfer::format_upload_details(d)).name == d.name);
    }
    filexfer::parse_command(line, ec);
    judge(ec);
    filexfer::parse_ready(line, ec);
    judge(ec);
    CHECK(filexfer::parse_error(line).has_value() ==
          (line == "ERROR" || line.starts_with("ERROR ")));
  }
  CHECK(good > 10'000);
}

}  // namespace protocol_tests
