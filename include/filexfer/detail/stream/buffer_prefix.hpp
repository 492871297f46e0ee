#ifndef FILEXFER_DETAIL_STREAM_BUFFER_PREFIX_HPP
#define FILEXFER_DETAIL_STREAM_BUFFER_PREFIX_HPP

#include <asio/buffer.hpp>

#include <algorithm>
#include <array>
#include <cstddef>

namespace filexfer::detail {

/// The first `limit` bytes of a buffer sequence, fewer if they lie in more than 16 buffers. It is a
/// buffer sequence, too. Empty buffers are skipped.
template <class Buffer>
class buffer_prefix {
 public:
  using value_type = Buffer;
  using const_iterator = const Buffer*;

  template <class Buffers>
  buffer_prefix(const Buffers& buffers, std::size_t limit) noexcept {
    const auto end = asio::buffer_sequence_end(buffers);
    for (auto i = asio::buffer_sequence_begin(buffers); i != end && limit > 0; ++i) {
      const Buffer piece = asio::buffer(Buffer{*i}, limit);
      if (piece.size() == 0) continue;
      if (count_ == pieces_.size()) break;
      pieces_[count_++] = piece;
      limit -= piece.size();
    }
  }

  const_iterator begin() const noexcept { return pieces_.data(); }
  const_iterator end() const noexcept { return pieces_.data() + count_; }

 private:
  std::array<Buffer, 16> pieces_;
  std::size_t count_ = 0;
};

}  // namespace filexfer::detail

#endif
