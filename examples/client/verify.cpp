#include "client/jobs.hpp"
#include "common/folder_walk.hpp"
#include "common/listing.hpp"

#include <filexfer/file.hpp>
#include <filexfer/printable.hpp>

#include <filesystem>
#include <iostream>
#include <set>

namespace programs {
namespace {

class verification {
 public:
  explicit verification(workplace& at) : at_{at} {}

  exit_code run() {
    const auto see = [this](const listed& file) { held_.emplace(file.name, file.id); };
    const failure none = list_bounded(at_, {}, see);
    if (none.code != done) return report("list", none);
    return for_each_word(at_, [this](const std::string& word) {
      std::error_code no_folder;
      return std::filesystem::is_directory(word, no_folder) ? check_folder(word) : check_file(word);
    });
  }

 private:
  exit_code check_folder(const std::string& path) {
    first_failure all;
    folder_walk files{path, at_.chosen.links, all};
    while (files.next()) all.note(check(files.file(), files.path().string(), files.name()));
    return all.code();
  }

  exit_code check_file(const std::string& path) {
    std::error_code ec;
    filexfer::file_source file{path, ec};
    if (ec) return report(path, explain_local(ec));
    return check(file, path, std::filesystem::path{path}.filename());
  }

  exit_code check(filexfer::file_source& file, const std::string& path, const std::string& name) {
    std::error_code ec;
    const std::string id = id_of(at_, file, ec);
    if (ec) return report(path, explain_local(ec));
    const bool held = held_.contains({name, id});
    std::cout << (held ? "Held  " : "Lacks  ") << id << "  " << filexfer::printable(name)
              << std::endl;
    return held ? done : wrong_digest;
  }

  workplace& at_;
  std::set<std::pair<std::string, std::string>> held_;  ///< Names and ids.
};

}  // namespace

exit_code verify(workplace& at) { return verification{at}.run(); }

}  // namespace programs
