// The lines about files: entries, id lines, details lines, ready lines, and the times in them.

#include "support/protocol_fixture.hpp"

#include <filexfer/digest.hpp>
#include <filexfer/protocol.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace protocol_files_tests {

using namespace protocol_tests;
using file_info = filexfer::file_info<id_type>;

namespace {

const std::string upper_id_text = "9E107D9D372BB6826BD81D3542A419D6";
const id_type id = *id_type::from_hex(id_text);

std::error_code ready_error(std::string_view line) {
  std::error_code ec = errc::store_failed;
  filexfer::parse_ready(line, ec);
  return ec;
}

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
    id_text + id_text,
    id_text.substr(1) + "g",
    " " + id_text,
    id_text + " ",
    "0x" + id_text.substr(2),
};

}  // namespace

// ------------------------------------------------------------------------------------------ entries

TEST_CASE("an entry is formatted as in the protocol") {
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

TEST_CASE("an entry is parsed with its id in either case and its known parameters") {
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
  CHECK(entry(id_text + ";a;10;offset=11").bytes() == 0);  // meaningless, but must not underflow
}

TEST_CASE("a malformed entry is rejected with the code of its malformed field") {
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

TEST_CASE("the longest entry and the longest details line do not exceed the line limit") {
  const std::string name(255, ';');
  using longest_id = filexfer::digest<32>;
  const filexfer::download_entry<longest_id> longest{{{}, name, largest}, largest, largest};
  CHECK(filexfer::format_entry(longest).size() + 2 <= filexfer::max_line_length);
  const filexfer::upload_details<longest_id> upload{name, largest, longest_id{}};
  CHECK(filexfer::format_upload_details(upload).size() + 2 <= filexfer::max_line_length);
}

// ----------------------------------------------------------------------------------------- download

TEST_CASE("an id line is formatted as in the protocol") {
  CHECK(filexfer::format_download_request(download_request{id, {}, {}}) == id_text);
  CHECK(filexfer::format_download_request(download_request{id, 0, {}}) == id_text + ";offset=0");
  CHECK(filexfer::format_download_request(download_request{id, 5, 6}) ==
        id_text + ";offset=5;length=6");
  CHECK(filexfer::download_prompt == "Please send a file ID");
}

TEST_CASE("an id line is parsed with its id in either case, and unknown parameters are ignored") {
  CHECK(request(id_text).id == id);
  CHECK(request(upper_id_text).id == id);
  CHECK_FALSE(request(id_text).offset);
  CHECK_FALSE(request(id_text).length);
  const auto ranged = request(id_text + ";mtime;length=0;unknown=1;offset=9223372036854775807");
  CHECK(ranged.offset == largest);
  CHECK(ranged.length == 0);
}

TEST_CASE("a malformed id line is bad-id, bad-request or bad-range, in this order") {
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

TEST_CASE("a details line is formatted as in the protocol") {
  CHECK(filexfer::format_upload_details(upload_details{"my_file.jpg", 123456, {}}) ==
        "my_file.jpg;123456");
  CHECK(filexfer::format_upload_details(upload_details{"a;b", 0, id}) == "a%3Bb;0;id=" + id_text);
  CHECK(filexfer::upload_prompt == "Please send the file name and file size");
}

TEST_CASE(
    "a details line is parsed with its id in either case, and unknown parameters are ignored") {
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

TEST_CASE(
    "the size of a details line is checked before its name, and the name before the parameters") {
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
    const auto parsed = details("a;7" + text, errc::bad_request);
    CHECK(parsed.size == 7);
    CHECK(parsed.name == "a");
    details("a;7;id=x" + text, errc::bad_request);
  }
  for (const auto& text : malformed_ids) {
    if (text.empty()) continue;
    const auto parsed = details("a;7;id=" + text, errc::bad_id);
    CHECK(parsed.size == 7);
    CHECK_FALSE(parsed.id);
  }
  details("a;7;id", errc::bad_request);
  details("a;7;id=", errc::bad_request);
  details("a;b;7", errc::bad_size);  // a semicolon in a name must be escaped
}

TEST_CASE("a ready line consists of any words and optional parameters, of which offset is known") {
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

TEST_CASE("a time is in seconds since 1970, with an optional sign and up to nine decimals") {
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

TEST_CASE("text that is not a time is rejected") {
  for (const std::string text : {"", "-", "+1", "01", "1.", ".5", "1.1234567890", "1.-5", "1e3",
                                 "9223372036854775808", " 1", "--1", "1.5.5"}) {
    CAPTURE(text);
    CHECK_FALSE(filexfer::parse_time(text));
    details("a;1;mtime=" + text, errc::bad_request);
  }
}

TEST_CASE("details lines, entries and requests can carry a time") {
  const filexfer::file_time time{std::chrono::milliseconds{1500}};
  CHECK(details("a;1;mtime=1.5").modified == time);
  CHECK(format_upload_details(upload_details{"a", 1, {}, false, time}) == "a;1;mtime=1.5");
  CHECK(entry(id_text + ";a;1;mtime=1.5").file == file_info{id, "a", 1, time});
  CHECK(filexfer::format_entry(file_info{id, "a", 1, time}) == id_text + ";a;1;mtime=1.5");
  CHECK(request(id_text + ";mtime").mtime);
  request(id_text + ";mtime=1", errc::bad_request);
  CHECK(filexfer::format_list_request({"a", true}) == "LIST_FILES;prefix=a;mtime");
}

TEST_CASE("details lines and entries can say whether a file is executable") {
  CHECK(details("a;1;exec=1").executable == true);
  CHECK(details("a;1;exec=0").executable == false);
  CHECK_FALSE(details("a;1").executable);
  for (const char* text : {"a;1;exec", "a;1;exec=2", "a;1;exec=00", "a;1;exec=true"}) {
    details(text, errc::bad_request);
  }
  upload_details wanted{"a", 1, {}};
  wanted.executable = true;
  CHECK(format_upload_details(wanted) == "a;1;exec=1");
  wanted.executable = false;
  CHECK(format_upload_details(wanted) == "a;1;exec=0");
  CHECK(entry(id_text + ";a;1;exec=1").file.executable == true);
  CHECK_FALSE(entry(id_text + ";a;1").file.executable);
  CHECK(filexfer::format_entry(file_info{id, "a", 1, {}, true}) == id_text + ";a;1;exec=1");
  CHECK(filexfer::format_entry(file_info{id, "a", 1, {}, false}) == id_text + ";a;1");
  CHECK(request(id_text + ";exec").exec);
  request(id_text + ";exec=1", errc::bad_request);
  CHECK(filexfer::format_list_request({{}, true, true}) == "LIST_FILES;mtime;exec");
}

}  // namespace protocol_files_tests
