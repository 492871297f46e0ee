#ifndef FILEXFER_PROTOCOL_HPP
#define FILEXFER_PROTOCOL_HPP

/// \file
/// The wire, version 1: what the lines of a dialogue mean and how they are written.
///
/// Pure functions on text, without I/O. A `line` is given and returned without its LF. Sections are
/// those of the protocol's page in the README. A `parse_*` function sets `ec` to the refusal that
/// section 8 has for the line, and clears it otherwise; a client takes any refusal of a server's
/// line as `errc::malformed_reply`.

#include <filexfer/entry.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/refusal.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer {

inline constexpr std::uint64_t protocol_version = 1;

/// The commands of sections 4 to 7.
enum class command { list_files, upload, download, features };

/// The word that a client sends.
constexpr std::string_view to_string(command c) noexcept {
  switch (c) {
    case command::list_files: return "LIST_FILES";
    case command::upload: return "UPLOAD";
    case command::download: return "DOWNLOAD";
    case command::features: return "FEATURES";
  }
  return {};
}

/// Reads a command line; a view of its parameters. `errc::unknown_command`, or `errc::bad_request`
/// for what does not look like a command at all (after which a server closes).
struct command_line {
  command verb = command::list_files;
  parameters params;
};

inline command_line parse_command(std::string_view line, std::error_code& ec) {
  const auto is_letter = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); };
  const auto is_word = [&](std::string_view text) {
    return is_letter(text.front()) && std::all_of(text.begin(), text.end(), [&](char c) {
             return is_letter(c) || c == '_' || c == ' ';
           });
  };
  const auto word = line.substr(0, line.find(';'));
  command_line result;
  if (line.empty()) {
    ec = errc::unknown_command;
    return result;
  }
  if (word.empty() || !is_word(word)) {
    ec = errc::bad_request;
    return result;
  }
  result.params = parameters::parse(line.substr(word.size()), ec);
  if (ec) return result;
  if (word == "LIST_FILES" || word == "LIST FILES" || word == "LIST_FILE" || word == "LIST FILE") {
    result.verb = command::list_files;
  } else if (word == "UPLOAD") {
    result.verb = command::upload;
  } else if (word == "DOWNLOAD") {
    result.verb = command::download;
  } else if (word == "FEATURES") {
    result.verb = command::features;
  } else {
    ec = errc::unknown_command;
  }
  return result;
}

// ------------------------------------------------------------------------------------------- lists

/// The words of an empty store's list (section 4).
inline constexpr std::string_view no_files_words = "No files available at the moment";

/// What section 4 lets a client ask of a list.
struct list_request {
  std::string prefix{};  ///< Decoded. Only entries whose names begin with it; empty for all.
  bool mtime = false;    ///< Entries carry the time of modification.
};

/// Reads the parameters of a LIST_FILES line. `errc::bad_name` for a `%` without two hex
/// digits.
inline list_request parse_list_request(const parameters& params, std::error_code& ec) {
  ec.clear();
  list_request result;
  result.mtime = params.flag("mtime", ec);
  const auto text = params.value("prefix", ec);
  if (ec || !text) return result;
  auto prefix = unescape(*text);
  if (prefix) result.prefix = std::move(*prefix);
  else ec = errc::bad_name;
  return result;
}

/// The command line.
inline std::string format_list_request(const list_request& request) {
  std::string line{to_string(command::list_files)};
  if (!request.prefix.empty()) line.append(";prefix=") += escape_name(request.prefix);
  if (request.mtime) line += ";mtime";
  return line;
}

// ----------------------------------------------------------------------------------------- uploads

/// The details line of section 5.
template <class Digest>
struct upload_details {
  std::string name;          ///< Decoded.
  std::uint64_t size = 0;    ///< Bytes.
  std::optional<Digest> id;  ///< The digest that the client expects.
  /// No bytes follow: the name is added if the server holds that file. Only with `id`.
  bool have = false;
  std::optional<file_time> modified{};  ///< When the file was last modified.
  /// What the client calls this upload, to go on with it after a lost connection; see
  /// `is_resume_token`. Empty if it will not.
  std::string resume{};
  /// The bytes follow at once, without waiting for the ready line.
  bool nowait = false;
};

namespace detail {

/// Whether `key` stands behind the first field of a line, which may be malformed.
inline bool mentions(std::string_view line, std::string_view key) noexcept {
  while (take_field(line)) {
    const auto field = line.substr(0, line.find(';'));
    if (field.substr(0, field.find('=')) == key) return true;
  }
  return false;
}

}  // namespace detail

