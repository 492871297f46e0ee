#ifndef PROGRAMS_NAME_LOOKUP_HPP
#define PROGRAMS_NAME_LOOKUP_HPP

/// \file
/// From names to ids.

#include "common/failure.hpp"
#include "common/listing.hpp"

#include <filexfer/md5.hpp>
#include <filexfer/sha256.hpp>

#include <cctype>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace programs {

/// Whether a word looks like an id, of whichever digest.
inline bool looks_like_id(const std::string& word) {
  return filexfer::md5::digest_type::from_hex(word) ||
         filexfer::sha256::digest_type::from_hex(word);
}

/// Finds the ids of a few names in a list of any length.
class name_lookup {
 public:
  /// `words`: names, and ids, which have so many digits and need no looking up.
  name_lookup(const std::vector<std::string>& words, std::size_t digits) : digits_{digits} {
    for (const std::string& word : words) {
      if (!is_id(word)) ids_[word];
    }
  }

  bool is_id(const std::string& word) const {
    return word.size() == digits_ && looks_like_id(word);
  }

  /// Whether there are names among the words.
  bool needed() const noexcept { return !ids_.empty(); }

  /// Takes an entry of the list.
  void see(const listed& file) {
    const auto wanted = ids_.find(file.name);
    if (wanted != ids_.end()) wanted->second.push_back(file.id);
  }

  /// The id that `word` stands for; nothing, and why, if that is not just one.
  std::optional<std::string> id_of(const std::string& word, failure& why) const {
    if (is_id(word)) return lower_case(word);
    const std::vector<std::string>& ids = ids_.at(word);
    if (ids.size() == 1) return ids.front();
    if (ids.empty()) {
      why = {refused, "the server has no file of that name"};
      if (looks_like_id(word)) {
        why.text += ", and its ids have " + std::to_string(digits_) + " digits: another digest";
      }
    } else {
      why = {wrong_usage, "several files bear that name; download one by its id:"};
      for (const std::string& id : ids) why.text += "\n  " + id;
    }
    return std::nullopt;
  }

 private:
  static std::string lower_case(std::string hex) {
    for (char& c : hex) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return hex;
  }

  std::size_t digits_;
  std::map<std::string, std::vector<std::string>> ids_;
};

}  // namespace programs

#endif
