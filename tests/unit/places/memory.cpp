#include "support/store_helpers.hpp"

#include <filexfer/memory.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace memory_tests {

using namespace test;
using filexfer::errc;
using filexfer::memory_sink;
using filexfer::memory_source;

namespace {

TEST_CASE("a memory source reads its own bytes or the caller's") {
  for (const std::string& bytes : {std::string{}, std::string{"short"}, noise(200'000)}) {
    for (auto& source : {memory_source{bytes}, memory_source{as_bytes(bytes)}}) {
      auto moved = memory_source{source};
      std::error_code ec;
      CHECK(moved.size() == bytes.size());
      CHECK(read_all(moved, ec, 3000) == bytes);
      moved.seek(bytes.size() / 2, ec);
      auto again = std::move(moved);
      CHECK(read_all(again, ec) == bytes.substr(bytes.size() / 2));
      again.seek(bytes.size() + 1, ec);
      CHECK(ec == errc::bad_range);
    }
  }
}

TEST_CASE("a memory sink is empty until it is committed") {
  memory_sink sink{10};
  std::error_code ec;
  sink.write(as_bytes("abc"), ec);
  CHECK(sink.bytes().empty());
  CHECK(sink.take().empty());
  sink.commit(ec);
  CHECK_FALSE(ec);
  CHECK(sink.text() == "abc");
  CHECK(sink.take().size() == 3);
  CHECK(sink.text().empty());
}

TEST_CASE("a memory sink refuses bytes above its limit, and then has no incomplete contents") {
  memory_sink sink{5};
  std::error_code ec;
  sink.write(as_bytes("abc"), ec);
  CHECK_FALSE(ec);
  sink.write(as_bytes("de"), ec);
  CHECK_FALSE(ec);
  sink.write({}, ec);
  CHECK_FALSE(ec);
  auto full = sink;
  full.write(as_bytes("f"), ec);
  CHECK(ec == errc::too_large);
  full.write({}, ec);
  CHECK(ec == errc::too_large);
  full.commit(ec);
  CHECK(ec == errc::too_large);
  CHECK(full.bytes().empty());
  sink.commit(ec);
  CHECK_FALSE(ec);
  CHECK(sink.text() == "abcde");
}

}  // namespace

}  // namespace memory_tests