/// Reads a details line. The size is judged first, then the name, then the parameters; what was
/// judged before a refusal is set, and always whether `nowait` and `have` stand there.
template <class Digest>
upload_details<Digest> parse_upload_details(std::string_view line, std::error_code& ec) {
  ec.clear();
  upload_details<Digest> result;
  result.nowait = detail::mentions(line, "nowait");
  result.have = detail::mentions(line, "have");
  auto rest = line;
  const auto name_text = detail::take_field(rest);
  if (!name_text) {
    ec = errc::bad_request;
    return result;
  }
  const auto size = parse_size(detail::take_last_field(rest));
  if (!size) {
    ec = errc::bad_size;
    return result;
  }
  result.size = *size;
  auto name = unescape_name(*name_text);
  if (!name) {
    ec = errc::bad_name;
    return result;
  }
  result.name = std::move(*name);
  const auto params = parameters::parse(rest, ec);
  if (ec) return result;
  const auto id_text = params.value("id", ec);
  params.flag("nowait", ec);
  params.flag("have", ec);
  if (result.have && !id_text) ec = errc::bad_request;
  if (!ec) result.modified = detail::time_value(params, ec);
  const auto token = params.value("resume", ec);
  if (token && !is_resume_token(*token)) ec = errc::bad_request;
  if (token && !ec) result.resume = *token;
  if (ec || !id_text) return result;
  result.id = Digest::from_hex(*id_text);
  if (!result.id) ec = errc::bad_id;
  return result;
}

template <class Digest>
std::string format_upload_details(const upload_details<Digest>& details) {
  std::string line = escape_name(details.name) + ';' + std::to_string(details.size);
  if (details.id) line.append(";id=") += details.id->to_string();
  if (details.have) line += ";have";
  if (details.nowait) line += ";nowait";
  if (!details.resume.empty()) line.append(";resume=") += details.resume;
  return line + detail::format_modified(details.modified);
}

/// The ready line of section 5: words, and `offset` where the server has the first bytes already.
struct ready_line {
  std::optional<std::uint64_t> offset;
};

inline ready_line parse_ready(std::string_view line, std::error_code& ec) {
  auto rest = line;
  detail::take_last_field(rest);  // the words, which nobody compares
  const auto params = parameters::parse(rest, ec);
  ready_line result;
  if (!ec) result.offset = detail::range_value(params, "offset", ec);
  return result;
}

inline std::string format_ready(const ready_line& ready) {
  std::string line = "Ready to receive the file";
  if (ready.offset) line.append(";offset=") += std::to_string(*ready.offset);
  return line;
}

inline constexpr std::string_view upload_prompt = "Please send the file name and file size";
inline constexpr std::string_view download_prompt = "Please send a file ID";

// ---------------------------------------------------------------------------------------- features

/// What a server can do (section 7). Version 0 is a server without FEATURES, to which no parameter
/// may be sent.
struct server_features {
  std::uint64_t version = 0;
  std::string digest;                     ///< As `Hasher::name()` has it; empty if not said.
  std::optional<std::uint64_t> max_size;  ///< Bytes of the largest file that it takes.
  bool resume = false;                    ///< Keeps what arrived of an upload that broke.
  bool have = false;                      ///< Takes `have` in a details line,
  bool nowait = false;                    ///< and `nowait`.
  bool prefix = false;                    ///< Takes `prefix` in a LIST_FILES line.
  bool mtime = false;                     ///< Keeps times, and tells of them.
};

/// Adds one line of a FEATURES reply to `features`; unknown ones are skipped.
inline server_features with_feature(server_features features, std::string_view line,
                                    std::error_code& ec) {
  ec.clear();
  const auto equals = std::min(line.find('='), line.size());
  const auto key = line.substr(0, equals);
  const auto value = line.substr(std::min(equals + 1, line.size()));
  const auto number = parse_size(value);
  if (key == "digest") features.digest = value;
  if (line == "resume") features.resume = true;
  if (line == "have") features.have = true;
  if (line == "nowait") features.nowait = true;
  if (line == "prefix") features.prefix = true;
  if (line == "mtime") features.mtime = true;
  if (key == "version" || key == "max-size") {
    if (!number) ec = errc::bad_request;
    else if (key == "version") features.version = *number;
    else features.max_size = *number;
  }
  return features;
}

/// The reply's lines, each with its LF, and the empty line that ends them.
inline std::string format_features(const server_features& features) {
  std::string lines = "version=";
  lines += std::to_string(features.version);
  lines.append("\ndigest=") += features.digest;
  if (features.resume) lines += "\nresume";
  if (features.have) lines += "\nhave";
  if (features.nowait) lines += "\nnowait";
  if (features.mtime) lines += "\nmtime";
  if (features.prefix) lines += "\nprefix";
  if (features.max_size) lines.append("\nmax-size=") += std::to_string(*features.max_size);
  return lines + "\n\n";
}

}  // namespace filexfer

#endif
