// Sessions over a memory pipe that is cut, reset, broken, stalled, damaged or late at each byte,
// on either side; cut into pieces of every size; cancelled at every step. After each the invariants
// of `support/sweep.hpp` must hold. One thread, no wall clock.

#include "support/scratch_folder.hpp"
#include "support/sweep.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/memory_store.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <unistd.h>

namespace byte_sweep_tests {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using filexfer::fault_plan;
using tests::arena;
using tests::broken_off;
using tests::circumstances;
using tests::digest;
using tests::extent;
using tests::listed_file;
using tests::must;
using tests::sample;
using tests::tally;
using tests::task;

namespace {

// A sanitizer or a build without optimisation leaves time for every n-th place only; which they are
// depends on the body's size and the kind of fault, so that together they are all.
std::size_t stride() {
#if defined(FILEXFER_SANITIZE) && defined(FILEXFER_BUILD_TYPE)
  const std::string_view sanitizers = FILEXFER_SANITIZE;
  if (!sanitizers.empty()) return 13;
  if (std::string_view{FILEXFER_BUILD_TYPE} == "Debug") return 5;
#endif
  return 1;
}

/// All bytes that the wire's own words are made of, and what else might confuse: the first `size`.
sample body(std::size_t size) {
  constexpr std::string_view words =
      "DONE\nLIST_FILES\r\nEOF\n;%00\0\xFF"
      "ERROR busy\n\nUPLOAD\n"sv;
  std::string bytes;
  while (bytes.size() < size) bytes += words;
  bytes.resize(size);
  return sample{std::move(bytes)};
}

constexpr std::size_t chunk = 16;

const std::vector<sample>& bodies() {
  static const std::vector<sample> all{
      body(0), body(1), body(5), body(chunk - 1), body(chunk), body(chunk + 1), body(3 * chunk)};
  return all;
}

constexpr std::array all_tasks{task::list, task::upload, task::upload_declared, task::upload_held,
                               task::download};

/// Calls `with(task, body)` for each pair.
template <class With>
void for_each_command(With with) {
  for (const task what : all_tasks) {
    for (const sample& file : bodies()) with(what, file);
  }
}

/// Every n-th number from 0 to `last`; the first one differs from call to call.
class places {
 public:
  explicit places(std::size_t thinned = 1) : step_{stride() * thinned} {}

  template <class At>
  void operator()(std::uint64_t last, At at) {
    for (std::uint64_t i = (offset_ += 7) % step_; i <= last; i += step_) at(i);
  }

 private:
  std::size_t step_;
  std::size_t offset_ = 0;
};

struct memory_stores {
  using store_type = filexfer::memory_store<>;
  static constexpr std::uint64_t quota = 1 << 20;

  store_type& fresh() { return store.emplace(filexfer::memory_store_options{.quota = quota}); }

  /// What is not listed can be taken, and no more.
  template <class Store>
  static std::string left_behind(Store& in, std::uint64_t listed_size) {
    std::error_code ec;
    const auto all = in.create({"probe", quota - listed_size, {}}, ec);
    if (ec) return "bytes are still reserved";
    const auto more = in.create({"probe", 1, {}}, ec);
    return ec == filexfer::errc::no_space ? "" : "bytes are not counted";
  }
  std::string left_behind(std::uint64_t listed_size) { return left_behind(*store, listed_size); }

