// filexfer-client: lists, uploads and downloads files, and knows that they arrived.

#include "client/job_context.hpp"
#include "common/process.hpp"

#include <exception>
#include <system_error>

namespace programs {
namespace {

using snapshot = filexfer::transfer_progress::snapshot;

failure explain_cache(std::error_code ec) {
  if (ec == std::errc::is_a_directory || ec == std::errc::not_supported) {
    return {local_file, "is no regular file that can be read"};
  }
  return {local_file, "can't be opened: " + ec.message()};
}

exit_code run(job_context& at) {
  switch (at.chosen.job) {
    case client_job::list: return list(at);
    case client_job::upload: return upload(at);
    case client_job::download: return download(at);
    case client_job::verify: return verify(at);
    case client_job::simulate: break;  // which has no pool
  }
  return wrong_usage;
}

exit_code run(const client_settings& chosen, reporter& out, snapshot& moved) try {
  std::optional<filexfer::file_digest_cache> known;
  std::error_code ec;
  if (chosen.checksum_cache) known.emplace(*chosen.checksum_cache, ec);
  if (ec) return out.report("--checksum-cache " + *chosen.checksum_cache, explain_cache(ec));
  operation_runner operations;
  auto connector = connector_to(operations.context().get_executor(), chosen.server);
  if (chosen.job == client_job::simulate) return simulate(chosen, out, operations, connector);
  job_context at{chosen, out, std::move(connector), operations};
  if (known) at.pool.use_digest_cache(*known);
  const exit_code code = run(at);
  moved = at.pool.progress().now();
  return code;
} catch (const std::exception& e) {
  return out.report("filexfer-client", {local_file, e.what()});
}

exit_code run(int argc, char** argv) {
  client_settings chosen;
  if (const auto ended = parse(chosen, argc, argv)) return *ended;
  ignore_signals_of_writes();
  await_children();
  interruption::watch();
  std::optional<interruption::interruptible> scope;
  if (chosen.form == output_form::json) scope.emplace();  // the last event tells of it
  reporter out{chosen.form, chosen.progress};
  snapshot moved;
  const exit_code code = run(chosen, out, moved);
  out.end(moved, code);
  return after_output(code);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::guarded("filexfer-client", [&] { return programs::run(argc, argv); });
}
