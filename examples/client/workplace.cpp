#include "client/workplace.hpp"

#ifdef PROGRAMS_WITH_TLS
#include "common/tls.hpp"

#include <filexfer/tls.hpp>
#endif

#include <algorithm>
#include <memory>
#include <variant>

namespace programs {
namespace {

using filexfer::any_connector;

#ifdef PROGRAMS_WITH_TLS
/// A tls_connector, and the context that it needs.
class trusting_connector {
 public:
  using stream_type = filexfer::tls_connector::stream_type;

  trusting_connector(const asio::any_io_executor& executor, const tcp_address& where,
                     std::shared_ptr<asio::ssl::context> context)
      : context_{std::move(context)},
        connector_{executor, where.host, std::to_string(where.port), *context_} {}

  auto get_executor() const noexcept { return connector_.get_executor(); }

  template <class Token>
  auto async_connect(Token&& token) {
    return connector_.async_connect(std::forward<Token>(token));
  }

 private:
  std::shared_ptr<asio::ssl::context> context_;
  filexfer::tls_connector connector_;
};
#endif

}  // namespace

std::optional<any_connector> connector_to(const asio::any_io_executor& executor,
                                          const server_place& place,
                                          [[maybe_unused]] failure& why) {
  if (place.command) return any_connector{filexfer::command_connector{executor, *place.command}};
  if (const auto* where = std::get_if<unix_address>(&place.where)) {
    return any_connector{filexfer::unix_connector{executor, where->path}};
  }
  if (const auto* where = std::get_if<tcp_address>(&place.where)) {
    return any_connector{
        filexfer::tcp_connector{executor, where->host, std::to_string(where->port)}};
  }
#ifdef PROGRAMS_WITH_TLS
  if (auto context = client_context(place.trusted, why)) {
    const tcp_address& where = std::get<tls_address>(place.where).tcp;
    return any_connector{trusting_connector{executor, where, std::move(context)}};
  }
#endif
  return std::nullopt;
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

workplace::workplace(const client_settings& asked_for, reporter& to_say, any_connector connector,
                     foreground& runs)
    : chosen{asked_for},
      say{to_say},
      operations{runs},
      pool{std::move(connector), filexfer::pool_options{.connections = asked_for.parallel,
                                                        .retry_for = asked_for.retry_for}},
      work{std::min<std::size_t>(asked_for.parallel, 8) + 2} {
  pool.work_executor(work.get_executor());
  pool.on_event([this](const filexfer::pool_event& event) {
    const std::string why = cause(event.why, chosen.server.name());
    if (event.what == filexfer::pool_event::kind::retrying) {
      say.trying_again(event.name, why);
    } else {
      say.report("--parallel", {done, "goes on with fewer connections: " + why});
    }
  });
}

}  // namespace programs
