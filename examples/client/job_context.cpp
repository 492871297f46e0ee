#include "client/job_context.hpp"

#ifdef PROGRAMS_WITH_TLS
#include <filexfer/tls.hpp>
#endif

#include <algorithm>
#include <variant>

namespace programs {

using filexfer::any_connector;

any_connector connector_to(const asio::any_io_executor& executor, const server_location& location) {
  if (location.command)
    return any_connector{filexfer::command_connector{executor, *location.command}};
  if (const auto* where = std::get_if<unix_address>(&location.where)) {
    return any_connector{filexfer::unix_connector{executor, where->path}};
  }
#ifdef PROGRAMS_WITH_TLS
  if (const auto* where = std::get_if<tls_address>(&location.where)) {
    return any_connector{filexfer::tls_connector{executor, where->tcp.host,
                                                 std::to_string(where->tcp.port),
                                                 filexfer::make_client_context(location.ca_file)}};
  }
#endif
  const auto& where = std::get<tcp_address>(location.where);
  return any_connector{filexfer::tcp_connector{executor, where.host, std::to_string(where.port)}};
}

std::optional<filexfer::download_target> choose_target(const std::filesystem::path& output,
                                                       std::size_t count,
                                                       filexfer::on_existing policy,
                                                       std::error_code& ec) {
  using filexfer::download_target;
  if (std::filesystem::is_directory(output, ec)) return download_target::folder(output, policy, ec);
  ec.clear();
  if (count == 1 && output.has_filename()) return download_target::file(output, policy);
  ec = std::make_error_code(std::errc::not_a_directory);
  return std::nullopt;
}

job_context::job_context(const client_settings& client, reporter& reporter, any_connector connector,
                         operation_runner& runner)
    : settings{client},
      out{reporter},
      operations{runner},
      pool{std::move(connector),
           filexfer::pool_options{.connections = client.parallel, .retry_for = client.retry_for}},
      // One thread hashes and one writes; a third would only take turns at the same chunks.
      work{std::min<std::size_t>(client.parallel, 8) + 1} {
  pool.work_executor(work.get_executor());
  pool.on_event([this](const filexfer::pool_event& event) {
    const std::string why = cause(event.why, settings.server.name());
    if (event.what == filexfer::pool_event::kind::retrying) {
      out.report_retry(event.name, why);
    } else {
      out.report("--parallel", {done, "goes on with fewer connections: " + why});
    }
  });
}

}  // namespace programs
