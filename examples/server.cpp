// filexfer-server: serves the files of a folder, of a pool of Ceph, or in memory, over TCP, TLS and
// Unix sockets; or one client over standard input and output.

#include "common/failure.hpp"
#include "common/log.hpp"
#include "common/process.hpp"
#include "common/server_settings.hpp"
#include "common/service.hpp"
#include "common/watched_store.hpp"
#include "server/scrubber.hpp"
#include "server/verify.hpp"

#include <filexfer/filexfer.hpp>
#ifdef PROGRAMS_WITH_RADOS
#include "server/leftover_remover.hpp"
#include "server/pool.hpp"
#endif

#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace programs {
namespace {

/// Set to serve one client on standard input and output.
using stdio_streams = std::optional<filexfer::standard_streams>;

/// `on_confined` is called once the process can touch no more than it needs.
template <filexfer::hasher Hasher, class Store>
exit_code serve(
    const server_settings& settings, const stdio_streams& stdio, Store& store, server_log& log,
    const std::function<void()>& on_confined = [] {}) {
  service<Store, Hasher> service{settings, store, log};
  try {
    if (stdio) service.serve(*stdio);
    else service.listen();
  } catch (const std::system_error& e) {
    if (stdio) return report("stdio", {connection_error, e.what()});
    return report(e.what(), {connection_error, "choose another address with --listen"});
  }
  const std::error_code ec = service.run(on_confined);
  return ec ? report("stdio", {connection_error, ec.message()}) : done;
}

/// Serves a store of which files can be verified meanwhile.
template <filexfer::hasher Hasher, class Store>
exit_code serve_and_scrub(const server_settings& settings, const stdio_streams& stdio, Store& store,
                          server_log& log) {
  std::optional<scrubber<Store>> scrubbing;
  const auto start_scrubbing = [&] {
    if (settings.scrub_rate > 0) {
      scrubbing.emplace(store, settings.scrub_rate, settings.quiet ? nullptr : &log);
    }
  };
  return serve<Hasher>(settings, stdio, store, log, start_scrubbing);
}

#ifdef PROGRAMS_WITH_RADOS
template <filexfer::hasher Hasher>
exit_code serve_pool(const server_settings& settings, const stdio_streams& stdio, server_log& log) {
  filexfer::rados_store_options options = pool_options(settings, log);
  options.partial_age = std::chrono::ceil<std::chrono::seconds>(settings.partial_age);
  std::error_code ec;
  filexfer::rados_store<Hasher> store{options, ec};
  if (ec) return report(settings.store, {local_error, explain_pool(ec)});
  std::optional<leftover_remover<filexfer::rados_store<Hasher>>> remover;
  if (!stdio)
    remover.emplace(store, settings.quiet ? nullptr : &log);  // a server is there for long
  return serve_and_scrub<Hasher>(settings, stdio, store, log);
}
#endif

template <filexfer::hasher Hasher>
exit_code serve(const server_settings& settings, const stdio_streams& stdio) {
  server_log log{settings.format_of_log, settings.log_rate};
#ifdef PROGRAMS_WITH_RADOS
  if (settings.pool) return serve_pool<Hasher>(settings, stdio, log);
#endif
  if (settings.store == "memory") {
    filexfer::memory_store_options options;
    if (settings.quota) options.quota = *settings.quota;
    if (settings.max_files) options.max_names = *settings.max_files;
    filexfer::memory_store<Hasher> store{options};
    return serve<Hasher>(settings, stdio, store, log);
  }
  filexfer::directory_store_options options;
  options.quota = settings.quota;
  options.max_names = settings.max_files;
  options.min_free = settings.min_free;
  options.flushing = settings.flushing;
  options.partial_age = std::chrono::ceil<std::chrono::seconds>(settings.partial_age);
  options.log = reports_to(log, settings);
  std::optional<watched_store<Hasher>> store;
  try {
    store.emplace(settings.store, std::move(options));
  } catch (const std::system_error& e) {
    return report(e.what(), {local_error, "can't be used as a store"});
  }
  return serve_and_scrub<Hasher>(settings, stdio, *store, log);
}

int run(int argc, char** argv) {
  server_settings settings;
  if (const auto ended = parse(settings, argc, argv)) return *ended;
  if (settings.job == server_job::verify) return verify(settings);
  ignore_write_signals();
  if (!settings.listen.empty()) std::signal(SIGHUP, SIG_IGN);  // until it can be acted upon
  raise_descriptor_limit();
  stdio_streams stdio;
  if (settings.listen.empty()) stdio = filexfer::take_standard_streams();
  if (stdio && stdio->input == -1) return done;  // there is no client
  if (stdio && stdio->output == -1)
    return report("standard output", {connection_error, "is closed; the client can't be answered"});
  if (settings.digest == filexfer::sha256::name()) return serve<filexfer::sha256>(settings, stdio);
  return serve<filexfer::md5>(settings, stdio);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::run_guarded("filexfer-server", [&] { return programs::run(argc, argv); });
}
