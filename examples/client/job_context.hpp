#ifndef PROGRAMS_CLIENT_JOB_CONTEXT_HPP
#define PROGRAMS_CLIENT_JOB_CONTEXT_HPP

/// \file
/// What filexfer-client's commands work with.

#include "common/client_settings.hpp"
#include "common/failure.hpp"
#include "common/interruption.hpp"
#include "common/operation_runner.hpp"
#include "common/reporter.hpp"

#include <filexfer/filexfer.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/thread_pool.hpp>

#include <cstddef>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

namespace programs {

/// What leads to the server. Throws `std::system_error` if the certificates to trust can't be read.
filexfer::any_connector connector_to(const asio::any_io_executor& executor,
                                     const server_place& where);

/// What `-o` means for so many files. Sets `ec` to `ENOTDIR` if it has to be a folder and is none.
std::optional<filexfer::download_target> choose_target(const std::filesystem::path& output,
                                                       std::size_t count,
                                                       filexfer::on_existing policy,
                                                       std::error_code& ec);

/// The command line, the server, and whom to tell.
struct job_context {
  job_context(const client_settings& asked_for, reporter& reporter_,
              filexfer::any_connector connector, operation_runner& runs);

  failure explain(const filexfer::transfer_failure& why) const {
    return programs::explain(why, chosen.server.name());
  }

  /// Says why a job of the pool has failed. Returns the code.
  exit_code report_failure(std::string_view subject) {
    return out.report(subject, explain(pool.last_failure()));
  }

  const client_settings& chosen;
  reporter& out;
  operation_runner& operations;
  filexfer::transfer_pool<filexfer::any_connector> pool;
  asio::thread_pool work;  // behind what uses it
};

exit_code list(job_context& at);
exit_code upload(job_context& at);
exit_code download(job_context& at);
exit_code verify(job_context& at);

/// Steps 3 to 22 of the simulation, over a connection of its own.
exit_code simulate(const client_settings& chosen, reporter& out, operation_runner& operations,
                   filexfer::any_connector& connector);

/// How a job of many files ends: with the first failure, in the order of the files.
class job_code {
 public:
  /// Behind all that were taken up.
  static constexpr std::size_t last = std::numeric_limits<std::size_t>::max();

  void note(std::size_t index, exit_code code) noexcept {
    if (code == done || (code_ != done && index_ <= index)) return;
    code_ = code;
    index_ = index;
  }
  exit_code code() const noexcept { return interruption::came() ? interrupted : code_; }

 private:
  exit_code code_ = done;
  std::size_t index_ = 0;
};

}  // namespace programs

#endif