  std::optional<store_type> store;
};

/// Pieces of one byte, of some, and as large as they come; with work in place and elsewhere.
std::vector<circumstances> ways() {
  circumstances whole;
  circumstances crumbs;
  crumbs.client.max_read = crumbs.client.max_write = 1;
  crumbs.server = crumbs.client;
  crumbs.capacity = 1;
  circumstances pieces;
  pieces.client.max_read = pieces.server.max_write = 7;
  pieces.capacity = 5;
  pieces.work_elsewhere = true;
  return {whole, crumbs, pieces};
}

struct fault_kind {
  std::optional<std::uint64_t> fault_plan::*at;
  bool read;
};

constexpr std::array fault_kinds{fault_kind{&fault_plan::end_after_read, true},
                                 fault_kind{&fault_plan::reset_after_read, true},
                                 fault_kind{&fault_plan::stall_after_read, true},
                                 fault_kind{&fault_plan::break_after_written, false},
                                 fault_kind{&fault_plan::reset_after_written, false},
                                 fault_kind{&fault_plan::stall_after_written, false}};

constexpr std::array sides{&circumstances::client, &circumstances::server};

/// How many bytes `side` reads, or writes.
std::uint64_t as_bytes(const extent& whole, fault_plan circumstances::*side, bool read) {
  return (side == &circumstances::client) == read ? whole.client_read : whole.client_written;
}

void report(const std::string& what, const tally& counts) {
  MESSAGE(what << ": " << counts.sessions << " sessions");
  CHECK_MESSAGE(counts.violations == 0, counts.violations << " violations\n" << counts.words());
  CHECK(counts.sessions > 0);
}

/// A tally that reports itself once the sessions are gone.
struct reported : tally {
  explicit reported(std::string w) : what{std::move(w)} { bodies(); }
  reported(const reported&) = delete;
  reported& operator=(const reported&) = delete;
  ~reported() { report(what, *this); }
  std::string what;
};

/// Ends, resets, breaks and stalls at every byte, or at fewer, on either side. At half of them
/// where bytes come in crumbs and pieces.
template <class Stores, class Hasher = filexfer::md5, class... Args>
tally sweep_faults(std::size_t thinned, std::span<const task> tasks, std::span<const sample> files,
                   Args&&... args) {
  tally counts;
  arena<Stores, Hasher> sessions{counts, std::forward<Args>(args)...};
  for (const auto& way : ways()) {
    places every{way.capacity < 100 ? 2 * thinned : thinned};
    for (const task what : tasks) {
      for (const sample& file : files) {
        const extent whole = sessions.run(what, file, way);
        for (const auto side : sides) {
          for (const auto& kind : fault_kinds) {
            every(as_bytes(whole, side, kind.read), [&](std::uint64_t byte) {
              circumstances c = way;
              c.*side.*kind.at = byte;
              c.bystander_at = (byte * 5) % (whole.handlers + 1);
              sessions.run(what, file, c);
            });
          }
        }
      }
    }
  }
  return counts;
}

}  // namespace

TEST_CASE("a session that ends, breaks or stalls at any byte, on either side, breaks no promise") {
  report("faults at every byte", sweep_faults<memory_stores>(1, all_tasks, bodies()));
}

TEST_CASE("a session in pieces of any size succeeds") {
  reported counts{"every chunking"};
  arena<memory_stores> sessions{counts};
  places every;
  for_each_command([&](task what, const sample& file) {
    const extent whole = sessions.run(what, file, {}, must::succeed);
    const auto most = std::max(whole.client_read, whole.client_written);
    every(most, [&](std::uint64_t bytes) {
      const auto size = static_cast<std::size_t>(bytes) + 1;
      circumstances c;
      c.bystander_at = size;
      c.client.max_read = c.server.max_read = size;
      sessions.run(what, file, c, must::succeed);
      c.client.max_write = c.server.max_write = size;
      sessions.run(what, file, c, must::succeed);
      c.capacity = size;
      c.work_elsewhere = true;
      sessions.run(what, file, c, must::succeed);
      circumstances narrow;
      narrow.capacity = size;
      narrow.chunk = size;
      sessions.run(what, file, narrow, must::succeed);
    });
  });
}

TEST_CASE("a session in which any bit is turned over breaks no promise") {
  reported counts{"every bit"};
  arena<memory_stores> sessions{counts};
  places every;
  for_each_command([&](task what, const sample& file) {
    const extent whole = sessions.run(what, file, {});
    for (const bool towards_client : {true, false}) {
      const auto bytes = towards_client ? whole.client_read : whole.client_written;
      if (bytes == 0) continue;
      every(8 * bytes - 1, [&](std::uint64_t bit) {
        circumstances c;
        c.bystander_at = (bit * 5) % (whole.handlers + 1);
        const filexfer::bit_position turned{bit / 8, static_cast<unsigned>(bit % 8)};
        (towards_client ? c.client.flip_read : c.server.flip_read) = turned;
        sessions.run(what, file, c);
      });
    }
  });
}

TEST_CASE(
    "a session that is cancelled between any two handlers, on either side, breaks no promise") {
  reported counts{"every cancellation"};
  arena<memory_stores> sessions{counts};
  for (const auto& way : ways()) {
    // Byte by byte there are very many handlers, and most do what the others do.
    places every{way.capacity == 1 ? std::size_t{5} : 1};
    for_each_command([&](task what, const sample& file) {
      const extent whole = sessions.run(what, file, way);
      for (const auto whom : {broken_off::client, broken_off::server, broken_off::server_gently}) {
        every(whole.handlers, [&](std::uint64_t handler) {
          circumstances c = way;
          c.cancelled = whom;
          c.cancelled_at = static_cast<std::size_t>(handler);
          c.bystander_at = (c.cancelled_at * 5) % (whole.handlers + 1);
          const extent went = sessions.run(what, file, c);
          // Told to stop before the command came: the client is told why. (Where a pipe is too
          // narrow for a line, each waits for the other to read; a deadline ends that.)
          const bool told = went.error == filexfer::errc::shutting_down ||
                            (c.capacity < 100 && went.error == filexfer::errc::timed_out);
          if (whom == broken_off::server_gently && went.error && !told) {
            counts.violated("error", went.error.message() + "; " + describe(what, file, c));
          }
        });
      }
    });
  }
}

namespace {

/// Bytes of the file that a client sends.
std::size_t bytes_sent(task what, const sample& file) {
  const bool sends = what == task::upload || what == task::upload_declared;
  return sends ? file.bytes.size() : 0;
}

}  // namespace

TEST_CASE("a peer just within a deadline is served, and one just over it is cut off, at any byte") {
  reported counts{"delays around deadlines"};
  arena<memory_stores> sessions{counts};
  places every;
  constexpr auto limit = 10s;
  const filexfer::time_limits short_ones{.line = limit, .idle = limit, .reply = limit};
  const filexfer::time_limits long_ones{.line = 1h, .idle = 1h, .reply = 1h};
  for (const std::size_t piece : {std::size_t{1}, std::size_t{1000}}) {
    for_each_command([&](task what, const sample& file) {
      const extent whole = sessions.run(what, file, {});
      for (const bool late_client : {true, false}) {
        const auto bytes = late_client ? whole.client_written : whole.client_read;
        if (bytes == 0) continue;
        every(bytes - 1, [&](std::uint64_t byte) {
          circumstances c;
          c.client.max_write = c.server.max_write = piece;
          c.bystander_at = (byte * 5) % (whole.handlers + 1);
          c.client_limits = late_client ? long_ones : short_ones;
          c.server_limits = late_client ? short_ones : long_ones;
          auto& late = late_client ? c.client_late : c.server_late;
          late = {byte, limit - 1ms};
          sessions.run(what, file, c, must::succeed);
          late = {byte, limit + 1ms};
          const extent went = sessions.run(what, file, c, must::fail);
          // The client says so itself, or hears it from the server, unless that was in a line.
          const std::size_t body_at = whole.client_written - bytes_sent(what, file);
          const bool in_line = byte > 0 && byte < body_at && whole.client_said[byte - 1] != '\n';
          const std::error_code due = late_client ? make_error_code(filexfer::errc::timeout)
                                                  : make_error_code(filexfer::errc::timed_out);
          if (went.error != due && !(late_client && in_line)) {
            counts.violated("error", went.error.message() + "; " + describe(what, file, c));
          }
        });
      }
    });
  }
}

namespace {

/// What a seed says: anything of the above, and several at once.
circumstances drawn(std::mt19937_64& random, std::uint64_t bytes, std::size_t handlers) {
  const auto up_to = [&](std::uint64_t most) { return random() % (most + 1); };
  const auto one_in = [&](std::uint64_t n) { return random() % n == 0; };
  circumstances c;
  c.turn = up_to(1000);
  c.chunk = std::size_t{1} << up_to(6);
  c.capacity = std::size_t{1} << up_to(12);
  c.work_elsewhere = one_in(2);
  c.bystander_at = up_to(handlers);
  for (const auto side : sides) {
    fault_plan& plan = c.*side;
    if (one_in(2)) plan.max_read = 1 + up_to(40);
    if (one_in(2)) plan.max_write = 1 + up_to(40);
    for (const auto& kind : fault_kinds) {
      if (one_in(12)) plan.*kind.at = up_to(bytes);
    }
    const filexfer::bit_position bit{up_to(bytes), static_cast<unsigned>(up_to(7))};
    if (one_in(12)) plan.flip_read = bit;
    if (one_in(12)) plan.flip_written = bit;
  }
  if (one_in(8)) c.client_late = {up_to(bytes), 1s * up_to(90)};
  if (one_in(8)) c.server_late = {up_to(bytes), 1s * up_to(90)};
  if (one_in(6)) {
    c.cancelled =
        std::array{broken_off::client, broken_off::server, broken_off::server_gently}[up_to(2)];
    c.cancelled_at = up_to(handlers);
  }
  return c;
}

std::uint64_t first_seed() {
  const char* const given = std::getenv("FILEXFER_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
}

}  // namespace

TEST_CASE("a session under a random mix of faults breaks no promise") {
  const std::uint64_t seed = first_seed();
  MESSAGE("FILEXFER_TEST_SEED=" << seed << " begins with the same session");
  reported counts{"random mixes"};
  arena<memory_stores> sessions{counts};
  for (std::size_t i = 0; i < 12'000 / stride(); ++i) {
    std::mt19937_64 random{seed + i};
    const task what = all_tasks[random() % all_tasks.size()];
    const sample& file = bodies()[random() % bodies().size()];
    const std::size_t before = counts.violations;
    sessions.run(what, file, drawn(random, file.bytes.size() + 150, 400));
    if (counts.violations != before) {
      MESSAGE("FILEXFER_TEST_SEED=" << seed + i << " begins with the one that failed");
      break;
    }
  }
}

TEST_CASE("a seed makes the same session again, whatever was before") {
  reported counts{"replays"};
  arena<memory_stores> sessions{counts};
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const sample& file = bodies()[seed % bodies().size()];
    const task what = all_tasks[seed % all_tasks.size()];
    std::array<extent, 2> went;
    for (extent& one : went) {
      std::mt19937_64 random{seed};
      one = sessions.run(what, file, drawn(random, file.bytes.size() + 150, 400));
    }
    CAPTURE(seed);
    CHECK((went[0] == went[1]));
    CHECK(counts.violations == 0);
  }
}

TEST_CASE("a session in chunks of the real size breaks no promise wherever it is cut") {
  constexpr std::size_t real = filexfer::default_small_file_size;
  tally counts;
  arena<memory_stores> sessions{counts};
  std::mt19937_64 random{20};
  for (const std::size_t size : {real - 1, real, real + 1, 3 * real}) {
    const sample file = body(size);
    for (const task what : {task::upload, task::upload_declared, task::download}) {
      circumstances way;
      way.chunk = real;
      way.capacity = 40'000;
      way.work_elsewhere = size % 2 == 1;
      const extent whole = sessions.run(what, file, way, must::succeed);
      for (const auto side : sides) {
        for (const auto& kind : fault_kinds) {
          const auto bytes = as_bytes(whole, side, kind.read);
          // Around the places where something begins or ends, counted from either end, and some
          // others.
          std::vector<std::uint64_t> cuts;
          for (std::uint64_t at = 0; at <= 3; ++at) {
            for (const std::int64_t near : {-33, -1, 0, 1}) {
              const auto place = static_cast<std::int64_t>(at * real) + near;
              if (place < 0 || static_cast<std::uint64_t>(place) > bytes) continue;
              cuts.push_back(static_cast<std::uint64_t>(place));
              cuts.push_back(bytes - static_cast<std::uint64_t>(place));
            }
          }
          for (int i = 0; i < 4; ++i) cuts.push_back(random() % (bytes + 1));
          for (std::size_t i = random() % stride(); i < cuts.size(); i += stride()) {
            circumstances c = way;
            c.*side.*kind.at = cuts[i];
            sessions.run(what, file, c);
          }
        }
      }
    }
  }
  report("chunks of the real size", counts);
}

// ------------------------------------------------------------------------------ the other store

namespace {

struct directory_stores {
  using store_type = filexfer::directory_store<>;

