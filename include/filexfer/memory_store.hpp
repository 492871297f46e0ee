#ifndef FILEXFER_MEMORY_STORE_HPP
#define FILEXFER_MEMORY_STORE_HPP

/// \file
/// A store in memory: for tests, simulations, and servers that need no persistence.

#include <filexfer/detail/store/blocks.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>
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

/// Keeps files in memory, for its own lifetime. A model of `file_store`.
///
/// The rules for names, for digest collisions, and for names that exclude each other (`a` and `a/b`
/// under one id) are those of `directory_store`. An upload's size and name are reserved when it
/// begins, but memory is allocated only as bytes arrive. Several names of a file share its bytes,
/// and a reader keeps them alive.
/// \snippet stores.cpp memory_store
///
/// \tparam Hasher  Computes the digests that are the files' ids.
template <hasher Hasher = md5>
class memory_store {
 public:
  /// The type of an id.
  using digest_type = typename Hasher::digest_type;

  class cursor;
  class reader;
  class upload;

  /// An empty store.
  /// \param options  Its limits.
  explicit memory_store(memory_store_options options = {}) noexcept : options_{options} {}
  memory_store(const memory_store&) = delete;
  memory_store& operator=(const memory_store&) = delete;

  /// Lists the entries by id, then by name. The store is locked only while an entry is copied.
  /// \snippet stores.cpp list
  /// \param ec  Cleared.
  /// \return A cursor before the first entry. The store must outlive it.
  cursor list(std::error_code& ec) const noexcept {
    ec.clear();
    return cursor{*this};
  }

  /// Opens a file under the first of its names.
  /// \snippet stores.cpp open
  /// \param id  The file's id.
  /// \param ec  Cleared.
  /// \return The file, whose reader keeps the bytes alive; nothing if there is none.
  std::optional<opened_file<digest_type, reader>> open(const digest_type& id,
                                                       std::error_code& ec) const {
    ec.clear();
    const std::lock_guard lock{mutex_};
    const auto found = first_entry(id);
    if (found == files_.end()) return std::nullopt;
    return opened_file<digest_type, reader>{info_of(*found), reader{found->second.bytes}};
  }

  /// Begins an upload, and reserves its size and a name.
  /// \snippet stores.cpp create
  /// \param details  Its name, size and modification time.
  /// \param ec  Cleared, or set to `errc::bad_name` if the name is not valid, to `errc::no_space`
  ///   if the size exceeds what the quota leaves, or the store has `max_names`.
  /// \return The upload, which the store must outlive; nothing on failure.
  std::optional<upload> create(const upload_details<digest_type>& details, std::error_code& ec) {
    ec.clear();
    if (!is_name(details.name)) {
      ec = errc::bad_name;
      return std::nullopt;
    }
    const std::lock_guard lock{mutex_};
    if (details.size > options_.quota - used_ || is_full()) {
      ec = errc::no_space;
      return std::nullopt;
    }
    upload result{*this, details};
    used_ += details.size;
    ++arriving_;
    return result;
  }

  /// Adds a name to a stored file, or sets the attributes of a name that it has.
  /// \snippet stores.cpp add_name
  /// \param id  The file's id.
  /// \param size  The file's size in bytes.
  /// \param name  The name to add.
  /// \param attributes  Those of the name that are to be set.
  /// \param ec  Cleared, or set to `errc::bad_name` if the name is not valid or conflicts with one
  ///   that the file has, to `errc::no_space` if the file lacks it and the store has `max_names`.
  /// \return Whether the file has the name now; false without an error if there is no such file.
  bool add_name(const digest_type& id, std::uint64_t size, std::string_view name,
                const file_attributes& attributes, std::error_code& ec) {
    ec.clear();
    const std::lock_guard lock{mutex_};
    const auto found = first_entry(id);
    if (found == files_.end() || found->second.bytes->size() != size) return false;
    if (is_full() && !files_.contains(key{id, name})) {
      ec = errc::no_space;
      return false;
    }
    add_entry(id, name, found->second, attributes, ec);
    return !ec;
  }

