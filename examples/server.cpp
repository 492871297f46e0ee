// filexfer-server: serves the files of a folder, or files in memory, over TCP, TLS and Unix
// sockets; or one client over standard input and output.

#include "common/failure.hpp"
#include "common/log.hpp"
#include "common/process.hpp"
#include "common/server_settings.hpp"
#include "common/service.hpp"

#include <filexfer/filexfer.hpp>

#include <chrono>
#include <optional>
#include <system_error>
#include <utility>

namespace programs {
namespace {

/// Set to serve one client on standard input and output.
using stdio_streams = std::optional<filexfer::standard_streams>;

template <filexfer::hasher Hasher, class Store>
exit_code serve(const server_settings& settings, const stdio_streams& stdio, Store& store) {
  service<Store, Hasher> service{settings, store};
  try {
    if (stdio) service.serve(*stdio);
    else service.listen();
  } catch (const std::system_error& e) {
    if (stdio) return report("stdio", {connection_error, e.what()});
    return report(e.what(), {connection_error, "choose another address with --listen"});
  }
  const std::error_code ec = service.run();
  return ec ? report("stdio", {connection_error, ec.message()}) : done;
}

template <filexfer::hasher Hasher>
exit_code serve(const server_settings& settings, const stdio_streams& stdio) {
  if (settings.store == "memory") {
    filexfer::memory_store<Hasher> store;
    return serve<Hasher>(settings, stdio, store);
  }
  filexfer::directory_store_options options;
  options.partial_age = std::chrono::ceil<std::chrono::seconds>(settings.partial_age);
  if (!settings.quiet) options.log = log_text;
  std::optional<filexfer::directory_store<Hasher>> store;
  try {
    store.emplace(settings.store, std::move(options));
  } catch (const std::system_error& e) {
    return report(e.what(), {local_error, "no store can be kept there"});
  }
  return serve<Hasher>(settings, stdio, *store);
}

int run(int argc, char** argv) {
  server_settings settings;
  if (const auto ended = parse(settings, argc, argv)) return *ended;
  ignore_write_signals();
  raise_descriptor_limit();
  stdio_streams stdio;
  if (settings.listen.empty()) stdio = filexfer::take_standard_streams();
  if (stdio && stdio->input == -1) return done;  // there is no client
  if (settings.digest == filexfer::sha256::name()) return serve<filexfer::sha256>(settings, stdio);
  return serve<filexfer::md5>(settings, stdio);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::run_guarded("filexfer-server", [&] { return programs::run(argc, argv); });
}
