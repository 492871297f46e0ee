#ifndef FILEXFER_MEMORY_STORE_HPP
#define FILEXFER_MEMORY_STORE_HPP

/// \file
/// A store in memory: for tests, for simulations, and for a server that need not remember.

#include <filexfer/detail/store/blocks.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/storage.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer {

/// How much a `memory_store` holds at most.
struct memory_store_options {
  std::uint64_t quota = std::uint64_t{1} << 30;  ///< Bytes of all files, arriving ones included.
  std::size_t max_names = 1'000'000;             ///< Entries of the list.
};

/// Keeps files in memory for as long as it lives. A model of `file_store`.
///
/// What a name may be, what happens when other bytes have the same digest, and which names can't
/// stand beside each other (`a` and `a/b` under one id) is as in `directory_store`. An upload's
/// size is reserved when it begins, but memory is taken only as bytes arrive. Several names of a
/// file share its bytes, and a reader keeps them alive.
template <hasher Hasher = md5>
class memory_store {
 public:
  using digest_type = typename Hasher::digest_type;

  class cursor;
  class reader;
  class upload;

  explicit memory_store(memory_store_options options = {}) noexcept : options_{options} {}
  memory_store(const memory_store&) = delete;
  memory_store& operator=(const memory_store&) = delete;

  /// Walks over the entries by id, then by name; it copies one at a time.
  cursor list(std::error_code& ec) const noexcept {
    ec.clear();
    return cursor{*this};
  }

  /// Opens the file with that id, under the first of its names; nothing if there is none.
  std::optional<opened_file<digest_type, reader>> open(const digest_type& id,
                                                       std::error_code& ec) const {
    ec.clear();
    const std::lock_guard lock{mutex_};
    const auto found = first_of(id);
    if (found == files_.end()) return std::nullopt;
    return opened_file<digest_type, reader>{info_of(*found), reader{found->second.bytes}};
  }

  /// Begins an upload. `errc::bad_name` if that is no name, `errc::no_space` if the store's quota
  /// does not leave that many bytes.
  std::optional<upload> create(const upload_details<digest_type>& details, std::error_code& ec) {
    ec.clear();
    if (!is_name(details.name)) {
      ec = errc::bad_name;
      return std::nullopt;
    }
    const std::lock_guard lock{mutex_};
    if (details.size > options_.quota - used_) {
      ec = errc::no_space;
      return std::nullopt;
    }
    upload arriving{*this, details};
    used_ += details.size;
    return arriving;
  }

  /// Stores the file with that id and size under `name` too, or gives the name that it has that
  /// time; false if there is none.
  /// `errc::bad_name` if the name is none or can't stand beside those that the file has,
  /// `errc::no_space` if the store has all the names that it takes.
  bool add_name(const digest_type& id, std::uint64_t size, std::string_view name,
                std::optional<file_time> modified, std::error_code& ec) {
    ec.clear();
    const std::lock_guard lock{mutex_};
    const auto found = first_of(id);
    if (found == files_.end() || found->second.bytes->size() != size) return false;
    show(id, name, found->second, modified, ec);
    return !ec;
  }

 private:
  using contents = std::shared_ptr<const detail::blocks>;
  using key = std::pair<digest_type, std::string>;
  struct named_file {
    contents bytes;
    file_time modified;
  };
  using file_map = std::map<key, named_file>;

  static file_info<digest_type> info_of(const typename file_map::value_type& entry) {
    const auto& [names, file] = entry;
    return {names.first, names.second, file.bytes->size(), file.modified};
  }

  /// The first entry of `id`. The mutex is held.
  typename file_map::const_iterator first_of(const digest_type& id) const {
    const auto found = files_.lower_bound(key{id, {}});
    return found != files_.end() && found->first.first == id ? found : files_.end();
  }

  /// The entry that follows `last`, or the first one.
  std::optional<file_info<digest_type>> after(const std::optional<key>& last) const {
    const std::lock_guard lock{mutex_};
    const auto next = last ? files_.upper_bound(*last) : files_.begin();
    if (next == files_.end()) return std::nullopt;
    return info_of(*next);
  }

  /// Whether a part of `name` is a file under `id`, or `name` a folder there. The mutex is held.
  bool clashes(const digest_type& id, std::string_view name) const {
    for (auto slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
      if (files_.contains(key{id, name.substr(0, slash)})) return true;
    }
    const auto folder = std::string{name} + '/';
    const auto inside = files_.lower_bound(key{id, folder});
    return inside != files_.end() && inside->first.first == id &&
           inside->first.second.starts_with(folder);
  }

  /// Puts `file` under `name`, with the time that was `given` for it. The mutex is held.
  void show(const digest_type& id, std::string_view name, named_file file,
            std::optional<file_time> given, std::error_code& ec) {
    auto k = key{id, name};
    if (!is_name(name) || clashes(id, name)) {
      ec = errc::bad_name;
    } else if (files_.size() >= options_.max_names && !files_.contains(k)) {
      ec = errc::no_space;
    } else {
      if (given) file.modified = *given;
      const auto [entry, added] = files_.try_emplace(std::move(k), std::move(file));
      if (!added && given) entry->second.modified = *given;
    }
  }

