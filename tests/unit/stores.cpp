#include "support/scratch_folder.hpp"
#include "support/store_promises.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/memory_store.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace stores_tests {

namespace {

using filexfer::errc;
using namespace tests;

struct in_memory {
  using store_type = filexfer::memory_store<>;
  store_type store{{.quota = test_quota}};
};

struct in_directory {
  using store_type = filexfer::directory_store<>;
  scratch_folder folder;
  store_type store{folder / "store", {.quota = test_quota, .log = {}}};
};

TEST_CASE_TEMPLATE("a store keeps its promises", Fixture, in_memory, in_directory) {
  for (const auto& p : promises<typename Fixture::store_type>::all) {
    Fixture fixture;
    complaints wrong;
    p.keep(fixture.store, wrong);
    for (const auto& complaint : wrong) FAIL_CHECK(p.sentence, ": ", complaint);
    CHECK(wrong.empty());
  }
}

TEST_CASE("a store in a directory leaves nothing temporary and no descriptor behind") {
  for (const auto& p : promises<filexfer::directory_store<>>::all) {
    CAPTURE(p.sentence);
    const auto before = open_descriptors();
    {
      in_directory fixture;
      complaints wrong;
      p.keep(fixture.store, wrong);
      CHECK(std::filesystem::is_empty(fixture.folder / "store/.incoming"));
      CHECK_FALSE(std::filesystem::exists(fixture.folder / "store/.damaged"));
      for (const auto& id : std::filesystem::directory_iterator{fixture.folder / "store"}) {
        const bool own = id.path().filename().string().starts_with('.');
        if (!own) CHECK_FALSE(std::filesystem::is_empty(id));
      }
    }
    CHECK(open_descriptors() == before);
  }
}

TEST_CASE("a memory store has a bound on its names") {
  filexfer::memory_store<> store{{.quota = test_quota, .max_names = 2}};
  std::error_code ec;
  CHECK_FALSE(put(store, "a", "1"));
  CHECK_FALSE(put(store, "b", "1"));
  CHECK(put(store, "c", "1") == errc::no_space);
  CHECK_FALSE(put(store, "b", "1"));
  CHECK_FALSE(store.add_name(id_of("1"), 1, "c", {}, ec));
  CHECK(ec == errc::no_space);
  CHECK(entries(store).size() == 2);
}

TEST_CASE("a memory store's reader does not see what comes later") {
  filexfer::memory_store<> store;
  std::error_code ec;
  auto upload = store.create(details_type{"a", 3, {}}, ec);
  upload->write(as_bytes("abc"), ec);
  upload->commit(id_of("abc"), ec);
  REQUIRE_FALSE(ec);
  upload->write(as_bytes("d"), ec);
  CHECK(ec == errc::bad_size);
  CHECK(fetch(store, id_of("abc")) == "abc");
}

// ---------------------------------------------------------------------- stores that break a promise

enum class defect {
  none,
  shows_early,         ///< An upload is listed before it is committed.
  keeps_the_dropped,   ///< An upload that is destroyed is kept.
  commits_nothing,     ///< A commit succeeds, and the file is not there.
  leaks_reservations,  ///< An upload that is destroyed still counts.
  accepts_collisions,  ///< Other bytes with the same digest are said to be stored.
  accepts_clashes,     ///< A name that can't be held is said to be stored.
  accepts_any_name,    ///< A name is taken for what it becomes when it is cleaned.
  adds_to_any_size,    ///< A name is added without a look at the size.
  ignores_seek,        ///< A reader always starts at the beginning.
  drops_a_byte,        ///< The last byte of what is read is another.
  ends_lists_early,    ///< A list ends after ten entries.
  repeats_entries,     ///< Each entry is listed twice.
  forgets_times,       ///< What is said of times of modification is not heard.
  takes_short_files,   ///< A commit does not look whether all bytes are there.
};

/// A store with a defect: what the promises have to find.
template <defect Defect>
class defective_store {
 public:
  using inner_type = filexfer::memory_store<>;

  class cursor {
   public:
    explicit cursor(inner_type::cursor inner) : inner_{std::move(inner)} {}
    std::optional<filexfer::file_info<id_type>> next(std::error_code& ec) {
      ++calls_;
      if (Defect == defect::ends_lists_early && calls_ > 10) return std::nullopt;
      if (Defect == defect::repeats_entries && calls_ % 2 == 0) return last_;
      return last_ = inner_.next(ec);
    }

   private:
    inner_type::cursor inner_;
    int calls_ = 0;
    std::optional<filexfer::file_info<id_type>> last_;
  };

  class reader {
   public:
    explicit reader(inner_type::reader inner) : inner_{std::move(inner)} {}
    std::uint64_t size() const { return inner_.size(); }
    std::size_t read(std::span<std::byte> to, std::error_code& ec) {
      const auto got = inner_.read(to, ec);
      if (Defect == defect::drops_a_byte && got > 0) to[got - 1] ^= std::byte{1};
      return got;
    }
    void seek(std::uint64_t offset, std::error_code& ec) {
      inner_.seek(Defect == defect::ignores_seek ? 0 : offset, ec);
    }

