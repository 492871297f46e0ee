#ifndef FILEXFER_DETAIL_RADOS_OPERATION_HPP
#define FILEXFER_DETAIL_RADOS_OPERATION_HPP

// Calls of librados: their errors, one that is in flight, and the operations that RADOS applies to
// one object atomically.

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <rados/librados.h>

namespace filexfer::detail {

/// The error of a call that returned `result`, which is negative then.
inline std::error_code rados_error(int result) noexcept {
  return result < 0 ? std::error_code{-result, std::generic_category()} : std::error_code{};
}

/// Whether an operation changed nothing, since what it expected of its object was not so.
inline bool is_unexpected(int result) noexcept { return result == -ECANCELED; }

/// An asynchronous operation. What it reads into must live until it has ended: the destructor waits
/// for that, which librados's time limits bound.
class rados_operation {
 public:
  rados_operation() = default;
  rados_operation(rados_operation&& other) noexcept
      : completion_{std::exchange(other.completion_, nullptr)}, result_{other.result_} {}
  rados_operation& operator=(rados_operation&& other) noexcept {
    wait();
    completion_ = std::exchange(other.completion_, nullptr);
    result_ = other.result_;
    return *this;
  }
  ~rados_operation() { wait(); }

  /// Starts the operation by `call(completion)`, which returns an error or 0. Waits for the one
  /// before.
  template <class Call>
  void start(Call call) {
    wait();
    rados_completion_t completion = nullptr;
    result_ = rados_aio_create_completion2(nullptr, nullptr, &completion);
    if (result_ < 0) return;
    result_ = call(completion);
    if (result_ < 0) rados_aio_release(completion);
    else completion_ = completion;
  }

  /// Returns the result, once it has ended: negative for an error.
  int wait() noexcept {
    if (completion_ != nullptr) {
      rados_aio_wait_for_complete(completion_);
      result_ = rados_aio_get_return_value(completion_);
      rados_aio_release(std::exchange(completion_, nullptr));
    }
    return result_;
  }

 private:
  rados_completion_t completion_ = nullptr;
  int result_ = 0;
};

/// Changes of one object, which are made together or not at all: not if one of its expectations is
/// wrong, see `is_unexpected`. A value that is absent is empty.
class rados_write {
 public:
  rados_write() noexcept : op_{rados_create_write_op()} {}
  rados_write(const rados_write&) = delete;
  rados_write& operator=(const rados_write&) = delete;
  ~rados_write() { rados_release_write_op(op_); }

  // ------------------------------------------------------------------------------------------ bytes

  /// Makes the object, which must not exist, with these bytes.
  rados_write& create(std::span<const std::byte> bytes) {
    rados_write_op_create(op_, LIBRADOS_CREATE_EXCLUSIVE, nullptr);
    rados_write_op_write_full(op_, reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return *this;
  }
  /// Makes the object unless it exists.
  rados_write& create_if_missing() {
    rados_write_op_create(op_, LIBRADOS_CREATE_IDEMPOTENT, nullptr);
    return *this;
  }
  rados_write& assert_exists() {
    rados_write_op_assert_exists(op_);
    return *this;
  }
  rados_write& remove() {
    rados_write_op_remove(op_);
    return *this;
  }

  // ------------------------------------------------------------------------------------- attributes

  rados_write& expect_attribute(const char* name, std::string_view value) {
    rados_write_op_cmpxattr(op_, name, LIBRADOS_CMPXATTR_OP_EQ, value.data(), value.size());
    return *this;
  }
  rados_write& set_attribute(const char* name, std::string_view value) {
    rados_write_op_setxattr(op_, name, value.data(), value.size());
    return *this;
  }

  // --------------------------------------------------------------------------------------- the omap

  rados_write& expect(std::string_view key, std::string_view value) {
    rados_write_op_omap_cmp2(op_, key.data(), LIBRADOS_CMPXATTR_OP_EQ, value.data(), key.size(),
                             value.size(), nullptr);
    return *this;
  }
  rados_write& set(std::string_view key, std::string_view value) {
    const char* const keys[] = {key.data()};
    const char* const values[] = {value.data()};
    const std::size_t key_sizes[] = {key.size()};
    const std::size_t value_sizes[] = {value.size()};
    rados_write_op_omap_set2(op_, keys, values, key_sizes, value_sizes, 1);
    return *this;
  }
  rados_write& erase(std::string_view key) {
    const char* const keys[] = {key.data()};
    const std::size_t sizes[] = {key.size()};
    rados_write_op_omap_rm_keys2(op_, keys, sizes, 1);
    return *this;
  }
  /// Any number of pairs: of other changes an operation may have some ten thousand.
  rados_write& move_all(const std::vector<std::string>& from,
                        const std::vector<std::pair<std::string, std::string>>& to) {
    std::vector<const char*> keys;
    std::vector<const char*> values;
    std::vector<std::size_t> key_sizes;
    std::vector<std::size_t> value_sizes;
    for (const std::string& key : from) {
      keys.push_back(key.data());
      key_sizes.push_back(key.size());
    }
    rados_write_op_omap_rm_keys2(op_, keys.data(), key_sizes.data(), keys.size());
    keys.clear();
    key_sizes.clear();
    for (const auto& [key, value] : to) {
      keys.push_back(key.data());
      values.push_back(value.data());
      key_sizes.push_back(key.size());
      value_sizes.push_back(value.size());
    }
    rados_write_op_omap_set2(op_, keys.data(), values.data(), key_sizes.data(), value_sizes.data(),
                             keys.size());
    return *this;
  }

  void start(rados_operation& operation, rados_ioctx_t pool, const std::string& object) {
    operation.start([&](rados_completion_t completion) {
      return rados_aio_write_op_operate(op_, pool, completion, object.c_str(), nullptr, 0);
    });
  }

  int perform(rados_ioctx_t pool, const std::string& object) {
    rados_operation operation;
    start(operation, pool, object);
    return operation.wait();
  }

 private:
  const rados_write_op_t op_;
};

/// Pairs of an object's omap, by key.
using omap_pairs = std::map<std::string, std::string>;

/// Reads parts of one object's omap, at one moment.
class omap_read {
 public:
  omap_read() = default;
  omap_read(const omap_read&) = delete;
  omap_read& operator=(const omap_read&) = delete;
  ~omap_read() { clear(); }

