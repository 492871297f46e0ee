#ifndef FILEXFER_DESCRIPTOR_SINK_HPP
#define FILEXFER_DESCRIPTOR_SINK_HPP

/// \file
/// A sink for standard output, pipes and the like.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/storage.hpp>

#include <cstddef>
#include <span>
#include <system_error>

namespace filexfer {

/// Writes bytes to a descriptor as they arrive, such as to standard output: they are visible before
/// they are verified.
/// \snippet files.cpp descriptor_sink
class descriptor_sink {
 public:
  /// \param descriptor  Owned by the caller; must stay open while the sink is used.
  explicit descriptor_sink(int descriptor) noexcept : descriptor_{descriptor} {}

  /// Writes all of `bytes`.
  /// \param bytes  The next bytes.
  /// \param ec  Cleared, or set to the system's code.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    detail::write_all(descriptor_, bytes, ec);
  }
  /// Does nothing: the bytes are written already.
  /// \param ec  Cleared.
  static void commit(std::error_code& ec) { ec.clear(); }

 private:
  int descriptor_;
};

static_assert(byte_sink<descriptor_sink>);

}  // namespace filexfer

#endif
