#ifndef FILEXFER_ENTRY_HPP
#define FILEXFER_ENTRY_HPP

/// \file
/// Entries, which describe a server's files, and id lines, which request one (sections 2 and 6 of
/// the protocol). `protocol.hpp` has the other lines, and what holds for all of them.

#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer {

namespace detail {

/// The `mtime` parameter; empty if there is no time.
inline std::string format_modified(const std::optional<file_time>& modified) {
  return modified ? ";mtime=" + format_time(*modified) : std::string{};
}

/// The `exec` parameter of a details line; empty if nothing is to be said.
inline std::string format_executable(const std::optional<bool>& executable) {
  if (!executable) return {};
  return *executable ? ";exec=1" : ";exec=0";
}

}  // namespace detail

/// A file in a list or a download: `id;name;size` (section 2).
///
/// \tparam Digest  The type of ids: a `digest`, or `any_digest`.
template <class Digest>
struct file_info {
  Digest id{};             ///< The digest of the whole file.
  std::string name;        ///< Decoded. A label from the peer: never use it as a path unchecked.
  std::uint64_t size = 0;  ///< Bytes.
  /// When it was last modified, if known: a client knows it if it requested it.
  std::optional<file_time> modified{};
  /// Whether it may be executed, if known: a client knows it if it requested it.
  std::optional<bool> executable{};

  /// Compares all members.
  friend bool operator==(const file_info&, const file_info&) = default;
};

/// Formats an entry of a list (section 4).
///
/// \param file  The file.
/// \return The line: `id;name;size`, the time of modification if there is one, and `exec=1` for an
///         executable file.
template <class Digest>
std::string format_entry(const file_info<Digest>& file) {
  return file.id.to_string() + ';' + escape_name(file.name) + ';' + std::to_string(file.size) +
         detail::format_modified(file.modified) +
         (file.executable.value_or(false) ? detail::format_executable(true) : std::string{});
}

/// The id line of a download (section 6).
///
/// \tparam Digest  The type of ids.
template <class Digest>
struct download_request {
  Digest id{};                            ///< The file's id.
  std::optional<std::uint64_t> offset{};  ///< Bytes to skip.
  std::optional<std::uint64_t> length{};  ///< Most bytes to send.
  bool mtime = false;                     ///< Requests the time of modification.
  bool exec = false;                      ///< Requests whether the file is executable.
};

/// The entry line of a download, with the parameters that were applied (section 6).
///
/// \tparam Digest  The type of ids.
template <class Digest>
struct download_entry {
  file_info<Digest> file;               ///< The file.
  std::optional<std::uint64_t> offset;  ///< Bytes that were skipped, if requested.
  std::optional<std::uint64_t> length;  ///< Bytes that follow, if a length was requested.

  /// \return How many bytes follow the line.
  std::uint64_t bytes() const noexcept {
    return length ? *length : file.size - std::min(offset.value_or(0), file.size);
  }
};

namespace detail {

/// Removes the next field and its `;` from `rest`. Returns nothing, and leaves `rest` as it is, if
/// there is no `;`.
inline std::optional<std::string_view> take_field(std::string_view& rest) noexcept {
  const auto end = rest.find(';');
  if (end == std::string_view::npos) return std::nullopt;
  const auto field = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return field;
}

/// Removes the last fixed field from `rest`, which leaves the parameters with their leading `;`.
inline std::string_view take_last_field(std::string_view& rest) noexcept {
  const auto field = rest.substr(0, rest.find(';'));
  rest.remove_prefix(field.size());
  return field;
}

/// The value of a parameter that counts bytes. Sets `errc::bad_range` if it is malformed.
inline std::optional<std::uint64_t> range_value(const parameters& params, std::string_view key,
                                                std::error_code& ec) {
  const auto text = params.value(key, ec);
  if (!text) return std::nullopt;
  const auto number = parse_size(*text);
  if (!number && !ec) ec = errc::bad_range;
  return number;
}

/// The value of `mtime`, if there is one. Sets `errc::bad_request` if it is malformed.
inline std::optional<file_time> time_value(const parameters& params, std::error_code& ec) {
  const auto text = params.value("mtime", ec);
  if (!text) return std::nullopt;
  const auto time = parse_time(*text);
  if (!time && !ec) ec = errc::bad_request;
  return time;
}

/// The value of `exec`, if there is one. Sets `errc::bad_request` if it is malformed.
inline std::optional<bool> executable_value(const parameters& params, std::error_code& ec) {
  const auto text = params.value("exec", ec);
  if (!text) return std::nullopt;
  if (*text != "0" && *text != "1" && !ec) ec = errc::bad_request;
  return *text == "1";
}

template <class Range>
std::string format_range(const Range& range) {
  std::string text;
  if (range.offset) text.append(";offset=") += std::to_string(*range.offset);
  if (range.length) text.append(";length=") += std::to_string(*range.length);
  return text;
}

}  // namespace detail