  /// Of `pages` the first `most` pairs after the key `after` whose keys begin with `prefix`, and
  /// those of `keys` that exist.
  struct page {
    std::string after;
    std::string prefix;
    std::uint64_t most = 1;
  };
  void start(rados_ioctx_t pool, const std::string& object, std::span<const page> pages,
             std::span<const std::string> keys = {}) {
    clear();
    iterators_.resize(pages.size() + 1);
    more_.resize(pages.size());
    const auto op = rados_create_read_op();
    for (std::size_t i = 0; i < pages.size(); ++i) {
      const page& wanted = pages[i];
      rados_read_op_omap_get_vals2(op, wanted.after.c_str(), wanted.prefix.c_str(), wanted.most,
                                   &iterators_[i], &more_[i], nullptr);
    }
    if (!keys.empty()) {
      std::vector<const char*> texts;
      std::vector<std::size_t> sizes;
      for (const std::string& key : keys) {
        texts.push_back(key.data());
        sizes.push_back(key.size());
      }
      rados_read_op_omap_get_vals_by_keys2(op, texts.data(), texts.size(), sizes.data(),
                                           &iterators_.back(), nullptr);
    }
    operation_.start([&](rados_completion_t completion) {
      return rados_aio_read_op_operate(op, pool, completion, object.c_str(), 0);
    });
    rados_release_read_op(op);
  }

  /// Waits for all pairs that were read.
  omap_pairs wait(std::error_code& ec) {
    omap_pairs pairs;
    ec = rados_error(operation_.wait());
    for (const rados_omap_iter_t iterator : iterators_) {
      char* key = nullptr;
      char* value = nullptr;
      std::size_t key_size = 0;
      std::size_t value_size = 0;
      while (!ec && iterator != nullptr &&
             rados_omap_get_next2(iterator, &key, &value, &key_size, &value_size) == 0 &&
             key != nullptr) {
        pairs.insert_or_assign(std::string{key, key_size}, std::string{value, value_size});
      }
    }
    return pairs;
  }

  /// Whether there are more pairs than the page of that number held.
  bool has_more(std::size_t number) const noexcept { return more_[number] != 0; }

 private:
  void clear() noexcept {
    operation_.wait();
    for (const rados_omap_iter_t iterator : iterators_) {
      if (iterator != nullptr) rados_omap_get_end(iterator);
    }
    iterators_.clear();
  }

  std::vector<rados_omap_iter_t> iterators_;  ///< Of the pages and of the keys.
  std::vector<unsigned char> more_;
  rados_operation operation_;  ///< Ends before what it writes to is freed.
};

/// The pairs of an omap that have these keys.
inline omap_pairs read_keys(rados_ioctx_t pool, const std::string& object,
                            const std::vector<std::string>& keys, std::error_code& ec) {
  omap_read reading;
  reading.start(pool, object, {}, keys);
  return reading.wait(ec);
}

/// Calls `visit(key, value)` with all pairs of an omap whose keys begin with `prefix`, until it
/// returns false.
template <class Visit>
void for_each_pair(rados_ioctx_t pool, const std::string& object, const std::string& prefix,
                   Visit visit, std::error_code& ec) {
  std::string last;
  for (bool more = true; more;) {
    const omap_read::page wanted[] = {{last, prefix, 1000}};
    omap_read reading;
    reading.start(pool, object, wanted);
    for (const auto& [key, value] : reading.wait(ec)) {
      if (!visit(key, value)) return;
      last = key;
    }
    more = !ec && reading.has_more(0);
  }
}

/// Erases a pair, and returns whether it did: not if somebody has changed it.
inline bool erase_unchanged(rados_ioctx_t pool, const std::string& object,
                            const omap_pairs::value_type& pair, std::error_code& ec) {
  rados_write change;
  change.expect(pair.first, pair.second).erase(pair.first);
  const int result = change.perform(pool, object);
  if (!is_unexpected(result)) ec = rados_error(result);
  return result >= 0;
}

}  // namespace filexfer::detail

#endif
