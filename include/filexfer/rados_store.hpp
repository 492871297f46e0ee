#ifndef FILEXFER_RADOS_STORE_HPP
#define FILEXFER_RADOS_STORE_HPP

/// \file
/// A store in a pool of Ceph's object store, RADOS, which may span many machines. Optional: needs
/// librados, the target `filexfer::rados`.

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/detail/rados/chunks.hpp>
#include <filexfer/detail/rados/index.hpp>
#include <filexfer/detail/rados/leftovers.hpp>
#include <filexfer/detail/rados/listing.hpp>
#include <filexfer/detail/rados/operation.hpp>
#include <filexfer/detail/rados/pool.hpp>
#include <filexfer/detail/rados/publishing.hpp>
#include <filexfer/detail/rados/verification.hpp>
#include <filexfer/detail/store/token_claims.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/verification.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

namespace filexfer {

/// Where the pool of a `rados_store` is, and what it does with it.
struct rados_store_options {
  std::string pool;          ///< A replicated pool, which must exist.
  std::string name_space{};  ///< The namespace in it; empty for the default one.
  std::string conf_file{};   ///< Ceph's configuration; empty for the places librados looks in.
  std::string user{};        ///< Without "client."; empty for the default of librados, "admin".
  /// How long to wait for the cluster's answer to one operation: then that has failed with
  /// `ETIMEDOUT`, which a client is told as `io`. At least a second.
  std::chrono::seconds reply_limit{30};
  /// How long interrupted uploads are kept, and what servers that have died left; at least an hour.
  std::chrono::seconds partial_age{std::chrono::hours{24}};
  /// Bytes of each object that holds a file's bytes, but for its last: at most what
  /// `osd_max_write_size` and `osd_max_object_size` allow. May differ from file to file.
  std::size_t chunk_size = std::size_t{4} << 20;
  /// Objects of the index, if this store is the first in its namespace; else those that there are
  /// are used. A list reads each of them.
  std::size_t index_objects = 1024;
  /// Whether to make the index if there is none; else that is `ENOENT`.
  bool make_index = true;
  /// Called, from any thread, with a sentence about a stored file that was found damaged.
  std::function<void(std::string_view)> log{};
};

/// Keeps files in a namespace of a RADOS pool. A model of `resumable_store`, `removing_store` and
/// `group_commit_store`.
///
/// Any number of stores, in processes on any hosts, may share a namespace. A file's bytes are in
/// objects of `rados_store_options::chunk_size`, several of which are written or read at a time;
/// what is said of an id is in one object of an index, so that a file is published, gets a name or
/// loses one in one atomic step. RADOS acknowledges that once all replicas have it: after `commit`,
/// `add_name` or `remove` has succeeded, no OSD's crash can take it back. Limits are those of the
/// pool (`ceph osd pool set-quota`); a pool or a cluster that is full is `errc::no_space`.
///
/// The namespace is the stores' alone. The bytes of a removed file stay for a quarter of an hour,
/// for readers that have it open. What is not needed any more is removed by `remove_garbage` and
/// `remove_leftovers`, which some store has to call now and then.
///
/// An upload takes at most ten times `chunk_size` of memory, a download four times; an upload of no
/// more than that size twice its own.
/// \snippet rados.cpp rados_store
///
/// \tparam Hasher  Computes the digests that are the files' ids.
template <hasher Hasher = md5>
class rados_store {
 public:
  /// The type of an id.
  using digest_type = typename Hasher::digest_type;

  class cursor;
  class upload;
  /// Reads a stored file; see `open`. Movable.
  using reader = detail::chunk_reader;

