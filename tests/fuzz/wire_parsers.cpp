// Each parser of a line, against a second reading of the protocol (support/grammar.hpp). What was
// parsed is formatted to a line that parses to the same.
//
// The header of the PROXY protocol, against a second reading, too (support/proxy_grammar.hpp), and
// whether it may arrive in parts.
//
// Input: a line; or a header, with anything behind it.

#include "fuzz/support/fuzzing.hpp"
#include "fuzz/support/grammar.hpp"
#include "fuzz/support/proxy_grammar.hpp"

#include <filexfer/any_digest.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/proxy_protocol.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using filexfer::any_digest;
using filexfer::errc;
using fuzz::require;
namespace grammar = fuzz::grammar;

const grammar::id_sizes md5_sizes{32};
const grammar::id_sizes any_sizes{32, 64};

/// Whether the line is valid. Its error must be one that the second reading has found.
bool check_error(std::error_code ec, const grammar::errors& wrong, const std::string& what) {
  if (!ec) {
    require(wrong.empty(), "a line with an error is rejected", what);
    return true;
  }
  require(ec.category() == filexfer::error_category(), "the error is one of the protocol", what);
  require(wrong.contains(static_cast<errc>(ec.value())),
          "a line is rejected for an error that it has", what + ": " + ec.message());
  return false;
}

void check_formatted(const std::string& line) {
  require(filexfer::is_clean_line(line), "a formatted line has no control bytes", line);
  require(line.size() < filexfer::max_line_length, "a formatted line is not too long", line);
}

template <class Digest>
std::optional<std::string> text_of(const std::optional<Digest>& id) {
  return id ? std::optional{id->to_string()} : std::nullopt;
}

std::optional<std::string> text_of(const std::optional<filexfer::file_time>& time) {
  return time ? std::optional{filexfer::format_time(*time)} : std::nullopt;
}

template <class Digest>
void check_details(const std::string& line, const grammar::id_sizes& sizes) {
  std::error_code ec;
  const auto parsed = filexfer::parse_upload_details<Digest>(line, ec);
  const auto read = grammar::read_details(line, sizes);
  require(parsed.nowait == read.nowait && parsed.have == read.have,
          "`nowait` and `have` are recognised, also in a malformed line", line);
  if (read.wrong.contains(errc::bad_size)) {
    require(ec != errc::bad_name, "the size is checked before the name", line);
  }
  if (!check_error(ec, read.wrong, "details " + line)) return;
  require(parsed.name == read.name && parsed.size == read.size && text_of(parsed.id) == read.id &&
              text_of(parsed.modified) == read.mtime && parsed.executable == read.executable &&
              parsed.resume == read.resume,
          "details are read alike", line);
  const std::string formatted = filexfer::format_upload_details(parsed);
  check_formatted(formatted);
  const auto again = filexfer::parse_upload_details<Digest>(formatted, ec);
  require(!ec && again.name == parsed.name && again.size == parsed.size && again.id == parsed.id &&
              again.have == parsed.have && again.nowait == parsed.nowait &&
              again.modified == parsed.modified && again.executable == parsed.executable &&
              again.resume == parsed.resume,
          "details survive formatting", line);
}

template <class Digest>
void check_entry(const std::string& line, const grammar::id_sizes& sizes) {
  std::error_code ec;
  const auto parsed = filexfer::parse_entry<Digest>(line, ec);
  const auto read = grammar::read_entry(line, sizes);
  if (!check_error(ec, read.wrong, "entry " + line)) return;
  const auto& file = parsed.file;
  require(file.id.to_string() == read.id && file.name == read.name && file.size == read.size &&
              text_of(file.modified) == read.mtime && file.executable == read.executable &&
              parsed.offset == read.offset && parsed.length == read.length,
          "an entry is read alike", line);
  const std::string formatted = filexfer::format_entry(parsed);
  check_formatted(formatted);
  auto again = filexfer::parse_entry<Digest>(formatted, ec);
  // That a file is not executable is said by silence.
  if (!again.file.executable && file.executable) again.file.executable = false;
  require(
      !ec && again.file == file && again.offset == parsed.offset && again.length == parsed.length,
      "an entry survives formatting", line);
}

