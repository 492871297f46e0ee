#ifndef FILEXFER_DETAIL_RADOS_PUBLISHING_HPP
#define FILEXFER_DETAIL_RADOS_PUBLISHING_HPP

// Changes of the index of a `rados_store`. Each reads what the index says of an id, and makes one
// change that is valid only as long as that is so; otherwise it begins again.

#include <filexfer/detail/rados/chunks.hpp>
#include <filexfer/detail/rados/index.hpp>
#include <filexfer/detail/rados/operation.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// What all operations of a `rados_store` share.
struct rados_context {
  rados_ioctx_t pool = nullptr;
  std::size_t index_objects = 1;
  std::size_t chunk_size = 1;
  std::function<void(std::string_view)> log{};
};

/// How often a change begins again, since others change the same id, before it is given up.
inline constexpr int max_index_attempts = 100;

/// Objects that hold bytes which may be removed, with the time since when: readers that are open
/// use them for a while.
inline constexpr const char* garbage_object = "garbage";

inline std::chrono::seconds seconds_since_epoch() {
  return std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::system_clock::now().time_since_epoch());
}

/// Notes that the bytes of a file are to be removed.
inline void note_garbage(rados_ioctx_t pool, const std::string& id, const stored_record& record) {
  if (record.size == 0) return;
  rados_write note;
  note.set(record.bytes, std::to_string(seconds_since_epoch().count()) + ' ' + id + ' ' +
                             std::to_string(chunk_count(record.size, record.chunk_size)));
  static_cast<void>(note.perform(pool, garbage_object));  // else they are found as leftovers
}

/// Whether reading bytes has failed since they are damaged: an object is missing, too short, or
/// unreadable in all replicas. That can pass: it counts if it happens twice.
inline bool is_damage(std::error_code ec) noexcept {
  return ec == std::errc::no_such_file_or_directory || ec == errc::io || ec == std::errc::io_error;
}

/// Hashes stored bytes, and returns whether they are those of `id`. If they can't be read, sets
/// `ec`, but not for damage; to `operation_canceled` if `goes_on(bytes)` is false after a read.
template <hasher Hasher, class GoesOn>
bool has_digest(chunk_reader reader, const typename Hasher::digest_type& id,
                std::span<std::byte> buffer, GoesOn goes_on, std::error_code& ec) {
  ec.clear();
  Hasher hash;
  for (std::uint64_t left = reader.size(); left > 0;) {
    const std::size_t got = reader.read(buffer, ec);
    if (is_damage(ec)) {
      ec.clear();
      return false;
    }
    if (!ec && !goes_on(got)) ec = make_error_code(std::errc::operation_canceled);
    if (ec) return false;
    hash.update(buffer.first(got));
    left -= got;
  }
  return hash.finish() == id;
}

/// Takes a damaged file off the list with all its names, and keeps what the index said of it.
/// Returns whether it was; not if something was changed meanwhile.
template <class Digest>
bool set_aside(const rados_context& store, const Digest& digest, const stored_record& record,
               std::error_code& ec) {
  const std::string id = digest.to_string();
  const std::string object = index_object(digest, store.index_objects);
  const std::string names = id + '/';
  const std::string aside = '!' + names + record.bytes;
  rados_write change;
  change.expect(id, record.text());
  std::vector<std::string> from{id};
  std::vector<std::pair<std::string, std::string>> to{{aside, record.text()}};
  const auto add = [&](const std::string& key, const std::string& value) {
    from.push_back(key);
    to.emplace_back(aside + '/' + key.substr(names.size()), value);
    return true;
  };
  for_each_pair(store.pool, object, names, add, ec);
  if (ec) return false;
  const int result = change.move_all(from, to).perform(store.pool, object);
  if (is_unexpected(result)) return false;
  ec = rados_error(result);
  if (!ec && store.log) store.log(id + " is damaged: it was set aside in " + object);
  return !ec;
}

/// Publishes a file that has arrived, or adds a name to one that is stored. Several can run at a
/// time: each call of `advance` waits for one step, and starts the next. The writer of what has
/// arrived knows afterwards whether its bytes are needed, see `chunk_writer::may_be_published`.
template <hasher Hasher>
class rados_publishing {
 public:
  using digest_type = typename Hasher::digest_type;

