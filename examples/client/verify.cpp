#include "client/job_context.hpp"
#include "client/outgoing.hpp"

#include <asio/detached.hpp>

namespace programs {

exit_code verify(job_context& at) {
  const display shown{at.operations.context(), at.out, at.pool.progress()};
  const interruption::interruptible scope;
  if (at.out.shows_progress()) at.pool.async_count(outgoing_files{at.chosen}, asio::detached);
  job_code code;
  std::size_t told = 0;
  const auto tell = [&](const filexfer::file_result<outgoing>& result) {
    const outgoing& file = result.element;
    const bool is_lacking = result.failure.origin == filexfer::failure_origin::peer;
    ++told;
    if (result.failure && !is_lacking) {
      const std::error_code ec = result.failure.error;
      code.note(result.index,
                at.out.report(file.label(), interruption::came() ? at.explain(result.failure)
                                                                 : file.explain_here(ec)));
      return;
    }
    if (is_lacking) code.note(result.index, wrong_digest);
    at.out.tell({is_lacking ? verdict::lacks : verdict::held,
                 direction::up,
                 result.computed_here.to_string(),
                 {},
                 file.name(),
                 file.label(),
                 result.size});
  };
  const auto [ec, totals] = at.operations.run<filexfer::transfer_totals>([&](auto handler) {
    at.pool.async_verify(outgoing_files{at.chosen}, tell, std::move(handler));
  });
  if (ec && told == 0) return at.report_failure("list");
  return code.code();
}

}  // namespace programs