  /// Takes a name off a stored file; the last one takes the file with it. Readers keep its bytes.
  /// \snippet removals.cpp store_remove
  /// \param id  The file's id.
  /// \param name  The name to remove.
  /// \param ec  Cleared.
  /// \return Whether the file had the name.
  bool remove(const digest_type& id, std::string_view name, std::error_code& ec) {
    ec.clear();
    const std::lock_guard lock{mutex_};
    const auto found = files_.find(key{id, name});
    if (found == files_.end()) return false;
    const std::uint64_t bytes = found->second.bytes->size();
    files_.erase(found);
    if (first_entry(id) == files_.end()) used_ -= bytes;
    return true;
  }

 private:
  using contents = std::shared_ptr<const detail::blocks>;
  using key = std::pair<digest_type, std::string>;
  struct named_file {
    contents bytes;
    file_time modified;
    bool executable = false;
  };
  using file_map = std::map<key, named_file>;

  static file_info<digest_type> info_of(const typename file_map::value_type& entry) {
    const auto& [names, file] = entry;
    return {names.first, names.second, file.bytes->size(), file.modified, file.executable};
  }

  /// Whether the store has no room for another name. The caller holds the mutex.
  bool is_full() const noexcept {
    return arriving_ >= options_.max_names || files_.size() >= options_.max_names - arriving_;
  }

  /// The first entry of `id`. The caller holds the mutex.
  typename file_map::const_iterator first_entry(const digest_type& id) const {
    const auto found = files_.lower_bound(key{id, {}});
    return found != files_.end() && found->first.first == id ? found : files_.end();
  }

  /// The entry after `last`, or the first one.
  std::optional<file_info<digest_type>> next_entry(const std::optional<key>& last) const {
    const std::lock_guard lock{mutex_};
    const auto next = last ? files_.upper_bound(*last) : files_.begin();
    if (next == files_.end()) return std::nullopt;
    return info_of(*next);
  }

  /// Whether a parent folder of `name` is a file under `id`, or `name` is a folder there. The
  /// caller holds the mutex.
  bool conflicts(const digest_type& id, std::string_view name) const {
    for (auto slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
      if (files_.contains(key{id, name.substr(0, slash)})) return true;
    }
    const auto folder = std::string{name} + '/';
    const auto inside = files_.lower_bound(key{id, folder});
    return inside != files_.end() && inside->first.first == id &&
           inside->first.second.starts_with(folder);
  }

  /// Adds `name` for `file`, or sets the attributes of the name that it has. The caller holds the
  /// mutex.
  void add_entry(const digest_type& id, std::string_view name, named_file file,
                 const file_attributes& attributes, std::error_code& ec) {
    auto new_key = key{id, name};
    if (!is_name(name) || conflicts(id, name)) {
      ec = errc::bad_name;
    } else {
      file.executable = false;
      named_file& entry = files_.try_emplace(std::move(new_key), std::move(file)).first->second;
      if (attributes.modified) entry.modified = *attributes.modified;
      if (attributes.executable) entry.executable = *attributes.executable;
    }
  }

  /// Publishes an upload, unless other bytes have that id. Returns whether `bytes` themselves are
  /// stored now, rather than equal ones that were stored before.
  bool publish(const digest_type& id, std::string_view name, contents bytes,
               const file_attributes& attributes, std::error_code& ec) {
    contents equal;  // found equal to `bytes`; compared without the mutex, which others need
    for (;;) {
      contents stored;
      {
        const std::lock_guard lock{mutex_};
        const auto found = first_entry(id);
        if (found == files_.end()) {
          const auto now = std::chrono::system_clock::now();
          add_entry(id, name, {std::move(bytes), now}, attributes, ec);
          return !ec;
        }
        if (found->second.bytes == equal) {
          add_entry(id, name, found->second, attributes, ec);
          return false;
        }
        stored = found->second.bytes;
      }
      if (*stored != *bytes) {
        ec = errc::collision;
        return false;
      }
      equal = std::move(stored);
    }
  }

