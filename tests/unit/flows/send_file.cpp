#include "support/script.hpp"

#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/storage.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace send_file_tests {

using filexfer::errc;
using filexfer::detail::io_kind;

namespace {

struct checked_source {
  bool changed;
  int checks = 0;

  std::uint64_t size() const noexcept { return 100; }
  std::size_t read(std::span<std::byte>, std::error_code&) { return 0; }
  void check_unchanged(std::error_code& ec) {
    ++checks;
    if (changed) ec = errc::source_changed;
    else ec.clear();
  }
};
static_assert(filexfer::guarded_source<checked_source>);

using part = std::pair<std::uint64_t, std::uint64_t>;  // offset and length

// Sends bytes 5 to 30 of a file, of which the last 10 wait for the check.
filexfer::detail::transfer send(checked_source& source, std::vector<part>& parts) {
  filexfer::detail::connection c;
  c.small_file_size = 10;
  const std::string_view header = "an entry\n";
  auto sending =
      filexfer::detail::send_file_bytes(c, std::as_bytes(std::span{header}), source, {3, 5, 25});
  filexfer::detail::flow_context context;
  sending.start(context);
  while (auto* const action = filexfer::detail::advance(context)) {
    context.result = {};
    for (auto* const work : action->starts) {
      if (work != nullptr) work->run();
    }
    if (action->io == io_kind::write) {
      CHECK(parts.empty());
      CHECK(action->write_buffers[0].size() == header.size());
      context.result.bytes = header.size();
    } else if (action->io == io_kind::send_file) {
      CHECK(action->file.descriptor == 3);
      CHECK(source.checks == (parts.empty() ? 0 : 1));
      parts.emplace_back(action->file.offset, action->file.bytes);
      context.result.bytes = action->file.bytes;
    }
  }
  std::error_code ec;
  return sending.take(ec);
}

}  // namespace

TEST_CASE("the last part of a file is sent once the file was found unchanged") {
  checked_source source{false};
  std::vector<part> parts;
  const auto sent = send(source, parts);
  CHECK(parts == std::vector<part>{{5, 15}, {20, 10}});
  CHECK(sent.bytes == 25);
  CHECK_FALSE(sent.local_error);
  CHECK_FALSE(sent.stream_error);
}

TEST_CASE("the last part of a file that has changed is not sent") {
  checked_source source{true};
  std::vector<part> parts;
  const auto sent = send(source, parts);
  CHECK(parts == std::vector<part>{{5, 15}});
  CHECK(sent.bytes == 15);
  CHECK(sent.local_error == errc::source_changed);
}

}  // namespace send_file_tests