template <class Digest>
void check_request(const std::string& line, const grammar::id_sizes& sizes) {
  std::error_code ec;
  const auto parsed = filexfer::parse_download_request<Digest>(line, ec);
  const auto read = grammar::read_id_line(line, sizes);
  if (!check_error(ec, read.wrong, "id line " + line)) return;
  require(parsed.id.to_string() == read.id && parsed.offset == read.offset &&
              parsed.length == read.length && parsed.mtime == read.mtime &&
              parsed.exec == read.exec,
          "an id line is read alike", line);
  const std::string formatted = filexfer::format_download_request(parsed);
  check_formatted(formatted);
  const auto again = filexfer::parse_download_request<Digest>(formatted, ec);
  require(!ec && again.id == parsed.id && again.offset == parsed.offset &&
              again.length == parsed.length && again.mtime == parsed.mtime &&
              again.exec == parsed.exec,
          "an id line survives formatting", line);
}

template <class Digest>
void check_removal(const std::string& line, const grammar::id_sizes& sizes) {
  std::error_code ec;
  const auto parsed = filexfer::parse_remove_request<Digest>(line, ec);
  const auto read = grammar::read_removal(line, sizes);
  if (!check_error(ec, read.wrong, "removal " + line)) return;
  require(parsed.id.to_string() == read.id && parsed.name == read.name, "a removal is read alike",
          line);
  const std::string formatted = filexfer::format_remove_request(parsed);
  check_formatted(formatted);
  const auto again = filexfer::parse_remove_request<Digest>(formatted, ec);
  require(!ec && again.id == parsed.id && again.name == parsed.name,
          "a removal survives formatting", line);
}

void check_ready(const std::string& line) {
  std::error_code ec;
  const auto parsed = filexfer::parse_ready(line, ec);
  const auto read = grammar::read_ready(line);
  if (!check_error(ec, read.wrong, "ready line " + line)) return;
  require(parsed.offset == read.offset, "a ready line is read alike", line);
  const auto again = filexfer::parse_ready(filexfer::format_ready(parsed), ec);
  require(!ec && again.offset == parsed.offset, "a ready line survives formatting", line);
}

void check_command(const std::string& line) {
  std::error_code ec;
  const auto parsed = filexfer::parse_command(line, ec);
  const auto read = grammar::read_command(line);
  if (!check_error(ec, read.wrong, "command " + line)) return;
  require(to_string(parsed.verb) == read.verb, "a command is read alike", line);
  if (parsed.verb != filexfer::command::list_files) return;
  const auto list = filexfer::parse_list_request(parsed.params, ec);
  if (!check_error(ec, read.wrong_list, "list " + line)) return;
  require(list.prefix == read.prefix && list.mtime == read.mtime && list.exec == read.exec,
          "the parameters of a list are read alike", line);
  const std::string formatted = filexfer::format_list_request(list);
  const auto again =
      filexfer::parse_list_request(filexfer::parse_command(formatted, ec).params, ec);
  require(
      !ec && again.prefix == list.prefix && again.mtime == list.mtime && again.exec == list.exec,
      "the parameters of a list survive formatting", line);
}

void check_error_line(const std::string& line) {
  const auto parsed = filexfer::parse_error(line);
  const auto code = grammar::error_code_of(line);
  require(parsed.has_value() == code.has_value(), "an ERROR line is recognised", line);
  if (!parsed) return;
  if (*parsed == errc::refused) return;
  require(grammar::code_of(*parsed) == *code, "the code of an ERROR line is read alike", line);
  require(filexfer::parse_error(filexfer::format_error(*parsed, "text")) == parsed,
          "an ERROR line survives formatting", line);
}