  /// Shows what arrived, unless other bytes are there. Returns whether these bytes are now kept
  /// (rather than equal ones that were there before).
  bool publish(const digest_type& id, std::string_view name, contents bytes,
               std::optional<file_time> modified, std::error_code& ec) {
    contents compared;  // known to be equal; compared without the mutex, which others need
    for (;;) {
      contents held;
      {
        const std::lock_guard lock{mutex_};
        const auto found = first_of(id);
        if (found == files_.end()) {
          const auto now = std::chrono::system_clock::now();
          show(id, name, {std::move(bytes), now}, modified, ec);
          return !ec;
        }
        if (found->second.bytes == compared) {
          show(id, name, found->second, modified, ec);
          return false;
        }
        held = found->second.bytes;
      }
      if (*held != *bytes) {
        ec = errc::collision;
        return false;
      }
      compared = std::move(held);
    }
  }

  void release(std::uint64_t bytes) noexcept {
    const std::lock_guard lock{mutex_};
    used_ -= bytes;
  }

  const memory_store_options options_;
  mutable std::mutex mutex_;
  file_map files_;
  std::uint64_t used_ = 0;  ///< Bytes stored and reserved.
};

/// Walks over a store's entries; see `memory_store::list`.
template <hasher Hasher>
class memory_store<Hasher>::cursor {
 public:
  std::optional<file_info<digest_type>> next(std::error_code& ec) {
    ec.clear();
    auto file = store_->after(last_);
    if (file) last_ = key{file->id, file->name};
    return file;
  }

 private:
  friend class memory_store;
  explicit cursor(const memory_store& store) noexcept : store_{&store} {}

  const memory_store* store_;
  std::optional<key> last_;
};

/// Reads a stored file; see `memory_store::open`.
template <hasher Hasher>
class memory_store<Hasher>::reader {
 public:
  std::uint64_t size() const noexcept { return bytes_->size(); }

  std::size_t read(std::span<std::byte> to, std::error_code& ec) noexcept {
    ec.clear();
    const auto count = bytes_->read(to, offset_);
    offset_ += count;
    return count;
  }

  /// Goes on reading at `offset`. `errc::bad_range` if that is past the end.
  void seek(std::uint64_t offset, std::error_code& ec) noexcept {
    ec.clear();
    if (offset > size()) ec = errc::bad_range;
    else offset_ = offset;
  }

 private:
  friend class memory_store;
  explicit reader(contents bytes) noexcept : bytes_{std::move(bytes)} {}

  contents bytes_;
  std::uint64_t offset_ = 0;
};

/// Takes an upload's bytes; see `memory_store::create`. Movable.
template <hasher Hasher>
class memory_store<Hasher>::upload {
 public:
  upload(upload&& other) noexcept
      : store_{std::exchange(other.store_, nullptr)},
        name_{std::move(other.name_)},
        size_{other.size_},
        modified_{other.modified_},
        bytes_{std::move(other.bytes_)} {}
  upload& operator=(upload&& other) noexcept {
    upload moved{std::move(other)};
    std::swap(store_, moved.store_);
    std::swap(name_, moved.name_);
    std::swap(size_, moved.size_);
    std::swap(modified_, moved.modified_);
    std::swap(bytes_, moved.bytes_);
    return *this;
  }
  ~upload() {
    if (store_ != nullptr) store_->release(size_);
  }

  /// Takes the next bytes. `errc::bad_size` if they are more than announced.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    ec.clear();
    if (bytes.size() > size_ - bytes_->size()) ec = errc::bad_size;
    else bytes_->append(bytes);
  }

  /// Shows the file. `errc::bad_size` if bytes are missing, `errc::collision` if others with the
  /// same digest are stored, `errc::bad_name` if the name can't stand beside those that the file
  /// has, `errc::no_space` if the store has all the names that it takes.
  void commit(const digest_type& id, std::error_code& ec) {
    ec.clear();
    if (bytes_->size() != size_) {
      ec = errc::bad_size;
    } else if (store_->publish(id, name_, bytes_, modified_, ec)) {
      store_ = nullptr;  // What was reserved is used now.
    }
  }

 private:
  friend class memory_store;
  upload(memory_store& store, const upload_details<digest_type>& details)
      : store_{&store},
        name_{details.name},
        size_{details.size},
        modified_{details.modified},
        bytes_{std::make_shared<detail::blocks>()} {}

  memory_store* store_;
  std::string name_;
  std::uint64_t size_;
  std::optional<file_time> modified_;
  std::shared_ptr<detail::blocks> bytes_;
};

static_assert(file_store<memory_store<md5>, md5::digest_type>);

}  // namespace filexfer

#endif
