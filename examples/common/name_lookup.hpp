#ifndef PROGRAMS_NAME_LOOKUP_HPP
#define PROGRAMS_NAME_LOOKUP_HPP

/// \file
/// From names to ids.

#include "common/failure.hpp"
#include "common/listing.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace programs {

/// Finds the ids of a few names in a list of any length.
class name_lookup {
 public:
  /// `words`: names, and ids, which need no looking up.
  explicit name_lookup(const std::vector<std::string>& words) {
    for (const std::string& word : words) {
      if (!digest::from_hex(word)) ids_[word];
    }
  }

  /// Whether there are names among the words.
  bool needed() const noexcept { return !ids_.empty(); }

  /// Takes an entry of the list.
  void see(const file_info& file) {
    const auto wanted = ids_.find(file.name);
    if (wanted != ids_.end()) wanted->second.push_back(file.id);
  }

  /// The id that `word` stands for; nothing, and why, if that is not just one.
  std::optional<digest> id_of(const std::string& word, failure& why) const {
    if (const auto id = digest::from_hex(word)) return id;
    const std::vector<digest>& ids = ids_.at(word);
    if (ids.size() == 1) return ids.front();
    if (ids.empty()) {
      why = {refused, "the server has no file of that name"};
    } else {
      why = {wrong_usage, "several files bear that name; download one by its id:"};
      for (const digest& id : ids) why.text += "\n  " + id.to_string();
    }
    return std::nullopt;
  }

 private:
  std::map<std::string, std::vector<digest>> ids_;
};

}  // namespace programs

#endif