  /// Connects to the cluster, and makes the index in a namespace that has none.
  ///
  /// \param options  Where the pool is.
  /// \param ec  Cleared, or set to `errc::wrong_digest_kind` if the files there have ids of another
  ///   digest, else to librados's code: `ENOENT` if there is no such pool, user or
  ///   configuration file, `ETIMEDOUT` if there is no answer. The store is unusable then.
  rados_store(const rados_store_options& options, std::error_code& ec)
      : pool_{{options.conf_file, options.user, options.pool, options.name_space,
               options.reply_limit},
              ec},
        context_{pool_.handle(), std::max<std::size_t>(options.index_objects, 1),
                 std::max<std::size_t>(options.chunk_size, 1), options.log},
        partial_age_{std::clamp<std::chrono::seconds>(
            options.partial_age, 2 * detail::touch_interval, std::chrono::years{100})} {
    if (!ec) open_or_make_index(options.make_index, ec);
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param options  Where the pool is.
  explicit rados_store(const rados_store_options& options) : rados_store{options, throw_errors{}} {}

  rados_store(const rados_store&) = delete;
  rados_store& operator=(const rados_store&) = delete;

  /// Lists the entries, those of an id one after another.
  /// \snippet rados.cpp list
  /// \param ec  Cleared.
  /// \return A cursor before the first entry. The store must outlive it.
  cursor list(std::error_code& ec) const {
    ec.clear();
    return cursor{context_};
  }

  /// Opens a file under the first of its names.
  /// \snippet stores.cpp open
  /// \param id  The file's id.
  /// \param ec  Cleared, or set to librados's code.
  /// \return The file; nothing on failure, or without an error if there is none.
  std::optional<opened_file<digest_type, reader>> open(const digest_type& id,
                                                       std::error_code& ec) const;

  /// Begins an upload.
  /// \snippet stores.cpp create
  /// \param details  Its name, size and modification time.
  /// \param ec  Cleared, or set to `errc::bad_name` if the name is not valid, to `errc::no_space`
  ///   if it is larger than what is free in the cluster.
  /// \return The upload, which the store must outlive; nothing on failure.
  std::optional<upload> create(const upload_details<digest_type>& details, std::error_code& ec) {
    if (!is_possible(details, ec)) return std::nullopt;
    return upload{*this, details, detail::random_name(), 0, {}};
  }

  /// Begins an upload that can be resumed with the token `details.resume`, at whole objects.
  ///
  /// If `details.id` is given, it continues the interrupted upload of that token and size, whatever
  /// server had begun it; else it discards that one.
  /// \snippet stores.cpp resume
  /// \param details  As for `create`, with the token and perhaps the id.
  /// \param ec  As for `create`; or set to `std::errc::operation_would_block` if another upload of
  ///   this store holds the token, which is then `revoked()`: to be called again a little later;
  ///   else to librados's code.
  /// \return The upload, which the store must outlive; nothing on failure.
  std::optional<upload> resume(const upload_details<digest_type>& details, std::error_code& ec);

  /// Commits several uploads at the same time.
  /// \snippet stores.cpp commit_all
  /// \param uploads  Uploads of this store; each one's `error` is set as by `upload::commit`.
  void commit_all(std::span<upload_commit<upload, digest_type>> uploads) {
    std::set<digest_type> blocked;
    while (!uploads.empty()) {  // those of one id in their order
      std::set<digest_type> ids;
      std::size_t count = 0;
      while (count < uploads.size() && ids.insert(uploads[count].id).second) ++count;
      const auto some = uploads.first(count);
      for (auto& one : some) {
        one.error = {};
        if (blocked.contains(one.id)) one.error = std::make_error_code(blocks);
      }
      upload::commit_some(some);
      for (const auto& one : some) {
        if (one.error == blocks) blocked.insert(one.id);
      }
      uploads = uploads.subspan(count);
    }
  }

  /// Adds a name to a stored file, or sets the attributes of a name that it has.
  /// \snippet stores.cpp add_name
  /// \param id  The file's id.
  /// \param size  The file's size in bytes.
  /// \param name  The name to add.
  /// \param attributes  Those of the name that are to be set.
  /// \param ec  Cleared, or set to `errc::bad_name` if the name is not valid or conflicts with one
  ///   that the file has, to `std::errc::operation_would_block` if others keep changing the file's
  ///   names, else to librados's code.
  /// \return Whether the file has the name now; false without an error if there is no such file.
  bool add_name(const digest_type& id, std::uint64_t size, std::string_view name,
                const file_attributes& attributes, std::error_code& ec) {
    ec.clear();
    detail::rados_publishing<Hasher> publishing{context_, id, size, name, attributes, nullptr};
    publishing.start();
    while (publishing.advance()) continue;
    ec = publishing.error();
    return !ec && publishing.found();
  }

  /// Takes a name off a stored file; the last one takes the file with it. Readers that are open can
  /// still read it for a quarter of an hour.
  /// \snippet removals.cpp store_remove
  /// \param id  The file's id.
  /// \param name  The name to remove.
  /// \param ec  Cleared, or set to `std::errc::operation_would_block` as by `add_name`, else to
  ///   librados's code.
  /// \return Whether the file had the name.
  bool remove(const digest_type& id, std::string_view name, std::error_code& ec) {
    ec.clear();
    return is_name(name) && detail::remove_from_index(context_, id, name, ec);
  }

  /// Hashes the stored files again, and sets aside those that are damaged: they are not listed any
  /// more, but what the index said of them stays there. An upload of the same bytes brings a file
  /// back, under its own name. RADOS itself compares the replicas of its objects, and not the bytes
  /// with the id.
  ///
  /// May run while files are uploaded, downloaded and removed, by this store and by others. Reads a
  /// file that seems damaged twice. One that can't be read now is left as it is.
  /// \snippet rados.cpp verify
  /// \param options  The rate, and when to stop.
  /// \param on_file  Called with a `const verified_file<digest_type>&` after each file.
  /// \param ec  Cleared, or set to `operation_canceled` if it was stopped, or to librados's code
  ///   if the index can't be read: the rest was not verified then.
  /// \return The totals of the files that were verified.
  template <class OnFile>
  verify_totals verify(const verify_options& options, OnFile on_file, std::error_code& ec) const {
    return detail::rados_verification<Hasher>{context_, options}.run(on_file, ec);
  }

  /// Removes the bytes of files that were removed a quarter of an hour ago. Cheap: to be called
  /// every few minutes, by any of the stores that share the namespace, or by several.
  /// \snippet rados.cpp remove_leftovers
  /// \param ec  Cleared, or set to librados's code: some were not removed.
  /// \param should_stop  Whether to end; called after each file. May be empty.
  /// \return Of how many files.
  std::size_t remove_garbage(std::error_code& ec, const std::function<bool()>& should_stop = {}) {
    return detail::remove_garbage(context_, detail::garbage_age, should_stop, ec);
  }

  /// Removes what servers that have died left of uploads that were not published, once it is as old
  /// as `rados_store_options::partial_age`. Looks at each object of the namespace, which is enough
  /// about once a day.
  /// \snippet rados.cpp remove_leftovers
  /// \param interval  Does nothing if a store that shares the namespace has begun this less than so
  ///   long ago.
  /// \param ec  Cleared, or set to librados's code: some were not removed.
  /// \param should_stop  Whether to end; called after each object. May be empty.
  /// \return How many objects it has found.
  std::size_t remove_leftovers(std::chrono::seconds interval, std::error_code& ec,
                               const std::function<bool()>& should_stop = {}) {
    if (!is_first_within(interval, ec)) return 0;
    return detail::rados_leftovers<digest_type>{context_, partial_age_, should_stop}.remove(ec);
  }

 private:
  struct throw_errors {};

  rados_store(const rados_store_options& options, throw_errors, std::error_code ec = {})
      : rados_store{options, ec} {
    if (ec) throw std::system_error{ec, "rados:" + options.pool};
  }

  /// Tells which index there is. Made last, by one of those that make it at the same time.
  static constexpr const char* format_object = "format";
  static constexpr std::errc blocks = std::errc::operation_would_block;

  static std::string format_of(std::size_t index_objects) {
    return "filexfer 1 " + std::string{Hasher::name()} + ' ' + std::to_string(index_objects);
  }

  void open_or_make_index(bool may_make, std::error_code& ec) {
    std::string format = read_format(ec);
    if (ec || !format.empty()) return use_format(format, ec);
    if (!may_make) {
      ec = std::make_error_code(std::errc::no_such_file_or_directory);
      return;
    }
    std::deque<detail::rados_operation> making;
    const auto make = [&](const std::string& object) {
      detail::rados_write{}.create_if_missing().start(making.emplace_back(), pool_.handle(),
                                                      object);
    };
    for (std::size_t i = 0; i < context_.index_objects; ++i) make(detail::index_object(i));
    make(detail::garbage_object);
    for (auto& one : making) {
      if (!ec) ec = detail::rados_error(one.wait());
    }
    if (ec) return;
    format = format_of(context_.index_objects);
    const int result = detail::rados_write{}
                           .create(std::as_bytes(std::span{format}))
                           .perform(pool_.handle(), format_object);
    if (result == -EEXIST) format = read_format(ec);
    else ec = detail::rados_error(result);
    use_format(format, ec);
  }

  std::string read_format(std::error_code& ec) const {
    std::string format(256, '\0');
    const int result = rados_read(pool_.handle(), format_object, format.data(), format.size(), 0);
    if (result != -ENOENT) ec = detail::rados_error(result);
    format.resize(static_cast<std::size_t>(std::max(result, 0)));
    return format;
  }

  void use_format(const std::string& format, std::error_code& ec) {
    if (ec) return;
    const auto count = detail::words{format.substr(format.rfind(' ') + 1)}.next_number();
    if (!count || *count == 0 || format != format_of(*count)) {
      ec = errc::wrong_digest_kind;
    } else {
      context_.index_objects = *count;
    }
  }

  bool is_possible(const upload_details<digest_type>& details, std::error_code& ec) const {
    ec.clear();
    if (!is_name(details.name)) ec = errc::bad_name;
    else if (details.size > pool_.available()) ec = errc::no_space;
    return !ec;
  }

  /// Whether nobody has begun a walk for `interval`; that one is begun now then.
  bool is_first_within(std::chrono::seconds interval, std::error_code& ec) {
    constexpr const char* attribute = "walked";
    std::string text(32, '\0');
    const int result =
        rados_getxattr(pool_.handle(), format_object, attribute, text.data(), text.size());
    ec = result == -ENODATA ? std::error_code{} : detail::rados_error(result);
    if (ec) return false;
    text.resize(static_cast<std::size_t>(std::max(result, 0)));
    const std::chrono::seconds now = detail::seconds_since_epoch();
    const auto last = detail::words{text}.next_number();
    if (last && now - std::chrono::seconds{*last} < interval) return false;
    const int begun = detail::rados_write{}
                          .expect_attribute(attribute, text)
                          .set_attribute(attribute, std::to_string(now.count()))
                          .perform(pool_.handle(), format_object);
    if (!detail::is_unexpected(begun)) ec = detail::rados_error(begun);
    return begun >= 0;
  }

  /// A note of an interrupted upload, in the index.
  struct partial_note {
    std::string object{};
    std::string key{};
    std::string text{};  ///< Empty if there is none.

    std::string bytes() const { return std::string{detail::words{text}.next()}; }
    std::uint64_t chunk_size() const {
      detail::words in{text};
      in.next();
      return in.next_number().value_or(0);
    }

    /// Sets another text, if nobody else has meanwhile.
    int change(rados_ioctx_t pool, std::string wanted) {
      detail::rados_write write;
      write.expect(key, text);
      if (wanted.empty()) write.erase(key);
      else write.set(key, wanted);
      const int result = write.perform(pool, object);
      if (result >= 0) text = std::move(wanted);
      return result;
    }
  };

  partial_note find_note(const upload_details<digest_type>& details, std::error_code& ec) const {
    partial_note note{detail::index_object(detail::fnv_1a(details.resume) % context_.index_objects),
                      detail::partial_prefix + details.resume + '-' + std::to_string(details.size)};
    const auto pairs = detail::read_keys(pool_.handle(), note.object, {note.key}, ec);
    if (!ec && !pairs.empty()) note.text = pairs.begin()->second;
    return note;
  }

  /// How many objects of an interrupted upload are there, one after another and whole; none if
  /// it can't be continued.
  std::uint64_t count_held(const partial_note& note, std::uint64_t size, std::error_code& ec) const;

  detail::rados_pool pool_;
  detail::rados_context context_;
  std::chrono::seconds partial_age_;
  detail::token_claims claims_;
};

/// Iterates over a store's entries; see `rados_store::list`. Movable.
template <hasher Hasher>
class rados_store<Hasher>::cursor {
 public:
  /// Reads the next entry.
  /// \param ec  Cleared, or set to librados's code.
  /// \return The entry; nothing at the end and on failure.
  std::optional<file_info<digest_type>> next(std::error_code& ec) { return listing_.next(ec); }

