// Files of more than 4 GiB: no count of bytes is truncated to 32 bits, or to what one call can
// move.
//
// To be fast, the hasher is trivial, and no bytes are stored: they are generated when they are
// read, and compared when they are written.

#include "support/once_handler.hpp"
#include "support/scratch_folder.hpp"

#include <filexfer/client.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/options.hpp>
#include <filexfer/session.hpp>
#include <filexfer/storage.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace huge_files_tests {

using asio::ip::tcp;

namespace {

constexpr std::uint64_t four_gib = std::uint64_t{1} << 32;

/// Still more than 4 GiB without the end that is moved separately.
constexpr std::uint64_t huge = four_gib + 2 * filexfer::default_small_file_size + 17;

/// A hasher whose digest is the number of bytes.
class counter {
 public:
  using digest_type = filexfer::digest<8>;

  static constexpr std::string_view name() noexcept { return "count"; }

  void update(std::span<const std::byte> bytes) noexcept { count_ += bytes.size(); }

  digest_type finish() noexcept { return of(std::exchange(count_, 0)); }

  static digest_type of(std::uint64_t count) noexcept {
    std::array<std::byte, 8> value{};
    for (std::size_t i = 0; i < 8; ++i) value[i] = static_cast<std::byte>(count >> (56 - 8 * i));
    return digest_type{value};
  }

 private:
  std::uint64_t count_ = 0;
};

using digest = counter::digest_type;
using listed_file = filexfer::file_info<digest>;

/// An endless byte sequence whose period has no divisor in common with any power of two: missing,
/// repeated and misplaced bytes show.
class byte_sequence {
 public:
  explicit byte_sequence(std::uint64_t offset = 0) noexcept : offset_{offset} {}

  /// The next bytes: at least one, at most `max_size`.
  std::span<const std::byte> next(std::size_t max_size) {
    static const std::vector<std::byte> period = [] {
      std::vector<std::byte> bytes(1'000'003);
      std::uint32_t state = 1;
      for (std::byte& byte : bytes) {
        state = state * 1'664'525 + 1'013'904'223;
        byte = static_cast<std::byte>(state >> 24);
      }
      return bytes;
    }();
    const auto part = std::span{period}.subspan(static_cast<std::size_t>(offset_ % period.size()));
    const auto bytes = part.first(std::min(max_size, part.size()));
    offset_ += bytes.size();
    return bytes;
  }

 private:
  std::uint64_t offset_;
};

/// The first `huge` bytes of the sequence.
class huge_source {
 public:
  std::uint64_t size() const noexcept { return huge; }

  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    ec.clear();
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(to.size(), huge - offset_));
    for (auto left = to.first(count); !left.empty();) {
      const auto part = bytes_.next(left.size());
      std::memcpy(left.data(), part.data(), part.size());
      left = left.subspan(part.size());
    }
    offset_ += count;
    return count;
  }

  void seek(std::uint64_t offset, std::error_code& ec) noexcept {
    ec.clear();
    offset_ = offset;
    bytes_ = byte_sequence{offset};
  }

 private:
  byte_sequence bytes_;
  std::uint64_t offset_ = 0;
};

/// Counts the bytes written, and compares them with the sequence.
class comparing_sink {
 public:
  explicit comparing_sink(std::uint64_t offset = 0) noexcept : expected_{offset} {}

  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    ec.clear();
    count += bytes.size();
    while (!bytes.empty()) {
      const auto part = expected_.next(bytes.size());
      matches = matches && std::memcmp(part.data(), bytes.data(), part.size()) == 0;
      bytes = bytes.subspan(part.size());
    }
  }

  void commit(std::error_code& ec) noexcept {
    ec.clear();
    ++commits;
  }

  std::uint64_t count = 0;
  bool matches = true;
  int commits = 0;

 private:
  byte_sequence expected_;
};

/// Stores no bytes, only how many were uploaded, and whether they were the right ones.
class counting_store {
 public:
  using reader = huge_source;

  class cursor {
   public:
    explicit cursor(std::vector<listed_file> files) : files_{std::move(files)} {}
    std::optional<listed_file> next(std::error_code& ec) {
      ec.clear();
      if (files_.empty()) return std::nullopt;
      auto file = files_.back();
      files_.pop_back();
      return file;
    }

   private:
    std::vector<listed_file> files_;
  };

  class upload {
   public:
    upload(counting_store& store, std::string name) : store_{&store}, name_{std::move(name)} {}
    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      received_.write(bytes, ec);
    }
    void commit(const digest& id, std::error_code& ec) {
      ec.clear();
      if (!received_.matches) ec = filexfer::errc::io;
      else store_->files_.push_back({id, name_, received_.count});
    }

   private:
    counting_store* store_;
    std::string name_;
    comparing_sink received_;
  };

  cursor list(std::error_code& ec) const {
    ec.clear();
    return cursor{files_};
  }
  std::optional<filexfer::opened_file<digest, reader>> open(const digest& id, std::error_code& ec) {
    ec.clear();
    for (const listed_file& file : files_) {
      if (file.id == id) return {{file, reader{}}};
    }
    return std::nullopt;
  }
  std::optional<upload> create(const filexfer::upload_details<digest>& details,
                               std::error_code& ec) {
    ec.clear();
    return upload{*this, details.name};
  }
  bool add_name(const digest&, std::uint64_t, std::string_view, const filexfer::file_attributes&,
                std::error_code& ec) {
    ec.clear();
    return false;
  }

 private:
  std::vector<listed_file> files_;
};

