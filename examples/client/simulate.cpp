#include "client/jobs.hpp"
#include "common/download_sink.hpp"
#include "common/simulation.hpp"
#include "common/temporary_folder.hpp"

#include <filexfer/file.hpp>

#include <filesystem>
#include <type_traits>

namespace programs {

exit_code simulate(workplace& at) {
  const std::filesystem::path file = at.chosen.words.front();
  const interruption::interruptible scope;
  const temporary_folder folder;
  simulated what{file, file.filename(), {folder.path()}, at.chosen.policy};
  std::error_code ec;
  const filexfer::file_source readable{file, ec};
  if (ec) return at.say.report(file.string(), explain_local(ec));
  if (!at.chosen.output.empty()) what.copy = choose_destination(at.chosen.output, 1, ec);
  if (ec) return at.say.report(at.chosen.output, explain_local(ec));
  if (const failure none = at.server.connect(); none.code != done)
    return at.say.report(what.name, none);
  return at.server.with_client([&](auto& client) {
    using hasher = typename std::remove_reference_t<decltype(client)>::hasher_type;
    simulation<any_stream, hasher> steps{at.operations, at.say, std::move(client.next_layer()),
                                         at.server.work_executor()};
    return steps.run(what);
  });
}

}  // namespace programs
