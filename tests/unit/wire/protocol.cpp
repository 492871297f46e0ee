// The lines of commands, features and errors.

#include "support/protocol_fixture.hpp"

#include <filexfer/protocol.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace protocol_tests {

using filexfer::command;

namespace {

std::error_code command_error(std::string_view line) {
  std::error_code ec = errc::store_failed;
  filexfer::parse_command(line, ec);
  return ec;
}

// The codes of section 8 of the protocol.
constexpr std::array<std::pair<errc, std::string_view>, 19> section_8{{
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
    {errc::denied, "denied"},
}};

}  // namespace

// ----------------------------------------------------------------------------------------- commands

TEST_CASE("a command is parsed from its word, and LIST_FILES has three other spellings") {
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

TEST_CASE("a client sends the command words of the protocol") {
  CHECK(to_string(command::list_files) == "LIST_FILES");
  CHECK(to_string(command::upload) == "UPLOAD");
  CHECK(to_string(command::download) == "DOWNLOAD");
  CHECK(to_string(command::features) == "FEATURES");
}

TEST_CASE("the parameters of a command can be looked up") {
  std::error_code ec;
  const auto parsed = filexfer::parse_command("LIST_FILES;prefix=photos/;mtime", ec);
  CHECK(parsed.params.find("prefix")->value == "photos/");
  CHECK(parsed.params.find("mtime"));
}

TEST_CASE("an unknown word in the form of a command, and an empty line, are unknown-command") {
  for (const auto* line : {"", "A", "z", "list_files", "List_Files", "LIST_FILES ", "LIST  FILES",
                           "LISTFILES", "LIST_FILES_", "UPLOADS", "UPLOAD FILE", "upload",
                           "DOWNLOA", "FEATURE", "Hello world", "QUIT", "QUIT;x=1", "HELP;a;b"}) {
    CAPTURE(line);
    CHECK(command_error(line) == errc::unknown_command);
  }
}

TEST_CASE("a line without the form of a command is bad-request") {
  for (const std::string_view line :
       {" ", " LIST_FILES", "_UPLOAD", ";", ";x", "GET / HTTP/1.1", "POST /upload", "Host: a", "1",
        "UPLOAD1", "UP-LOAD", "UPLOAD=1", "UPLOAD\t", "{\"a\":1}", "\x16\x03\x01", "UPLOAD\xC3\xA9",
        "a.txt", "QUIT;", "QUIT;x;x"}) {
    CAPTURE(line);
    CHECK(command_error(line) == errc::bad_request);
  }
}

TEST_CASE("a command begins with a letter, and continues with letters, _ and spaces only") {
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

// ----------------------------------------------------------------------------------------- features

TEST_CASE("the reply to FEATURES is formatted as in the protocol") {
  CHECK(filexfer::format_features({1, "md5", {}}) == "version=1\ndigest=md5\n\n");
  CHECK(filexfer::format_features({1, "md5", 1073741824}) ==
        "version=1\ndigest=md5\nmax-size=1073741824\n\n");
  CHECK(filexfer::format_features({1, "md5", {}, true, true, true, true, true, true, true, 1024}) ==
        "version=1\ndigest=md5\nresume\nhave\nnowait\nmtime\nexec\nprefix\nremove\n"
        "max-name=1024\n\n");
}

TEST_CASE("known features are parsed, and others are skipped") {
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

TEST_CASE("each feature is announced by its own line") {
  using features = filexfer::server_features;
  constexpr std::array<std::pair<std::string_view, bool features::*>, 7> flags{{
      {"resume", &features::resume},
      {"have", &features::have},
      {"nowait", &features::nowait},
      {"prefix", &features::prefix},
      {"mtime", &features::mtime},
      {"exec", &features::exec},
      {"remove", &features::remove},
  }};
  for (const auto& announced : flags) {
    CAPTURE(announced.first);
    std::error_code ec;
    const auto parsed = filexfer::with_feature({}, announced.first, ec);
    for (const auto& other : flags) {
      CAPTURE(other.first);
      CHECK(parsed.*other.second == (other.second == announced.second));
    }
  }
}

TEST_CASE("an earlier error is cleared by a line that is in order") {
  std::error_code ec = errc::io;
  std::error_code ignored;
  filexfer::parse_list_request(filexfer::parse_command("LIST_FILES", ignored).params, ec);
  CHECK_FALSE(ec);
  ec = errc::io;
  filexfer::parse_upload_details<id_type>("a;7", ec);
  CHECK_FALSE(ec);
  ec = errc::io;
  filexfer::parse_download_request<id_type>(id_text, ec);
  CHECK_FALSE(ec);
  ec = errc::io;
  filexfer::parse_remove_request<id_type>(id_text + ";a", ec);
  CHECK_FALSE(ec);
}

TEST_CASE("a server's longest name is from 255 to 1024 bytes, whatever it announces") {
  const auto announced = [](const std::string& value) {
    std::error_code ec = errc::io;
    const auto features = filexfer::with_feature({}, "max-name=" + value, ec);
    CHECK(bool{ec} == (value == "x" || value.empty()));
    return features.max_name_length;
  };
  CHECK(announced("1024") == 1024);
  CHECK(announced("300") == 300);
  CHECK(announced("1") == 255);
  CHECK(announced("9223372036854775807") == 1024);
  CHECK(announced("x") == 255);
  CHECK(announced("") == 255);
}

TEST_CASE("without FEATURES a server has version 0, no digest and no size limit") {
  const filexfer::server_features features;
  CHECK(features.version == 0);
  CHECK(features.digest.empty());
  CHECK_FALSE(features.max_size);
}

TEST_CASE("a version or a max-size that is malformed is bad-request, and changes nothing") {
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

TEST_CASE("every code of section 8 is formatted and parsed") {
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

TEST_CASE("an ERROR line with an unknown form or code is still a refusal") {
  for (const auto* line :
       {"ERROR", "ERROR ", "ERROR  busy", "ERROR Busy", "ERROR BUSY", "ERROR new-code",
        "ERROR new-code text", "ERROR bad_name", "ERROR 404"}) {
    CAPTURE(line);
    CHECK(filexfer::parse_error(line) == errc::refused);
  }
}

TEST_CASE("a line that is not ERROR and does not begin with ERROR and a space is no refusal") {
  for (const auto* line :
       {"", "ERRO", "ERRORS", "ERROR;busy", "ERROR\tbusy", "Error busy", "error busy",
        " ERROR busy", "ERROR_busy", "Ready to receive the file"}) {
    CAPTURE(line);
    CHECK_FALSE(filexfer::parse_error(line));
  }
  CHECK_FALSE(filexfer::parse_error(filexfer::upload_prompt));
  CHECK_FALSE(filexfer::parse_error(filexfer::download_prompt));
  CHECK_FALSE(filexfer::parse_error(filexfer::empty_list_line));
  CHECK(filexfer::empty_list_line == "No files available at the moment");
}

TEST_CASE("every error of a server maps to a code of section 8") {
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

}  // namespace protocol_tests