/// Parses an entry of a list, or the entry line of a download (sections 4 and 6). Unknown
/// parameters are ignored.
/// \snippet protocol.cpp entry
///
/// \param line  Without its LF.
/// \param ec  `errc::bad_request` if fields are missing, or parameters or the time are malformed;
///         `errc::bad_id`, `errc::bad_name`, `errc::bad_size`; `errc::bad_range` if the offset or
///         the length is no number; else cleared.
/// \return The entry; incomplete after an error.
template <class Digest>
download_entry<Digest> parse_entry(std::string_view line, std::error_code& ec) {
  ec.clear();
  download_entry<Digest> result;
  auto rest = line;
  const auto id_text = detail::take_field(rest);
  const auto name_text = detail::take_field(rest);
  const auto size_text = detail::take_last_field(rest);
  if (!id_text || !name_text) {
    ec = errc::bad_request;
    return result;
  }
  const auto id = Digest::from_hex(*id_text);
  auto name = unescape_name(*name_text);
  const auto size = parse_size(size_text);
  if (!id) ec = errc::bad_id;
  if (!name) ec = errc::bad_name;
  if (!size) ec = errc::bad_size;
  if (ec) return result;
  result.file = {*id, std::move(*name), *size};
  const auto params = parameters::parse(rest, ec);
  if (!ec) result.offset = detail::range_value(params, "offset", ec);
  if (!ec) result.length = detail::range_value(params, "length", ec);
  if (!ec) result.file.modified = detail::time_value(params, ec);
  if (!ec) result.file.executable = detail::executable_value(params, ec);
  return result;
}

/// Formats the entry line of a download (section 6).
///
/// \param entry  The file, and the parameters that were applied.
/// \return The line.
template <class Digest>
std::string format_entry(const download_entry<Digest>& entry) {
  return format_entry(entry.file) + detail::format_range(entry);
}

/// Parses the id line of a download (section 6).
/// \snippet protocol.cpp download_request
///
/// \param line  Without its LF.
/// \param ec  `errc::bad_id`; `errc::bad_request` if parameters are malformed; `errc::bad_range` if
///         the offset or the length is no number; else cleared.
/// \return The request; incomplete after an error.
template <class Digest>
download_request<Digest> parse_download_request(std::string_view line, std::error_code& ec) {
  ec.clear();
  download_request<Digest> result;
  auto rest = line;
  const auto id = Digest::from_hex(detail::take_last_field(rest));
  if (!id) {
    ec = errc::bad_id;
    return result;
  }
  result.id = *id;
  const auto params = parameters::parse(rest, ec);
  if (!ec) result.offset = detail::range_value(params, "offset", ec);
  if (!ec) result.length = detail::range_value(params, "length", ec);
  if (!ec) result.mtime = params.flag("mtime", ec);
  if (!ec) result.exec = params.flag("exec", ec);
  return result;
}

/// Formats the id line of a download (section 6).
///
/// \param request  The file's id, and which part of it is requested.
/// \return The line.
template <class Digest>
std::string format_download_request(const download_request<Digest>& request) {
  auto line = request.id.to_string() + detail::format_range(request);
  if (request.mtime) line += ";mtime";
  if (request.exec) line += ";exec";
  return line;
}

}  // namespace filexfer

#endif