 private:
  friend class rados_store;
  explicit cursor(const detail::rados_context& store) : listing_{store} {}

  detail::rados_listing<digest_type> listing_;
};

/// Takes an upload's bytes; see `rados_store::create`. Movable.
template <hasher Hasher>
class rados_store<Hasher>::upload {
 public:
  /// Takes over the upload.
  /// \param other  Only to be destroyed or assigned to afterwards.
  upload(upload&& other) noexcept
      : store_{std::exchange(other.store_, nullptr)},
        writer_{std::move(other.writer_)},
        name_{std::move(other.name_)},
        attributes_{other.attributes_},
        held_{other.held_},
        held_reader_{std::move(other.held_reader_)},
        timed_out_{other.timed_out_},
        note_{std::move(other.note_)},
        claim_{std::move(other.claim_)} {}
  /// Takes over the upload; discards this one.
  /// \param other  Only to be destroyed or assigned to afterwards.
  /// \return This upload.
  upload& operator=(upload&& other) noexcept {
    upload moved{std::move(other)};
    std::swap(store_, moved.store_);
    std::swap(writer_, moved.writer_);
    std::swap(name_, moved.name_);
    std::swap(attributes_, moved.attributes_);
    std::swap(held_, moved.held_);
    std::swap(held_reader_, moved.held_reader_);
    std::swap(timed_out_, moved.timed_out_);
    std::swap(note_, moved.note_);
    std::swap(claim_, moved.claim_);
    return *this;
  }
  ~upload() { discard(); }