  /// Ends an upload that leaves `bytes` of those that were reserved for it unused.
  void release(std::uint64_t bytes) noexcept {
    const std::lock_guard lock{mutex_};
    used_ -= bytes;
    --arriving_;
  }

  const memory_store_options options_;
  mutable std::mutex mutex_;
  file_map files_;
  std::uint64_t used_ = 0;    ///< Bytes stored and reserved.
  std::size_t arriving_ = 0;  ///< Uploads, each of which has a name reserved.
};

/// Iterates over a store's entries; see `memory_store::list`.
template <hasher Hasher>
class memory_store<Hasher>::cursor {
 public:
  /// Copies the next entry.
  /// \param ec  Cleared.
  /// \return The entry; nothing at the end.
  std::optional<file_info<digest_type>> next(std::error_code& ec) {
    ec.clear();
    auto file = store_->next_entry(last_);
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
  /// \return The file's size in bytes.
  std::uint64_t size() const noexcept { return bytes_->size(); }

  /// \copydoc memory_source::read
  std::size_t read(std::span<std::byte> to, std::error_code& ec) noexcept {
    ec.clear();
    const auto count = bytes_->read(to, offset_);
    offset_ += count;
    return count;
  }

  /// \copydoc memory_source::seek
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
  /// Takes over the upload.
  /// \param other  Only to be destroyed or assigned to afterwards.
  upload(upload&& other) noexcept
      : store_{std::exchange(other.store_, nullptr)},
        name_{std::move(other.name_)},
        size_{other.size_},
        attributes_{other.attributes_},
        bytes_{std::move(other.bytes_)} {}
  /// Takes over the upload; discards this one.
  /// \param other  Only to be destroyed or assigned to afterwards.
  /// \return This upload.
  upload& operator=(upload&& other) noexcept {
    upload moved{std::move(other)};
    std::swap(store_, moved.store_);
    std::swap(name_, moved.name_);
    std::swap(size_, moved.size_);
    std::swap(attributes_, moved.attributes_);
    std::swap(bytes_, moved.bytes_);
    return *this;
  }
  ~upload() {
    if (store_ != nullptr) store_->release(size_);
  }

  /// Appends bytes.
  /// \param bytes  The next bytes; they are copied.
  /// \param ec  Cleared, or set to `errc::bad_size` if the size that was announced is exceeded.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    ec.clear();
    if (bytes.size() > size_ - bytes_->size()) ec = errc::bad_size;
    else bytes_->append(bytes);
  }

  /// Publishes the file under its name.
  /// \param id  The digest of the bytes.
  /// \param ec  Cleared, or set to `errc::bad_size` if bytes are missing, to `errc::collision` if
  ///   other bytes with that digest are stored, to `errc::bad_name` if the name conflicts with one
  ///   that the file has.
  void commit(const digest_type& id, std::error_code& ec) {
    ec.clear();
    if (bytes_->size() != size_) {
      ec = errc::bad_size;
      return;
    }
    const bool kept = store_->publish(id, name_, bytes_, attributes_, ec);
    if (!ec) std::exchange(store_, nullptr)->release(kept ? 0 : size_);
  }

 private:
  friend class memory_store;
  upload(memory_store& store, const upload_details<digest_type>& details)
      : store_{&store},
        name_{details.name},
        size_{details.size},
        attributes_{details.modified, details.executable},
        bytes_{std::make_shared<detail::blocks>()} {}

  memory_store* store_;
  std::string name_;
  std::uint64_t size_;
  file_attributes attributes_;
  std::shared_ptr<detail::blocks> bytes_;
};

static_assert(file_store<memory_store<md5>, md5::digest_type>);
static_assert(removing_store<memory_store<md5>, md5::digest_type>);

}  // namespace filexfer

#endif
