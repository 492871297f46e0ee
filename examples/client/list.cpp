#include "client/jobs.hpp"
#include "common/listing.hpp"

#include <filexfer/printable.hpp>

#include <iostream>
#include <vector>

#include <unistd.h>

namespace programs {

exit_code list(workplace& at) {
  const bool for_a_person = ::isatty(STDOUT_FILENO) == 1;
  const bool md5sum = at.chosen.md5sum;
  std::vector<listed> kept;
  const auto show = [&](auto file) {
    if (for_a_person && !md5sum) {
      kept.emplace_back(file);
      return;
    }
    if (for_a_person) file.name = filexfer::printable(file.name);
    std::cout << (md5sum ? md5sum_line(listed{file}) : format_entry(file) + '\n');
  };
  const failure failed = list_into(at, {at.chosen.prefix}, show);
  if (failed.code != done) return at.say.report("list", failed);
  if (!kept.empty()) std::cout << table(std::move(kept));
  else if (for_a_person && !md5sum) std::cout << filexfer::no_files_words << '\n';
  return done;
}

}  // namespace programs
