#ifndef FILEXFER_BATCH_HPP
#define FILEXFER_BATCH_HPP

/// \file
/// Elements and ranges for a client's operations on many files.

#include <filexfer/fields.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>

#include <concepts>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace filexfer {

/// One of many files to upload.
///
/// \tparam Source  A `byte_source`, or a reference to one.
/// \tparam Digest  The type of ids.
template <class Source, class Digest>
struct upload_item {
  Source source;                   ///< The file's bytes.
  upload_request<Digest> request;  ///< Its name, and what else is known of it.
};

/// One of many files to download.
///
/// \tparam Sink  A `byte_sink`, or a reference to one.
/// \tparam Digest  The type of ids.
template <class Sink, class Digest>
struct download_item {
  Digest id;  ///< The file's id.
  Sink sink;  ///< Receives its bytes.
};

/// A file that the server may hold already, and a name to add for it.
///
/// \tparam Digest  The type of ids.
template <class Digest>
struct name_request {
  std::string name;                     ///< Decoded; see `is_name`.
  std::uint64_t size = 0;               ///< Bytes.
  Digest id{};                          ///< The file's id.
  std::optional<file_time> modified{};  ///< Kept with the name by a server that keeps times.
  /// Whether the file may be executed; kept with the name by a server that keeps this.
  std::optional<bool> executable{};
};

namespace detail {

template <class Files>
using element_of = std::remove_reference_t<decltype(*std::begin(std::declval<Files&>()))>;

}  // namespace detail

/// A range that can be traversed once, whose iterators return lvalue references. An element is used
/// until the iterator is incremented, so the increment may create the next one.
template <class Files>
concept file_range = requires(Files& files) {
  { std::begin(files) == std::end(files) } -> std::convertible_to<bool>;
  ++std::declval<decltype(std::begin(files))&>();
  requires std::is_lvalue_reference_v<decltype(*std::begin(files))>;
};

/// Files to upload: elements have the members of `upload_item`.
template <class Files, class Digest>
concept upload_range = file_range<Files> && requires(detail::element_of<Files>& file) {
  requires byte_source<std::remove_reference_t<decltype(file.source)>>;
  { file.request } -> std::convertible_to<upload_request<Digest>>;
};

/// Files to download: elements have the members of `download_item`. Each must live until its result
/// has been reported. While some sinks are committed, on the work executor, others receive bytes.
template <class Files, class Digest>
concept download_range = file_range<Files> && requires(detail::element_of<Files>& file) {
  requires byte_sink<std::remove_reference_t<decltype(file.sink)>>;
  { file.id } -> std::convertible_to<Digest>;
};

/// Files to query the server for: elements convert to `name_request`.
template <class Files, class Digest>
concept name_range =
    file_range<Files> && std::convertible_to<detail::element_of<Files>&, name_request<Digest>>;

}  // namespace filexfer

#endif
