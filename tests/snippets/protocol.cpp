// Examples for the reference: the lines of the protocol, and their fields.

#include "support.hpp"

#include <filexfer/entry.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/refusal.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>

namespace protocol_snippets {

using snippets::captured_output;

TEST_CASE("a command line is parsed, with its parameters") {
  captured_output output;
  //! [command]
  const std::string line = "LIST_FILES;prefix=photos/;mtime";
  std::error_code ec;
  const auto parsed = filexfer::parse_command(line, ec);  // refers to the line
  if (!ec && parsed.verb == filexfer::command::list_files) {
    const auto request = filexfer::parse_list_request(parsed.params, ec);
    std::cout << filexfer::to_string(parsed.verb) << " of " << request.prefix << '\n';
    std::cout << filexfer::format_list_request(request) << '\n';  // the same line
  }
  //! [command]
  CHECK(output.take() == "LIST_FILES of photos/\n" + line + '\n');
}

TEST_CASE("the details of an upload are formatted and parsed") {
  captured_output output;
  //! [upload_details]
  using digest = filexfer::md5::digest_type;
  filexfer::upload_details<digest> details{};
  details.name = "a;b.txt";
  details.size = 5;
  const std::string line = filexfer::format_upload_details(details);  // a%3Bb.txt;5
  std::error_code ec;
  const auto parsed = filexfer::parse_upload_details<digest>(line, ec);
  if (!ec) std::cout << line << " is " << parsed.name << '\n';
  //! [upload_details]
  CHECK(output.take() == "a%3Bb.txt;5 is a;b.txt\n");
}

TEST_CASE("a ready line says how much the server holds") {
  captured_output output;
  //! [ready]
  const std::string line = filexfer::format_ready({.offset = 1000});
  std::error_code ec;
  const auto ready = filexfer::parse_ready(line, ec);
  if (!ec && ready.offset) std::cout << "send what follows byte " << *ready.offset << '\n';
  //! [ready]
  CHECK(output.take() == "send what follows byte 1000\n");
}

TEST_CASE("features are parsed line by line") {
  captured_output output;
  //! [features]
  filexfer::server_features features;
  std::error_code ec;
  for (const std::string_view line : {"version=1", "digest=md5", "have", "of-the-future"}) {
    features = filexfer::with_feature(features, line, ec);
    if (ec) break;
  }
  std::cout << filexfer::format_features(features);  // the lines that are known, and an empty one
  //! [features]
  CHECK(output.take() == "version=1\ndigest=md5\nhave\n\n");
}

TEST_CASE("an entry is parsed and formatted") {
  captured_output output;
  //! [entry]
  using digest = filexfer::md5::digest_type;
  const std::string_view line = "5d41402abc4b2a76b9719d911017c592;hello.txt;5;mtime=1609459200";
  std::error_code ec;
  const auto entry = filexfer::parse_entry<digest>(line, ec);
  if (!ec) std::cout << entry.file.name << " has " << entry.bytes() << " bytes\n";
  if (!ec) std::cout << filexfer::format_entry(entry.file) << '\n';  // the same line
  //! [entry]
  CHECK(output.take() == "hello.txt has 5 bytes\n" + std::string{line} + '\n');
}

TEST_CASE("a part of a file is requested by an id line") {
  captured_output output;
  //! [download_request]
  using digest = filexfer::md5::digest_type;
  const std::string_view line = "5d41402abc4b2a76b9719d911017c592;offset=2;length=3";
  std::error_code ec;
  const auto request = filexfer::parse_download_request<digest>(line, ec);
  if (!ec) std::cout << filexfer::format_download_request(request) << '\n';  // the same line
  //! [download_request]
  CHECK(output.take() == std::string{line} + '\n');
}

TEST_CASE("an ERROR line is told from other replies") {
  captured_output output;
  //! [error_line]
  const std::string line = filexfer::format_error(filexfer::errc::no_space, "the disk is full");
  if (const auto refusal = filexfer::parse_error(line)) {
    std::cout << line << '\n' << filexfer::make_error_code(*refusal).message() << '\n';
  }
  //! [error_line]
  CHECK(output.take() == "ERROR no-space the disk is full\nno space left in the store\n");
}

TEST_CASE("an error of the system becomes a refusal") {
  captured_output output;
  //! [to_refusal]
  const std::error_code ec = std::make_error_code(std::errc::no_space_on_device);
  const filexfer::errc refusal = filexfer::to_refusal(ec);  // errc::no_space
  std::cout << filexfer::format_error(refusal, "") << '\n';
  //! [to_refusal]
  CHECK(output.take() == "ERROR no-space\n");
}

TEST_CASE("parameters are found by their keys") {
  //! [parameters]
  std::error_code ec;
  const auto params = filexfer::parameters::parse(";offset=5;mtime;of-the-future=1", ec);
  const auto offset = params.value("offset", ec);  // "5"
  const bool wants_time = params.flag("mtime", ec);
  //! [parameters]
  CHECK_FALSE(ec);
  CHECK(offset == "5");
  CHECK(wants_time);
}

TEST_CASE("sizes and times are text") {
  captured_output output;
  //! [numbers]
  const auto size = filexfer::parse_size("1024");
  const auto no_size = filexfer::parse_size("-1");  // nothing
  const auto time = filexfer::parse_time("1609459200.5");
  if (size && time) std::cout << *size << ' ' << filexfer::format_time(*time) << '\n';
  //! [numbers]
  CHECK(output.take() == "1024 1609459200.5\n");
  CHECK_FALSE(no_size);
}

TEST_CASE("a file's time is any that the protocol can carry") {
  //! [file_time]
  const filexfer::file_time now = std::chrono::system_clock::now();
  const filexfer::file_time long_ago{-20'000'000'000, 0};  // 1336-03-23
  const auto earliest = long_ago.clamped_sys_time();       // 1677-09-21
  //! [file_time]
  CHECK(long_ago < now);
  CHECK(earliest == std::chrono::sys_time<std::chrono::nanoseconds>::min());
}

TEST_CASE("names are checked and escaped") {
  captured_output output;
  //! [names]
  const std::string name = "photos/100%.jpg";
  if (filexfer::is_name(name)) std::cout << filexfer::escape_name(name) << '\n';
  const auto same = filexfer::unescape_name("photos/100%25.jpg");
  const auto no_name = filexfer::unescape_name("../passwd");  // nothing
  const auto prefix = filexfer::unescape("../");              // any bytes, unchecked
  //! [names]
  CHECK(output.take() == "photos/100%25.jpg\n");
  CHECK(same == name);
  CHECK_FALSE(no_name);
  CHECK(prefix == "../");
}

TEST_CASE("lines and tokens are checked") {
  //! [checks]
  const bool clean = filexfer::is_clean_line("hello.txt;5");
  const bool has_tab = !filexfer::is_clean_line("hello\t.txt;5");
  const bool short_token = !filexfer::is_resume_token("abc");  // 16 characters at least
  //! [checks]
  CHECK(clean);
  CHECK(has_tab);
  CHECK(short_token);
}

}  // namespace protocol_snippets
