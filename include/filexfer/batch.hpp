#ifndef FILEXFER_BATCH_HPP
#define FILEXFER_BATCH_HPP

/// \file
/// Many files in one operation of a client: what its ranges hold.

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
template <class Source, class Digest>
struct upload_item {
  Source source;
  upload_request<Digest> request;
};

/// One of many files to download.
template <class Sink, class Digest>
struct download_item {
  Digest id;
  Sink sink;
};

/// A file that the server may hold already, and a name for it.
template <class Digest>
struct name_request {
  std::string name;        ///< Decoded; see `is_name`.
  std::uint64_t size = 0;  ///< Bytes.
  Digest id{};
  std::optional<file_time> modified{};  ///< Kept with the name by a server that keeps times.
};

namespace detail {

template <class Files>
using element_of = std::remove_reference_t<decltype(*std::begin(std::declval<Files&>()))>;

}  // namespace detail

/// What can be gone through once from begin to end, whose elements are there to refer to. An
/// element is used until the iterator is incremented, so it may be made only then.
template <class Files>
concept file_range = requires(Files& files) {
  { std::begin(files) == std::end(files) } -> std::convertible_to<bool>;
  ++std::declval<decltype(std::begin(files))&>();
  requires std::is_lvalue_reference_v<decltype(*std::begin(files))>;
};

/// Files to upload: elements are like `upload_item`.
template <class Files, class Digest>
concept upload_range = file_range<Files> && requires(detail::element_of<Files>& file) {
  requires byte_source<std::remove_reference_t<decltype(file.source)>>;
  { file.request } -> std::convertible_to<upload_request<Digest>>;
};

/// Files to download: elements are like `download_item`. They must live until their result has
/// come.
template <class Files, class Digest>
concept download_range = file_range<Files> && requires(detail::element_of<Files>& file) {
  requires byte_sink<std::remove_reference_t<decltype(file.sink)>>;
  { file.id } -> std::convertible_to<Digest>;
};

/// Files to ask for: elements are `name_request`s.
template <class Files, class Digest>
concept name_range =
    file_range<Files> && std::convertible_to<detail::element_of<Files>&, name_request<Digest>>;

}  // namespace filexfer

#endif