  /// Appends bytes; waits only if several objects are being written already. After a failure the
  /// upload can't be committed any more.
  /// \param bytes  The next bytes; they are copied.
  /// \param ec  Cleared, or set to `errc::bad_size` if the announced size is exceeded, to
  ///   `std::errc::file_exists` if another server continues this upload, else to librados's code.
  void write(std::span<const std::byte> bytes, std::error_code& ec) { writer_.write(bytes, ec); }

  /// Publishes the file under its name.
  /// \param id  The digest of the bytes.
  /// \param ec  Cleared, or set to `errc::bad_size` if bytes are missing, to `errc::collision` if
  ///   other bytes with that digest are stored, to `errc::bad_name` if the name conflicts with one
  ///   that the file has, to `std::errc::operation_would_block` if others keep changing the file's
  ///   names, as by `write`, else to librados's code.
  void commit(const digest_type& id, std::error_code& ec) {
    upload_commit<upload, digest_type> self{this, id};
    commit_some({&self, 1});
    ec = self.error;
  }

  /// \return How many bytes of an interrupted upload it began with.
  std::uint64_t held() const noexcept { return held_; }

  /// Reads these.
  /// \param to  Is filled.
  /// \param offset  Of the first of them.
  /// \param ec  Cleared, or set to librados's code.
  /// \return How many were read; fewer than asked for only at the end of what is held.
  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    if (!held_reader_) held_reader_.emplace(writer_.reader_of_first(held_));
    held_reader_->seek(offset, ec);
    return ec ? 0 : held_reader_->read(to, ec);
  }