  explicit directory_stores(const std::filesystem::path& in) : root{in} {}

  store_type& fresh() {
    store.reset();
    std::filesystem::remove_all(root / "store");
    return store.emplace(root / "store");
  }

  /// Looks with other eyes than the store's: each file has the digest that it lies under, and
  /// nothing else is there.
  std::string left_behind(std::uint64_t listed_size) const {
    std::map<std::string, std::uint64_t> contents;
    for (const auto& entry : std::filesystem::recursive_directory_iterator{root / "store"}) {
      const auto path = entry.path().lexically_relative(root / "store");
      const auto top = path.begin()->string();
      if (entry.is_directory() && (top == ".incoming" || top == ".damaged" || path == top))
        continue;
      if (!entry.is_regular_file()) {
        if (!entry.is_directory()) return path.string() + " is there";
        continue;
      }
      const auto bytes = tests::contents(entry.path());
      if (tests::rfc1321_hex(bytes) != top) return path.string() + " is there";
      contents[top] = bytes.size();
    }
    std::uint64_t there = 0;
    for (const auto& one : contents) there += one.second;
    return there == listed_size ? "" : "there are " + std::to_string(there) + " bytes";
  }

  std::filesystem::path root;
  std::optional<store_type> store;
};

}  // namespace

TEST_CASE("a session on a directory breaks no promise wherever it is cut, and leaves no file") {
  // Without a disk, where there is such a place: what this is about is not what survives a crash.
  const std::filesystem::path no_disk{"/dev/shm"};
  const bool without = ::access(no_disk.c_str(), W_OK) == 0;
  const tests::scratch_folder folder{without ? no_disk : std::filesystem::temp_directory_path()};
  const std::size_t before = tests::open_descriptors();
  tally counts;
  {
    arena<directory_stores> sessions{counts, folder.path()};
    const std::size_t within = tests::open_descriptors();
    std::size_t turn = 0;
    for (const task what : all_tasks) {
      const sample& file = bodies().back();
      const extent whole = sessions.run(what, file, {});
      for (const auto side : sides) {
        for (const auto& kind : fault_kinds) {
          const auto bytes = as_bytes(whole, side, kind.read);
          for (std::uint64_t byte = ++turn % 5; byte <= bytes; byte += 5 * stride()) {
            circumstances c;
            c.*side.*kind.at = byte;
            c.work_elsewhere = byte % 2 == 0;
            sessions.run(what, file, c);
          }
        }
      }
      CHECK(tests::open_descriptors() <= within + 8);
    }
  }
  CHECK(tests::open_descriptors() == before);
  report("on a directory", counts);
}

// --------------------------------------------------------------- what the sweep must not let pass

namespace {

enum class defect {
  shown_before_verified,
  temporary_kept,
  temporaries_listed,
  partial_published,
  acknowledged_not_stored,
};

/// A memory_store that breaks one promise.
class broken_store {
  using inner_type = filexfer::memory_store<>;

