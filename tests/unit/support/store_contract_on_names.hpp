#ifndef FILEXFER_TESTS_SUPPORT_STORE_CONTRACT_ON_NAMES_HPP
#define FILEXFER_TESTS_SUPPORT_STORE_CONTRACT_ON_NAMES_HPP

// The part of a store's contract that is about names and their attributes. See store_contract.hpp.

#include "support/bytes.hpp"
#include "support/store_helpers.hpp"
#include "support/store_requirement.hpp"

#include <filexfer/detail/store/name_walk.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace test {

template <class Store>
struct store_contract_on_names {
  using errc = filexfer::errc;
  using lines = std::vector<std::string>;

  static void one_file_has_many_names(Store& store, violations& wrong) {
    const auto bytes = noise(1000);
    EXPECT(!put(store, "one", bytes));
    EXPECT(!put(store, "folder/two", bytes));
    std::error_code ec;
    EXPECT(store.add_name(id_of(bytes), bytes.size(), "three", {}, ec) && !ec);
    EXPECT(store.add_name(id_of(bytes), bytes.size(), "three", {}, ec) && !ec);
    EXPECT(entries(store) ==
           sorted({entry("one", bytes), entry("folder/two", bytes), entry("three", bytes)}));
    EXPECT(fetch(store, id_of(bytes)) == bytes);
  }

  static void one_name_has_many_files(Store& store, violations& wrong) {
    EXPECT(!put(store, "same", "first"));
    EXPECT(!put(store, "same", "second"));
    EXPECT(entries(store) == sorted({entry("same", "first"), entry("same", "second")}));
    EXPECT(fetch(store, id_of("first")) == "first");
    EXPECT(fetch(store, id_of("second")) == "second");
  }

