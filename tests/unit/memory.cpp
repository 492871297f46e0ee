#include "support/store_use.hpp"

#include <filexfer/memory.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace memory_tests {

namespace {

using filexfer::errc;
using filexfer::memory_sink;
using filexfer::memory_source;
using namespace tests;

TEST_CASE("a memory source gives its octets, its own ones and the caller's") {
  for (const std::string& octets : {std::string{}, std::string{"short"}, noise(200'000)}) {
    for (auto& source : {memory_source{octets}, memory_source{octets_of(octets)}}) {
      auto moved = memory_source{source};
      std::error_code ec;
      CHECK(moved.size() == octets.size());
      CHECK(read_all(moved, ec, 3000) == octets);
      moved.seek(octets.size() / 2, ec);
      auto again = std::move(moved);
      CHECK(read_all(again, ec) == octets.substr(octets.size() / 2));
      again.seek(octets.size() + 1, ec);
      CHECK(ec == errc::bad_range);
    }
  }
}

TEST_CASE("a memory sink shows nothing before it is committed") {
  memory_sink sink{10};
  std::error_code ec;
  sink.write(octets_of("abc"), ec);
  CHECK(sink.octets().empty());
  CHECK(sink.take().empty());
  sink.commit(ec);
  CHECK_FALSE(ec);
  CHECK(sink.text() == "abc");
  CHECK(sink.take().size() == 3);
  CHECK(sink.text().empty());
}

TEST_CASE("a memory sink takes no more than its limit, and shows nothing that lacks the rest") {
  memory_sink sink{5};
  std::error_code ec;
  sink.write(octets_of("abc"), ec);
  CHECK_FALSE(ec);
  sink.write(octets_of("de"), ec);
  CHECK_FALSE(ec);
  sink.write({}, ec);
  CHECK_FALSE(ec);
  auto full = sink;
  full.write(octets_of("f"), ec);
  CHECK(ec == errc::too_large);
  full.write({}, ec);
  CHECK(ec == errc::too_large);
  full.commit(ec);
  CHECK(ec == errc::too_large);
  CHECK(full.octets().empty());
  sink.commit(ec);
  CHECK_FALSE(ec);
  CHECK(sink.text() == "abcde");
}

}  // namespace

}  // namespace memory_tests
