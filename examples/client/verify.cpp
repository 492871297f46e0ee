#include "client/forecast.hpp"
#include "client/jobs.hpp"
#include "common/folder_walk.hpp"
#include "common/listing.hpp"

#include <filexfer/file.hpp>

#include <filesystem>
#include <set>

namespace programs {
namespace {

class verification {
 public:
  explicit verification(workplace& at) : at_{at} {}

  exit_code run() {
    const display shown{at_.say, at_.moved};
    const auto see = [this](const listed& file) { held_.emplace(file.name, file.id); };
    const failure none = list_bounded(at_, {}, see);
    if (none.code != done) return at_.say.report("list", none);
    const interruption::interruptible scope;
    const forecast ahead{at_};
    return for_each_word(at_, [this](const std::string& word) {
      return is_folder(at_.chosen, word) ? check_folder(word) : check_file(word);
    });
  }

 private:
  exit_code check_folder(const std::string& path) {
    first_failure all;
    folder_walk files{path, at_.chosen.links, [&](const auto& file, const failure& why) {
                        all.note(at_.say.report(file, why));
                      }};
    while (!interruption::came() && files.next()) {
      all.note(check(files.file(), files.path().string(), files.name()));
    }
    return all.code();
  }

  exit_code check_file(const std::string& path) {
    std::error_code ec;
    filexfer::file_source file{path, ec};
    if (ec) return at_.say.report(path, explain_local(ec));
    return check(file, path, std::filesystem::path{path}.filename());
  }

  exit_code check(filexfer::file_source& file, const std::string& path, const std::string& name) {
    std::error_code ec;
    file_progress shown{at_.moved, file.size()};
    shown.start(file.size());
    const std::string id = id_of(at_, file, shown, ec);
    if (ec) return at_.say.report(path, explain_here(ec));
    const bool held = held_.contains({name, id});
    at_.say.tell(
        {held ? verdict::held : verdict::lacks, direction::up, id, {}, name, path, file.size()});
    return held ? done : wrong_digest;
  }

  workplace& at_;
  std::set<std::pair<std::string, std::string>> held_;  ///< Names and ids.
};

}  // namespace

exit_code verify(workplace& at) { return verification{at}.run(); }

}  // namespace programs
