// filexfer-simulation: a file goes to a server and comes back, in the original design's 22 steps,
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

class program {
 public:
  explicit program(std::filesystem::path file) : file_{std::move(file)} {}

  exit_code run(const std::string& transport) {
    std::cout << "The simulation over " << transport << ":\n\n";
    const interruption::interruptible scope;
    const temporary_folder folder;
    store_type store{folder.path() / "store"};
    const simulated what{file_, file_.filename(),
                         filexfer::download_target::file(folder.path() / "copy")};
    exit_code code = done;
    if (transport == "memory") {
      code = over_memory(store, what);
    } else if (transport == "tcp") {
      code = over_sockets<tcp>(store, {asio::ip::address_v4::loopback(), 0}, what);
    } else {
      code = over_sockets<local>(store, {(folder.path() / "socket").string()}, what);
    }
    std::cout << std::endl;
    return code;
  }

 private:
  /// One session on one end of a pipe. It ends when the client closes the other end.
  exit_code over_memory(store_type& store, const simulated& what) {
    const auto executor = operations_.context().get_executor();
    auto [near, far] = filexfer::make_memory_pipe(executor, executor);
    filexfer::session<any_stream, store_type> session{any_stream{std::move(far)}, store};
    session.work_executor(work_.get_executor());
    std::optional<std::error_code> ended;
    session.async_run([&](std::error_code ec) { ended = ec; });
    show_step(1, "server", "starts, at one end of a pipe in memory");
    show_step(2, "client", "connects, at the other end");
    const exit_code code = steps(any_stream{std::move(near)}, what);
    while (!ended) operations_.context().run_one();
    if (code == done && *ended) return report("the server", {broken, ended->message()});
    return code;
  }

  /// A server as filexfer-server has it, and a connection to it.
  template <class Protocol>
  exit_code over_sockets(store_type& store, const typename Protocol::endpoint& endpoint,
                         const simulated& what) {
    using socket = typename Protocol::socket;
    filexfer::server<Protocol, store_type, filexfer::md5, asio::steady_timer, any_stream> server{
        operations_.context().get_executor(), endpoint, store};
    server.wrap([](socket accepted) { return any_stream{std::move(accepted)}; });
    server.work_executor(work_.get_executor());
    bool orderly = true;
    server.observe([&](const std::string&, const filexfer::session_event& event) {
      if (event.error) orderly = false;
    });
    server.start();
    const auto where = server.local_endpoint();
    show_step(1, "server", "starts, and listens on " + to_string(where));
    socket connection{operations_.context()};
    const auto [ec] = operations_.run<>(
        [&](auto handler) { connection.async_connect(where, std::move(handler)); });
    if (!ec) show_step(2, "client", "connects to " + to_string(where));
    const exit_code code = ec ? report(to_string(where), {broken, ec.message()})
                              : steps(any_stream{std::move(connection)}, what);
    operations_.run<>([&](auto handler) { server.async_stop(std::move(handler)); });
    if (code == done && !orderly) return report("the server", {broken, "a session ended badly"});
    return code;
  }

  exit_code steps(any_stream connection, const simulated& what) {
    simulation<> all{operations_, std::move(connection), work_.get_executor()};
    return all.run(what);
  }

  std::filesystem::path file_;
  operation_runner operations_;
  asio::thread_pool work_{2};
};

exit_code run(int argc, char** argv) {
  std::string file;
  std::vector<std::string> transports;
  CLI::App app{
      "Sends a file to a server and fetches it again, both in this process, and shows each of the\n"
      "22 steps with what really went over the wire. The server keeps it in a temporary folder.",
      "filexfer-simulation"};
  app.footer(
      "Exit codes: 0 every step held; 1 a digest or a byte differs; 2 wrong usage; 3 the server\n"
      "refused; 4 a connection failed; 5 a file could not be read or written; 130 interrupted.");
  add_option(app, "FILE", file, as_it_stands, "The file")->required();
  app.add_option("--transport", transports, "How they are connected; may be repeated [memory, tcp]")
      ->type_name("memory|tcp|unix")
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"memory", "tcp", "unix"}));
  if (const auto ended = parse(app, argc, argv)) return *ended;
  if (transports.empty()) transports = {"memory", "tcp"};

  ignore_signals_of_writes();
  interruption::watch();
  std::error_code ec;
  const filexfer::file_source readable{file, ec};
  if (ec) return report(file, explain_local(ec));
  program simulations{file};
  exit_code code = done;
  for (const std::string& transport : transports) {
    try {
      const exit_code one = simulations.run(transport);
      if (code == done) code = one;
    } catch (const std::system_error& e) {
      code = report("the simulation", {local_file, e.what()});
    }
    if (interruption::came()) return interrupted;
  }
  return after_output(code);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::guarded("filexfer-simulation", [&] { return programs::run(argc, argv); });
}
