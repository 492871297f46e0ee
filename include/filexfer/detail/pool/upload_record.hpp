#ifndef FILEXFER_DETAIL_POOL_UPLOAD_RECORD_HPP
#define FILEXFER_DETAIL_POOL_UPLOAD_RECORD_HPP

// What an upload job keeps of each file, and the files of a batch.

#include <filexfer/detail/pool/elements.hpp>
#include <filexfer/detail/pool/worker.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/results.hpp>
#include <filexfer/transfer_types.hpp>

#include <cstdint>
#include <functional>
#include <iterator>
#include <string>
#include <utility>

namespace filexfer::detail {

/// An upload job's state of a file.
template <class Clock>
struct upload_record : file_record<any_upload, Clock> {
  std::uint64_t size = 0;
  std::string token{};
  any_digest digest{};           ///< Empty if unknown.
  bool digest_was_read = false;  ///< `digest` is from an earlier read of the file, or the cache.
  bool digest_was_wrong = false;
  bool hash_first = false;  ///< An earlier job was interrupted: hashed before it is sent.
  bool restarted = false;   ///< Once, after a mismatch or a change of the file.

  void resume_alone() noexcept { this->alone = hash_first = true; }

  /// Always false: bytes that were sent don't prove that the server received them.
  static bool has_received() noexcept { return false; }

  void finish(transfer_outcome& outcome) {
    if (outcome.size == 0) outcome.size = size;
    this->progress.reset();
  }
};

/// An element of `opened_files`.
template <class Source, class Digest>
struct batched_upload {
  Source& source;
  upload_request<Digest> request;
};

/// The files of a batch. Each is opened when it is its turn, and closed after its last byte.
template <class Item>
class opened_files {
 public:
  /// \param open_next  Closes the current file and returns the next one; null at the end.
  explicit opened_files(std::function<Item*()> open_next) : open_next_{std::move(open_next)} {}

  class iterator {
   public:
    explicit iterator(opened_files& all) : all_{&all}, item_{all.open_next_()} {}
    Item& operator*() const { return *item_; }
    iterator& operator++() {
      item_ = all_->open_next_();
      return *this;
    }
    bool operator==(std::default_sentinel_t) const { return item_ == nullptr; }

   private:
    opened_files* all_;
    Item* item_;
  };

  iterator begin() { return iterator{*this}; }
  std::default_sentinel_t end() const { return {}; }

 private:
  std::function<Item*()> open_next_;
};

}  // namespace filexfer::detail

#endif
