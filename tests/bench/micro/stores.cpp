// What a store takes to list its files, and to find one.

#include <filexfer/directory_store.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/options.hpp>
#include <filexfer/storage.hpp>

#include <benchmark/benchmark.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <system_error>

namespace {

using digest_type = filexfer::md5::digest_type;

/// Stores `text`, as the file of that name.
template <class Store>
digest_type put(Store& store, const std::string& text) {
  filexfer::md5 hash;
  hash.update(std::as_bytes(std::span{text}));
  const auto id = hash.finish();
  std::error_code ec;
  filexfer::upload_details<digest_type> details;
  details.name = text;
  details.size = text.size();
  auto upload = store.create(details, ec);
  if (!ec) upload->write(std::as_bytes(std::span{text}), ec);
  if (!ec) upload->commit(id, ec);
  if (ec) throw std::system_error{ec, text};
  return id;
}

/// A store in a temporary folder, not flushed.
class stored_on_disk {
 public:
  stored_on_disk() { store_ = std::make_unique<filexfer::directory_store<>>(path_, options()); }
  ~stored_on_disk() {
    store_.reset();
    std::filesystem::remove_all(path_);
  }
  stored_on_disk(const stored_on_disk&) = delete;
  stored_on_disk& operator=(const stored_on_disk&) = delete;
  filexfer::directory_store<>& operator*() { return *store_; }

 private:
  static filexfer::directory_store_options options() {
    filexfer::directory_store_options result;
    result.flushing = filexfer::flush_mode::off;
    return result;
  }
  static std::string make_folder() {
    std::string path = std::filesystem::temp_directory_path() / "filexfer-bench-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) {
      throw std::system_error{errno, std::system_category(), path};
    }
    return path;
  }

  std::string path_ = make_folder();
  std::unique_ptr<filexfer::directory_store<>> store_;
};

class stored_in_memory {
 public:
  filexfer::memory_store<>& operator*() { return store_; }

 private:
  filexfer::memory_store<> store_;
};

template <class Holder>
void list_files(benchmark::State& state) {
  Holder holder;
  for (std::int64_t i = 0; i < state.range(0); ++i) put(*holder, "file " + std::to_string(i));
  for (auto _ : state) {
    std::error_code ec;
    std::int64_t count = 0;
    for (auto cursor = (*holder).list(ec); cursor.next(ec);) ++count;
    if (count != state.range(0)) state.SkipWithError("files are missing in the list");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

template <class Holder>
void open_file(benchmark::State& state) {
  Holder holder;
  digest_type id;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    id = put(*holder, "file " + std::to_string(i));
  }
  for (auto _ : state) {
    std::error_code ec;
    benchmark::DoNotOptimize((*holder).open(id, ec));
  }
}

BENCHMARK_TEMPLATE(list_files, stored_on_disk)->Arg(100)->Arg(10'000);
BENCHMARK_TEMPLATE(list_files, stored_in_memory)->Arg(100)->Arg(10'000);
BENCHMARK_TEMPLATE(open_file, stored_on_disk)->Arg(10'000);
BENCHMARK_TEMPLATE(open_file, stored_in_memory)->Arg(10'000);

}  // namespace
