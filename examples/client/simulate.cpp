#include "client/job_context.hpp"
#include "common/simulation.hpp"
#include "common/temporary_folder.hpp"

#include <chrono>
#include <filesystem>

namespace programs {
namespace {

using filexfer::any_stream;
using filexfer::server_features;

/// Connects, and asks which digest the server's ids are.
any_stream connect(operation_runner& operations, filexfer::any_connector& connector,
                   server_features& known, filexfer::transfer_failure& why) {
  using filexfer::condition;
  any_stream connected;
  std::tie(why.error, connected) = operations.run_within<any_stream>(
      std::chrono::seconds{30}, [&](auto handler) { connector.async_connect(std::move(handler)); });
  why.phase = filexfer::transfer_phase::connecting;
  if (why) return connected;
  why.phase = filexfer::transfer_phase::greeting;
  filexfer::client<any_stream> asking{std::move(connected)};
  std::tie(why.error, known) = operations.run<server_features>(
      [&](auto handler) { asking.async_features(std::move(handler)); });
  why.origin = asking.last_failure();
  why.reply = asking.last_reply();
  const bool was_answered =
      why.error == condition::refused || why.error == filexfer::errc::malformed_reply;
  if (why && !was_answered) why.end_reason = asking.next_layer().end_reason();
  return std::move(asking.next_layer());
}

}  // namespace

exit_code simulate(const client_settings& chosen, reporter& out, operation_runner& operations,
                   filexfer::any_connector& connector) {
  const std::filesystem::path file = chosen.words.front();
  const interruption::interruptible scope;
  const temporary_folder folder;
  std::error_code ec;
  const filexfer::file_source readable{file, ec};
  if (ec) return out.report(file.string(), explain_local(ec));
  const std::string to = chosen.output.empty() ? folder.path().string() : chosen.output;
  const auto copy = choose_target(to, 1, chosen.policy, ec);
  if (ec) return out.report(to, explain_local(ec));
  const simulated what{file, file.filename(), *copy};
  server_features known;
  filexfer::transfer_failure why;
  any_stream connected = connect(operations, connector, known, why);
  if (why) return out.report(what.name, explain(why, chosen.server.name()));
  asio::thread_pool work{2};
  const auto run = [&]<class Hasher>(std::type_identity<Hasher>) {
    simulation<Hasher> steps{operations, std::move(connected), work.get_executor()};
    return steps.run(what);
  };
  if (known.digest == filexfer::sha256::name()) return run(std::type_identity<filexfer::sha256>{});
  return run(std::type_identity<filexfer::md5>{});
}

}  // namespace programs
