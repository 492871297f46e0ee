// What a flow costs for each action and each flow that it awaits: by hand, and with either driver
// on a pipe in memory; and the pipe itself.

#include <filexfer/detail/driver/async_run.hpp>
#include <filexfer/detail/driver/run.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/memory_pipe.hpp>

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>
#include <vector>

namespace {

namespace detail = filexfer::detail;

detail::flow<int> await_actions(int count) {
  detail::action nothing;
  for (int i = 0; i < count; ++i) co_await nothing;
  co_return count;
}

detail::flow<int> one(int value) { co_return value; }

detail::flow<int> await_flows(int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await one(i);
  co_return sum;
}

constexpr int awaits = 1000;

/// Resumes the flow at once, as if each action were done.
template <class MakeFlow>
void by_hand(benchmark::State& state, MakeFlow make) {
  for (auto _ : state) {
    detail::flow_context context;
    auto main = make(awaits);
    main.start(context);
    while (detail::advance(context) != nullptr) {
    }
    std::error_code ec;
    benchmark::DoNotOptimize(main.take(ec));
  }
  state.SetItemsProcessed(state.iterations() * awaits);
}

detail::flow<std::uint64_t> write_lines(int count) {
  static constexpr std::array<std::byte, 64> line{};
  detail::action writing;
  writing.io = detail::io_kind::write;
  writing.write_buffers[0] = line;
  std::uint64_t bytes = 0;
  for (int i = 0; i < count; ++i) {
    const detail::outcome written = co_await writing;
    bytes += written.bytes;
  }
  co_return bytes;
}

/// A pipe that has room for what `write_lines(awaits)` writes.
struct pipe_fixture {
  asio::io_context context;
  std::pair<filexfer::memory_pipe, filexfer::memory_pipe> ends =
      filexfer::make_memory_pipe(context, std::size_t{1} << 20);
  std::vector<std::byte> read = std::vector<std::byte>(std::size_t{1} << 20);

  void drain(std::uint64_t bytes) {
    while (bytes > 0) bytes -= ends.second.read_some(asio::buffer(read));
  }
};

void write_blocking(benchmark::State& state) {
  pipe_fixture pipe;
  for (auto _ : state) {
    std::error_code ec;
    pipe.drain(detail::run(
        pipe.ends.first, [](std::error_code&) { return write_lines(awaits); }, ec));
  }
  state.SetItemsProcessed(state.iterations() * awaits);
}

void write_async(benchmark::State& state) {
  pipe_fixture pipe;
  const detail::driver_settings settings;
  for (auto _ : state) {
    std::uint64_t bytes = 0;
    detail::async_run<asio::steady_timer>(
        pipe.ends.first, settings, [](std::error_code&) { return write_lines(awaits); },
        [&bytes](std::error_code, std::uint64_t written) { bytes = written; });
    pipe.context.run();
    pipe.context.restart();
    pipe.drain(bytes);
  }
  state.SetItemsProcessed(state.iterations() * awaits);
}

void pipe_blocking(benchmark::State& state) {
  pipe_fixture pipe;
  const std::vector<std::byte> sent(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) pipe.drain(pipe.ends.first.write_some(asio::buffer(sent)));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void pipe_async(benchmark::State& state) {
  pipe_fixture pipe;
  const std::vector<std::byte> sent(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    std::size_t bytes = 0;
    pipe.ends.second.async_read_some(asio::buffer(pipe.read),
                                     [&](std::error_code, std::size_t got) { bytes = got; });
    pipe.ends.first.async_write_some(asio::buffer(sent), [](std::error_code, std::size_t) {});
    pipe.context.run();
    pipe.context.restart();
    if (bytes != sent.size()) state.SkipWithError("not all bytes arrived");
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

constexpr std::int64_t line_size = 64;
constexpr std::int64_t chunk_size = std::int64_t{256} * 1024;
BENCHMARK_CAPTURE(by_hand, actions, await_actions);
BENCHMARK_CAPTURE(by_hand, flows, await_flows);
BENCHMARK(write_blocking);
BENCHMARK(write_async);
BENCHMARK(pipe_blocking)->Arg(line_size)->Arg(chunk_size);
BENCHMARK(pipe_async)->Arg(line_size)->Arg(chunk_size);

}  // namespace
