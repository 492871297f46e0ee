// filexfer-server: serves the files of a folder, or of its memory, over TCP and Unix sockets, or
// one client over standard input and output.

#include "common/exit_code.hpp"
#include "common/failure.hpp"
#include "common/log.hpp"
#include "common/process.hpp"
#include "common/server_settings.hpp"
#include "common/service.hpp"
#include "common/standard_streams.hpp"
#include "common/stdio_service.hpp"
#ifdef PROGRAMS_WITH_TLS
#include "common/tls.hpp"
#endif

#include <filexfer/digest.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/sha256.hpp>

#include <chrono>
#include <iostream>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace programs {
namespace {

class program {
 public:
  explicit program(const server_settings& chosen) : chosen_{chosen} {}

  exit_code run() {
    if (chosen_.listen.empty()) {
      streams_ = take_standard_streams();
      if (streams_->input == -1) return done;  // nobody is there
    }
#ifdef PROGRAMS_WITH_TLS
    if (speaks_tls(chosen_)) {
      failure none;
      tls_context_ = server_context(chosen_.certificate, chosen_.key, none);
      if (!tls_context_) return report("TLS", none);
    }
#endif
    const bool sha256 = chosen_.digest == filexfer::sha256::name();
    return sha256 ? serve<filexfer::sha256>() : serve<filexfer::md5>();
  }

 private:
  template <filexfer::hasher Hasher>
  exit_code serve() {
    if (chosen_.store == "memory") {
      filexfer::memory_store<Hasher> store;
      return serve<Hasher>(store);
    }
    filexfer::directory_store_options options;
    options.partial_age = std::chrono::ceil<std::chrono::seconds>(chosen_.partial_age);
    if (!chosen_.quiet) options.log = log_text;
    std::optional<filexfer::directory_store<Hasher>> store;
    try {
      store.emplace(chosen_.store, std::move(options));
    } catch (const std::system_error& e) {
      std::cerr << filexfer::printable(e.what()) << ": no store can be kept there\n";
      return local_file;
    }
    return serve<Hasher>(*store);
  }

  template <filexfer::hasher Hasher, class Store>
  exit_code serve(Store& store) {
    return streams_ ? serve_stdio<Hasher>(store) : listen<Hasher>(store);
  }

  template <filexfer::hasher Hasher, class Store>
  exit_code listen(Store& store) {
    service<Store, Hasher> all{chosen_, store};
#ifdef PROGRAMS_WITH_TLS
    all.tls(tls_context_);
#endif
    try {
      all.listen();
    } catch (const std::system_error& e) {
      std::cerr << filexfer::printable(e.what()) << ": choose another address with --listen\n";
      return broken;
    }
    all.run();
    return done;
  }

  template <filexfer::hasher Hasher, class Store>
  exit_code serve_stdio(Store& store) try {
    stdio_service<Store, Hasher> one{chosen_, store, *streams_};
    const std::error_code ec = one.run();
    return ec ? report("stdio", {broken, ec.message()}) : done;
  } catch (const std::system_error& e) {
    return report("stdio", {broken, e.what()});
  }

  const server_settings& chosen_;
  std::optional<standard_streams> streams_;
#ifdef PROGRAMS_WITH_TLS
  std::shared_ptr<asio::ssl::context> tls_context_;
#endif
};

int run(int argc, char** argv) {
  server_settings chosen;
  if (const auto ended = parse(chosen, argc, argv)) return *ended;
  ignore_signals_of_writes();
  take_all_descriptors();
  return program{chosen}.run();
}

}  // namespace
}  // namespace programs

int main(int argc, char** argv) {
  return programs::guarded("filexfer-server", [&] { return programs::run(argc, argv); });
}
