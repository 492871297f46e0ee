// What a line of the protocol costs: taken from the buffer, read, and written.

#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/protocol.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using digest_type = filexfer::md5::digest_type;

constexpr std::string_view plain_entry =
    "9e107d9d372bb6826bd81d3542a419d6;photos/2021/holiday/cat.jpg;123456";
constexpr std::string_view full_entry =
    "9e107d9d372bb6826bd81d3542a419d6;photos/2021/"
    "a%3Bb.jpg;123456;mtime=1609459200.123456789;exec=1";

void take_lines(benchmark::State& state) {
  filexfer::detail::line_buffer buffer;
  buffer.widen();
  const std::string line = std::string{plain_entry} + '\n';
  std::int64_t lines = 0;
  for (auto _ : state) {
    const auto space = buffer.space();
    const auto count = space.size() / line.size();
    for (std::size_t i = 0; i < count; ++i) {
      std::copy_n(filexfer::detail::as_bytes(line).data(), line.size(),
                  space.data() + i * line.size());
    }
    buffer.filled(count * line.size());
    while (auto taken = buffer.take_line()) benchmark::DoNotOptimize(taken);
    lines += static_cast<std::int64_t>(count);
  }
  state.SetItemsProcessed(lines);
}

void parse_entry(benchmark::State& state, std::string_view line) {
  std::error_code ec;
  for (auto _ : state) benchmark::DoNotOptimize(filexfer::parse_entry<digest_type>(line, ec));
  if (ec) state.SkipWithError("the line is not valid");
  state.SetItemsProcessed(state.iterations());
}

void format_entry(benchmark::State& state, std::string_view line) {
  std::error_code ec;
  const auto entry = filexfer::parse_entry<digest_type>(line, ec);
  for (auto _ : state) benchmark::DoNotOptimize(filexfer::format_entry(entry));
  state.SetItemsProcessed(state.iterations());
}

void parse_upload_details(benchmark::State& state) {
  const std::string line =
      "photos/2021/cat.jpg;123456;id=9e107d9d372bb6826bd81d3542a419d6;nowait;"
      "mtime=1609459200.123456789";
  std::error_code ec;
  for (auto _ : state) {
    benchmark::DoNotOptimize(filexfer::parse_upload_details<digest_type>(line, ec));
  }
  if (ec) state.SkipWithError("the line is not valid");
  state.SetItemsProcessed(state.iterations());
}

void check_name(benchmark::State& state) {
  const std::string name = "photos/2021/holiday/Grüße aus Málaga.jpg";
  for (auto _ : state) benchmark::DoNotOptimize(filexfer::is_name(name));
}

BENCHMARK(take_lines);
BENCHMARK_CAPTURE(parse_entry, plain, plain_entry);
BENCHMARK_CAPTURE(parse_entry, full, full_entry);
BENCHMARK_CAPTURE(format_entry, plain, plain_entry);
BENCHMARK_CAPTURE(format_entry, full, full_entry);
BENCHMARK(parse_upload_details);
BENCHMARK(check_name);

}  // namespace
