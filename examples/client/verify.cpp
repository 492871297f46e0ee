#include "client/job_context.hpp"
#include "client/outgoing.hpp"

#include <asio/detached.hpp>

namespace programs {

exit_code verify(job_context& job) {
  const progress_display progress{job.operations.context(), job.out, job.pool.progress()};
  const interruption::interruptible scope;
  if (job.out.shows_progress()) job.pool.async_count(outgoing_files{job.settings}, asio::detached);
  job_code code;
  std::size_t reported = 0;
  const auto on_result = [&](const filexfer::file_result<outgoing_file>& result) {
    const outgoing_file& file = result.element;
    const bool is_missing = result.failure.origin == filexfer::failure_origin::peer;
    ++reported;
    if (result.failure && !is_missing) {
      const std::error_code ec = result.failure.error;
      const failure why =
          interruption::received() ? job.explain(result.failure) : file.explain_local_error(ec);
      if (why.code == done) job.out.count_skipped(ec);
      code.note(result.index, job.out.report_failed(file.label(), why));
      return;
    }
    if (is_missing) {
      code.note(result.index, wrong_digest);
      job.out.count_failed("the server does not hold it");
    }
    job.out.report_file({is_missing ? outcome::lacks : outcome::held,
                         transfer_direction::up,
                         result.local_digest.to_string(),
                         {},
                         file.name(),
                         file.label(),
                         result.size});
  };
  const auto [ec, totals] = job.operations.run<filexfer::transfer_totals>([&](auto handler) {
    job.pool.async_verify(outgoing_files{job.settings}, on_result, std::move(handler));
  });
  if (ec && reported == 0) return job.report_pool_failure("list");
  job.report_totals("verify", ec);
  return code.code();
}

}  // namespace programs
