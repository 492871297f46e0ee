// Examples for the reference: a store in Ceph's RADOS. They run where a cluster is.

#include "support.hpp"

#include <filexfer/rados_store.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <system_error>

namespace rados_snippets {
namespace {

const char* conf() { return std::getenv("FILEXFER_CEPH_CONF"); }

}  // namespace

TEST_CASE("a store in RADOS" * doctest::skip(conf() == nullptr)) {
  //! [rados_store]
  filexfer::rados_store_options options;
  options.pool = "filexfer";
  options.name_space = "snippets";
  options.conf_file = conf();  // empty for /etc/ceph/ceph.conf
  filexfer::rados_store<> store{options};
  //! [rados_store]
  std::error_code ec;
  const auto id = snippets::put(store, "a.txt", "hello");

  //! [list]
  auto entries = store.list(ec);
  while (auto file = entries.next(ec)) std::cout << format_entry(*file) << '\n';
  if (ec) std::cerr << ec.message() << '\n';
  //! [list]
  CHECK_FALSE(ec);

  //! [verify]
  const auto totals = store.verify(
      {.max_rate = 50'000'000},
      [](const auto& file) {
        if (file.state == filexfer::stored_state::damaged) std::cout << file.info.id << '\n';
      },
      ec);
  std::cout << totals.files << " files, " << totals.damaged << " damaged\n";
  //! [verify]
  CHECK_FALSE(ec);
  CHECK(totals.damaged == 0);

  CHECK(store.remove(id, "a.txt", ec));
  //! [remove_leftovers]
  store.remove_garbage(ec);                            // every minute or so
  store.remove_leftovers(std::chrono::hours{24}, ec);  // every hour or so
  //! [remove_leftovers]
  CHECK_FALSE(ec);
}

}  // namespace rados_snippets
