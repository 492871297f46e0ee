#ifndef FILEXFER_DETAIL_RADOS_LEFTOVERS_HPP
#define FILEXFER_DETAIL_RADOS_LEFTOVERS_HPP

// Removes what nobody needs from the pool of a `rados_store`: the bytes of removed files, and those
// of uploads whose server has died.

#include <filexfer/detail/rados/chunks.hpp>
#include <filexfer/detail/rados/index.hpp>
#include <filexfer/detail/rados/operation.hpp>
#include <filexfer/detail/rados/publishing.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <rados/librados.h>

namespace filexfer::detail {

/// How long the bytes of a removed file are kept for readers that have it open.
inline constexpr std::chrono::minutes garbage_age{15};

/// How many failures, one after another, end a walk: the cluster does not answer.
inline constexpr int max_failures = 3;

/// The first failure of a walk, which goes on after some.
class walk_failures {
 public:
  explicit walk_failures(std::error_code& first) noexcept : first_{first} { first.clear(); }

  void add(std::error_code ec) noexcept {
    in_sequence_ = ec ? in_sequence_ + 1 : 0;
    if (ec && !first_) first_ = ec;
  }
  bool are_too_many() const noexcept { return in_sequence_ >= max_failures; }

 private:
  std::error_code& first_;
  int in_sequence_ = 0;
};

/// Removes the bytes of files that were removed some time ago. Returns of how many.
inline std::size_t remove_garbage(const rados_context& store, std::chrono::seconds age,
                                  const std::function<bool()>& should_stop, std::error_code& ec) {
  const std::chrono::seconds now = seconds_since_epoch();
  std::size_t removed = 0;
  walk_failures failures{ec};
  const auto remove = [&](const std::string& bytes, const std::string& note) {
    words in{note};
    const auto since = in.next_number();
    const std::string id{in.next()};
    const auto count = in.next_number();
    if (!since || !count || now - std::chrono::seconds{*since} < age) return true;
    std::error_code failed = remove_chunks(store.pool, bytes, *count, id, removal::of_garbage);
    if (!failed && erase_unchanged(store.pool, garbage_object, {bytes, note}, failed)) ++removed;
    failures.add(failed);
    return !failures.are_too_many() && !(should_stop && should_stop());
  };
  std::error_code failed;
  for_each_pair(store.pool, garbage_object, {}, remove, failed);
  failures.add(failed);
  return removed;
}

/// Finds the objects of uploads that were not published for `age`, by a walk over the whole
/// namespace, and removes them, or notes them as garbage.
template <class Digest>
class rados_leftovers {
 public:
  rados_leftovers(const rados_context& store, std::chrono::seconds age,
                  const std::function<bool()>& should_stop)
      : store_{store}, oldest_{seconds_since_epoch() - age}, should_stop_{should_stop} {}

  /// Returns how many objects it has found.
  std::size_t remove(std::error_code& ec) {
    walk_failures failures{ec};
    std::error_code failed;
    rados_list_ctx_t walk = nullptr;
    failed = rados_error(rados_nobjects_list_open(store_.pool, &walk));
    failures.add(failed);
    while (walk != nullptr && !stops(failures)) {
      const char* name = nullptr;
      const int result = rados_nobjects_list_next(walk, &name, nullptr, nullptr);
      if (result == -ENOENT) break;
      failed = rados_error(result);
      if (!failed) visit(name, failed);
      failures.add(failed);
    }
    if (walk != nullptr) rados_nobjects_list_close(walk);
    for (std::size_t i = 0; i < store_.index_objects && !stops(failures); ++i) {
      failed.clear();
      remove_old_notes(index_object(i), failed);
      failures.add(failed);
    }
    return found_;
  }

 private:
  bool stops(const walk_failures& failures) const {
    return failures.are_too_many() || (should_stop_ && should_stop_());
  }

