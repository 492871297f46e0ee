#ifndef FILEXFER_FEATURES_HPP
#define FILEXFER_FEATURES_HPP

/// \file
/// What a server supports: the reply to FEATURES (section 7 of the protocol).

#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace filexfer {

/// What a server sends as `version` (section 7).
inline constexpr std::uint64_t protocol_version = 1;

/// What a server supports (section 7).
struct server_features {
  /// Of the protocol; 0 for a server without FEATURES, to which no parameter may be sent.
  std::uint64_t version = 0;
  std::string digest;                     ///< A `Hasher::name()`; empty if unknown.
  std::optional<std::uint64_t> max_size;  ///< Size of the largest file that it accepts, in bytes.
  bool resume = false;                    ///< Keeps interrupted uploads, to be resumed.
  bool have = false;                      ///< Accepts `have` in a details line.
  bool nowait = false;                    ///< Accepts `nowait` in a details line.
  bool prefix = false;                    ///< Accepts `prefix` in a LIST_FILES line.
  bool mtime = false;                     ///< Keeps times of modification, and sends them.
  bool exec = false;                      ///< Keeps which files are executable, and sends it.
  bool remove = false;                    ///< Accepts REMOVE.
  /// Length of the longest name that it accepts, in bytes.
  std::size_t max_name_length = default_max_name_length;
};

/// Parses one line of a FEATURES reply (section 7). Unknown features are skipped.
/// \snippet protocol.cpp features
///
/// \param features  Of the lines before.
/// \param line  Without its LF.
/// \param ec  `errc::bad_request` if the version or the maximum of sizes or names is no number;
/// else
///         cleared.
/// \return `features` with the feature of `line`.
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
  if (line == "exec") features.exec = true;
  if (line == "remove") features.remove = true;
  if (key == "version" || key == "max-size" || key == "max-name") {
    if (!number) ec = errc::bad_request;
    else if (key == "version") features.version = *number;
    else if (key == "max-size") features.max_size = *number;
    else
      features.max_name_length = std::clamp(static_cast<std::size_t>(*number),
                                            default_max_name_length, filexfer::max_name_length);
  }
  return features;
}

/// Formats a FEATURES reply (section 7).
/// \snippet protocol.cpp features
///
/// \param features  What the server supports.
/// \return All lines, each with its LF, and the empty line that ends them.
inline std::string format_features(const server_features& features) {
  std::string lines = "version=";
  lines += std::to_string(features.version);
  lines.append("\ndigest=") += features.digest;
  if (features.resume) lines += "\nresume";
  if (features.have) lines += "\nhave";
  if (features.nowait) lines += "\nnowait";
  if (features.mtime) lines += "\nmtime";
  if (features.exec) lines += "\nexec";
  if (features.prefix) lines += "\nprefix";
  if (features.remove) lines += "\nremove";
  if (features.max_name_length > default_max_name_length) {
    lines.append("\nmax-name=") += std::to_string(features.max_name_length);
  }
  if (features.max_size) lines.append("\nmax-size=") += std::to_string(*features.max_size);
  return lines + "\n\n";
}

}  // namespace filexfer

#endif
