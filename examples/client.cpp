// filexfer-client: lists, uploads and downloads files, and knows that they arrived.

#include "client/jobs.hpp"
#include "common/checksum_cache.hpp"
#include "common/client_settings.hpp"
#include "common/exit_code.hpp"
#include "common/failure.hpp"
#include "common/interruption.hpp"
#include "common/process.hpp"
#include "common/reporter.hpp"

#include <exception>
#include <optional>

namespace programs {
namespace {

exit_code run(workplace& at) {
  switch (at.chosen.job) {
    case client_job::list: return list(at);
    case client_job::upload: return upload(at);
    case client_job::download: return download(at);
    case client_job::verify: return verify(at);
    case client_job::simulate: return simulate(at);
  }
  return wrong_usage;
}

exit_code run(const client_settings& chosen, reporter& say, progress& moved) try {
  std::optional<checksum_cache> known;
  if (chosen.checksum_cache) known.emplace(*chosen.checksum_cache);
  workplace at{chosen, say, moved, known ? &*known : nullptr};
  return run(at);
} catch (const std::exception& e) {
  return say.report("filexfer-client", {local_file, e.what()});
}

exit_code run(int argc, char** argv) {
  client_settings chosen;
  if (const auto ended = parse(chosen, argc, argv)) return *ended;
  ignore_signals_of_writes();
  interruption::watch();
  std::optional<interruption::interruptible> scope;
  if (chosen.form == output_form::json) scope.emplace();  // the last event tells of it
  reporter say{chosen.form, chosen.progress};
  progress moved;
  const exit_code code = run(chosen, say, moved);
  say.end(moved.now(), code);
  return after_output(code);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::guarded("filexfer-client", [&] { return programs::run(argc, argv); });
}
