#ifndef FILEXFER_TESTS_SUPPORT_FAILING_STORE_HPP
#define FILEXFER_TESTS_SUPPORT_FAILING_STORE_HPP

// A memory_store whose calls fail on request, with an error code or an exception.

#include "support/script.hpp"

#include <filexfer/memory_store.hpp>
#include <filexfer/storage.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

namespace test {

enum class store_call { list, next, open, seek, read, create, write, commit, add_name };

class failing_store {
 public:
  using digest_type = filexfer::md5::digest_type;
  using memory = filexfer::memory_store<>;
  class cursor;
  class reader;
  class upload;

  memory inner;

  /// The `nth` call of that kind, from 0, and all later ones fail: with `error`, or by calling
  /// `throws`, if that is set.
  void fail(store_call call, std::error_code error, std::size_t nth = 0) {
    failing_ = call;
    error_ = error;
    calls_until_failure_ = nth;
  }
  std::function<void()> throws;

  /// The number of existing uploads and readers.
  int alive = 0;

  cursor list(std::error_code& ec);
  std::optional<filexfer::opened_file<digest_type, reader>> open(const digest_type& id,
                                                                 std::error_code& ec);
  std::optional<upload> create(const filexfer::upload_details<digest_type>& details,
                               std::error_code& ec);
  bool add_name(const digest_type& id, std::uint64_t size, std::string_view name,
                const filexfer::file_attributes& attributes, std::error_code& ec) {
    if (fails(store_call::add_name, ec)) return false;
    return inner.add_name(id, size, name, attributes, ec);
  }

 private:
  bool fails(store_call call, std::error_code& ec) {
    ec.clear();
    if (call != failing_ || calls_until_failure_-- > 0) return false;
    calls_until_failure_ = 0;
    if (throws) throws();
    ec = error_;
    return true;
  }

  std::optional<store_call> failing_;
  std::error_code error_;
  std::size_t calls_until_failure_ = 0;
};

namespace detail {

// An upload or a reader, counted in `failing_store::alive`.
class alive_count {
 public:
  explicit alive_count(int& alive) noexcept : alive_{&alive} { ++*alive_; }
  alive_count(alive_count&& other) noexcept : alive_{std::exchange(other.alive_, nullptr)} {}
  alive_count& operator=(alive_count&& other) noexcept {
    std::swap(alive_, other.alive_);
    return *this;
  }
  ~alive_count() {
    if (alive_ != nullptr) --*alive_;
  }

 private:
  int* alive_;
};

}  // namespace detail

class failing_store::cursor {
 public:
  std::optional<filexfer::file_info<digest_type>> next(std::error_code& ec) {
    if (store_->fails(store_call::next, ec)) return std::nullopt;
    return inner_.next(ec);
  }

 private:
  friend class failing_store;
  cursor(failing_store& store, memory::cursor inner) : store_{&store}, inner_{std::move(inner)} {}
  failing_store* store_;
  memory::cursor inner_;
};

class failing_store::reader {
 public:
  std::uint64_t size() const { return inner_.size(); }
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    if (store_->fails(store_call::read, ec)) return 0;
    return inner_.read(to, ec);
  }
  void seek(std::uint64_t offset, std::error_code& ec) {
    if (!store_->fails(store_call::seek, ec)) inner_.seek(offset, ec);
  }

 private:
  friend class failing_store;
  reader(failing_store& store, memory::reader inner)
      : store_{&store}, inner_{std::move(inner)}, count_{store.alive} {}
  failing_store* store_;
  memory::reader inner_;
  detail::alive_count count_;
};

class failing_store::upload {
 public:
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    if (!store_->fails(store_call::write, ec)) inner_.write(bytes, ec);
  }
  void commit(const digest_type& id, std::error_code& ec) {
    if (!store_->fails(store_call::commit, ec)) inner_.commit(id, ec);
  }

 private:
  friend class failing_store;
  upload(failing_store& store, memory::upload inner)
      : store_{&store}, inner_{std::move(inner)}, count_{store.alive} {}
  failing_store* store_;
  memory::upload inner_;
  detail::alive_count count_;
};

inline failing_store::cursor failing_store::list(std::error_code& ec) {
  fails(store_call::list, ec);
  std::error_code ignored;  // a memory_store's list never fails
  return cursor{*this, inner.list(ignored)};
}

inline auto failing_store::open(const digest_type& id, std::error_code& ec)
    -> std::optional<filexfer::opened_file<digest_type, reader>> {
  if (fails(store_call::open, ec)) return std::nullopt;
  auto file = inner.open(id, ec);
  if (!file) return std::nullopt;
  return filexfer::opened_file<digest_type, reader>{std::move(file->info),
                                                    reader{*this, std::move(file->reader)}};
}

inline auto failing_store::create(const filexfer::upload_details<digest_type>& details,
                                  std::error_code& ec) -> std::optional<upload> {
  if (fails(store_call::create, ec)) return std::nullopt;
  auto created = inner.create(details, ec);
  if (!created) return std::nullopt;
  return upload{*this, std::move(*created)};
}

static_assert(filexfer::file_store<failing_store, failing_store::digest_type>);

}  // namespace test

#endif
