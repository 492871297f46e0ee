// filexfer-simulation: uploads a file and downloads it again, in the original design's 22 steps,
// with server and client in one process.

#include "common/simulation.hpp"

#include "common/cli.hpp"
#include "common/operation_runner.hpp"
#include "common/process.hpp"
#include "common/temporary_folder.hpp"

#include <filexfer/filexfer.hpp>

#include <asio/ip/address_v4.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>

#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace programs {
namespace {

using tcp = asio::ip::tcp;
using local = asio::local::stream_protocol;
using filexfer::any_stream;
using store_type = filexfer::directory_store<>;

class simulations {
 public:
  explicit simulations(std::filesystem::path file) : file_{std::move(file)} {}

  exit_code run(const std::string& transport) {
    std::cout << "The simulation over " << transport << ":\n\n";
    const interruption::interruptible scope;
    const temporary_folder folder;
    store_type store{folder.path() / "store"};
    const simulation_files files{file_, file_.filename(),
                                 filexfer::download_target::file(folder.path() / "copy")};
    exit_code code = done;
    if (transport == "memory") {
      code = over_memory(store, files);
    } else if (transport == "tcp") {
      code = over_sockets<tcp>(store, {asio::ip::address_v4::loopback(), 0}, files);
    } else {
      code = over_sockets<local>(store, {(folder.path() / "socket").string()}, files);
    }
    std::cout << std::endl;
    return code;
  }

 private:
  /// With one session on one end of a pipe, which ends when the client closes the other end.
  exit_code over_memory(store_type& store, const simulation_files& files) {
    const auto executor = operations_.context().get_executor();
    auto [client_end, server_end] = filexfer::make_memory_pipe(executor, executor);
    filexfer::session<any_stream, store_type> session{any_stream{std::move(server_end)}, store};
    session.work_executor(work_.get_executor());
    std::optional<std::error_code> result;
    session.async_run([&](std::error_code ec) { result = ec; });
    show_step(1, "server", "starts, at one end of a pipe in memory");
    show_step(2, "client", "connects, at the other end");
    const exit_code code = run_steps(any_stream{std::move(client_end)}, files);
    while (!result) operations_.context().run_one();
    if (code == done && *result) return report("the server", {connection_error, result->message()});
    return code;
  }

  /// With a server like filexfer-server's, and a connection to it.
  template <class Protocol>
  exit_code over_sockets(store_type& store, const typename Protocol::endpoint& endpoint,
                         const simulation_files& files) {
    using socket = typename Protocol::socket;
    filexfer::server<Protocol, store_type, filexfer::md5, asio::steady_timer, any_stream> server{
        operations_.context().get_executor(), endpoint, store};
    server.wrap([](socket accepted) { return any_stream{std::move(accepted)}; });
    server.work_executor(work_.get_executor());
    bool all_sessions_ok = true;
    server.observe([&](const std::string&, const filexfer::session_event& event) {
      if (event.error) all_sessions_ok = false;
    });
    server.start();
    const auto where = server.local_endpoint();
    show_step(1, "server", "starts, and listens on " + to_string(where));
    socket connection{operations_.context()};
    const auto [ec] = operations_.run<>(
        [&](auto handler) { connection.async_connect(where, std::move(handler)); });
    if (!ec) show_step(2, "client", "connects to " + to_string(where));
    const exit_code code = ec ? report(to_string(where), {connection_error, ec.message()})
                              : run_steps(any_stream{std::move(connection)}, files);
    operations_.run<>([&](auto handler) { server.async_stop(std::move(handler)); });
    if (code == done && !all_sessions_ok)
      return report("the server", {connection_error, "a session ended badly"});
    return code;
  }

  exit_code run_steps(any_stream connection, const simulation_files& files) {
    simulation<> steps{operations_, std::move(connection), work_.get_executor()};
    return steps.run(files);
  }

  std::filesystem::path file_;
  operation_runner operations_;
  asio::thread_pool work_{2};
};

exit_code run(int argc, char** argv) {
  std::string file;
  std::vector<std::string> transports;
  CLI::App app{
      "Uploads a file to a server and downloads it again, both in this process, and shows each of\n"
      "the 22 steps with the lines that were transferred. The server's store is a temporary "
      "folder.",
      "filexfer-simulation"};
  app.footer(
      "Exit codes: 0 success; 1 a digest or a byte differs; 2 usage error; 3 the server\n"
      "refused; 4 a connection failed; 5 a file, or standard output, could not be read or "
      "written;\n"
      "130 interrupted by SIGINT, SIGTERM or SIGHUP.");
  add_option(app, "FILE", file, verbatim, "The file")->required();
  app.add_option("--transport", transports, "Transport; may be repeated [memory, tcp]")
      ->type_name("memory|tcp|unix")
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"memory", "tcp", "unix"}));
  if (const auto ended = parse(app, argc, argv)) return *ended;
  if (transports.empty()) transports = {"memory", "tcp"};

  ignore_write_signals();
  interruption::watch();
  std::error_code ec;
  const filexfer::file_source readable{file, ec};
  if (ec) return report(file, explain_local(ec));
  simulations runs{file};
  exit_code code = done;
  for (const std::string& transport : transports) {
    try {
      const exit_code result = runs.run(transport);
      if (code == done) code = result;
    } catch (const std::system_error& e) {
      code = report("the simulation", {local_error, e.what()});
    }
    if (interruption::received()) return interrupted;
  }
  return flush_output(code);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::run_guarded("filexfer-simulation", [&] { return programs::run(argc, argv); });
}