/// A client and a session on one thread.
template <class Stream, class Store>
class both_ends {
  using client_type = filexfer::client<Stream&, counter>;
  // Large, for the cost is per chunk.
  static constexpr std::size_t chunk = std::size_t{1} << 20;

 public:
  both_ends(asio::io_context& context, Stream ours, Stream theirs, Store& store)
      : context_{context},
        ours_{std::move(ours)},
        theirs_{std::move(theirs)},
        session_{theirs_, store, {.chunk_size = chunk}},
        client_{ours_, {.chunk_size = chunk}} {
    session_.async_run([](std::error_code) {});
  }

  ~both_ends() {
    std::error_code ignored;
    ours_.close(ignored);
    context_.run();
  }

  /// Runs the context until the operation that `start(client, handler)` starts has completed.
  template <class Result, class Start>
  std::tuple<std::error_code, Result> finish(Start start) {
    test::expected_call<void(std::error_code, Result)> call;
    call.start([&](auto handler) { start(client_, std::move(handler)); });
    while (!call.called()) context_.run_one();
    return call.result();
  }

  auto upload(huge_source& source, const std::string& name) {
    return finish<typename client_type::upload_result>(
        [&](auto& client, auto handler) { client.async_upload(source, name, std::move(handler)); });
  }
  auto list_files() {
    return finish<std::vector<listed_file>>(
        [](auto& client, auto handler) { client.async_list_files(std::move(handler)); });
  }
  template <class Sink>
  auto download(const digest& id, Sink& sink) {
    return finish<typename client_type::download_result>(
        [&](auto& client, auto handler) { client.async_download(id, sink, std::move(handler)); });
  }
  template <class Sink>
  auto download_range(const filexfer::download_request<digest>& request, Sink& sink) {
    return finish<typename client_type::download_entry>([&](auto& client, auto handler) {
      client.async_download_range(request, sink, std::move(handler));
    });
  }

 private:
  asio::io_context& context_;
  Stream ours_;
  Stream theirs_;
  filexfer::session<Stream&, Store, counter> session_;
  client_type client_;
};

}  // namespace

TEST_CASE(
    "a file of more than 4 GiB is uploaded and downloaded whole, and in ranges beyond 4 GiB") {
  asio::io_context context;
  counting_store store;
  auto pipe = filexfer::make_memory_pipe(context, std::size_t{1} << 20);
  both_ends<filexfer::memory_pipe, counting_store> ends{context, std::move(pipe.first),
                                                        std::move(pipe.second), store};
  const digest id = counter::of(huge);
  const listed_file entry{id, "huge", huge};

  huge_source source;
  const auto [upload_error, uploaded] = ends.upload(source, "huge");
  CHECK_FALSE(upload_error);
  CHECK(uploaded.local_digest == id);
  CHECK(uploaded.remote_digest == id);

  const auto [list_error, listed] = ends.list_files();
  CHECK_FALSE(list_error);
  CHECK((listed == std::vector{entry}));

  comparing_sink whole;
  const auto [download_error, downloaded] = ends.download(id, whole);
  CHECK_FALSE(download_error);
  CHECK((downloaded.file == entry));
  CHECK(whole.count == huge);
  CHECK(whole.matches);
  CHECK(whole.commits == 1);

  for (const std::uint64_t offset : {four_gib - 3, four_gib, huge - 1, huge}) {
    CAPTURE(offset);
    comparing_sink part{offset};
    const auto [failed, range] = ends.download_range({id, offset, std::nullopt}, part);
    CHECK_FALSE(failed);
    CHECK(range.bytes() == huge - offset);
    CHECK(part.count == huge - offset);
    CHECK(part.matches);
  }
}

namespace {

/// Counts the bytes, and keeps the last ones.
class tail_sink {
 public:
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    ec.clear();
    count += bytes.size();
    constexpr std::size_t tail_size = 5;
    const auto last = bytes.last(std::min(bytes.size(), tail_size));
    tail.append(reinterpret_cast<const char*>(last.data()), last.size());
    if (tail.size() > tail_size) tail.erase(0, tail.size() - tail_size);
  }
  void commit(std::error_code& ec) noexcept {
    ec.clear();
    ++commits;
  }

  std::uint64_t count = 0;
  std::string tail;
  int commits = 0;
};

}  // namespace

TEST_CASE("a file of more than 4 GiB is downloaded whole with sendfile") {
  const std::filesystem::path no_disk{"/dev/shm"};
  const test::scratch_folder folder{
      std::filesystem::is_directory(no_disk) ? no_disk : std::filesystem::temp_directory_path()};
  const digest id = counter::of(huge);
  const auto file = folder / "store" / id.to_string() / "huge";
  test::write_file(file, {});
  std::filesystem::resize_file(file, huge - 5);
  std::ofstream{file, std::ios::binary | std::ios::app} << "thend";
  REQUIRE(std::filesystem::file_size(file) == huge);

  asio::io_context context;
  filexfer::directory_store<counter> store{folder / "store"};
  tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
  tcp::socket ours{context};
  ours.connect(acceptor.local_endpoint());
  both_ends<tcp::socket, filexfer::directory_store<counter>> ends{context, std::move(ours),
                                                                  acceptor.accept(), store};
  tail_sink sink;
  const auto [failed, downloaded] = ends.download(id, sink);
  CHECK_FALSE(failed);
  CHECK((downloaded.file == listed_file{id, "huge", huge}));
  CHECK(sink.count == huge);
  CHECK(sink.tail == "thend");
  CHECK(sink.commits == 1);
}

}  // namespace huge_files_tests
