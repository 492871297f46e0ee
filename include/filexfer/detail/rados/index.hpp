#ifndef FILEXFER_DETAIL_RADOS_INDEX_HPP
#define FILEXFER_DETAIL_RADOS_INDEX_HPP

// The index of a `rados_store`: the omaps of a thousand objects, by the first digits of ids.
//
//     <id>             the record of a file: where its bytes are
//     <id>/<name>      a name of it: its time, and whether it is executable
//     !<bytes>         a fence: the bytes of that name may not be published any more; it stays
//     !<id>/<bytes>    the record of a damaged file that was set aside
//     !<id>/<bytes>/<name>    a name of that
//     %<token>-<size>  an interrupted upload: where its bytes are
//
// All that is said of one id stands in one object, so that each change is one operation, which
// RADOS applies as a whole, if the record still is what was read before.

#include <filexfer/detail/rados/operation.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// Takes words apart that have one space between them.
class words {
 public:
  explicit words(std::string_view text) noexcept : rest_{text} {}

  /// Empty at the end.
  std::string_view next() noexcept {
    const auto word = rest_.substr(0, rest_.find(' '));
    rest_.remove_prefix(std::min(rest_.size(), word.size() + 1));
    return word;
  }

  /// Nothing if the next word is no number.
  std::optional<std::uint64_t> next_number() noexcept {
    const auto word = next();
    const char* const end = word.data() + word.size();
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(word.data(), end, number);
    if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
    return number;
  }

 private:
  std::string_view rest_;
};

/// Where the bytes of a file are.
struct stored_record {
  std::string bytes;  ///< Names their objects, see `chunk_object`.
  std::uint64_t size = 0;
  std::uint64_t chunk_size = 0;
  std::uint64_t names_changed = 0;  ///< How often names were added or removed.

  std::string text() const {
    return bytes + ' ' + std::to_string(size) + ' ' + std::to_string(chunk_size) + ' ' +
           std::to_string(names_changed);
  }

  static std::optional<stored_record> parse(std::string_view text) {
    words in{text};
    const auto bytes = in.next();
    const auto size = in.next_number();
    const auto chunk_size = in.next_number();
    const auto names_changed = in.next_number();
    if (bytes.empty() || !size || !chunk_size || *chunk_size == 0 || !names_changed) {
      return std::nullopt;
    }
    return stored_record{std::string{bytes}, *size, *chunk_size, *names_changed};
  }
};

/// What the index says of a name.
inline std::string format_attributes(const file_attributes& attributes) {
  return format_modified(attributes.modified) + format_executable(attributes.executable);
}

inline file_attributes parse_attributes(std::string_view text) {
  file_attributes attributes;
  std::error_code ec;
  const auto params = parameters::parse(text, ec);
  if (!ec) attributes.modified = time_value(params, ec);
  if (!ec) attributes.executable = executable_value(params, ec);
  return attributes;
}

inline std::string index_object(std::size_t number) { return "index." + std::to_string(number); }

/// The object in the index that has what is said of `id`, out of `count`.
template <class Digest>
std::string index_object(const Digest& id, std::size_t count) {
  const auto first = std::to_integer<std::size_t>(id.value()[0]);
  const auto second = std::to_integer<std::size_t>(id.value()[1]);
  return index_object((256 * first + second) % count);
}

/// What the keys of interrupted uploads begin with.
inline constexpr char partial_prefix = '%';

/// The same number on each machine, to distribute tokens.
constexpr std::uint32_t fnv_1a(std::string_view text) noexcept {
  std::uint32_t hash = 2166136261;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619;
  return hash;
}

inline std::string fence_key(std::string_view bytes) { return std::string{'!'}.append(bytes); }

/// What the index says of one id, as far as it matters to a name.
struct index_entry {
  std::optional<stored_record> record;  ///< None if the store does not hold the file.
  bool is_fenced = false;               ///< The bytes that were asked for may not be published.
  std::optional<std::string> name;      ///< What it says of the name, if the file has it.
  bool name_conflicts = false;          ///< A part of the name is a name, or it is part of one.
};

/// Reads an `index_entry`.
class index_lookup {
 public:
  /// `bytes` are those to be published; empty for none.
  void start(rados_ioctx_t pool, const std::string& object, const std::string& id,
             const std::string& name, const std::string& bytes) {
    id_ = id;
    name_key_ = id + '/' + name;
    fence_ = fence_key(bytes);
    std::vector<std::string> keys{id, name_key_, fence_};
    for (auto slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
      keys.push_back(id + '/' + name.substr(0, slash));
    }
    const std::string inside = name_key_ + '/';
    const omap_read::page names_inside[] = {{inside, inside, 1}};
    read_.start(pool, object, names_inside, keys);
  }

  index_entry wait(std::error_code& ec) {
    index_entry entry;
    const omap_pairs pairs = read_.wait(ec);
    if (ec) return entry;
    for (const auto& [key, value] : pairs) {
      if (key == id_) {
        entry.record = stored_record::parse(value);
        if (!entry.record) ec = errc::store_failed;
      } else if (key == name_key_) {
        entry.name = value;
      } else if (key == fence_) {
        entry.is_fenced = true;
      } else {
        entry.name_conflicts = true;
      }
    }
    return entry;
  }

 private:
  std::string id_;
  std::string name_key_;
  std::string fence_;
  omap_read read_;
};

}  // namespace filexfer::detail

#endif
