#ifndef FILEXFER_TESTS_RADOS_POOL_FIXTURE_HPP
#define FILEXFER_TESTS_RADOS_POOL_FIXTURE_HPP

/// \file
/// A namespace of its own for each test, in the pool `filexfer` of the cluster that the environment
/// variable FILEXFER_CEPH_CONF tells.

#include "support/bytes.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/detail/rados/pool.hpp>
#include <filexfer/rados_store.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <rados/librados.h>

namespace test {

using rados_store = filexfer::rados_store<>;

inline std::string ceph_conf() {
  const char* const file = std::getenv("FILEXFER_CEPH_CONF");
  REQUIRE_MESSAGE(file != nullptr, "FILEXFER_CEPH_CONF is to be Ceph's configuration file");
  return file;
}

/// A small size of objects, so that files have many.
inline constexpr std::size_t test_chunk_size = 100'000;

struct rados_namespace {
  std::string name = filexfer::detail::random_name();

  filexfer::rados_store_options options() const {
    filexfer::rados_store_options result{"filexfer", name, ceph_conf()};
    result.chunk_size = test_chunk_size;
    result.index_objects = 16;
    return result;
  }

  /// The namespace, as an administrator sees it.
  filexfer::detail::rados_pool open() const {
    std::error_code ec;
    const filexfer::detail::rados_address address{
        ceph_conf(), {}, "filexfer", name, std::chrono::seconds{30}};
    return {address, ec};
  }

  /// The objects that hold bytes of files, in order.
  std::vector<std::string> chunks() const {
    const auto pool = open();
    std::vector<std::string> found;
    rados_list_ctx_t walk = nullptr;
    REQUIRE(rados_nobjects_list_open(pool.handle(), &walk) == 0);
    const char* object = nullptr;
    while (rados_nobjects_list_next(walk, &object, nullptr, nullptr) == 0) {
      const std::string text{object};
      if (text.size() > 33 && text[32] == '.') found.push_back(text);
    }
    rados_nobjects_list_close(walk);
    std::sort(found.begin(), found.end());
    return found;
  }

  /// How many notes there are of interrupted uploads.
  std::size_t notes() const {
    const auto pool = open();
    std::size_t count = 0;
    std::error_code ec;
    for (std::size_t i = 0; i < 16; ++i) {
      filexfer::detail::for_each_pair(
          pool.handle(), filexfer::detail::index_object(i), {filexfer::detail::partial_prefix},
          [&](const auto&, const auto&) { return ++count > 0; }, ec);
    }
    return count;
  }

  void overwrite(const std::string& object, const std::string& bytes) const {
    const auto pool = open();
    REQUIRE(rados_write_full(pool.handle(), object.c_str(), bytes.data(), bytes.size()) == 0);
  }

  void remove(const std::string& object) const {
    const auto pool = open();
    REQUIRE(rados_remove(pool.handle(), object.c_str()) == 0);
  }
};

/// A namespace, and a store that uses it.
struct pool_fixture {
  rados_namespace place;
  rados_store store{place.options()};
};

/// What is left of a process that is killed: its objects are not destroyed.
template <class T>
T& never_destroyed(std::unique_ptr<T> object) {
  static auto& all = *new std::vector<std::unique_ptr<T>>;
  return *all.emplace_back(std::move(object));
}

inline filexfer::upload_details<md5_digest> resumable(const std::string& name,
                                                      const std::string& bytes, bool with_id) {
  filexfer::upload_details<md5_digest> details{name, bytes.size(), {}};
  if (with_id) details.id = id_of(bytes);
  details.resume = "0123456789abcdef";
  return details;
}

/// Begins to upload `bytes` as "name", and leaves it to be resumed after so many of them.
inline void leave_interrupted(rados_store& store, const std::string& bytes, std::size_t count) {
  std::error_code ec;
  auto upload = store.resume(resumable("name", bytes, true), ec);
  REQUIRE(upload);
  upload->write(as_bytes(bytes.substr(0, count)), ec);
  REQUIRE_FALSE(ec);
  upload->keep();
}

}  // namespace test

#endif
