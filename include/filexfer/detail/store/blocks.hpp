#ifndef FILEXFER_DETAIL_STORE_BLOCKS_HPP
#define FILEXFER_DETAIL_STORE_BLOCKS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace filexfer::detail {

/// A file's bytes in memory, in blocks, so that a large file is never moved as it grows.
class blocks {
 public:
  std::uint64_t size() const noexcept { return size_; }

  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      if (blocks_.empty() || blocks_.back().size() == block_size) blocks_.emplace_back();
      auto& last = blocks_.back();
      const auto part = bytes.first(std::min(bytes.size(), block_size - last.size()));
      last.insert(last.end(), part.begin(), part.end());
      size_ += part.size();
      bytes = bytes.subspan(part.size());
    }
  }

  /// Fills `to` from `offset` on; fewer bytes only at the end.
  std::size_t read(std::span<std::byte> to, std::uint64_t offset) const noexcept {
    std::size_t filled = 0;
    while (filled < to.size() && offset < size_) {
      const auto& block = blocks_[static_cast<std::size_t>(offset / block_size)];
      const auto start = static_cast<std::size_t>(offset % block_size);
      const auto count = std::min(to.size() - filled, block.size() - start);
      std::memcpy(to.data() + filled, block.data() + start, count);
      filled += count;
      offset += count;
    }
    return filled;
  }

  friend bool operator==(const blocks&, const blocks&) = default;

 private:
  static constexpr std::size_t block_size = std::size_t{256} * 1024;

  std::vector<std::vector<std::byte>> blocks_;
  std::uint64_t size_ = 0;
};

}  // namespace filexfer::detail

#endif
