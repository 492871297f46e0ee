#include "pool_fixture.hpp"
#include "support/store_contract.hpp"

#include <doctest/doctest.h>

using namespace test;

TEST_CASE("a store in RADOS fulfils the contract of stores") {
  for (const auto& requirement : store_contract<rados_store>::all) {
    // The limits are those of the pool, which Ceph enforces, and not for what is still to arrive.
    if (requirement.sentence.starts_with("the quota")) continue;
    pool_fixture fixture;
    violations wrong;
    requirement.check(fixture.store, wrong);
    for (const auto& violation : wrong) FAIL_CHECK(requirement.sentence, ": ", violation);
    CHECK(wrong.empty());
  }
}
