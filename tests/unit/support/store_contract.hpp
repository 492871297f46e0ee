#ifndef FILEXFER_TESTS_SUPPORT_STORE_CONTRACT_HPP
#define FILEXFER_TESTS_SUPPORT_STORE_CONTRACT_HPP

/// \file
/// The contract of a store: what a flow requires of every store, as functions that try to break it.
///
/// A requirement is not asserted: its violations are collected, so that a test can also check that
/// a defective store is found.

#include "support/bytes.hpp"
#include "support/store_contract_on_names.hpp"
#include "support/store_helpers.hpp"
#include "support/store_requirement.hpp"

#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace test {

/// All requirements; check each with a new store.
template <class Store>
struct store_contract {
  using errc = filexfer::errc;
  using lines = std::vector<std::string>;
  using on_names = store_contract_on_names<Store>;

  static void empty_store_holds_nothing(Store& store, violations& wrong) {
    std::error_code ec = errc::io;
    EXPECT(entries(store).empty());
    EXPECT(!store.open(id_of(""), ec));
    EXPECT(!ec);
    ec = errc::io;
    EXPECT(!store.add_name(id_of(""), 0, "a", {}, ec));
    EXPECT(!ec);
  }

  static void committed_file_is_whole(Store& store, violations& wrong) {
    lines expected;
    unsigned seed = 0;
    constexpr std::size_t chunk = std::size_t{256} * 1024;
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5}, chunk - 1, chunk,
                                   chunk + 1, 3 * chunk, 4 * chunk + 77}) {
      const auto bytes = noise(size, ++seed);
      const auto name = "file " + std::to_string(size);
      EXPECT(!put(store, name, bytes));
      expected.push_back(entry(name, bytes));
      EXPECT(fetch(store, id_of(bytes)) == bytes);
      EXPECT(entries(store) == sorted(expected));
    }
  }

  static void chunks_do_not_matter(Store& store, violations& wrong) {
    for (const std::size_t chunk : {1u, 7u, 4096u}) {
      const auto bytes = noise(10'000, static_cast<unsigned>(chunk));
      EXPECT(!put(store, std::to_string(chunk), bytes, chunk));
      EXPECT(fetch(store, id_of(bytes)) == bytes);
    }
  }

  static void upload_is_invisible_before_commit(Store& store, violations& wrong) {
    const std::string bytes = "not yet";
    for (std::size_t written = 0; written <= bytes.size(); ++written) {
      {
        std::error_code ec;
        auto upload = store.create(details_type{"name", bytes.size(), {}}, ec);
        EXPECT(upload && !ec);
        for (std::size_t i = 0; upload && i < written; ++i) {
          upload->write(as_bytes(bytes.substr(i, 1)), ec);
          EXPECT(!ec);
          EXPECT(entries(store).empty());
          EXPECT(!fetch(store, id_of(bytes)));
        }
      }
      EXPECT(entries(store).empty());
      EXPECT(!fetch(store, id_of(bytes)));
    }
    EXPECT(!put(store, "name", bytes));
    EXPECT(entries(store) == lines{entry("name", bytes)});
  }

  static void upload_moves(Store& store, violations& wrong) {
    std::error_code ec;
    auto first = store.create(details_type{"moved", 4, {}}, ec);
    auto other = store.create(details_type{"dropped", 4, {}}, ec);
    EXPECT(first && other);
    if (!first || !other) return;
    first->write(as_bytes("ab"), ec);
    auto second = std::move(*first);
    first.reset();
    second.write(as_bytes("cd"), ec);
    EXPECT(!ec);
    *other = std::move(second);
    EXPECT(entries(store).empty());
    other->commit(id_of("abcd"), ec);
    EXPECT(!ec);
    other.reset();
    EXPECT(entries(store) == lines{entry("moved", "abcd")});
    EXPECT(fetch(store, id_of("abcd")) == "abcd");
  }

  static void uploading_again_changes_nothing(Store& store, violations& wrong) {
    const auto bytes = noise(300'000);
    EXPECT(!put(store, "twice", bytes));
    EXPECT(!put(store, "twice", bytes));
    EXPECT(entries(store) == lines{entry("twice", bytes)});
    EXPECT(fetch(store, id_of(bytes)) == bytes);
  }

  static void collision_keeps_the_first(Store& store, violations& wrong) {
    const auto [first, second] = md5_collision();
    EXPECT(first != second && id_of(first) == id_of(second));
    EXPECT(!put(store, "a", first));
    EXPECT(put(store, "b", second) == errc::collision);
    EXPECT(put(store, "a", second) == errc::collision);
    EXPECT(put(store, "c/d", second) == errc::collision);
    EXPECT(entries(store) == lines{entry("a", first)});
    EXPECT(fetch(store, id_of(first)) == first);
    EXPECT(!put(store, "b", first));
    EXPECT(entries(store) == sorted({entry("a", first), entry("b", first)}));
    // Nor are other bytes of another length accepted.
    EXPECT(!put(store, "a", first + "more"));
    EXPECT(put(store, "a", second + "more") == errc::collision);
  }

  static void size_is_binding(Store& store, violations& wrong) {
    std::error_code ec;
    auto upload = store.create(details_type{"short", 4, {}}, ec);
    EXPECT(upload);
    if (!upload) return;
    upload->write(as_bytes("abc"), ec);
    EXPECT(!ec);
    upload->commit(id_of("abc"), ec);
    EXPECT(ec == errc::bad_size);
    upload = store.create(details_type{"long", 2, {}}, ec);
    EXPECT(upload);
    if (!upload) return;
    upload->write(as_bytes("abc"), ec);
    EXPECT(ec == errc::bad_size);
    upload = store.create(details_type{"long in two parts", 4, {}}, ec);
    EXPECT(upload);
    if (!upload) return;
    upload->write(as_bytes("abc"), ec);
    EXPECT(!ec);
    upload->write(as_bytes("de"), ec);
    EXPECT(ec == errc::bad_size);
    upload.reset();
    EXPECT(entries(store).empty());
  }

  static void declared_size_is_limited_by_the_quota(Store& store, violations& wrong) {
    std::error_code ec;
    EXPECT(!store.create(details_type{"huge", filexfer::max_file_size, {}}, ec));
    EXPECT(ec == errc::no_space);
    EXPECT(!store.create(details_type{"huge", std::numeric_limits<std::uint64_t>::max(), {}}, ec));
    EXPECT(ec == errc::no_space);
  }

  static void reader_seeks(Store& store, violations& wrong) {
    const auto bytes = noise(600'000);
    EXPECT(!put(store, "file", bytes));
    std::error_code ec;
    auto file = store.open(id_of(bytes), ec);
    EXPECT(file && file->info.size == bytes.size() && file->reader.size() == bytes.size());
    if (!file) return;
    auto& reader = file->reader;
    for (const std::size_t offset :
         {0u, 1u, 262'143u, 262'144u, 262'145u, 599'999u, 600'000u, 5u}) {
      reader.seek(offset, ec);
      EXPECT(!ec);
      EXPECT(read_all(reader, ec) == bytes.substr(offset));
      EXPECT(!ec);
    }
    reader.seek(3, ec);
    reader.seek(bytes.size() + 1, ec);
    EXPECT(ec == errc::bad_range);
    std::byte next[1];
    EXPECT(reader.read(next, ec) == 1 && !ec);
    EXPECT(next[0] == static_cast<std::byte>(bytes[3]));
    auto moved = std::move(reader);
    EXPECT(read_all(moved, ec) == bytes.substr(4));
  }

  static void readers_do_not_disturb_each_other(Store& store, violations& wrong) {
    const auto bytes = noise(400'000);
    EXPECT(!put(store, "file", bytes));
    std::error_code ec;
    auto a = store.open(id_of(bytes), ec);
    auto b = store.open(id_of(bytes), ec);
    EXPECT(a && b);
    if (!a || !b) return;
    std::byte some[1000];
    EXPECT(a->reader.read(some, ec) == sizeof some);
    EXPECT(!put(store, "another name", bytes));
    EXPECT(read_all(b->reader, ec) == bytes);
    EXPECT(read_all(a->reader, ec) == bytes.substr(1000));
    if constexpr (filexfer::guarded_source<typename Store::reader>) {
      a->reader.check_unchanged(ec);
      EXPECT(!ec);
    }
  }

  static void list_is_complete(Store& store, violations& wrong) {
    lines expected;
    for (int i = 0; i < 50; ++i) {
      const auto name = "before/" + std::to_string(i);
      EXPECT(!put(store, name, i % 2 == 0 ? name : "shared"));
      expected.push_back(entry(name, i % 2 == 0 ? name : "shared"));
    }
    std::error_code ec;
    auto cursor = store.list(ec);
    lines listed;
    for (int i = 0; !ec; ++i) {
      auto file = cursor.next(ec);
      if (!file) break;
      file->modified.reset();
      file->executable.reset();
      if (file->name.starts_with("before")) listed.push_back(format_entry(*file));
      EXPECT(!put(store, "during/" + std::to_string(i), "during " + std::to_string(i % 7)));
      if (i == 25) {
        auto moved = std::move(cursor);
        cursor = std::move(moved);
      }
      if (i == 10'000) ec = errc::too_many_entries;  // The list does not end.
    }
    EXPECT(!ec);
    EXPECT(sorted(listed) == sorted(expected));
    EXPECT(!cursor.next(ec) && !ec);
  }

  static void quota_counts_unfinished_uploads(Store& store, violations& wrong) {
    constexpr auto half = test_quota / 2;
    std::error_code ec;
    for (int round = 0; round < 3; ++round) {
      auto a = store.create(details_type{"a", half, {}}, ec);
      EXPECT(a && !ec);
      auto b = store.create(details_type{"b", half, {}}, ec);
      EXPECT(b && !ec);
      EXPECT(!store.create(details_type{"c", 1, {}}, ec));
      EXPECT(ec == errc::no_space);
      auto empty = store.create(details_type{"c", 0, {}}, ec);
      EXPECT(empty && !ec);
    }
    EXPECT(entries(store).empty());
  }

  static void quota_counts_a_file_once(Store& store, violations& wrong) {
    const auto bytes = noise(1'000'000);
    EXPECT(!put(store, "one", bytes));
    EXPECT(!put(store, "one", bytes));
    EXPECT(!put(store, "two", bytes));
    std::error_code ec;
    EXPECT(store.add_name(id_of(bytes), bytes.size(), "three", {}, ec));
    EXPECT(!store.create(details_type{"rest", test_quota - bytes.size() + 1, {}}, ec));
    EXPECT(ec == errc::no_space);
    auto rest = store.create(details_type{"rest", test_quota - bytes.size(), {}}, ec);
    EXPECT(rest && !ec);
  }

  static void sessions_do_not_disturb_each_other(Store& store, violations& wrong) {
    constexpr int threads = 8;
    constexpr int files = 20;
    std::atomic<int> failures = 0;
    lines expected;
    const auto bytes_for = [](int file) { return noise(static_cast<std::size_t>(file) * 997, 3); };
    for (int i = 0; i < files; ++i) {
      expected.push_back(entry("shared", bytes_for(i)));
      for (int t = 0; t < threads; ++t) {
        expected.push_back(entry(std::to_string(t) + "/own", bytes_for(i)));
      }
    }
    {
      std::vector<std::jthread> running;
      running.reserve(threads);
      for (int t = 0; t < threads; ++t) {
        running.emplace_back([&, t] {
          for (int i = 0; i < files; ++i) {
            const auto bytes = bytes_for(i);
            std::error_code ec;
            if (put(store, "shared", bytes)) ++failures;
            if (fetch(store, id_of(bytes)) != bytes) ++failures;
            const auto own = std::to_string(t) + "/own";
            const auto add = [&](std::error_code& failed) {
              if (!store.add_name(id_of(bytes), bytes.size(), own, {}, failed) && !failed) {
                failed = filexfer::errc::not_found;
              }
            };
            if (i % 2 == 0 ? when_unlocked(add) : put(store, own, bytes)) ++failures;
            auto dropped = store.create(details_type{"dropped", 10, {}}, ec);
            if (!dropped) ++failures;
            const auto listed = entries(store);
            if (std::find(listed.begin(), listed.end(), entry(own, bytes)) == listed.end()) {
              ++failures;
            }
          }
        });
      }
    }
    EXPECT(failures == 0);
    EXPECT(entries(store) == sorted(expected));
  }

  static constexpr store_requirement<Store> all[] = {
      {"an empty store holds nothing", empty_store_holds_nothing},
      {"a committed file is listed once and is whole", committed_file_is_whole},
      {"how an upload is cut into chunks does not matter", chunks_do_not_matter},
      {"an upload is not visible before it is committed", upload_is_invisible_before_commit},
      {"an upload continues after it was moved", upload_moves},
      {"uploading a stored file again changes nothing", uploading_again_changes_nothing},
      {"one file has many names", on_names::one_file_has_many_names},
      {"one name has many files", on_names::one_name_has_many_files},
      {"a name has the time that was given, else that of its upload", on_names::names_have_times},
      {"a time in the far past or future is kept, or the nearest that can be",
       on_names::far_times_are_kept_or_nearest},
      {"a name is executable if that was said of it last", on_names::names_are_executable_or_not},
      {"a name is added only to a file that is stored in that size",
       on_names::add_name_requires_the_stored_size},
      {"other bytes with the same digest are refused", collision_keeps_the_first},
      {"a name can't also be a folder in another name of the same file",
       on_names::file_and_folder_do_not_mix},
      {"names are listed exactly as given", on_names::names_are_kept_as_they_are},
      {"an invalid name is refused", on_names::invalid_names_are_refused},
      {"an upload has exactly its declared size", size_is_binding},
      {"a declared size above the quota is refused", declared_size_is_limited_by_the_quota},
      {"a reader seeks to any offset", reader_seeks},
      {"readers do not disturb each other", readers_do_not_disturb_each_other},
      {"a list contains every file that exists while it is read", list_is_complete},
      {"the quota counts unfinished uploads", quota_counts_unfinished_uploads},
      {"the quota counts a file once", quota_counts_a_file_once},
      {"sessions do not disturb each other", sessions_do_not_disturb_each_other},
  };
};

}  // namespace test

#endif
