#ifndef FILEXFER_PROTOCOL_HPP
#define FILEXFER_PROTOCOL_HPP

/// \file
/// The lines of the protocol, version 1: parsing and formatting.
///
/// Pure functions on text, without I/O. A line is passed and returned without its LF. Section
/// numbers are those of the protocol, to which the README links. A `parse_*` function sets `ec` to
/// the refusal that section 8 has for the line, and clears it otherwise; a client reports any of
/// these for a server's line as `errc::malformed_reply`.

#include <filexfer/entry.hpp>
#include <filexfer/error.hpp>
#include <filexfer/features.hpp>
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

/// The commands of sections 4 to 7a.
enum class command {
  list_files,  ///< LIST_FILES, section 4.
  upload,      ///< UPLOAD, section 5.
  download,    ///< DOWNLOAD, section 6.
  features,    ///< FEATURES, section 7.
  remove,      ///< REMOVE, section 7a.
};

/// Formats a command.
/// \snippet protocol.cpp command
///
/// \param c  The command.
/// \return The word that a client sends.
constexpr std::string_view to_string(command c) noexcept {
  switch (c) {
    case command::list_files: return "LIST_FILES";
    case command::upload: return "UPLOAD";
    case command::download: return "DOWNLOAD";
    case command::features: return "FEATURES";
    case command::remove: return "REMOVE";
  }
  return {};
}

/// A command line. A view of the line, which must outlive it.
struct command_line {
  command verb = command::list_files;  ///< The command.
  parameters params;                   ///< Its parameters, known or not.
};

/// Parses a command line.
/// \snippet protocol.cpp command
///
/// \param line  Without its LF; must outlive the result.
/// \param ec  `errc::unknown_command`; `errc::bad_request` for a line that does not look like a
///         command, or whose parameters are malformed, after which a server closes; else cleared.
/// \return The command; meaningless after an error.
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
  } else if (word == "REMOVE") {
    result.verb = command::remove;
  } else {
    ec = errc::unknown_command;
  }
  return result;
}

// ------------------------------------------------------------------------------------------- lists

/// The line that begins the list of an empty store (section 4).
inline constexpr std::string_view empty_list_line = "No files available at the moment";

/// The parameters of LIST_FILES (section 4).
struct list_request {
  std::string prefix{};  ///< Decoded. Requests only names that begin with it; empty for all.
  bool mtime = false;    ///< Requests the times of modification.
  bool exec = false;     ///< Requests which files are executable.
};

/// Parses the parameters of LIST_FILES (section 4).
/// \snippet protocol.cpp command
///
/// \param params  Of the command line.
/// \param ec  `errc::bad_request` if `mtime` or `exec` has a value or `prefix` has none;
/// `errc::bad_name` for
///         a `%` that is not followed by two hex digits; else cleared.
/// \return The request; incomplete after an error.
inline list_request parse_list_request(const parameters& params, std::error_code& ec) {
  ec.clear();
  list_request result;
  result.mtime = params.flag("mtime", ec);
  result.exec = params.flag("exec", ec);
  const auto text = params.value("prefix", ec);
  if (ec || !text) return result;
  auto prefix = unescape(*text);
  if (prefix) result.prefix = std::move(*prefix);
  else ec = errc::bad_name;
  return result;
}

/// Formats the command line of LIST_FILES (section 4).
///
/// \param request  Its parameters.
/// \return The line.
inline std::string format_list_request(const list_request& request) {
  std::string line{to_string(command::list_files)};
  if (!request.prefix.empty()) line.append(";prefix=") += escape_name(request.prefix);
  if (request.mtime) line += ";mtime";
  if (request.exec) line += ";exec";
  return line;
}

// ----------------------------------------------------------------------------------------- uploads

/// The details line of an upload (section 5).
///
/// \tparam Digest  The type of ids.
template <class Digest>
struct upload_details {
  std::string name;          ///< Decoded.
  std::uint64_t size = 0;    ///< Bytes.
  std::optional<Digest> id;  ///< The digest that the client expects.
  /// No bytes follow: the server adds the name if it holds that file. Only with `id`.
  bool have = false;
  std::optional<file_time> modified{};  ///< When the file was last modified.
  std::optional<bool> executable{};     ///< Whether the file may be executed.
  /// The token to resume this upload with after the connection is lost; see `is_resume_token`.
  /// Empty for none.
  std::string resume{};
  /// The bytes follow at once, without waiting for the ready line.
  bool nowait = false;
};

namespace detail {

/// Whether a line has the parameter or field `key` after its first field. The line may be
/// malformed.
inline bool has_parameter(std::string_view line, std::string_view key) noexcept {
  while (take_field(line)) {
    const auto field = line.substr(0, line.find(';'));
    if (field.substr(0, field.find('=')) == key) return true;
  }
  return false;
}

}  // namespace detail