  void visit(const std::string& object, std::error_code& ec) {
    const auto dot = object.find('.');
    const std::string bytes = object.substr(0, dot);
    const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    if (bytes.size() != 32 || !std::all_of(bytes.begin(), bytes.end(), is_digit)) return;
    const auto number =
        dot == object.npos ? std::nullopt : words{object.substr(dot + 1)}.next_number();
    if (!number) return;
    if (*number > 0 && (exists(chunk_object(bytes, 0), ec) || ec)) return;
    if (!is_old(object, ec)) return;
    if (*number > 0) {
      const int result = rados_remove(store_.pool, object.c_str());
      if (result != -ENOENT) ec = rados_error(result);
      ++found_;
      return;
    }
    const std::string id = id_of(object, ec);
    if (ec) return;
    if (id.empty()) {  // then the others are found
      ec = remove_chunks(store_.pool, bytes, 1, id, removal::of_upload);
      ++found_;
    } else if (fence_off(id, bytes, ec)) {  // a reader may have it open
      note_garbage(store_.pool, id, {bytes, 1, 1, 0});
      ++found_;
    }
  }

  bool exists(const std::string& object, std::error_code& ec) const {
    return changed_at(object, ec).has_value();
  }

  bool is_old(const std::string& object, std::error_code& ec) const {
    const auto changed = changed_at(object, ec);
    return changed && *changed <= oldest_;
  }

  /// Since the epoch; nothing on failure, or without an error if there is no such object.
  std::optional<std::chrono::seconds> changed_at(const std::string& object,
                                                 std::error_code& ec) const {
    std::uint64_t size = 0;
    std::time_t changed = 0;
    const int result = rados_stat(store_.pool, object.c_str(), &size, &changed);
    if (result != -ENOENT) ec = rados_error(result);
    if (result < 0) return std::nullopt;
    return std::chrono::seconds{changed};
  }

  std::string id_of(const std::string& object, std::error_code& ec) const {
    std::array<char, 2 * sizeof(Digest) + 1> text{};
    const int result =
        rados_getxattr(store_.pool, object.c_str(), id_attribute, text.data(), text.size());
    if (result != -ENODATA) ec = rados_error(result);
    if (result == -ENOENT) ec.clear();  // it was removed meanwhile, which removing it finds, too
    return {text.data(), static_cast<std::size_t>(std::max(result, 0))};
  }

  /// Whether bytes that have the id of a file are not that file's, and may not become so any more:
  /// a server that was about to publish them is late. False if they are garbage already.
  bool fence_off(const std::string& id_text, const std::string& bytes, std::error_code& ec) const {
    const auto id = Digest::from_hex(id_text);
    if (!id) return false;
    const std::string object = index_object(*id, store_.index_objects);
    const std::string aside = '!' + id_text + '/' + bytes;
    const omap_pairs pairs = read_keys(store_.pool, object, {id_text, aside}, ec);
    if (ec || pairs.contains(aside)) return false;
    const auto found = pairs.find(id_text);
    const std::string text = found == pairs.end() ? std::string{} : found->second;
    const auto record = stored_record::parse(text);
    if (!text.empty() && (!record || record->bytes == bytes)) return false;
    if (!read_keys(store_.pool, garbage_object, {bytes}, ec).empty() || ec) return false;
    rados_write change;
    change.expect(id_text, text).set(fence_key(bytes), "late");
    const int result = change.perform(store_.pool, object);
    if (!is_unexpected(result)) ec = rados_error(result);
    return result >= 0;
  }

  /// Removes the notes of interrupted uploads of which nothing is left.
  void remove_old_notes(const std::string& object, std::error_code& ec) {
    const auto remove = [&](const std::string& key, const std::string& note) {
      words in{note};
      const std::string bytes{in.next()};
      in.next();  // the size of its objects
      const auto since = in.next_number();
      if (since && std::chrono::seconds{*since} > oldest_) return true;
      if (exists(chunk_object(bytes, 0), ec) || ec) return !ec;
      erase_unchanged(store_.pool, object, {key, note}, ec);
      return !ec;
    };
    std::error_code failed;
    for_each_pair(store_.pool, object, {partial_prefix}, remove, failed);
    if (!ec) ec = failed;
  }

  const rados_context& store_;
  const std::chrono::seconds oldest_;
  const std::function<bool()>& should_stop_;
  std::size_t found_ = 0;
};

}  // namespace filexfer::detail

#endif
