#include "client/job_context.hpp"
#include "common/simulation.hpp"
#include "common/temporary_folder.hpp"

#include <chrono>
#include <filesystem>

namespace programs {
namespace {

using filexfer::any_stream;
using filexfer::server_features;

/// Connects, and asks the server for its features.
any_stream connect(operation_runner& operations, filexfer::any_connector& connector,
                   std::chrono::milliseconds timeout, server_features& features,
                   filexfer::transfer_failure& why) {
  using filexfer::condition;
  any_stream stream;
  std::tie(why.error, stream) = operations.run_within<any_stream>(
      timeout, [&](auto handler) { connector.async_connect(std::move(handler)); });
  why.phase = filexfer::transfer_phase::connecting;
  if (why) return stream;
  why.phase = filexfer::transfer_phase::greeting;
  filexfer::client<any_stream> client{std::move(stream)};
  std::tie(why.error, features) = operations.run<server_features>(
      [&](auto handler) { client.async_features(std::move(handler)); });
  why.origin = client.last_failure();
  why.reply = client.last_reply();
  const bool was_answered =
      why.error == condition::refused || why.error == filexfer::errc::malformed_reply;
  if (why && !was_answered) why.end_reason = client.next_layer().end_reason();
  return std::move(client.next_layer());
}

}  // namespace

exit_code simulate(const client_settings& settings, reporter& out, operation_runner& operations,
                   filexfer::any_connector& connector) {
  const std::filesystem::path file = settings.arguments.front();
  const interruption::interruptible scope;
  const temporary_folder folder;
  std::error_code ec;
  const filexfer::file_source readable{file, ec};
  if (ec) return out.report(file.string(), explain_local(ec));
  const std::string to = settings.output.empty() ? folder.path().string() : settings.output;
  const auto copy = choose_target(to, 1, settings, ec);
  if (ec) return out.report(to, explain_target(to, ec));
  const simulation_files files{file, file.filename(), *copy};
  server_features features;
  filexfer::transfer_failure why;
  any_stream stream = connect(operations, connector, settings.connect_timeout, features, why);
  if (why) return out.report(files.name, explain(why, settings.server.name()));
  asio::thread_pool work{2};
  const filexfer::client_options options = client_options_of(settings);
  const auto run = [&]<class Hasher>(std::type_identity<Hasher>) {
    simulation<Hasher> steps{operations, std::move(stream), work.get_executor(), options};
    return steps.run(files);
  };
  if (features.digest == filexfer::sha256::name())
    return run(std::type_identity<filexfer::sha256>{});
  return run(std::type_identity<filexfer::md5>{});
}

}  // namespace programs
