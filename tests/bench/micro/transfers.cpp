// The cost of a transfer compared with that of the digest alone, without network and disk.

#include <filexfer/client.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>

#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <benchmark/benchmark.h>

#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace {

using digest_type = filexfer::md5::digest_type;

std::string make_body(const benchmark::State& state) {
  return std::string(static_cast<std::size_t>(state.range(0)), 'x');
}

void digest_alone(benchmark::State& state) {
  const auto body = make_body(state);
  for (auto _ : state) {
    filexfer::md5 hash;
    hash.update(std::as_bytes(std::span{body}));
    benchmark::DoNotOptimize(hash.finish());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

/// A client and a session on one thread, over an in-memory pipe.
struct transfer_fixture {
  asio::io_context context;
  filexfer::memory_store<> store;
  std::pair<filexfer::memory_pipe, filexfer::memory_pipe> ends =
      filexfer::make_memory_pipe(context, std::size_t{1} << 20);
  filexfer::session<filexfer::memory_pipe&, filexfer::memory_store<>> session{ends.second, store};
  filexfer::client<filexfer::memory_pipe&> client{ends.first};

  transfer_fixture() { session.async_run(asio::detached); }

  /// Runs the context until `done` is set.
  void run_until(const bool& done) {
    while (!done) context.run_one();
  }

  digest_type upload(const std::string& body) {
    filexfer::memory_source source{std::as_bytes(std::span{body})};
    digest_type id;
    bool done = false;
    client.async_upload(source, "file", [&](std::error_code ec, const auto& result) {
      if (ec) throw std::system_error{ec};
      id = result.remote_digest;
      done = true;
    });
    run_until(done);
    return id;
  }
};

void upload(benchmark::State& state) {
  const auto body = make_body(state);
  transfer_fixture fixture;
  for (auto _ : state) benchmark::DoNotOptimize(fixture.upload(body));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void download(benchmark::State& state) {
  const auto body = make_body(state);
  transfer_fixture fixture;
  const auto id = fixture.upload(body);
  for (auto _ : state) {
    filexfer::memory_sink sink{body.size()};
    bool done = false;
    fixture.client.async_download(id, sink, [&](std::error_code ec, const auto&) {
      if (ec) throw std::system_error{ec};
      done = true;
    });
    fixture.run_until(done);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

constexpr std::int64_t small = 4096;
constexpr std::int64_t large = std::int64_t{16} << 20;
BENCHMARK(digest_alone)->Arg(small)->Arg(large);
BENCHMARK(upload)->Arg(small)->Arg(large);
BENCHMARK(download)->Arg(small)->Arg(large);

}  // namespace
