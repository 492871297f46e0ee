// filexfer-rados-faults: loaded into filexfer-server with LD_PRELOAD, it counts the calls of
// librados that a store makes, and ends the process with one of them, or lets it fail.
//
// FILEXFER_RADOS_FAULT is KIND:NUMBER, the number from 1 on: `kill` ends the process with SIGKILL
// before that call, `fail` lets it fail without effect, `lie` lets it have its effect, but report a
// timeout. FILEXFER_RADOS_CALLS names a file that gets the number of calls, at each of them.

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <dlfcn.h>
#include <fcntl.h>
#include <rados/librados.h>
#include <unistd.h>

namespace {

enum class fault { none, kill, fail, lie };

/// What is to become of the next call.
fault next_fault() {
  static const std::string wanted = [] {
    const char* const text = std::getenv("FILEXFER_RADOS_FAULT");
    return std::string{text != nullptr ? text : ""};
  }();
  static const int counts = [] {
    const char* const file = std::getenv("FILEXFER_RADOS_CALLS");
    return file != nullptr ? ::open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
  }();
  static std::atomic<int> calls{0};
  const int number = ++calls;
  if (counts >= 0) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%10d\n", number);
    static_cast<void>(::pwrite(counts, text.data(), 11, 0));
  }
  const auto colon = wanted.find(':');
  if (colon == std::string::npos || std::stoi(wanted.substr(colon + 1)) != number) {
    return fault::none;
  }
  const std::string_view kind = std::string_view{wanted}.substr(0, colon);
  if (kind == "kill") ::raise(SIGKILL);
  return kind == "fail" ? fault::fail : fault::lie;
}

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

/// A call that starts an operation, by `start(completion)`.
template <class Start>
int asynchronous(rados_completion_t completion, Start start) {
  const fault what = next_fault();
  if (what == fault::fail) return -EIO;
  if (what == fault::none) return start(completion);
  rados_completion_t own = nullptr;
  rados_aio_create_completion2(nullptr, nullptr, &own);
  if (start(own) >= 0) rados_aio_wait_for_complete(own);
  rados_aio_release(own);
  return -ETIMEDOUT;
}

template <class Call>
int synchronous(Call call) {
  const fault what = next_fault();
  if (what == fault::fail) return -EIO;
  const int result = call();
  return what == fault::lie ? -ETIMEDOUT : result;
}

}  // namespace

extern "C" {

int rados_aio_write_op_operate(rados_write_op_t op, rados_ioctx_t io, rados_completion_t completion,
                               const char* object, time_t* time, int flags) {
  static auto* const call =
      real<decltype(rados_aio_write_op_operate)>("rados_aio_write_op_operate");
  return asynchronous(
      completion, [&](rados_completion_t own) { return call(op, io, own, object, time, flags); });
}

int rados_aio_read_op_operate(rados_read_op_t op, rados_ioctx_t io, rados_completion_t completion,
                              const char* object, int flags) {
  static auto* const call = real<decltype(rados_aio_read_op_operate)>("rados_aio_read_op_operate");
  return asynchronous(completion,
                      [&](rados_completion_t own) { return call(op, io, own, object, flags); });
}

int rados_aio_read(rados_ioctx_t io, const char* object, rados_completion_t completion,
                   char* buffer, std::size_t size, std::uint64_t offset) {
  static auto* const call = real<decltype(rados_aio_read)>("rados_aio_read");
  return asynchronous(completion, [&](rados_completion_t own) {
    return call(io, object, own, buffer, size, offset);
  });
}

int rados_aio_remove(rados_ioctx_t io, const char* object, rados_completion_t completion) {
  static auto* const call = real<decltype(rados_aio_remove)>("rados_aio_remove");
  return asynchronous(completion, [&](rados_completion_t own) { return call(io, object, own); });
}

int rados_aio_stat(rados_ioctx_t io, const char* object, rados_completion_t completion,
                   std::uint64_t* size, time_t* time) {
  static auto* const call = real<decltype(rados_aio_stat)>("rados_aio_stat");
  return asynchronous(completion,
                      [&](rados_completion_t own) { return call(io, object, own, size, time); });
}

int rados_read(rados_ioctx_t io, const char* object, char* buffer, std::size_t size,
               std::uint64_t offset) {
  static auto* const call = real<decltype(rados_read)>("rados_read");
  return synchronous([&] { return call(io, object, buffer, size, offset); });
}

int rados_stat(rados_ioctx_t io, const char* object, std::uint64_t* size, time_t* time) {
  static auto* const call = real<decltype(rados_stat)>("rados_stat");
  return synchronous([&] { return call(io, object, size, time); });
}

}  // extern "C"
