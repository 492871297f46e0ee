#ifndef PROGRAMS_NAME_LOOKUP_HPP
#define PROGRAMS_NAME_LOOKUP_HPP

/// \file
/// From names to files.

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

/// Finds the files of a few names in a list of any length.
class name_lookup {
 public:
  /// `words`: names, and ids, which have so many digits and need no looking up.
  name_lookup(const std::vector<std::string>& words, std::size_t digits) : digits_{digits} {
    for (const std::string& word : words) {
      if (!is_id(word)) found_[word];
    }
  }

  bool is_id(const std::string& word) const {
    return word.size() == digits_ && looks_like_id(word);
  }

  /// An id as the server writes it.
  static std::string lower_case(std::string id) {
    for (char& c : id) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return id;
  }

  /// Whether there are names among the words.
  bool needed() const noexcept { return !found_.empty(); }

  /// Takes an entry of the list.
  void see(const listed& file) {
    const auto wanted = found_.find(file.name);
    if (wanted != found_.end()) wanted->second.push_back(file);
  }

  /// The file that `word`, which is no id, stands for; nothing, and why, if that is not just one.
  std::optional<listed> find(const std::string& word, failure& why) const {
    const std::vector<listed>& files = found_.at(word);
    if (files.size() == 1) return files.front();
    if (files.empty()) {
      why = {refused, "the server has no file of that name"};
      if (looks_like_id(word)) {
        why.text += ", and its ids have " + std::to_string(digits_) + " digits: another digest";
      }
    } else {
      why = {wrong_usage, "several files bear that name; download one by its id:"};
      for (const listed& file : files) why.text += "\n  " + file.id;
    }
    return std::nullopt;
  }

 private:
  std::size_t digits_;
  std::map<std::string, std::vector<listed>> found_;
};

}  // namespace programs

#endif