/// Compares what `with_feature` sets, beginning with a server that has nothing.
void check_features(const std::string& line) {
  std::error_code ec;
  const auto parsed = filexfer::with_feature({}, line, ec);
  const auto equals = line.find('=');
  const std::string key = line.substr(0, equals);
  const std::string value = equals == line.npos ? "" : line.substr(equals + 1);
  const auto number = grammar::size_of(value);
  const bool is_number = key == "version" || key == "max-size" || key == "max-name";
  if (!check_error(ec,
                   is_number && !number ? grammar::errors{errc::bad_request} : grammar::errors{},
                   "feature " + line)) {
    return;
  }
  require(parsed.version == (key == "version" ? *number : 0) &&
              parsed.max_size == (key == "max-size" ? number : std::nullopt) &&
              parsed.digest == (key == "digest" ? value : "") &&
              parsed.resume == (line == "resume") && parsed.have == (line == "have") &&
              parsed.nowait == (line == "nowait") && parsed.prefix == (line == "prefix") &&
              parsed.mtime == (line == "mtime") && parsed.exec == (line == "exec") &&
              parsed.remove == (line == "remove"),
          "a feature is read alike", line);
  require(parsed.max_name_length >= 255 && parsed.max_name_length <= 1024,
          "names are as long as every server accepts, and as the protocol allows", line);
  filexfer::server_features again;
  for (const auto& feature : fuzz::split(filexfer::format_features(parsed), '\n')) {
    again = filexfer::with_feature(again, feature, ec);
    require(!ec, "a formatted feature is valid", feature);
  }
  require(again.version == parsed.version && again.max_size == parsed.max_size &&
              again.digest == parsed.digest && again.resume == parsed.resume &&
              again.have == parsed.have && again.nowait == parsed.nowait &&
              again.prefix == parsed.prefix && again.mtime == parsed.mtime &&
              again.exec == parsed.exec && again.remove == parsed.remove &&
              again.max_name_length == parsed.max_name_length,
          "features survive formatting", line);
}

void check_name(const std::string& text) {
  const auto name = filexfer::unescape_name(text);
  require(name == grammar::name_of(text), "a name is read alike", text);
  require(filexfer::is_name(text) == grammar::is_name(text), "a name is valid or not", text);
  const std::string escaped = filexfer::escape_name(text);
  require(filexfer::is_clean_line(escaped) && escaped.find(';') == escaped.npos,
          "an escaped name is a field", text);
  require(filexfer::unescape(escaped) == text, "a name survives escaping", text);
}

void check_time(const std::string& text) {
  const auto time = filexfer::parse_time(text);
  require(text_of(time) == grammar::time_of(text), "a time is read alike", text);
  if (time) {
    require(filexfer::parse_time(filexfer::format_time(*time)) == time,
            "a time survives formatting", text);
  }
  require(filexfer::parse_size(text) == grammar::size_of(text), "a size is read alike", text);
  require(filexfer::is_resume_token(text) == grammar::is_token(text), "a token is read alike",
          text);
}

std::optional<std::string> text_of(const std::optional<asio::ip::tcp::endpoint>& endpoint) {
  if (!endpoint) return std::nullopt;
  return endpoint->address().to_string() + ' ' + std::to_string(endpoint->port());
}

void check_proxy_header(std::string_view bytes) {
  const std::string shown = filexfer::escape_name(bytes);
  const auto parse = [bytes](std::size_t size, std::error_code& ec) {
    return filexfer::parse_proxy_header(std::as_bytes(std::span{bytes.substr(0, size)}), ec);
  };
  std::error_code ec;
  const auto whole = parse(bytes.size(), ec);
  const bool is_complete = !ec && whole.missing == 0;
  require(!ec || ec == errc::bad_proxy_header, "only a malformed header is an error", shown);
  const auto read = grammar::read_proxy_header(bytes);
  require(is_complete == read.has_value(), "a header is recognised", shown);
  if (read) {
    require(whole.size == read->size && text_of(whole.source) == read->source,
            "a header is read alike", shown);
  }
  // What is missing is read, until no byte is left, or none is missing.
  std::size_t size = 0;
  for (;;) {
    const auto part = parse(size, ec);
    require(size + part.missing <= filexfer::max_proxy_header_size, "a header is bounded", shown);
    if (ec || part.missing == 0) {
      require(ec || (is_complete && part.size == size && size == whole.size),
              "no byte behind a header is read", shown);
      break;
    }
    require(!part.source, "a part of a header has no source", shown);
    if (size + part.missing > bytes.size()) break;
    size += part.missing;
  }
  require(!is_complete || size == whole.size, "a header may arrive in parts", shown);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string line{fuzz::input{data, size}.line()};
  check_details<filexfer::digest<16>>(line, md5_sizes);
  check_details<any_digest>(line, any_sizes);
  check_entry<filexfer::digest<16>>(line, md5_sizes);
  check_entry<any_digest>(line, any_sizes);
  check_request<filexfer::digest<16>>(line, md5_sizes);
  check_removal<filexfer::digest<16>>(line, md5_sizes);
  check_ready(line);
  check_command(line);
  check_error_line(line);
  check_features(line);
  check_name(line);
  check_time(line);
  check_proxy_header(fuzz::input{data, size}.rest());
  return 0;
}
