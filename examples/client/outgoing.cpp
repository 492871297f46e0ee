#include "client/outgoing.hpp"

#include "common/stdin_source.hpp"

namespace programs {

namespace fs = std::filesystem;

void outgoing_file::prepare(std::error_code& ec) {
  const stdin_spool spool{ec};
  if (!ec) open_ = [spool](std::error_code& failed) { return spool.open(failed); };
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
    if (next_ == settings_->arguments.size()) return;
    start_argument(settings_->arguments[next_++]);
  }
}

void outgoing_files::start_argument(const std::string& argument) {
  std::error_code ec;
  if (argument == "-" && settings_->job == client_job::upload) {
    current_.emplace(standard_input, settings_->name.value_or("stdin"), outgoing_file::opener{});
  } else if (!settings_->name && fs::is_directory(argument, ec)) {
    folder_.emplace(argument, settings_->links, ec);
    if (ec) current_.emplace(argument, ec);
  } else {
    const auto open = [argument](std::error_code& failed) {
      return filexfer::file_source{argument, failed};
    };
    current_.emplace(argument, settings_->name.value_or(fs::path{argument}.filename()), open);
  }
}

}  // namespace programs
