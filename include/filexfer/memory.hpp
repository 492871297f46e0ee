#ifndef FILEXFER_MEMORY_HPP
#define FILEXFER_MEMORY_HPP

/// \file
/// A client's files in memory: `memory_source` to upload, `memory_sink` to download into.

#include <filexfer/error.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

namespace filexfer {

/// Reads bytes in memory, its own or the caller's.
/// \snippet files.cpp memory_source
class memory_source {
 public:
  /// Refers to the caller's bytes.
  /// \param bytes  Must stay valid and unchanged for as long as the source is read.
  explicit memory_source(std::span<const std::byte> bytes) noexcept : bytes_{bytes} {}

  /// Owns its bytes.
  /// \param bytes  The bytes.
  explicit memory_source(std::string bytes) noexcept : bytes_{std::move(bytes)} {}

  /// \return The number of bytes.
  std::uint64_t size() const noexcept { return bytes().size(); }

  /// Reads the next bytes.
  /// \param to  Is filled; not completely only at the end.
  /// \param ec  Cleared.
  /// \return The number of bytes read.
  std::size_t read(std::span<std::byte> to, std::error_code& ec) noexcept {
    ec.clear();
    const auto rest = bytes().subspan(offset_);
    const auto count = std::min(to.size(), rest.size());
    if (count != 0) std::memcpy(to.data(), rest.data(), count);
    offset_ += count;
    return count;
  }

  /// Sets where the next `read` begins.
  /// \param offset  In bytes, from 0 to `size()`.
  /// \param ec  Cleared, or set to `errc::bad_range` if the offset is past the end.
  void seek(std::uint64_t offset, std::error_code& ec) noexcept {
    ec.clear();
    if (offset > size()) ec = errc::bad_range;
    else offset_ = static_cast<std::size_t>(offset);
  }

 private:
  std::span<const std::byte> bytes() const noexcept {
    if (const auto* own = std::get_if<std::string>(&bytes_)) {
      return std::as_bytes(std::span{own->data(), own->size()});
    }
    return std::get<std::span<const std::byte>>(bytes_);
  }

  std::variant<std::span<const std::byte>, std::string> bytes_;
  std::size_t offset_ = 0;
};

/// Keeps a download in memory, which grows as bytes arrive, not by the size that the peer
/// announces.
/// \snippet files.cpp memory_sink
class memory_sink {
 public:
  /// \param limit  The maximum number of bytes.
  explicit memory_sink(std::uint64_t limit) noexcept : limit_{limit} {}

  /// Appends bytes. After a failure the sink can't be committed any more.
  /// \param bytes  The next bytes; they are copied.
  /// \param ec  Cleared, or set to `errc::too_large` if the limit is exceeded, also by later calls.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    full_ = full_ || bytes.size() > limit_ - bytes_.size();
    ec = full_ ? make_error_code(errc::too_large) : std::error_code{};
    if (!ec) bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  /// Makes the bytes available, once they are verified.
  /// \param ec  Cleared, or set to `errc::too_large` if the limit was exceeded.
  void commit(std::error_code& ec) noexcept {
    ec = full_ ? make_error_code(errc::too_large) : std::error_code{};
    verified_ = !ec;
  }

  /// \return The committed bytes, valid for as long as the sink is not changed; none before.
  std::span<const std::byte> bytes() const noexcept {
    return verified_ ? std::span{bytes_} : std::span<const std::byte>{};
  }

  /// \return The same as text.
  std::string_view text() const noexcept {
    const auto verified = bytes();
    return {reinterpret_cast<const char*>(verified.data()), verified.size()};
  }

  /// Moves the committed bytes out.
  /// \return The bytes; none if they are not committed.
  std::vector<std::byte> take() noexcept {
    if (!std::exchange(verified_, false)) return {};
    return std::exchange(bytes_, {});
  }

 private:
  std::uint64_t limit_;
  std::vector<std::byte> bytes_;
  bool full_ = false;
  bool verified_ = false;
};

static_assert(seekable_source<memory_source>);
static_assert(byte_sink<memory_sink>);

}  // namespace filexfer

#endif
