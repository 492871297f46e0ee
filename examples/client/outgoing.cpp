#include "client/outgoing.hpp"

#include "common/stdin_source.hpp"

namespace programs {

namespace fs = std::filesystem;

void outgoing::prepare(std::error_code& ec) {
  const spool input{ec};
  if (!ec) open_ = [input](std::error_code& failed) { return input.open(failed); };
}

void outgoing_files::advance() {
  current_.reset();
  while (!current_) {
    if (folder_) {
      auto entry = folder_->begin();
      if (entry != folder_->end()) {
        current_.emplace(std::move(*entry));
        ++entry;
        return;
      }
      folder_.reset();
    }
    if (next_ == chosen_->words.size()) return;
    take(chosen_->words[next_++]);
  }
}

void outgoing_files::take(const std::string& word) {
  std::error_code ec;
  if (word == "-" && chosen_->job == client_job::upload) {
    current_.emplace(standard_input, chosen_->name.value_or("stdin"), outgoing::opener{});
  } else if (!chosen_->name && fs::is_directory(word, ec)) {
    folder_.emplace(word, chosen_->links, ec);
    if (ec) current_.emplace(word, ec);
  } else {
    const auto open = [word](std::error_code& failed) {
      return filexfer::file_source{word, failed};
    };
    current_.emplace(word, chosen_->name.value_or(fs::path{word}.filename()), open);
  }
}

}  // namespace programs
