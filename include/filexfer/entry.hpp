#ifndef FILEXFER_ENTRY_HPP
#define FILEXFER_ENTRY_HPP

/// \file
/// A file as a server tells of it, and how a client asks for one: entries and id lines (the
/// protocol's sections 2 and 6). `protocol.hpp` has the rest of the wire.

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

/// The parameter, or nothing where there is no time.
inline std::string format_modified(const std::optional<file_time>& modified) {
  return modified ? ";mtime=" + format_time(*modified) : std::string{};
}

}  // namespace detail

/// A file as a server lists it: `id;name;size`.
template <class Digest>
struct file_info {
  Digest id{};
  std::string name;        ///< Decoded. A label from the peer: never a path as it is.
  std::uint64_t size = 0;  ///< Bytes.
  /// When it was last modified, where that is known: a client has it if it asked for it.
  std::optional<file_time> modified{};

  friend bool operator==(const file_info&, const file_info&) = default;
};

/// `id;name;size`, and the time if there is one.
template <class Digest>
std::string format_entry(const file_info<Digest>& file) {
  return file.id.to_string() + ';' + escape_name(file.name) + ';' + std::to_string(file.size) +
         detail::format_modified(file.modified);
}

/// What section 6 lets a client ask of a download.
template <class Digest>
struct download_request {
  Digest id{};
  std::optional<std::uint64_t> offset{};  ///< Bytes to skip.
  std::optional<std::uint64_t> length{};  ///< Bytes to send at most.
  bool mtime = false;                     ///< The entry carries the time of modification.
};

/// An entry line with the parameters that were applied.
template <class Digest>
struct download_entry {
  file_info<Digest> file;
  std::optional<std::uint64_t> offset;
  std::optional<std::uint64_t> length;  ///< Bytes that follow, where that was asked for.

  /// How many bytes follow the line.
  std::uint64_t bytes() const noexcept {
    return length ? *length : file.size - std::min(offset.value_or(0), file.size);
  }
};

namespace detail {

/// Cuts the text up to the next `;`, and that `;`, from `rest`; nothing if there is no `;` (then
/// `rest` is whole).
inline std::optional<std::string_view> take_field(std::string_view& rest) noexcept {
  const auto end = rest.find(';');
  if (end == std::string_view::npos) return std::nullopt;
  const auto field = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return field;
}

/// Cuts the last fixed field from `rest`; what stays are the parameters with their leading `;`.
inline std::string_view take_last_field(std::string_view& rest) noexcept {
  const auto field = rest.substr(0, rest.find(';'));
  rest.remove_prefix(field.size());
  return field;
}

/// The value of a parameter that is a byte count; `errc::bad_range` if it is none.
inline std::optional<std::uint64_t> range_value(const parameters& params, std::string_view key,
                                                std::error_code& ec) {
  const auto text = params.value(key, ec);
  if (!text) return std::nullopt;
  const auto number = parse_size(*text);
  if (!number && !ec) ec = errc::bad_range;
  return number;
}

/// The time of modification, where there is one; `errc::bad_request` if it is malformed.
inline std::optional<file_time> time_value(const parameters& params, std::error_code& ec) {
  const auto text = params.value("mtime", ec);
  if (!text) return std::nullopt;
  const auto time = parse_time(*text);
  if (!time && !ec) ec = errc::bad_request;
  return time;
}

template <class Range>
std::string format_range(const Range& range) {
  std::string text;
  if (range.offset) text.append(";offset=") += std::to_string(*range.offset);
  if (range.length) text.append(";length=") += std::to_string(*range.length);
  return text;
}

}  // namespace detail

/// Reads an entry of a list or before a download's bytes. Parameters of other meaning are
/// ignored.
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
  return result;
}

template <class Digest>
std::string format_entry(const download_entry<Digest>& entry) {
  return format_entry(entry.file) + detail::format_range(entry);
}

/// Reads the id line of section 6.
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
  return result;
}

template <class Digest>
std::string format_download_request(const download_request<Digest>& request) {
  auto line = request.id.to_string() + detail::format_range(request);
  if (request.mtime) line += ";mtime";
  return line;
}

}  // namespace filexfer

#endif
