#ifndef PROGRAMS_CLIENT_JOB_CONTEXT_HPP
#define PROGRAMS_CLIENT_JOB_CONTEXT_HPP

/// \file
/// The state and functions that filexfer-client's commands share.

#include "common/client_settings.hpp"
#include "common/failure.hpp"
#include "common/interruption.hpp"
#include "common/operation_runner.hpp"
#include "common/reporter.hpp"

#include <filexfer/filexfer.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/thread_pool.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace programs {

/// Returns the connector for the server. Throws `std::system_error` if the certificates to trust
/// can't be read.
filexfer::any_connector connector_to(const asio::any_io_executor& executor,
                                     const server_location& location);

/// Returns the target `output` for `count` files. Sets `ec` to `ENOTDIR` if it has to be a folder
/// but is not one.
std::optional<filexfer::download_target> choose_target(const std::filesystem::path& output,
                                                       std::size_t count,
                                                       const client_settings& settings,
                                                       std::error_code& ec);

/// The deadlines that the command line sets.
filexfer::client_options client_options_of(const client_settings& settings);

/// A job's settings, output and pool.
struct job_context {
  /// All references must outlive this object.
  job_context(const client_settings& client, reporter& reporter, filexfer::any_connector connector,
              operation_runner& runner);

  failure explain(const filexfer::transfer_failure& why) const {
    return programs::explain(why, settings.server.name());
  }

  /// Reports why a job of the pool failed. Returns the code.
  exit_code report_pool_failure(std::string_view subject) {
    return out.report(subject, explain(pool.last_failure()));
  }

  /// Reports the totals of a command that transfers or verifies files, unless it was interrupted.
  /// `lost` is set if files are left because the server was lost.
  void report_totals(std::string_view command, std::error_code lost);

  const client_settings& settings;
  reporter& out;
  operation_runner& operations;
  filexfer::transfer_pool<filexfer::any_connector> pool;
  asio::thread_pool work;  // declared last, so that it is joined first
};

exit_code list(job_context& job);
exit_code upload(job_context& job);
exit_code download(job_context& job);
exit_code verify(job_context& job);
exit_code remove(job_context& job);

/// Runs steps 3 to 22 of the simulation over a new connection, without a pool.
exit_code simulate(const client_settings& settings, reporter& out, operation_runner& operations,
                   filexfer::any_connector& connector);

/// The reason in a job's totals for files whose digests differ, as each message has its own
/// digests.
inline constexpr std::string_view digests_differ = "the digests differ";

/// Explains that several files have the name that an argument gives.
failure explain_ambiguous(const std::vector<filexfer::listed_file>& files);

/// What the names of all files begin with that `wanted` may mean: names or patterns, at least one.
std::string common_prefix(std::span<const std::string> wanted);

/// Counts the entries of a list that are held in memory.
class held_entries {
 public:
  /// Whether another one may be held; else sets `ec`, which ends the list.
  bool add(std::error_code& ec) {
    if (count_++ < filexfer::client_options{}.max_entries) return true;
    ec = filexfer::errc::too_many_entries;
    return false;
  }

 private:
  std::size_t count_ = 0;
};

/// What is left of an upload that was interrupted.
inline constexpr std::string_view server_may_keep =
    "the server may keep the bytes that arrived for its --partial-age";

/// Follows what is kept of an interrupted transfer.
inline constexpr std::string_view same_command_goes_on = "; the same command goes on";

/// `12 B`, `3.4 KiB`, `120 MiB`.
std::string format_size(std::uint64_t bytes);

/// The exit code of a job: that of the first file, in the order of the files, that failed.
class job_code {
 public:
  /// The index of a failure that comes after those of all files that were started.
  static constexpr std::size_t last = std::numeric_limits<std::size_t>::max();

  void note(std::size_t index, exit_code code) noexcept {
    if (code == done || (code_ != done && index_ <= index)) return;
    code_ = code;
    index_ = index;
  }
  exit_code code() const noexcept { return interruption::received() ? interrupted : code_; }

 private:
  exit_code code_ = done;
  std::size_t index_ = 0;
};

}  // namespace programs

#endif
