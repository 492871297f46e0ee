// The sweep finds the defects of a broken store and of a broken hasher.

#include "support/byte_sweep_fixture.hpp"

#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

namespace byte_sweep_defects_tests {

using namespace byte_sweep_tests;

namespace {

enum class defect {
  shown_before_verified,
  temporary_kept,
  temporaries_listed,
  partial_published,
  acknowledged_not_stored,
};

/// A memory_store with one defect.
class broken_store {
  using inner_type = filexfer::memory_store<>;

  struct pending_file {
    listed_file entry;
    std::string bytes;
  };
  using pending_list = std::list<std::shared_ptr<pending_file>>;

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
    cursor(inner_type::cursor stored, std::vector<listed_file> extra)
        : stored_{std::move(stored)}, extra_{std::move(extra)} {}
    std::optional<listed_file> next(std::error_code& ec) {
      ec.clear();
      if (extra_.empty()) return stored_.next(ec);
      auto file = extra_.back();
      extra_.pop_back();
      return file;
    }

   private:
    inner_type::cursor stored_;
    std::vector<listed_file> extra_;
  };

  class upload {
   public:
    upload(broken_store& store, inner_type::upload inner, std::shared_ptr<pending_file> file)
        : store_{&store}, inner_{std::move(inner)}, file_{std::move(file)} {}
    upload(upload&&) = default;
    upload& operator=(upload&&) = default;
    ~upload() {
      if (!file_) return;
      store_->pending_.remove(file_);
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
    void commit(const md5_digest& id, std::error_code& ec) {
      ec.clear();
      if (store_->defect_ != defect::acknowledged_not_stored) inner_.commit(id, ec);
      if (ec) return;
      store_->pending_.remove(file_);
      file_.reset();
    }

   private:
    broken_store* store_;
    inner_type::upload inner_;
    std::shared_ptr<pending_file> file_;
  };

  broken_store(defect d, const filexfer::memory_store_options& options)
      : defect_{d}, inner_{options} {}

  cursor list(std::error_code& ec) const {
    std::vector<listed_file> extra;
    for (const auto& file : pending_) {
      const auto& entry = file->entry;
      if (defect_ == defect::temporaries_listed) {
        extra.push_back({entry.id, "." + entry.name + ".part", file->bytes.size()});
      } else if (defect_ == defect::shown_before_verified && !file->bytes.empty()) {
        extra.push_back(entry);
      }
    }
    return {inner_.list(ec), std::move(extra)};
  }

  std::optional<filexfer::opened_file<md5_digest, reader>> open(const md5_digest& id,
                                                                std::error_code& ec) {
    auto stored = inner_.open(id, ec);
    if (stored) return {{stored->info, reader{std::move(stored->reader)}}};
    for (const auto& file : pending_) {
      if (file->entry.id == id) return {{file->entry, reader{file->bytes}}};
    }
    return std::nullopt;
  }

  std::optional<upload> create(const filexfer::upload_details<md5_digest>& details,
                               std::error_code& ec) {
    auto inner = inner_.create(details, ec);
    if (!inner) return std::nullopt;
    auto file = std::make_shared<pending_file>();
    file->entry = {details.id.value_or(md5_digest{}), details.name, details.size};
    pending_.push_back(file);
    return upload{*this, std::move(*inner), std::move(file)};
  }

  bool add_name(const md5_digest& id, std::uint64_t size, std::string_view name,
                const filexfer::file_attributes& attributes, std::error_code& ec) {
    return inner_.add_name(id, size, name, attributes, ec);
  }

 private:
  defect defect_;
  inner_type inner_;
  pending_list pending_;
  std::vector<inner_type::upload> kept_;
};

struct broken_stores {
  using store_type = broken_store;
  explicit broken_stores(defect d) : which{d} {}
  store_type& fresh() {
    return store.emplace(which, filexfer::memory_store_options{.quota = memory_stores::quota});
  }
  std::string find_leftovers(std::uint64_t listed_size) {
    return memory_stores::find_leftovers(*store, listed_size);
  }
  defect which;
  std::optional<store_type> store;
};

/// The violations, by kind, that the sweep finds in a store with that defect.
std::map<std::string, std::size_t> violations_of(defect which) {
  constexpr std::array uploads{task::upload, task::upload_declared};
  const std::array files{body(5), body(3 * chunk)};
  return sweep_faults<broken_stores>(5, uploads, files, which).kinds;
}

/// Hashes the last block only, like the program of the original design.
class last_block_md5 {
 public:
  using digest_type = md5_digest;
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
  std::string find_leftovers(std::uint64_t listed_size) {
    return memory_stores::find_leftovers(*store, listed_size);
  }
  std::optional<store_type> store;
};

}  // namespace

TEST_CASE("the sweep finds a store that lists files before they are verified") {
  CHECK(violations_of(defect::shown_before_verified)["not whole"] > 0);
}

TEST_CASE("the sweep finds a store that keeps a temporary file on error") {
  CHECK(violations_of(defect::temporary_kept)["left behind"] > 0);
}

TEST_CASE("the sweep finds a store that lists temporary files") {
  CHECK(violations_of(defect::temporaries_listed)["not whole"] > 0);
}

TEST_CASE("the sweep finds a store that publishes a partial file") {
  CHECK(violations_of(defect::partial_published)["unexpected entry"] > 0);
}

TEST_CASE("the sweep finds a store that acknowledges a file without storing it") {
  CHECK(violations_of(defect::acknowledged_not_stored)["not listed"] > 0);
}

TEST_CASE("the sweep finds a hasher that has the same defect on both sides") {
  constexpr std::array uploads{task::upload};
  const std::array files{body(3 * chunk)};
  auto counts = sweep_faults<stores_with<last_block_md5>, last_block_md5>(5, uploads, files);
  CHECK(counts.kinds["false success"] > 0);
  CHECK(counts.kinds["not whole"] > 0);
}

}  // namespace byte_sweep_defects_tests
