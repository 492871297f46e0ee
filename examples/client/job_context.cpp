#include "client/job_context.hpp"

#include "client/outgoing.hpp"

#ifdef PROGRAMS_WITH_TLS
#include <filexfer/tls.hpp>
#endif

#include <algorithm>
#include <array>
#include <cstdio>
#include <variant>

namespace programs {

using filexfer::any_connector;

filexfer::client_options client_options_of(const client_settings& settings) {
  filexfer::client_options options;
  options.limits.idle = settings.idle_timeout;
  options.limits.line = settings.idle_timeout;
  return options;
}

any_connector connector_to(const asio::any_io_executor& executor, const server_location& location) {
  if (location.command)
    return any_connector{filexfer::command_connector{executor, *location.command}};
  if (const auto* where = std::get_if<unix_address>(&location.where)) {
    return any_connector{filexfer::unix_connector{executor, where->path}};
  }
#ifdef PROGRAMS_WITH_TLS
  if (const auto* where = std::get_if<tls_address>(&location.where)) {
    return any_connector{filexfer::tls_connector{
        executor, where->tcp.host, std::to_string(where->tcp.port),
        filexfer::make_client_context(location.ca_file, location.certificate, location.key)}};
  }
#endif
  const auto& where = std::get<tcp_address>(location.where);
  return any_connector{filexfer::tcp_connector{executor, where.host, std::to_string(where.port)}};
}

std::optional<filexfer::download_target> choose_target(const std::filesystem::path& output,
                                                       std::size_t count,
                                                       const client_settings& settings,
                                                       std::error_code& ec) {
  using filexfer::download_target;
  std::optional<download_target> target;
  if (std::filesystem::is_directory(output, ec)) {
    target = download_target::folder(output, settings.policy, ec);
  } else if (count == 1 && output.has_filename()) {
    ec.clear();
    target = download_target::file(output, settings.policy);
  } else {
    ec = std::make_error_code(std::errc::not_a_directory);
  }
  if (target) target->flushing(settings.flushing);
  return target;
}

job_context::job_context(const client_settings& client, reporter& reporter, any_connector connector,
                         operation_runner& runner)
    : settings{client},
      out{reporter},
      operations{runner},
      pool{std::move(connector), filexfer::pool_options{.connections = client.parallel,
                                                        .retry_for = client.retry_for,
                                                        .connect_timeout = client.connect_timeout,
                                                        .max_rate = client.max_rate,
                                                        .client = client_options_of(client)}},
      // One thread hashes and one writes; a third would only take turns at the same chunks.
      work{std::min<std::size_t>(client.parallel, 8) + 1} {
  pool.work_executor(work.get_executor());
  pool.on_event([this](const filexfer::pool_event& event) {
    const std::string why = cause(event.failure, settings.server.name());
    if (event.kind == filexfer::pool_event_kind::retrying) {
      out.report_retry(event.name.empty() ? "filexfer-client" : event.name, why);
    } else {
      out.report("--parallel", {done, "continuing with fewer connections: " + why});
    }
  });
}

void job_context::report_totals(std::string_view command, std::error_code lost) {
  const bool sends = settings.job == client_job::upload;
  if (!sends && !out.wants_totals()) return;
  if (settings.job != client_job::download) out.count_empty_folders(count_empty_folders(settings));
  if (!interruption::received())
    out.report_totals(command, lost ? files_tried::some : files_tried::all);
}

failure explain_ambiguous(const std::vector<filexfer::listed_file>& files) {
  std::string why = "several files have that name; use an id:";
  for (const filexfer::listed_file& file : files) why += "\n  " + file.id.to_string();
  return {wrong_usage, why};
}

std::string common_prefix(std::span<const std::string> wanted) {
  std::string prefix = wanted.front().substr(0, filexfer::max_name_length);
  const auto shorten = [&](const std::string& text) {
    const auto differs = std::mismatch(prefix.begin(), prefix.end(), text.begin(), text.end());
    prefix.erase(differs.first, prefix.end());
  };
  for (const std::string& text : wanted) {
    shorten(text);  // a pattern may be a name, too
    if (filexfer::has_glob_characters(text)) shorten(filexfer::glob_prefix(text));
  }
  return prefix;
}

std::string format_size(std::uint64_t bytes) {
  constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1023.5; ++unit) value /= 1024;  // what would be rounded to 1024
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.*f %s", unit > 0 && value < 99.95 ? 1 : 0, value,
                units[unit]);
  return text.data();
}

}  // namespace programs