   private:
    inner_type::reader inner_;
  };

  class upload {
   public:
    upload(defective_store& store, details_type details, inner_type::upload inner)
        : store_{&store}, details_{std::move(details)}, inner_{std::move(inner)} {}
    upload(upload&&) noexcept = default;
    upload& operator=(upload&&) noexcept = default;
    ~upload() {
      if (!inner_) return;
      std::error_code ec;
      if (Defect == defect::keeps_the_dropped) put(store_->inner_, details_.name, arrived_);
      if (Defect == defect::leaks_reservations) {
        const std::lock_guard lock{store_->mutex_};
        store_->leaked_.push_back(std::move(inner_));
      }
    }

    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      inner_->write(bytes, ec);
      arrived_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      if (Defect == defect::shows_early && !ec) put(store_->inner_, details_.name, arrived_);
    }

    void commit(const id_type& id, std::error_code& ec) {
      if (Defect == defect::commits_nothing) return ec.clear();
      if (Defect == defect::takes_short_files && arrived_.size() < details_.size) {
        ec = put(store_->inner_, details_.name, arrived_);
        return;
      }
      inner_->commit(id, ec);
      if (Defect == defect::accepts_collisions && ec == errc::collision) ec.clear();
      if (Defect == defect::accepts_clashes && ec == errc::bad_name) ec.clear();
    }

   private:
    defective_store* store_;
    details_type details_;
    std::string arrived_;
    /// By pointer, so that an upload that was moved from knows that it holds nothing.
    struct holder : std::unique_ptr<inner_type::upload> {
      explicit holder(inner_type::upload u)
          : std::unique_ptr<inner_type::upload>{
                std::make_unique<inner_type::upload>(std::move(u))} {}
    } inner_;
  };

  explicit defective_store(filexfer::memory_store_options options) : inner_{options} {}

  cursor list(std::error_code& ec) { return cursor{inner_.list(ec)}; }

  std::optional<filexfer::opened_file<id_type, reader>> open(const id_type& id,
                                                             std::error_code& ec) {
    auto file = inner_.open(id, ec);
    if (!file) return std::nullopt;
    return filexfer::opened_file<id_type, reader>{file->info, reader{std::move(file->reader)}};
  }

  std::optional<upload> create(details_type details, std::error_code& ec) {
    if (Defect == defect::accepts_any_name && details.name.starts_with("../")) details.name = "x";
    if (Defect == defect::forgets_times) details.modified.reset();
    auto inner = inner_.create(details, ec);
    if (!inner) return std::nullopt;
    return upload{*this, std::move(details), std::move(*inner)};
  }

  bool add_name(const id_type& id, std::uint64_t size, std::string_view name,
                std::optional<filexfer::file_time> modified, std::error_code& ec) {
    if (Defect == defect::adds_to_any_size) {
      const auto file = inner_.open(id, ec);
      if (file) size = file->info.size;
    }
    return inner_.add_name(id, size, name, modified, ec);
  }

 private:
  inner_type inner_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<inner_type::upload>> leaked_;
};

/// The promises that a store with this defect breaks.
template <defect Defect>
std::set<std::string_view> broken() {
  std::set<std::string_view> sentences;
  for (const auto& p : promises<defective_store<Defect>>::all) {
    defective_store<Defect> store{{.quota = test_quota}};
    complaints wrong;
    p.keep(store, wrong);
    if (!wrong.empty()) sentences.insert(p.sentence);
  }
  return sentences;
}

TEST_CASE("each defect of a store is found by the promise that it breaks") {
  CHECK(broken<defect::none>().empty());
  CHECK(
      broken<defect::shows_early>().contains("nothing is seen of an upload that is not committed"));
  CHECK(broken<defect::keeps_the_dropped>().contains(
      "nothing is seen of an upload that is not committed"));
  CHECK(broken<defect::commits_nothing>().contains("a committed file is listed once and is whole"));
  CHECK(broken<defect::leaks_reservations>().contains("the quota counts what is arriving"));
  CHECK(broken<defect::accepts_collisions>().contains(
      "other bytes with the same digest are refused"));
  CHECK(broken<defect::accepts_clashes>().contains(
      "a name is no folder for another of the same file"));
  CHECK(broken<defect::accepts_any_name>().contains("what is no name is refused"));
  CHECK(broken<defect::adds_to_any_size>().contains(
      "a name is added only to a file that is held in that size"));
  CHECK(broken<defect::ignores_seek>().contains("a reader goes anywhere in the file"));
  CHECK(broken<defect::drops_a_byte>().contains("a committed file is listed once and is whole"));
  CHECK(broken<defect::ends_lists_early>().contains("a list shows what is there all the time"));
  CHECK(broken<defect::repeats_entries>().contains("a committed file is listed once and is whole"));
  CHECK(broken<defect::forgets_times>().contains(
      "every name has the time that it was given, else that of its upload"));
  CHECK(broken<defect::takes_short_files>().contains("the size that was announced is binding"));
}

}  // namespace

}  // namespace stores_tests
