// filexfer-client: lists, uploads, downloads, verifies and removes files.

#include "client/job_context.hpp"
#include "common/process.hpp"

#include <exception>
#include <system_error>

namespace programs {
namespace {

using snapshot = filexfer::transfer_progress::snapshot;

failure explain_cache(std::error_code ec) {
  if (ec == std::errc::is_a_directory || is_not_regular(ec)) {
    return {local_error, "is not a readable regular file"};
  }
  if (ec == filexfer::errc::not_private) {
    return {local_error,
            "could be changed by others, who could make wrong digests believed; it must be your "
            "file, with one link, writable by you only. Remove it, or name another one"};
  }
  return {local_error, "can't be opened: " + ec.message()};
}

exit_code run(job_context& job) {
  switch (job.settings.job) {
    case client_job::list: return list(job);
    case client_job::upload: return upload(job);
    case client_job::download: return download(job);
    case client_job::verify: return verify(job);
    case client_job::remove: return remove(job);
    case client_job::simulate: break;  // has no pool; started elsewhere
  }
  return wrong_usage;
}

/// Sets `totals` to the progress at the end.
exit_code run(const client_settings& settings, reporter& out, snapshot& totals) try {
  std::optional<filexfer::file_digest_cache> cache;
  std::error_code ec;
  if (settings.checksum_cache) cache.emplace(*settings.checksum_cache, ec);
  if (ec) return out.report("--checksum-cache " + *settings.checksum_cache, explain_cache(ec));
  operation_runner operations;
  auto connector = connector_to(operations.context().get_executor(), settings.server);
  if (settings.job == client_job::simulate) return simulate(settings, out, operations, connector);
  job_context job{settings, out, std::move(connector), operations};
  if (cache) job.pool.use_digest_cache(*cache);
  const exit_code code = run(job);
  totals = job.pool.progress().now();
  // A file that waits for another attempt has no result.
  if (code == interrupted && !out.has_reported_interruption()) {
    const bool is_upload = settings.job == client_job::upload;
    out.report(
        "filexfer-client",
        {interrupted, "interrupted" + (is_upload ? "; " + std::string{server_may_keep} : "")});
  }
  return code;
} catch (const std::exception& e) {
  return out.report("filexfer-client", {local_error, e.what()});
}

exit_code run(int argc, char** argv) {
  client_settings settings;
  if (const auto ended = parse(settings, argc, argv)) return *ended;
  ignore_write_signals();
  reset_child_signal();
  interruption::watch();
  std::optional<interruption::interruptible> scope;
  if (settings.format == output_format::json) scope.emplace();  // for the summary event at the end
  reporter out{settings.format, settings.progress};
  snapshot totals;
  const exit_code code = run(settings, out, totals);
  out.report_summary(totals, code);
  return flush_output(code);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::run_guarded("filexfer-client", [&] { return programs::run(argc, argv); });
}