/// Parses the details line of an upload (section 5). Checks the size first, then the name, then the
/// parameters.
/// \snippet protocol.cpp upload_details
///
/// \param line  Without its LF.
/// \param ec  `errc::bad_request` if there is no size, parameters, the time or the token are
///         malformed, `exec` is neither 0 nor 1, or `have` comes without `id`; `errc::bad_size`,
///         `errc::bad_name`, `errc::bad_id`; else cleared.
/// \return The details. After an error, what was checked before it; `nowait` and `have` are always
///         set if the line has them.
template <class Digest>
upload_details<Digest> parse_upload_details(std::string_view line, std::error_code& ec) {
  ec.clear();
  upload_details<Digest> result;
  result.nowait = detail::has_parameter(line, "nowait");
  result.have = detail::has_parameter(line, "have");
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
  if (!ec) result.executable = detail::executable_value(params, ec);
  const auto token = params.value("resume", ec);
  if (token && !is_resume_token(*token)) ec = errc::bad_request;
  if (token && !ec) result.resume = *token;
  if (ec || !id_text) return result;
  result.id = Digest::from_hex(*id_text);
  if (!result.id) ec = errc::bad_id;
  return result;
}

/// Formats the details line of an upload (section 5).
///
/// \param details  The file and the parameters.
/// \return The line.
template <class Digest>
std::string format_upload_details(const upload_details<Digest>& details) {
  std::string line = escape_name(details.name) + ';' + std::to_string(details.size);
  if (details.id) line.append(";id=") += details.id->to_string();
  if (details.have) line += ";have";
  if (details.nowait) line += ";nowait";
  if (!details.resume.empty()) line.append(";resume=") += details.resume;
  return line + detail::format_modified(details.modified) +
         detail::format_executable(details.executable);
}

/// The ready line of an upload (section 5).
struct ready_line {
  std::optional<std::uint64_t> offset;  ///< Bytes that the server holds already, if any.
};

/// Parses the ready line of an upload (section 5).
/// \snippet protocol.cpp ready
///
/// \param line  Without its LF.
/// \param ec  `errc::bad_request` if parameters are malformed; `errc::bad_range` if the offset is
///         no number; else cleared.
/// \return The ready line; empty after an error.
inline ready_line parse_ready(std::string_view line, std::error_code& ec) {
  auto rest = line;
  detail::take_last_field(rest);  // the words, which have no meaning
  const auto params = parameters::parse(rest, ec);
  ready_line result;
  if (!ec) result.offset = detail::range_value(params, "offset", ec);
  return result;
}

/// Formats the ready line of an upload (section 5).
///
/// \param ready  Its parameters.
/// \return The line.
inline std::string format_ready(const ready_line& ready) {
  std::string line = "Ready to receive the file";
  if (ready.offset) line.append(";offset=") += std::to_string(*ready.offset);
  return line;
}

/// The reply to UPLOAD (section 5).
inline constexpr std::string_view upload_prompt = "Please send the file name and file size";
/// The reply to DOWNLOAD (section 6).
inline constexpr std::string_view download_prompt = "Please send a file ID";

// ---------------------------------------------------------------------------------------- removals

/// The line that names what to remove (section 7a).
///
/// \tparam Digest  The type of ids.
template <class Digest>
struct remove_request {
  Digest id{};       ///< The file's id.
  std::string name;  ///< The name to take off it, decoded.
};

/// Parses the line that names what to remove (section 7a).
/// \snippet removals.cpp remove_request
///
/// \param line  Without its LF.
/// \param ec  `errc::bad_request` if there are not two fields; `errc::bad_id`; `errc::bad_name`;
///         else cleared.
/// \return The request; incomplete after an error.
template <class Digest>
remove_request<Digest> parse_remove_request(std::string_view line, std::error_code& ec) {
  ec.clear();
  remove_request<Digest> result;
  auto rest = line;
  const auto id_text = detail::take_field(rest);
  if (!id_text || rest.find(';') != std::string_view::npos) {
    ec = errc::bad_request;
    return result;
  }
  const auto id = Digest::from_hex(*id_text);
  auto name = unescape_name(rest);
  if (!name) ec = errc::bad_name;
  if (!id) ec = errc::bad_id;
  if (!ec) result = {*id, std::move(*name)};
  return result;
}

/// Formats the line that names what to remove (section 7a).
///
/// \param request  The file and its name.
/// \return The line.
template <class Digest>
std::string format_remove_request(const remove_request<Digest>& request) {
  return request.id.to_string() + ';' + escape_name(request.name);
}

/// The reply to REMOVE (section 7a).
inline constexpr std::string_view remove_prompt = "Please send the file ID and file name";

}  // namespace filexfer

#endif
