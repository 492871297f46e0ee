#include "support/scratch_folder.hpp"
#include "support/store_contract.hpp"

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

using namespace test;
using filexfer::errc;

namespace {

struct in_memory {
  using store_type = filexfer::memory_store<>;
  store_type store{{.quota = test_quota}};
};

struct in_directory {
  using store_type = filexfer::directory_store<>;
  scratch_folder folder;
  store_type store{folder / "store", {.quota = test_quota, .log = {}}};
};

TEST_CASE_TEMPLATE("a store fulfils its contract", Fixture, in_memory, in_directory) {
  for (const auto& requirement : store_contract<typename Fixture::store_type>::all) {
    Fixture fixture;
    violations wrong;
    requirement.check(fixture.store, wrong);
    for (const auto& violation : wrong) FAIL_CHECK(requirement.sentence, ": ", violation);
    CHECK(wrong.empty());
  }
}

TEST_CASE("a directory store leaves no temporary file and no descriptor behind") {
  for (const auto& requirement : store_contract<filexfer::directory_store<>>::all) {
    CAPTURE(requirement.sentence);
    const auto before = open_descriptors();
    {
      in_directory fixture;
      violations wrong;
      requirement.check(fixture.store, wrong);
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

struct three_names_in_memory {
  using store_type = filexfer::memory_store<>;
  store_type store{{.max_names = 3}};
};

struct three_names_in_directory {
  using store_type = filexfer::directory_store<>;
  scratch_folder folder;
  store_type store{folder / "store", {.max_names = 3}};
};

TEST_CASE_TEMPLATE("a store has a limit on its names, which counts those that arrive", Fixture,
                   three_names_in_memory, three_names_in_directory) {
  Fixture fixture;
  auto& store = fixture.store;
  std::error_code ec;
  REQUIRE_FALSE(put(store, "a", "1"));
  REQUIRE_FALSE(put(store, "a", "1"));  // is one name
  {
    const auto second = store.create(details_type{"b", 1, {}}, ec);
    const auto third = store.create(details_type{"c", 1, {}}, ec);
    REQUIRE((second && third));
    CHECK_FALSE(store.create(details_type{"d", 0, {}}, ec));
    CHECK(ec == errc::no_space);
    CHECK_FALSE(store.add_name(id_of("1"), 1, "folder/d", {}, ec));
    CHECK(ec == errc::no_space);
    // A name that the file has is no new one; nor is anything added to a file that is not stored.
    CHECK(store.add_name(id_of("1"), 1, "a", {.executable = false}, ec));
    CHECK_FALSE(ec);
    CHECK_FALSE(store.add_name(id_of("2"), 1, "d", {}, ec));
    CHECK_FALSE(ec);
  }
  CHECK(store.add_name(id_of("1"), 1, "b", {}, ec));
  CHECK_FALSE(put(store, "c", "2"));
  CHECK(put(store, "d", "1") == errc::no_space);
  CHECK(entries(store) == sorted({entry("a", "1"), entry("b", "1"), entry("c", "2")}));
  REQUIRE(store.remove(id_of("1"), "a", ec));
  CHECK_FALSE(put(store, "d", "1"));
  CHECK(entries(store).size() == 3);
}

TEST_CASE("writing to a committed upload fails, and does not change the stored file") {
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

// -------------------------------------------------------------------------------- defective stores

enum class defect {
  none,
  lists_early,          ///< An upload is listed before it is committed.
  commits_destroyed,    ///< An upload destroyed without a commit is stored.
  commits_nothing,      ///< A commit succeeds but stores nothing.
  leaks_reservations,   ///< A destroyed upload still counts in the quota.
  accepts_collisions,   ///< Reports other bytes with the same digest as stored.
  accepts_clashes,      ///< Reports a name that conflicts with another as stored.
  accepts_any_name,     ///< Stores a sanitized name instead of rejecting it.
  adds_to_any_size,     ///< Adds a name without comparing the size.
  ignores_seek,         ///< A reader always starts at the beginning.
  changes_a_byte,       ///< Changes the last byte of each read.
  ends_lists_early,     ///< A list ends after ten entries.
  repeats_entries,      ///< Each entry is listed twice.
  ignores_times,        ///< Ignores modification times.
  accepts_short_files,  ///< A commit does not check that all bytes were written.
};

/// A store with a defect that a requirement must find.
template <defect Defect>
class defective_store {
 public:
  using inner_type = filexfer::memory_store<>;

  class cursor {
   public:
    explicit cursor(inner_type::cursor inner) : inner_{std::move(inner)} {}
    std::optional<filexfer::file_info<md5_digest>> next(std::error_code& ec) {
      ++calls_;
      if (Defect == defect::ends_lists_early && calls_ > 10) return std::nullopt;
      if (Defect == defect::repeats_entries && calls_ % 2 == 0) return last_;
      return last_ = inner_.next(ec);
    }

   private:
    inner_type::cursor inner_;
    int calls_ = 0;
    std::optional<filexfer::file_info<md5_digest>> last_;
  };

  class reader {
   public:
    explicit reader(inner_type::reader inner) : inner_{std::move(inner)} {}
    std::uint64_t size() const { return inner_.size(); }
    std::size_t read(std::span<std::byte> to, std::error_code& ec) {
      const auto count = inner_.read(to, ec);
      if (Defect == defect::changes_a_byte && count > 0) to[count - 1] ^= std::byte{1};
      return count;
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
      if (Defect == defect::commits_destroyed) put(store_->inner_, details_.name, arrived_);
      if (Defect == defect::leaks_reservations) {
        const std::lock_guard lock{store_->mutex_};
        store_->leaked_.push_back(std::move(inner_));
      }
    }

    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      inner_->write(bytes, ec);
      arrived_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      if (Defect == defect::lists_early && !ec) put(store_->inner_, details_.name, arrived_);
    }

    void commit(const md5_digest& id, std::error_code& ec) {
      if (Defect == defect::commits_nothing) return ec.clear();
      if (Defect == defect::accepts_short_files && arrived_.size() < details_.size) {
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
    /// A pointer, so that a moved-from upload is known to be empty.
    struct holder : std::unique_ptr<inner_type::upload> {
      explicit holder(inner_type::upload u)
          : std::unique_ptr<inner_type::upload>{
                std::make_unique<inner_type::upload>(std::move(u))} {}
    } inner_;
  };

  explicit defective_store(filexfer::memory_store_options options) : inner_{options} {}

  cursor list(std::error_code& ec) { return cursor{inner_.list(ec)}; }

  std::optional<filexfer::opened_file<md5_digest, reader>> open(const md5_digest& id,
                                                                std::error_code& ec) {
    auto file = inner_.open(id, ec);
    if (!file) return std::nullopt;
    return filexfer::opened_file<md5_digest, reader>{file->info, reader{std::move(file->reader)}};
  }

  std::optional<upload> create(details_type details, std::error_code& ec) {
    if (Defect == defect::accepts_any_name && details.name.starts_with("../")) details.name = "x";
    if (Defect == defect::ignores_times) details.modified.reset();
    auto inner = inner_.create(details, ec);
    if (!inner) return std::nullopt;
    return upload{*this, std::move(details), std::move(*inner)};
  }

  bool add_name(const md5_digest& id, std::uint64_t size, std::string_view name,
                const filexfer::file_attributes& attributes, std::error_code& ec) {
    if (Defect == defect::adds_to_any_size) {
      const auto file = inner_.open(id, ec);
      if (file) size = file->info.size;
    }
    return inner_.add_name(id, size, name, attributes, ec);
  }

 private:
  inner_type inner_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<inner_type::upload>> leaked_;
};

/// The requirements that a store with this defect breaks.
template <defect Defect>
std::set<std::string_view> broken_requirements() {
  std::set<std::string_view> sentences;
  for (const auto& requirement : store_contract<defective_store<Defect>>::all) {
    defective_store<Defect> store{{.quota = test_quota}};
    violations wrong;
    requirement.check(store, wrong);
    if (!wrong.empty()) sentences.insert(requirement.sentence);
  }
  return sentences;
}

TEST_CASE("each defect of a store is found by the requirement that it breaks") {
  CHECK(broken_requirements<defect::none>().empty());
  CHECK(broken_requirements<defect::lists_early>().contains(
      "an upload is not visible before it is committed"));
  CHECK(broken_requirements<defect::commits_destroyed>().contains(
      "an upload is not visible before it is committed"));
  CHECK(broken_requirements<defect::commits_nothing>().contains(
      "a committed file is listed once and is whole"));
  CHECK(broken_requirements<defect::leaks_reservations>().contains(
      "the quota counts unfinished uploads"));
  CHECK(broken_requirements<defect::accepts_collisions>().contains(
      "other bytes with the same digest are refused"));
  CHECK(broken_requirements<defect::accepts_clashes>().contains(
      "a name can't also be a folder in another name of the same file"));
  CHECK(broken_requirements<defect::accepts_any_name>().contains("an invalid name is refused"));
  CHECK(broken_requirements<defect::adds_to_any_size>().contains(
      "a name is added only to a file that is stored in that size"));
  CHECK(broken_requirements<defect::ignores_seek>().contains("a reader seeks to any offset"));
  CHECK(broken_requirements<defect::changes_a_byte>().contains(
      "a committed file is listed once and is whole"));
  CHECK(broken_requirements<defect::ends_lists_early>().contains(
      "a list contains every file that exists while it is read"));
  CHECK(broken_requirements<defect::repeats_entries>().contains(
      "a committed file is listed once and is whole"));
  CHECK(broken_requirements<defect::ignores_times>().contains(
      "a name has the time that was given, else that of its upload"));
  CHECK(broken_requirements<defect::accepts_short_files>().contains(
      "an upload has exactly its declared size"));
}

}  // namespace

}  // namespace stores_tests
