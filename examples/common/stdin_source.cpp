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

/// Waits until there is something to read; an interruption ends that.
void wait_for_input(std::error_code& ec) {
  struct pollfd ends[] = {{STDIN_FILENO, POLLIN, 0}, {interruption::descriptor(), POLLIN, 0}};
  ec.clear();
  while (::poll(ends, 2, -1) < 0) {
    if (errno == EINTR) continue;
    ec = {errno, std::system_category()};
    return;
  }
  if (ends[1].revents != 0) ec = std::make_error_code(std::errc::operation_canceled);
}

/// Reads what there is, waiting until that is something; 0 at the end.
std::size_t read_some(std::span<std::byte> to, std::error_code& ec) {
  wait_for_input(ec);
  while (!ec) {
    const auto got = ::read(STDIN_FILENO, to.data(), to.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno == EINTR) continue;
    ec = {errno, std::system_category()};
  }
  return 0;
}

/// A file that is gone once it is closed, in the system's folder for such.
std::shared_ptr<std::FILE> temporary_file(std::error_code& ec) {
  const auto folder = std::filesystem::temp_directory_path(ec);
  if (ec) return nullptr;
  std::string path = (folder / "filexfer-XXXXXX").string();
  const int descriptor = ::mkstemp(path.data());
  if (descriptor >= 0) ::unlink(path.c_str());
  std::FILE* const opened = descriptor >= 0 ? ::fdopen(descriptor, "w+") : nullptr;
  if (opened == nullptr) {
    ec = {errno, std::system_category()};
    return nullptr;
  }
  return {opened, [](std::FILE* file) { std::fclose(file); }};
}

}  // namespace

std::size_t stdin_source::read(std::span<std::byte> to, std::error_code& ec) {
  std::size_t filled = 0;
  ec.clear();
  while (filled < to.size() && !ec) {
    const std::size_t got = read_some(to.subspan(filled), ec);
    if (!ec && got == 0) ec = filexfer::errc::short_source;
    filled += got;
  }
  return filled;
}

void stdin_source::check_unchanged(std::error_code& ec) {
  std::byte behind{};
  const std::size_t got = read_some({&behind, 1}, ec);
  if (got > 0) ec = filexfer::errc::bad_size;
}

spool::spool(std::error_code& ec) : file_{temporary_file(ec)} {
  std::vector<std::byte> chunk(std::size_t{256} * 1024);
  while (!ec) {
    const std::size_t got = read_some(chunk, ec);
    if (ec || got == 0) break;
    if (std::fwrite(chunk.data(), 1, got, file_.get()) != got) ec = {errno, std::system_category()};
  }
  if (!ec && std::fflush(file_.get()) != 0) ec = {errno, std::system_category()};
}

filexfer::file_source spool::open(std::error_code& ec) const {
  return filexfer::file_source{::fcntl(::fileno(file_.get()), F_DUPFD_CLOEXEC, 0), ec};
}

}  // namespace programs
