#include "client/forecast.hpp"

#include "common/folder_walk.hpp"

#include <filexfer/file.hpp>

#include <exception>
#include <system_error>

namespace programs {

forecast::forecast(workplace& at) : chosen_{at.chosen}, job_{at.moved} {
  if (!at.say.shows_progress()) return;
  thread_ = std::jthread{[this](const std::stop_token& ended) {
    try {
      count(ended);
    } catch (const std::exception&) {  // then less is known
    }
  }};
}

void forecast::count(const std::stop_token& ended) {
  for (const std::string& word : chosen_.words) {
    if (ended.stop_requested()) return;
    std::error_code ec;
    if (chosen_.job == client_job::upload && word == "-") job_.expect(chosen_.size);
    else if (is_folder(chosen_, word)) count_folder(word, ended);
    else if (const filexfer::file_source file{word, ec}; !ec) job_.expect(file.size());
  }
  job_.expect_no_more();
}

void forecast::count_folder(const std::string& path, const std::stop_token& ended) {
  folder_walk files{path, chosen_.links, [](const auto&, const failure&) {}};
  while (!ended.stop_requested() && files.next()) job_.expect(files.file().size());
}

}  // namespace programs