  static void names_have_times(Store& store, violations& wrong) {
    using std::chrono::nanoseconds;
    const auto bytes = noise(1000);
    const filexfer::file_time early{nanoseconds{-1'500'000'000}};
    const filexfer::file_time later{nanoseconds{1'700'000'000'123'456'789}};
    const auto now = std::chrono::system_clock::now();
    const auto listed = [&] { return entries(store, times::yes); };

    EXPECT(!put(store, "a", bytes, 100, early));
    EXPECT(!put(store, "b", bytes, 100, later));
    EXPECT(listed() == sorted({entry("a", bytes, early), entry("b", bytes, later)}));
    EXPECT(!put(store, "a", bytes));  // without a time
    EXPECT(listed() == sorted({entry("a", bytes, early), entry("b", bytes, later)}));
    EXPECT(!put(store, "a", bytes, 100, later));
    EXPECT(listed() == sorted({entry("a", bytes, later), entry("b", bytes, later)}));

    std::error_code ec;
    EXPECT(store.add_name(id_of(bytes), bytes.size(), "c", {.modified = later}, ec) && !ec);
    EXPECT(store.add_name(id_of(bytes), bytes.size(), "b", {.modified = early}, ec) && !ec);
    EXPECT(store.add_name(id_of(bytes), bytes.size(), "d", {.modified = early}, ec) && !ec);
    EXPECT(listed() == sorted({entry("a", bytes, later), entry("b", bytes, early),
                               entry("c", bytes, later), entry("d", bytes, early)}));
    EXPECT(!put(store, "c", bytes, 100, early));  // which may have shared its file with another
    EXPECT(listed() == sorted({entry("a", bytes, later), entry("b", bytes, early),
                               entry("c", bytes, early), entry("d", bytes, early)}));
    EXPECT(fetch(store, id_of(bytes)) == bytes);

    EXPECT(!put(store, "new", "bytes"));
    const auto opened = store.open(id_of("bytes"), ec);
    EXPECT(opened && opened->info.modified &&
           *opened->info.modified > now - std::chrono::minutes{1} &&
           *opened->info.modified < now + std::chrono::minutes{1});
  }

  static void far_times_are_kept_or_nearest(Store& store, violations& wrong) {
    const filexfer::file_time past{-20'000'000'000, 500'000'000};  // in the year 1336
    const filexfer::file_time future{20'000'000'000, 1};           // in the year 2603
    const filexfer::file_time now = std::chrono::system_clock::now();
    std::error_code ec;
    EXPECT(!put(store, "past", "bytes", 100, past));
    EXPECT(store.add_name(id_of("bytes"), 5, "future", {.modified = future}, ec) && !ec);
    auto cursor = store.list(ec);
    std::size_t count = 0;
    for (auto file = cursor.next(ec); file && !ec; file = cursor.next(ec)) {
      ++count;
      EXPECT(file->modified);
      if (file->name == "past") EXPECT(file->modified >= past && file->modified < now);
      else EXPECT(file->modified <= future && file->modified > now);
    }
    EXPECT(count == 2 && !ec);
  }

  static void names_are_executable_or_not(Store& store, violations& wrong) {
    const auto bytes = noise(1000);
    const auto upload = [&](const std::string& name, std::optional<bool> executable) {
      std::error_code ec;
      details_type details{name, bytes.size(), {}};
      details.executable = executable;
      auto arriving = store.create(details, ec);
      if (arriving) arriving->write(as_bytes(bytes), ec);
      if (arriving && !ec) arriving->commit(id_of(bytes), ec);
      EXPECT(arriving && !ec);
    };
    const auto add = [&](const std::string& name, std::optional<bool> executable) {
      std::error_code ec;
      EXPECT(store.add_name(id_of(bytes), bytes.size(), name, {.executable = executable}, ec));
      EXPECT(!ec);
    };
    const auto listed = [&] { return entries(store); };
    const auto line = [&](const std::string& name, bool executable) {
      return entry(name, bytes) + (executable ? ";exec=1" : "");
    };

    upload("a", {});
    upload("b", true);
    add("c", {});
    add("d", true);
    add("e", false);
    EXPECT(listed() == sorted({line("a", false), line("b", true), line("c", false), line("d", true),
                               line("e", false)}));
    upload("b", {});  // stays as it is
    add("d", {});
    EXPECT(listed() == sorted({line("a", false), line("b", true), line("c", false), line("d", true),
                               line("e", false)}));
    upload("b", false);
    add("a", true);  // which may share its file with another
    add("d", false);
    upload("e", true);
    EXPECT(listed() == sorted({line("a", true), line("b", false), line("c", false),
                               line("d", false), line("e", true)}));
    // Neither attribute changes the other.
    const filexfer::file_time early{std::chrono::seconds{100}};
    std::error_code ec;
    EXPECT(store.add_name(id_of(bytes), bytes.size(), "a", {.modified = early}, ec) && !ec);
    EXPECT(store.add_name(id_of(bytes), bytes.size(), "e", {.modified = early}, ec) && !ec);
    add("e", false);
    const auto timed = entries(store, times::yes);
    for (const std::string& expected :
         {entry("a", bytes, early) + ";exec=1", entry("e", bytes, early)}) {
      EXPECT(std::find(timed.begin(), timed.end(), expected) != timed.end());
    }
    EXPECT(fetch(store, id_of(bytes)) == bytes);
  }

  static void add_name_requires_the_stored_size(Store& store, violations& wrong) {
    EXPECT(!put(store, "held", "bytes"));
    std::error_code ec = errc::io;
    EXPECT(!store.add_name(id_of("bytes"), 6, "other", {}, ec));
    EXPECT(!ec);
    ec = errc::io;
    EXPECT(!store.add_name(id_of("others"), 6, "other", {}, ec));
    EXPECT(!ec);
    EXPECT(entries(store) == lines{entry("held", "bytes")});
  }

  static void file_and_folder_do_not_mix(Store& store, violations& wrong) {
    std::error_code ec;
    EXPECT(!put(store, "a", "x"));
    EXPECT(put(store, "a/b", "x") == errc::bad_name);
    EXPECT(!store.add_name(id_of("x"), 1, "a/b/c", {}, ec));
    EXPECT(ec == errc::bad_name);
    EXPECT(!put(store, "d/e/f", "x"));
    EXPECT(put(store, "d/e", "x") == errc::bad_name);
    EXPECT(!store.add_name(id_of("x"), 1, "d", {}, ec));
    EXPECT(ec == errc::bad_name);
    EXPECT(!put(store, "a/b", "another file"));
    EXPECT(!put(store, "d/ef", "x"));
    EXPECT(!put(store, "d/e-", "x"));
    EXPECT(entries(store) == sorted({entry("a", "x"), entry("d/e/f", "x"), entry("d/ef", "x"),
                                     entry("d/e-", "x"), entry("a/b", "another file")}));
  }

  static void names_are_kept_as_they_are(Store& store, violations& wrong) {
    std::string deep = "a";
    for (std::size_t depth = 1; depth < filexfer::detail::max_name_depth; ++depth) deep += "/a";
    const std::string folder(255, 'f');
    const std::string longest = folder + '/' + folder + '/' + folder + '/' + std::string(256, 'n');
    const std::string long_folder = longest.substr(0, longest.size() - 1);
    lines expected;
    for (const std::string& name :
         {std::string(255, 'n'), deep, long_folder, std::string{"caf\xC3\xA9;100%"},
          std::string{"line\nfeed\tand \x7F"}, std::string{"..."}, std::string{"..a/.b"},
          std::string{".incoming/x"}, std::string{"back\\slash"}, std::string{" spaces "},
          std::string{"-rf"}, std::string{"~"}, std::string{"$(id)"}, std::string{"*"},
          std::string{"\xF0\x9F\x90\x88"}, std::string{"d41d8cd98f00b204e9800998ecf8427e"}}) {
      EXPECT(!put(store, name, "bytes"));
      expected.push_back(entry(name, "bytes"));
    }
    EXPECT(entries(store) == sorted(expected));
  }

  static void invalid_names_are_refused(Store& store, violations& wrong) {
    EXPECT(!put(store, "existing", "bytes"));
    for (const std::string& name :
         {std::string{}, std::string{"."}, std::string{".."}, std::string{"/"},
          std::string{"/etc/passwd"}, std::string{"../x"}, std::string{"a/../../x"},
          std::string{"a//b"}, std::string{"a/"}, std::string{"a\0b", 3}, std::string{"\xFF"},
          std::string{"\xC0\xAF"}, std::string(256, 'n')}) {
      std::error_code ec;
      EXPECT(!store.create(details_type{name, 5, {}}, ec));
      EXPECT(ec == errc::bad_name);
      ec.clear();
      EXPECT(!store.add_name(id_of("bytes"), 5, name, {}, ec));
      EXPECT(ec == errc::bad_name);
    }
    EXPECT(entries(store) == lines{entry("existing", "bytes")});
  }
};

}  // namespace test

#endif
