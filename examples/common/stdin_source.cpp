#include "common/stdin_source.hpp"

#include "common/interruption.hpp"

#include <filexfer/error.hpp>

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

namespace programs {
namespace {

/// Waits until standard input is readable. An interruption sets `operation_canceled`.
void wait_for_input(std::error_code& ec) {
  struct pollfd descriptors[] = {{STDIN_FILENO, POLLIN, 0},
                                 {interruption::descriptor(), POLLIN, 0}};
  ec.clear();
  while (::poll(descriptors, 2, -1) < 0) {
    if (errno == EINTR) continue;
    ec = {errno, std::system_category()};
    return;
  }
  if (descriptors[1].revents != 0) ec = std::make_error_code(std::errc::operation_canceled);
}

/// Reads at least one byte, waiting for it; 0 at the end of the file.
std::size_t read_some(std::span<std::byte> buffer, std::error_code& ec) {
  wait_for_input(ec);
  while (!ec) {
    const auto count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno == EINTR) continue;
    ec = {errno, std::system_category()};
  }
  return 0;
}

/// Creates a file in the folder for temporary files, and unlinks it at once.
std::shared_ptr<std::FILE> temporary_file(std::error_code& ec) {
  const auto folder = std::filesystem::temp_directory_path(ec);
  if (ec) return nullptr;
  std::string path = (folder / "filexfer-XXXXXX").string();
  const int descriptor = ::mkstemp(path.data());
  if (descriptor >= 0) ::unlink(path.c_str());
  std::FILE* const stream = descriptor >= 0 ? ::fdopen(descriptor, "w+") : nullptr;
  if (stream == nullptr) {
    ec = {errno, std::system_category()};
    return nullptr;
  }
  return {stream, [](std::FILE* file) { std::fclose(file); }};
}

}  // namespace

std::size_t stdin_source::read(std::span<std::byte> buffer, std::error_code& ec) {
  std::size_t filled = 0;
  ec.clear();
  while (filled < buffer.size() && !ec) {
    const std::size_t count = read_some(buffer.subspan(filled), ec);
    if (!ec && count == 0) ec = filexfer::errc::short_source;
    filled += count;
  }
  return filled;
}

void stdin_source::check_unchanged(std::error_code& ec) {
  std::byte excess{};
  const std::size_t count = read_some({&excess, 1}, ec);
  if (count > 0) ec = filexfer::errc::bad_size;
}

stdin_spool::stdin_spool(std::error_code& ec) : file_{temporary_file(ec)} {
  std::vector<std::byte> chunk(std::size_t{256} * 1024);
  while (!ec) {
    const std::size_t count = read_some(chunk, ec);
    if (ec || count == 0) break;
    if (std::fwrite(chunk.data(), 1, count, file_.get()) != count)
      ec = {errno, std::system_category()};
  }
  if (!ec && std::fflush(file_.get()) != 0) ec = {errno, std::system_category()};
}

filexfer::file_source stdin_spool::open(std::error_code& ec) const {
  return filexfer::file_source{::fcntl(::fileno(file_.get()), F_DUPFD_CLOEXEC, 0), ec};
}

}  // namespace programs