  /// `arrived` is null to add a name only. It and the store must outlive this object.
  rados_publishing(const rados_context& store, const digest_type& id, std::uint64_t size,
                   std::string_view name, const file_attributes& wanted, chunk_writer* arrived)
      : store_{store},
        id_{id},
        size_{size},
        name_{name},
        wanted_{wanted},
        arrived_{arrived},
        id_text_{id.to_string()},
        object_{index_object(id, store.index_objects)} {}

  void start() {
    if (arrived_ != nullptr) arrived_->start_claim(id_text_);
    look_up();
  }

  /// Returns whether there are more steps.
  bool advance() {
    switch (step_) {
      case step::look_up: decide(); break;
      case step::change: finish(); break;
      case step::done: break;
    }
    return step_ != step::done;
  }

  /// Why the file does not have the name, once all steps are done.
  std::error_code error() const noexcept { return failed_; }
  /// Whether the store holds the file.
  bool found() const noexcept { return found_; }

 private:
  enum class step { look_up, change, done };
  static constexpr std::size_t compared_size = std::size_t{256} * 1024;  ///< At a time.

  void look_up() {
    step_ = step::look_up;
    lookup_.start(store_.pool, object_, id_text_, name_,
                  arrived_ != nullptr ? arrived_->bytes() : std::string{});
  }

  void end(std::error_code why) {
    failed_ = why;
    step_ = step::done;
  }

  void decide() {
    std::error_code ec;
    if (arrived_ != nullptr) ec = arrived_->finish_claim();
    const index_entry entry = lookup_.wait(failed_);
    if (!ec) ec = failed_;
    if (ec) {
      end(ec);
      return;
    }
    if (arrived_ != nullptr) {  // they are there if librados has sent a change twice
      arrived_->may_be_published(entry.record && entry.record->bytes == arrived_->bytes());
    }
    if (++attempts_ > max_index_attempts) {
      ec = make_error_code(std::errc::operation_would_block);
    } else if (entry.record && arrived_ != nullptr) {
      const bool equal = has_equal_bytes(*entry.record, ec);
      if (!ec && !equal) {
        set_damaged_aside(*entry.record);
        return;
      }
    } else if (arrived_ == nullptr && (!entry.record || entry.record->size != size_)) {
      end({});
      return;
    } else if (!entry.record && entry.is_fenced) {
      ec = make_error_code(std::errc::file_exists);  // they were taken for leftovers
    }
    found_ = true;
    if (!ec && (entry.name_conflicts || !is_name(name_))) ec = errc::bad_name;
    if (ec) end(ec);
    else start_change(entry);
  }

  void start_change(const index_entry& entry) {
    file_attributes attributes{std::chrono::system_clock::now(), false};
    if (entry.name) attributes = parse_attributes(*entry.name);
    if (wanted_.modified) attributes.modified = wanted_.modified;
    if (wanted_.executable) attributes.executable = wanted_.executable;
    const std::string text = format_attributes(attributes);
    if (entry.name == text) {
      end({});
      return;
    }
    rados_write change;
    change.expect(id_text_, entry.record ? entry.record->text() : std::string{});
    if (!entry.record) {
      const stored_record record{arrived_->bytes(), size_, arrived_->chunk_size(), 0};
      change.expect(fence_key(record.bytes), {}).set(id_text_, record.text());
    } else if (!entry.name) {
      stored_record record = *entry.record;
      ++record.names_changed;
      change.set(id_text_, record.text());
    }
    change.set(id_text_ + '/' + name_, text);
    publishes_ = !entry.record;
    // From here on, whatever happens, until it is known that it was not.
    if (publishes_) arrived_->may_be_published(true);
    change.start(changing_, store_.pool, object_);
    step_ = step::change;
  }

  void finish() {
    const int result = changing_.wait();
    if (is_unexpected(result)) {
      look_up();
      return;
    }
    const bool had_no_effect = result == -ENOSPC || result == -EDQUOT;
    if (had_no_effect && publishes_) arrived_->may_be_published(false);
    end(rados_error(result));
  }

