// What the machine allows: one file over loopback TCP, with as little work as can be.
//
//     filexfer-transfer-limits md5|sha256 none|receiver|both FILE COPY
//
// One thread sends FILE by sendfile, another receives it and writes COPY. The digest is computed
// in a thread of its own: by nobody, by the receiver (a download), or by both ends (an upload).
// Exits with 0 if COPY has all bytes and the digests that were computed are the same.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/sha256.hpp>

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <mutex>
#include <span>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

namespace {

using filexfer::detail::descriptor;

constexpr std::size_t chunk_size = std::size_t{256} * 1024;

void check(bool succeeded, const char* what) {
  if (!succeeded) throw std::system_error{filexfer::detail::last_error(), what};
}

/// Chunks on their way from the thread that receives them to the one that hashes them.
class chunk_queue {
 public:
  chunk_queue() {
    for (auto& chunk : ring_) chunk.resize(chunk_size);
  }

  /// The next chunk to fill; waits until it has been hashed.
  std::span<std::byte> to_fill() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return filled_ - taken_ < ring_.size(); });
    return ring_[filled_ % ring_.size()];
  }

  /// Ends the queue if `size` is 0.
  void filled(std::size_t size) {
    const std::lock_guard lock{mutex_};
    sizes_[filled_++ % ring_.size()] = size;
    changed_.notify_one();
  }

  /// Hashes all chunks, in the thread that calls it.
  template <class Hasher>
  typename Hasher::digest_type hash() {
    Hasher hasher;
    for (std::size_t size = 1; size != 0;) {
      std::unique_lock lock{mutex_};
      changed_.wait(lock, [this] { return filled_ > taken_; });
      const std::size_t next = taken_ % ring_.size();
      size = sizes_[next];
      lock.unlock();
      hasher.update(std::span<const std::byte>{ring_[next]}.first(size));
      lock.lock();
      ++taken_;
      changed_.notify_one();
    }
    return hasher.finish();
  }

 private:
  std::array<std::vector<std::byte>, 8> ring_;
  std::array<std::size_t, 8> sizes_{};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t filled_ = 0;
  std::uint64_t taken_ = 0;
};

/// Two ends of a TCP connection.
std::array<descriptor, 2> connect_pair() {
  descriptor listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  descriptor near{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  check(::bind(listener.get(), generic, size) == 0, "bind");
  check(::listen(listener.get(), 1) == 0, "listen");
  check(::getsockname(listener.get(), generic, &size) == 0, "getsockname");
  check(::connect(near.get(), generic, size) == 0, "connect");
  return {std::move(near), descriptor{::accept(listener.get(), nullptr, nullptr)}};
}

void send_file(int socket, int file, std::uint64_t size) {
  for (off_t offset = 0; static_cast<std::uint64_t>(offset) < size;) {
    check(::sendfile(socket, file, &offset, std::size_t{1} << 20) > 0, "sendfile");
  }
  check(::shutdown(socket, SHUT_WR) == 0, "shutdown");
}

/// Returns the number of bytes. Hands them over, too, if `hashes`.
std::uint64_t receive(int socket, int file, chunk_queue& chunks, bool hashes) {
  std::vector<std::byte> own(chunk_size);
  for (std::uint64_t total = 0;;) {
    const std::span<std::byte> chunk = hashes ? chunks.to_fill() : std::span{own};
    const auto got = ::recv(socket, chunk.data(), chunk.size(), 0);
    check(got >= 0, "recv");
    const auto bytes = static_cast<std::size_t>(got);
    std::error_code ec;
    filexfer::detail::write_all(file, chunk.first(bytes), ec);
    if (ec) throw std::system_error{ec, "write"};
    if (hashes) chunks.filled(bytes);
    if (bytes == 0) return total;
    total += bytes;
  }
}

template <class Hasher>
typename Hasher::digest_type hash_file(int file) {
  Hasher hasher;
  std::vector<std::byte> buffer(chunk_size);
  std::error_code ec;
  std::uint64_t offset = 0;
  while (const std::size_t got = filexfer::detail::read_at(file, buffer, offset, ec)) {
    hasher.update(std::span<const std::byte>{buffer}.first(got));
    offset += got;
  }
  return hasher.finish();
}

template <class Hasher>
bool transfer(std::string_view who, const char* from, const char* to) {
  std::error_code ec;
  const descriptor source = filexfer::detail::open_at(AT_FDCWD, from, O_RDONLY, ec);
  check(!ec, from);
  const descriptor copy =
      filexfer::detail::open_at(AT_FDCWD, to, O_WRONLY | O_CREAT | O_TRUNC, ec, 0666);
  check(!ec, to);
  const auto size =
      static_cast<std::uint64_t>(filexfer::detail::status_of(source.get(), ec).st_size);
  const auto ends = connect_pair();
  chunk_queue chunks;
  typename Hasher::digest_type sent;
  typename Hasher::digest_type received;
  std::vector<std::thread> threads;
  threads.emplace_back([&] { send_file(ends[0].get(), source.get(), size); });
  if (who == "both") threads.emplace_back([&] { sent = hash_file<Hasher>(source.get()); });
  if (who != "none") threads.emplace_back([&] { received = chunks.hash<Hasher>(); });
  const std::uint64_t bytes = receive(ends[1].get(), copy.get(), chunks, who != "none");
  for (std::thread& thread : threads) thread.join();
  if (who != "none") std::puts(received.to_string().c_str());
  return bytes == size && (who != "both" || sent == received);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: filexfer-transfer-limits md5|sha256 none|receiver|both FILE COPY\n", stderr);
    return 2;
  }
  try {
    const bool done = std::string_view{argv[1]} == "sha256"
                          ? transfer<filexfer::sha256>(argv[2], argv[3], argv[4])
                          : transfer<filexfer::md5>(argv[2], argv[3], argv[4]);
    return done ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "filexfer-transfer-limits: %s\n", e.what());
    return 5;
  }
}
