#ifndef FILEXFER_DETAIL_RADOS_LISTING_HPP
#define FILEXFER_DETAIL_RADOS_LISTING_HPP

#include <filexfer/detail/rados/index.hpp>
#include <filexfer/detail/rados/operation.hpp>
#include <filexfer/detail/rados/publishing.hpp>
#include <filexfer/entry.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Iterates over the index: reads a page of several objects at a time.
template <class Digest>
class rados_listing {
 public:
  explicit rados_listing(const rados_context& store) : store_{&store} {}

  /// The next name, or nothing at the end and on failure; `record()` is its file's then.
  std::optional<file_info<Digest>> next(std::error_code& ec) {
    ec.clear();
    for (;;) {
      while (pairs_.empty()) {
        if (!read_on(ec)) return std::nullopt;
      }
      const auto pair = pairs_.extract(pairs_.begin());
      const std::string& key = pair.key();
      const auto slash = key.find('/');
      if (slash == key.npos) {
        const auto id = Digest::from_hex(key);
        record_ = id ? stored_record::parse(pair.mapped()) : std::nullopt;
        if (record_) id_ = *id;
        id_text_ = key;
      } else if (record_ && id_text_.size() == slash && key.starts_with(id_text_)) {
        const auto attributes = parse_attributes(pair.mapped());
        return file_info<Digest>{id_, key.substr(slash + 1), record_->size, attributes.modified,
                                 attributes.executable};
      }
    }
  }

  const stored_record& record() const noexcept { return *record_; }

 private:
  static constexpr std::size_t pages_in_flight = 16;
  static constexpr std::uint64_t page_size = 1000;
  /// Sorts before all ids, and after what is not listed.
  static constexpr std::string_view before_ids = "/";

  struct page {
    std::string object;
    std::string after;
    omap_read reading;

    void start(rados_ioctx_t pool) {
      const omap_read::page wanted[] = {{after, {}, page_size}};
      reading.start(pool, object, wanted);
    }
  };

  /// Takes the pairs of the first page; false at the end and on failure.
  bool read_on(std::error_code& ec) {
    while (pages_.size() < pages_in_flight && next_object_ < store_->index_objects) {
      auto& added = pages_.emplace_back(std::make_unique<page>());
      added->object = index_object(next_object_++);
      added->after = before_ids;
      added->start(store_->pool);
    }
    if (pages_.empty()) return false;
    page& first = *pages_.front();
    pairs_ = first.reading.wait(ec);
    if (ec) {
      pages_.clear();
      next_object_ = store_->index_objects;
      return false;
    }
    if (first.reading.has_more(0) && !pairs_.empty()) {
      first.after = pairs_.rbegin()->first;
      first.start(store_->pool);
    } else {
      pages_.pop_front();
    }
    return true;
  }

  const rados_context* store_;
  std::size_t next_object_ = 0;
  std::deque<std::unique_ptr<page>> pages_;
  omap_pairs pairs_;
  std::optional<stored_record> record_;
  Digest id_{};
  std::string id_text_;
};

}  // namespace filexfer::detail

#endif