  /// Whether the stored bytes are those that have arrived. If not, and they have the digest, too,
  /// sets `errc::collision`; if they have not, they are damaged.
  bool has_equal_bytes(const stored_record& record, std::error_code& ec) {
    if (record.bytes == arrived_->bytes()) return true;
    if (record.size == size_ && compare(record, ec)) return true;
    if (ec) return false;
    std::vector<std::byte> buffer(compared_size);
    const auto always = [](std::size_t) { return true; };
    if (has_digest<Hasher>(reader_of(record), id_, buffer, always, ec)) ec = errc::collision;
    return false;
  }

  chunk_reader reader_of(const stored_record& record) const {
    return {store_.pool, record.bytes, record.size, record.chunk_size};
  }

  bool compare(const stored_record& record, std::error_code& ec) {
    std::vector<std::byte> stored(std::min<std::uint64_t>(compared_size, size_));
    std::vector<std::byte> read_back(arrived_->is_in_memory() ? 0 : stored.size());
    chunk_reader stored_bytes = reader_of(record);
    chunk_reader arrived_bytes = arrived_->reader();
    for (std::uint64_t offset = 0; offset < size_;) {
      const std::size_t got = stored_bytes.read(stored, ec);
      if (ec) {
        if (is_damage(ec)) ec.clear();
        return false;
      }
      std::span<const std::byte> other = arrived_->in_memory();
      if (arrived_->is_in_memory()) {
        other = other.subspan(static_cast<std::size_t>(offset), got);
      } else {
        other = std::span{read_back}.first(arrived_bytes.read(std::span{read_back}.first(got), ec));
        if (ec) return false;
      }
      if (!std::equal(other.begin(), other.end(), stored.begin(),
                      stored.begin() + static_cast<std::ptrdiff_t>(got))) {
        return false;
      }
      offset += got;
    }
    return true;
  }

  void set_damaged_aside(const stored_record& record) {
    std::error_code ec;
    set_aside(store_, id_, record, ec);
    if (ec) end(ec);
    else look_up();
  }

  const rados_context& store_;
  const digest_type id_;
  const std::uint64_t size_;
  const std::string name_;
  const file_attributes wanted_;
  chunk_writer* const arrived_;
  const std::string id_text_;
  const std::string object_;
  step step_ = step::look_up;
  int attempts_ = 0;
  index_lookup lookup_;
  rados_operation changing_;
  std::error_code failed_;
  bool found_ = false;
  bool publishes_ = false;  ///< The last change was to publish what has arrived.
};

/// Takes a name off a file, and the file off the list with its last name. Returns whether it had
/// the name.
template <class Digest>
bool remove_from_index(const rados_context& store, const Digest& digest, std::string_view name,
                       std::error_code& ec) {
  const std::string id = digest.to_string();
  const std::string object = index_object(digest, store.index_objects);
  const std::string names = id + '/';
  const std::string key = names + std::string{name};
  for (int attempt = 0; attempt < max_index_attempts; ++attempt) {
    const std::string keys[] = {id, key};
    const omap_read::page two_names[] = {{{}, names, 2}};
    omap_read reading;
    reading.start(store.pool, object, two_names, keys);
    omap_pairs pairs = reading.wait(ec);
    if (ec || !pairs.contains(id) || !pairs.contains(key)) return false;
    auto record = stored_record::parse(pairs[id]);
    if (!record) {
      ec = errc::store_failed;
      return false;
    }
    pairs.erase(key);
    const bool is_last = pairs.size() == 1;  // which is the record
    rados_write change;
    change.expect(id, record->text()).erase(key);
    ++record->names_changed;
    if (is_last) change.erase(id);
    else change.set(id, record->text());
    const int result = change.perform(store.pool, object);
    if (is_unexpected(result)) continue;
    ec = rados_error(result);
    if (!ec && is_last) note_garbage(store.pool, id, *record);
    return !ec;
  }
  ec = make_error_code(std::errc::operation_would_block);
  return false;
}

}  // namespace filexfer::detail

#endif