  /// \return Whether another upload of this store wants the token.
  const std::atomic<bool>& revoked() const noexcept { return claim_.revoked(); }

  /// Keeps whole objects, so that the upload can be resumed, by any server.
  void keep() noexcept {
    if (store_ == nullptr || note_.text.empty()) return;
    try {
      writer_.finish_chunks();
    } catch (...) {  // there is no memory; what is stored is kept
    }
    store_ = nullptr;
    claim_ = {};
  }

 private:
  friend class rados_store;
  upload(rados_store& store, const upload_details<digest_type>& details, std::string bytes,
         std::uint64_t held, detail::token_claims::claim claim,
         std::optional<std::uint64_t> chunk_size = {})
      : store_{&store},
        writer_{store.context_.pool, std::move(bytes), details.size,
                chunk_size.value_or(store.context_.chunk_size), held},
        name_{details.name},
        attributes_{details.modified, details.executable},
        held_{held},
        claim_{std::move(claim)} {}

  /// Commits uploads of different ids, but for those that have an error already.
  static void commit_some(std::span<upload_commit<upload, digest_type>> uploads) {
    std::list<std::pair<detail::rados_publishing<Hasher>, upload_commit<upload, digest_type>*>> all;
    const auto attempt = [](upload_commit<upload, digest_type>& one, auto step) {
      try {
        return step();
      } catch (...) {
        one.error = detail::error_of(std::current_exception());
        return false;
      }
    };
    for (auto& one : uploads) {
      upload& u = *one.upload;
      if (!one.error && (u.store_ == nullptr || !u.writer_.is_complete())) {
        one.error = errc::bad_size;
      }
      if (one.error) continue;
      all.emplace_back(std::piecewise_construct,
                       std::forward_as_tuple(u.store_->context_, one.id, u.writer_.size(), u.name_,
                                             u.attributes_, &u.writer_),
                       std::forward_as_tuple(&one));
      attempt(one, [&] { return all.back().first.start(), true; });
    }
    for (bool more = true; std::exchange(more, false);) {
      for (auto& each : all) {
        upload_commit<upload, digest_type>& one = *each.second;
        if (!one.error && attempt(one, [&] { return each.first.advance(); })) more = true;
      }
    }
    for (auto& [publishing, one] : all) {
      if (!one->error) one->error = publishing.error();
      one->upload->end(one->error);
    }
  }

