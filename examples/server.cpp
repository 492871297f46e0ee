// filexfer-server: serves the files of a folder, or of its memory, over TCP and Unix sockets, or
// one client over standard input and output.

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

using streams = std::optional<filexfer::standard_streams>;

template <filexfer::hasher Hasher, class Store>
exit_code serve(const server_settings& chosen, const streams& given, Store& store) {
  service<Store, Hasher> all{chosen, store};
  try {
    if (given) all.serve(*given);
    else all.listen();
  } catch (const std::system_error& e) {
    if (given) return report("stdio", {broken, e.what()});
    return report(e.what(), {broken, "choose another address with --listen"});
  }
  const std::error_code ec = all.run();
  return ec ? report("stdio", {broken, ec.message()}) : done;
}

template <filexfer::hasher Hasher>
exit_code serve(const server_settings& chosen, const streams& given) {
  if (chosen.store == "memory") {
    filexfer::memory_store<Hasher> store;
    return serve<Hasher>(chosen, given, store);
  }
  filexfer::directory_store_options options;
  options.partial_age = std::chrono::ceil<std::chrono::seconds>(chosen.partial_age);
  if (!chosen.quiet) options.log = log_text;
  std::optional<filexfer::directory_store<Hasher>> store;
  try {
    store.emplace(chosen.store, std::move(options));
  } catch (const std::system_error& e) {
    return report(e.what(), {local_file, "no store can be kept there"});
  }
  return serve<Hasher>(chosen, given, *store);
}

int run(int argc, char** argv) {
  server_settings chosen;
  if (const auto ended = parse(chosen, argc, argv)) return *ended;
  ignore_signals_of_writes();
  take_all_descriptors();
  streams given;
  if (chosen.listen.empty()) given = filexfer::take_standard_streams();
  if (given && given->input == -1) return done;  // nobody is there
  if (chosen.digest == filexfer::sha256::name()) return serve<filexfer::sha256>(chosen, given);
  return serve<filexfer::md5>(chosen, given);
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::guarded("filexfer-server", [&] { return programs::run(argc, argv); });
}
