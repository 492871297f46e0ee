// filexfer-client: lists, uploads and downloads files, and knows that they arrived.

#include "client/jobs.hpp"
#include "common/client_settings.hpp"
#include "common/exit_code.hpp"
#include "common/failure.hpp"
#include "common/interruption.hpp"
#include "common/process.hpp"

namespace programs {
namespace {

exit_code run(int argc, char** argv) {
  client_settings chosen;
  if (const auto ended = parse(chosen, argc, argv)) return *ended;
  ignore_signals_of_writes();
  interruption::watch();
  reporter say{chosen.progress};
  workplace at{chosen, say};
  exit_code code = done;
  switch (chosen.job) {
    case client_job::list: code = list(at); break;
    case client_job::upload: code = upload(at); break;
    case client_job::download: code = download(at); break;
    case client_job::verify: code = verify(at); break;
    case client_job::simulate: code = simulate(at); break;
  }
  return after_output(code);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::guarded("filexfer-client", [&] { return programs::run(argc, argv); });
}