  /// After a commit that has ended with `ec`.
  void end(std::error_code ec) noexcept {
    timed_out_ = ec == std::errc::timed_out;
    if (ec && !writer_.may_be_published()) return;  // it may be repeated, or else is discarded
    discard();
    store_ = nullptr;
    claim_ = {};
  }

  /// Whether the note still refers to these bytes does not matter: whoever resumes them finds that
  /// they can't be continued.
  void discard() noexcept {
    if (store_ == nullptr) return;
    // The client is not to wait for a cluster that does not answer; leftovers are found.
    if (timed_out_ || writer_.has_timed_out()) return;
    writer_.remove();
    try {
      if (!note_.text.empty()) note_.change(store_->context_.pool, {});
    } catch (...) {  // there is no memory; it is removed as a leftover
    }
  }

  rados_store* store_;
  detail::chunk_writer writer_;
  std::string name_;
  file_attributes attributes_;
  std::uint64_t held_ = 0;
  std::optional<detail::chunk_reader> held_reader_;
  bool timed_out_ = false;
  partial_note note_;  ///< By which it can be resumed, if it has a text.
  detail::token_claims::claim claim_;
};

template <hasher Hasher>
auto rados_store<Hasher>::open(const digest_type& id, std::error_code& ec) const
    -> std::optional<opened_file<digest_type, reader>> {
  const std::string text = id.to_string();
  const detail::omap_read::page wanted[] = {{{}, text, 2}};  // the record and the first name
  detail::omap_read reading;
  reading.start(pool_.handle(), detail::index_object(id, context_.index_objects), wanted);
  const auto pairs = reading.wait(ec);
  if (ec || pairs.size() < 2) return std::nullopt;
  const auto& [key, value] = *pairs.rbegin();
  const auto record = detail::stored_record::parse(pairs.begin()->second);
  if (!record || pairs.begin()->first != text) {
    ec = errc::store_failed;
    return std::nullopt;
  }
  const auto attributes = detail::parse_attributes(value);
  return opened_file<digest_type, reader>{
      {id, key.substr(text.size() + 1), record->size, attributes.modified, attributes.executable},
      {pool_.handle(), record->bytes, record->size, record->chunk_size}};
}

template <hasher Hasher>
auto rados_store<Hasher>::resume(const upload_details<digest_type>& details, std::error_code& ec)
    -> std::optional<upload> {
  if (!is_possible(details, ec)) return std::nullopt;
  if (details.size <= context_.chunk_size) return create(details, ec);  // nothing could be kept
  auto claim = claims_.take(details.resume + '-' + std::to_string(details.size));
  if (!claim) {
    ec = std::make_error_code(blocks);
    return std::nullopt;
  }
  partial_note note = find_note(details, ec);
  const std::uint64_t chunk_size = note.chunk_size();
  std::uint64_t held = 0;
  if (!ec && chunk_size > 0 && details.id) held = count_held(note, details.size, ec);
  if (ec) return std::nullopt;
  std::optional<upload> result;
  if (held > 0) {
    result.emplace(
        upload{*this, details, note.bytes(), held * chunk_size, std::move(claim), chunk_size});
  } else {
    if (chunk_size > 0) {
      const auto count = detail::chunk_count(details.size, chunk_size);
      ec = detail::remove_chunks(pool_.handle(), note.bytes(), count, {},
                                 detail::removal::of_upload);
      if (ec) return std::nullopt;
    }
    result.emplace(upload{*this, details, detail::random_name(), 0, std::move(claim)});
    const int noted = note.change(
        pool_.handle(), result->writer_.bytes() + ' ' + std::to_string(context_.chunk_size) + ' ' +
                            std::to_string(detail::seconds_since_epoch().count()));
    if (detail::is_unexpected(noted)) ec = std::make_error_code(blocks);
    else ec = detail::rados_error(noted);
    if (ec) return std::nullopt;
  }
  result->note_ = std::move(note);
  return result;
}

template <hasher Hasher>
std::uint64_t rados_store<Hasher>::count_held(const partial_note& note, std::uint64_t size,
                                              std::error_code& ec) const {
  // Also tells that they are not leftovers.
  detail::rados_write touch;
  touch.assert_exists().expect_attribute(detail::id_attribute, {}).set_attribute("touched", {});
  const std::string bytes = note.bytes();
  const int touched = touch.perform(pool_.handle(), detail::chunk_object(bytes, 0));
  if (touched == -ENOENT || detail::is_unexpected(touched)) return 0;
  ec = detail::rados_error(touched);
  const std::uint64_t chunk_size = note.chunk_size();
  const std::uint64_t whole = size / chunk_size - (size % chunk_size == 0 ? 1 : 0);
  constexpr std::size_t most = 16;
  for (std::uint64_t count = 1; !ec && count < whole; count += most) {
    std::array<std::uint64_t, most> sizes{};
    std::array<detail::rados_operation, most> asking;
    for (std::size_t i = 0; i < most; ++i) {
      asking[i].start([&](rados_completion_t completion) {
        return rados_aio_stat(pool_.handle(), detail::chunk_object(bytes, count + i).c_str(),
                              completion, &sizes[i], nullptr);
      });
    }
    for (std::size_t i = 0; i < most; ++i) {
      const int result = asking[i].wait();
      if (result != -ENOENT) ec = detail::rados_error(result);
      if (ec) return 0;
      if (result < 0 || sizes[i] != chunk_size || count + i == whole) return count + i;
    }
  }
  return ec ? 0 : whole;
}

static_assert(resumable_store<rados_store<md5>, md5::digest_type>);
static_assert(removing_store<rados_store<md5>, md5::digest_type>);
static_assert(group_commit_store<rados_store<md5>, md5::digest_type>);

}  // namespace filexfer

#endif
