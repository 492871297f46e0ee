// Sessions, one after another on one store, against a model of that store: each reply and what is
// listed afterwards is what PROTOCOL.md says. The fuzzer makes whole commands
// (session_model_mutator.cpp).
//
// Input: a line with a byte of flags and the pace of the bytes (flow_driver.hpp); then what the
// clients send, with a byte 0x1E between two connections.

#include "fuzz/support/flow_driver.hpp"
#include "fuzz/support/fuzzing.hpp"
#include "fuzz/support/scratch.hpp"
#include "fuzz/support/store_model.hpp"

#include <filexfer/detail/flow/session_flow.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory_store.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

namespace {

using fuzz::require;

// Of the first byte.
constexpr unsigned in_a_directory = 1;
constexpr unsigned removes = 2;
constexpr unsigned read_only = 4;
constexpr unsigned small_chunks = 8;
constexpr unsigned small_limits = 16;
constexpr unsigned silent = 32;

template <class Store>
void serve(Store& store, unsigned flags, const fuzz::peer_script& client,
           const fuzz::model_settings& settings, fuzz::store_model& model) {
  filexfer::detail::session_state state;
  state.options.max_size = settings.max_size;
  state.options.max_drain_size = settings.max_drain_size;
  state.options.permitted.upload = settings.accepts_uploads;
  state.options.permitted.remove = settings.accepts_removals;
  if ((flags & small_chunks) != 0) {
    state.connection.chunk_size = 16;
    state.connection.small_file_size = 8;
  }
  fuzz::flow_driver driver{client};
  filexfer::detail::session_flow<Store, filexfer::md5> session{state, store};
  std::error_code ec;
  driver.run([&](std::error_code& e) { return session.serve(e); }, ec);
  require(driver.closed, "a session ends by closing");
  fuzz::session_check{model, settings, client.bytes, driver.sent}.run();
  fuzz::check_store(store, model);
}

std::size_t entries_of(const std::filesystem::path& folder) {
  const std::filesystem::directory_iterator first{folder};
  return static_cast<std::size_t>(std::distance(first, {}));
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input input{data, size};
  fuzz::input head{input.line()};
  const unsigned flags = head.byte();
  fuzz::model_settings settings;
  settings.accepts_uploads = (flags & read_only) == 0;
  settings.accepts_removals = (flags & removes) != 0 && settings.accepts_uploads;
  settings.resumes = (flags & in_a_directory) != 0;
  settings.max_size = (flags & small_limits) != 0 ? 100 : 100'000;
  settings.max_drain_size = (flags & small_limits) != 0 ? 150 : 200'000;
  settings.max_depth = settings.resumes ? 128 : 1024;
  settings.is_silent = (flags & silent) != 0;

  fuzz::store_model model;
  filexfer::memory_store<> memory;
  const auto folder = settings.resumes ? fuzz::fresh_folder() : std::filesystem::path{};
  for (const std::string& requests : fuzz::split(input.rest(), '\x1E')) {
    const fuzz::peer_script client{requests, {}, head.rest(), settings.is_silent};
    if (!settings.resumes) {
      serve(memory, flags, client, settings, model);
      continue;
    }
    filexfer::directory_store<> store{folder};
    serve(store, flags, client, settings, model);
    require(entries_of(folder / ".incoming") == 0, "nothing temporary is left");
    require(entries_of(folder / ".partial") <= model.partials.size(),
            "only what can be resumed is kept");
  }
  return 0;
}
