#include "client/outgoing.hpp"

#include "common/stdin_source.hpp"

namespace programs {

namespace fs = std::filesystem;

void outgoing_file::prepare(std::error_code& ec) {
  const stdin_spool spool{ec};
  if (!ec) open_ = [spool](std::error_code& failed) { return spool.open(failed); };
}

filexfer::file_source outgoing_file::open(std::error_code& ec) {
  filexfer::file_source source = open_(ec);
  struct stat status {};
  const bool is_new =
      !ec && uploads_ != nullptr && token_.empty() && unfinished_uploads::is_resumed(source.size());
  if (is_new && ::fstat(source.native_handle(), &status) == 0)
    token_ = uploads_->begin(status, name_);
  return source;
}

bool outgoing_file::was_interrupted() const {
  if (uploads_ == nullptr || !uploads_->has_earlier()) return false;
  std::error_code ec;
  struct stat status {};
  const filexfer::file_source source = open_(ec);
  return !ec && ::fstat(source.native_handle(), &status) == 0 &&
         uploads_->was_interrupted(status, name_);
}

void outgoing_files::advance() {
  current_.reset();
  find_next();
  // What is read from standard input is another file in each run.
  if (current_ && uploads_ != nullptr && !current_->may_block()) current_->track(*uploads_);
}

void outgoing_files::find_next() {
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
    if (next_ == settings_->arguments.size()) return;
    start_argument(settings_->arguments[next_++]);
  }
}

void outgoing_files::start_argument(const std::string& argument) {
  std::error_code ec;
  if (argument == "-" && settings_->job == client_job::upload) {
    current_.emplace(standard_input, settings_->name.value_or("stdin"), outgoing_file::opener{});
  } else if (!settings_->name && fs::is_directory(argument, ec)) {
    folder_.emplace(argument, filexfer::tree_options{settings_->links, settings_->filter}, ec);
    if (ec) current_.emplace(argument, ec);
  } else {
    const auto open = [argument](std::error_code& failed) {
      return filexfer::file_source{argument, failed};
    };
    current_.emplace(argument, settings_->name.value_or(fs::path{argument}.filename()), open);
  }
}

std::uint64_t count_empty_folders(const client_settings& settings) {
  std::uint64_t count = 0;
  std::error_code ec;
  const auto note = [&](const fs::path& folder) {
    if (fs::is_empty(folder, ec) && !ec) ++count;
  };
  for (const std::string& argument : settings.arguments) {
    if (settings.name || !fs::is_directory(argument, ec)) continue;
    note(argument);
    fs::recursive_directory_iterator entry{argument, fs::directory_options::skip_permission_denied,
                                           ec};
    for (; !ec && entry != fs::end(entry); entry.increment(ec)) {
      std::error_code ignored;
      if (entry->is_directory(ignored) && !entry->is_symlink(ignored)) note(entry->path());
    }
  }
  return count;
}

}  // namespace programs