  struct arriving {
    listed_file entry;
    std::string bytes;
  };
  using arriving_list = std::list<std::shared_ptr<arriving>>;

 public:
  class reader {
   public:
    explicit reader(inner_type::reader stored) : from_{std::move(stored)} {}
    explicit reader(std::string bytes) : from_{filexfer::memory_source{std::move(bytes)}} {}
    std::uint64_t size() const {
      return std::visit([](const auto& from) { return from.size(); }, from_);
    }
    std::size_t read(std::span<std::byte> to, std::error_code& ec) {
      return std::visit([&](auto& from) { return from.read(to, ec); }, from_);
    }
    void seek(std::uint64_t offset, std::error_code& ec) {
      std::visit([&](auto& from) { from.seek(offset, ec); }, from_);
    }

   private:
    std::variant<inner_type::reader, filexfer::memory_source> from_;
  };

  class cursor {
   public:
    cursor(inner_type::cursor stored, std::vector<listed_file> more)
        : stored_{std::move(stored)}, more_{std::move(more)} {}
    std::optional<listed_file> next(std::error_code& ec) {
      ec.clear();
      if (more_.empty()) return stored_.next(ec);
      auto file = more_.back();
      more_.pop_back();
      return file;
    }

   private:
    inner_type::cursor stored_;
    std::vector<listed_file> more_;
  };

