// Sessions on a directory_store over a memory pipe that is cut at any byte, and the files that they
// leave.

#include "support/byte_sweep_fixture.hpp"
#include "support/rfc1321.hpp"
#include "support/scratch_folder.hpp"
#include "support/session_runner.hpp"

#include <filexfer/directory_store.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include <unistd.h>

namespace byte_sweep_directory_tests {

using namespace byte_sweep_tests;

namespace {

struct directory_stores {
  using store_type = filexfer::directory_store<>;

  explicit directory_stores(const std::filesystem::path& in) : root{in} {}

  store_type& fresh() {
    store.reset();
    std::filesystem::remove_all(root / "store");
    return store.emplace(root / "store");
  }

  /// Checks the folder itself, without the store: each file hashes to the name of its folder, and
  /// there is no other file.
  std::string find_leftovers(std::uint64_t listed_size) const {
    std::map<std::string, std::uint64_t> sizes;
    for (const auto& entry : std::filesystem::recursive_directory_iterator{root / "store"}) {
      const auto path = entry.path().lexically_relative(root / "store");
      const auto top = path.begin()->string();
      if (entry.is_directory() && (top == ".incoming" || top == ".damaged" || path == top))
        continue;
      if (!entry.is_regular_file()) {
        if (!entry.is_directory()) return path.string() + " is there";
        continue;
      }
      const auto bytes = contents(entry.path());
      if (rfc1321_hex(bytes) != top) return path.string() + " is there";
      sizes[top] = bytes.size();
    }
    std::uint64_t total = 0;
    for (const auto& size : sizes) total += size.second;
    return total == listed_size ? "" : "there are " + std::to_string(total) + " bytes";
  }

  std::filesystem::path root;
  std::optional<store_type> store;
};

}  // namespace

TEST_CASE(
    "a session on a directory_store keeps the invariants wherever it is cut, and leaves no file") {
  // In memory where possible: this test is not about surviving a crash, and a disk is slow.
  const std::filesystem::path shm{"/dev/shm"};
  const bool has_shm = ::access(shm.c_str(), W_OK) == 0;
  const scratch_folder folder{has_shm ? shm : std::filesystem::temp_directory_path()};
  const std::size_t before = open_descriptors();
  const sample& file = bodies().back();  // allocated outside the leak check of the sessions
  tally counts;
  {
    session_runner<directory_stores> sessions{counts, folder.path()};
    const std::size_t open_at_start = open_descriptors();
    std::size_t first = 0;
    for (const task operation : all_tasks) {
      const session_result whole = sessions.run(operation, file, {});
      for (const auto side : sides) {
        for (const auto& kind : fault_kinds) {
          const auto bytes = transferred(whole, side, kind.counts_reads);
          for (std::uint64_t byte = ++first % 5; byte <= bytes; byte += 5 * stride()) {
            scenario c;
            c.*side.*kind.offset = byte;
            c.offload_work = byte % 2 == 0;
            sessions.run(operation, file, c);
          }
        }
      }
      CHECK(open_descriptors() <= open_at_start + 8);
    }
  }
  CHECK(open_descriptors() == before);
  report("on a directory", counts);
}

}  // namespace byte_sweep_directory_tests
