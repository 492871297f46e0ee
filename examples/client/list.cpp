#include "client/jobs.hpp"
#include "common/listing.hpp"

#include <filexfer/printable.hpp>

#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

namespace programs {
namespace {

exit_code list_in_json(workplace& at) {
  const failure failed =
      list_into(at, {at.chosen.prefix, true}, [&](const auto& file) { at.say.tell(listed{file}); });
  return failed.code == done ? done : at.say.report("list", failed);
}

}  // namespace

exit_code list(workplace& at) {
  if (at.chosen.form == output_form::json) return list_in_json(at);
  const bool for_a_person = ::isatty(STDOUT_FILENO) == 1;
  const bool md5sum = at.chosen.md5sum;
  std::vector<listed> kept;
  const auto show = [&](auto file) {
    if (for_a_person && !md5sum) {
      kept.emplace_back(file);
      return;
    }
    if (for_a_person) file.name = filexfer::printable(file.name);
    at.say.print(md5sum ? md5sum_line(listed{file}) : format_entry(file) + '\n');
  };
  const failure failed = list_into(at, {at.chosen.prefix}, show);
  if (failed.code != done) return at.say.report("list", failed);
  if (!kept.empty()) at.say.print(table(std::move(kept)));
  else if (for_a_person && !md5sum) at.say.print(std::string{filexfer::no_files_words} + '\n');
  return done;
}

}  // namespace programs