  class upload {
   public:
    upload(broken_store& store, inner_type::upload inner, std::shared_ptr<arriving> file)
        : store_{&store}, inner_{std::move(inner)}, file_{std::move(file)} {}
    upload(upload&&) = default;
    upload& operator=(upload&&) = default;
    ~upload() {
      if (!file_) return;
      store_->arriving_.remove(file_);
      if (store_->defect_ == defect::temporary_kept) store_->kept_.push_back(std::move(inner_));
      if (store_->defect_ == defect::partial_published) {
        std::error_code ignored;
        const sample part{file_->bytes};
        auto shorter = store_->inner_.create({file_->entry.name, part.bytes.size(), {}}, ignored);
        if (!part.bytes.empty()) shorter->write(std::as_bytes(std::span{part.bytes}), ignored);
        shorter->commit(part.id, ignored);
      }
    }
    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      file_->bytes.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      inner_.write(bytes, ec);
    }
    void commit(const digest& id, std::error_code& ec) {
      ec.clear();
      if (store_->defect_ != defect::acknowledged_not_stored) inner_.commit(id, ec);
      if (ec) return;
      store_->arriving_.remove(file_);
      file_.reset();
    }

   private:
    broken_store* store_;
    inner_type::upload inner_;
    std::shared_ptr<arriving> file_;
  };

