// filexfer-simulation: a file goes to a server and comes back, in the original design's 22 steps,
// with server and client in one process.

#include "common/simulation.hpp"

#include "common/arguments.hpp"
#include "common/cli.hpp"
#include "common/connect.hpp"
#include "common/endpoints.hpp"
#include "common/exit_code.hpp"
#include "common/failure.hpp"
#include "common/foreground.hpp"
#include "common/interruption.hpp"
#include "common/process.hpp"
#include "common/reporter.hpp"
#include "common/temporary_folder.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/file.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/server.hpp>
#include <filexfer/session.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace programs {
namespace {

using tcp = asio::ip::tcp;
using local = asio::local::stream_protocol;
using store_type = filexfer::directory_store<>;

class program {
 public:
  explicit program(std::filesystem::path file) : file_{std::move(file)} {}

  exit_code run(const std::string& transport) {
    std::cout << "The simulation over " << transport << ":\n\n";
    const interruption::interruptible scope;
    const temporary_folder folder;
    store_type store{folder.path() / "store"};
    const simulated what{file_, file_.filename(), {{}, folder.path() / "copy"}};
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
    asio::io_context context;
    auto [near, far] =
        filexfer::make_memory_pipe(operations_.context().get_executor(), context.get_executor());
    filexfer::session<filexfer::memory_pipe, store_type> session{std::move(far), store};
    asio::thread_pool work{2};  // behind the context, so it is joined before
    session.work_executor(work.get_executor());
    std::error_code ended;
    session.async_run([&](std::error_code ec) { ended = ec; });
    std::thread serving{[&] { context.run(); }};
    show_step(1, "server", "starts, at one end of a pipe in memory");
    show_step(2, "client", "connects, at the other end");
    const exit_code code = steps(std::move(near), what);
    serving.join();
    if (code == done && ended) return report("the server", {broken, ended.message()});
    return code;
  }

  /// A server as filexfer-server has it, and a connection to it.
  template <class Protocol>
  exit_code over_sockets(store_type& store, const typename Protocol::endpoint& endpoint,
                         const simulated& what) {
    asio::io_context context;
    filexfer::server<Protocol, store_type> server{context.get_executor(), endpoint, store};
    asio::thread_pool work{2};  // behind the context, so it is joined before
    server.work_executor(work.get_executor());
    std::atomic<bool> orderly{true};
    server.observe([&](const std::string&, const filexfer::session_event& event) {
      if (event.error) orderly = false;
    });
    server.start();
    std::thread serving{[&] { context.run(); }};
    const std::string where = to_string(server.local_endpoint());
    show_step(1, "server", "starts, and listens on " + where);
    const exit_code code = connect_and_run(where, what);
    server.async_stop(asio::use_future).get();
    serving.join();
    if (code == done && !orderly) return report("the server", {broken, "a session ended badly"});
    return code;
  }

  exit_code connect_and_run(const std::string& where, const simulated& what) {
    std::error_code ec;
    any_socket connection = connect(operations_, parse_address(where), ec);
    if (ec) return report(where, {broken, ec.message()});
    show_step(2, "client", "connects to " + where);
    return steps(std::move(connection), what);
  }

  template <class Stream>
  exit_code steps(Stream connection, const simulated& what) {
    simulation<Stream> all{operations_, say_, std::move(connection), work_.get_executor()};
    return all.run(what);
  }

  std::filesystem::path file_;
  foreground operations_;
  reporter say_{output_form::text, show_progress::when_slow};
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
      "Exit codes: 0 every step held; 1 a digest or an octet differs; 2 wrong usage; 3 the server\n"
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