  broken_store(defect d, const filexfer::memory_store_options& options)
      : defect_{d}, inner_{options} {}

  cursor list(std::error_code& ec) const {
    std::vector<listed_file> more;
    for (const auto& file : arriving_) {
      const auto& entry = file->entry;
      if (defect_ == defect::temporaries_listed) {
        more.push_back({entry.id, "." + entry.name + ".part", file->bytes.size()});
      } else if (defect_ == defect::shown_before_verified && !file->bytes.empty()) {
        more.push_back(entry);
      }
    }
    return {inner_.list(ec), std::move(more)};
  }

  std::optional<filexfer::opened_file<digest, reader>> open(const digest& id, std::error_code& ec) {
    auto stored = inner_.open(id, ec);
    if (stored) return {{stored->info, reader{std::move(stored->reader)}}};
    for (const auto& file : arriving_) {
      if (file->entry.id == id) return {{file->entry, reader{file->bytes}}};
    }
    return std::nullopt;
  }

  std::optional<upload> create(const filexfer::upload_details<digest>& details,
                               std::error_code& ec) {
    auto inner = inner_.create(details, ec);
    if (!inner) return std::nullopt;
    auto file = std::make_shared<arriving>();
    file->entry = {details.id.value_or(digest{}), details.name, details.size};
    arriving_.push_back(file);
    return upload{*this, std::move(*inner), std::move(file)};
  }

  bool add_name(const digest& id, std::uint64_t size, std::string_view name,
                std::optional<filexfer::file_time> modified, std::error_code& ec) {
    return inner_.add_name(id, size, name, modified, ec);
  }

 private:
  defect defect_;
  inner_type inner_;
  arriving_list arriving_;
  std::vector<inner_type::upload> kept_;
};

struct broken_stores {
  using store_type = broken_store;
  explicit broken_stores(defect d) : which{d} {}
  store_type& fresh() {
    return store.emplace(which, filexfer::memory_store_options{.quota = memory_stores::quota});
  }
  std::string left_behind(std::uint64_t listed_size) {
    return memory_stores::left_behind(*store, listed_size);
  }
  defect which;
  std::optional<store_type> store;
};

/// What the sweep finds in a store with that defect.
std::map<std::string, std::size_t> found_with(defect which) {
  constexpr std::array uploads{task::upload, task::upload_declared};
  const std::array files{body(5), body(3 * chunk)};
  return sweep_faults<broken_stores>(5, uploads, files, which).kinds;
}

/// Begins anew with each block, as the program did that the original design came with.
class forgetful_md5 {
 public:
  using digest_type = digest;
  static constexpr std::string_view name() noexcept { return "md5"; }
  void update(std::span<const std::byte> bytes) {
    hash_ = {};
    hash_.update(bytes);
  }
  digest_type finish() { return hash_.finish(); }

 private:
  filexfer::md5 hash_;
};

template <class Hasher>
struct stores_with {
  using store_type = filexfer::memory_store<Hasher>;
  store_type& fresh() {
    return store.emplace(filexfer::memory_store_options{.quota = memory_stores::quota});
  }
  std::string left_behind(std::uint64_t listed_size) {
    return memory_stores::left_behind(*store, listed_size);
  }
  std::optional<store_type> store;
};

}  // namespace

TEST_CASE("the sweep finds a store that shows files before they are verified") {
  CHECK(found_with(defect::shown_before_verified)["not whole"] > 0);
}

TEST_CASE("the sweep finds a store that keeps a temporary on error") {
  CHECK(found_with(defect::temporary_kept)["left behind"] > 0);
}

TEST_CASE("the sweep finds a store that lists temporaries") {
  CHECK(found_with(defect::temporaries_listed)["not whole"] > 0);
}

TEST_CASE("the sweep finds a store that publishes what arrived of a file") {
  CHECK(found_with(defect::partial_published)["unexpected entry"] > 0);
}

TEST_CASE("the sweep finds a store that acknowledges what it did not store") {
  CHECK(found_with(defect::acknowledged_not_stored)["not listed"] > 0);
}

TEST_CASE("the sweep finds a hasher that is broken at both ends") {
  constexpr std::array uploads{task::upload};
  const std::array files{body(3 * chunk)};
  auto counts = sweep_faults<stores_with<forgetful_md5>, forgetful_md5>(5, uploads, files);
  CHECK(counts.kinds["false success"] > 0);
  CHECK(counts.kinds["not whole"] > 0);
}

}  // namespace byte_sweep_tests
