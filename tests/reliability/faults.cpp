// filexfer-faults: loaded into a program with LD_PRELOAD, it lets one call on a file fail or hang.
//
// FILEXFER_FAULTS names a file that faults.py shares with the program: there it says which
// call is to fail, and how, while the program runs. Calls on sockets, pipes and the standard
// streams are left alone. strace could let calls fail, too, but not make a real short write.

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdlib>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

// In the order of CALLS in faults.py.
enum call {
  call_write,
  call_pread,
  call_fsync,
  call_open,
  call_close,
  call_mkdir,
  call_link,
  call_rename,
  call_unlink,
  call_ftruncate,
  call_fchmod,
  call_futimens,
  call_stat,
  call_flock,
  call_getdents,
  call_lseek,
  call_sendfile,
  call_epoll_wait,
  call_count
};

// Instead of an error number: half of the bytes are transferred; or nothing is done, or half of it,
// and success is reported; or the call hangs until it is disarmed.
enum { short_count = 0, lie = -1, stall = -2 };

struct control {
  std::atomic<int> armed;  // calls are counted, and one fails, while it is not 0; each time another
  std::atomic<int> which;
  std::atomic<int> number;  // from 1; 0 for every one, -1 for none
  std::atomic<int> error;
  std::atomic<int> struck;
  std::array<std::atomic<int>, call_count> counts;
};
static_assert(sizeof(control) == (5 + call_count) * sizeof(int));

/// What the program would have called.
template <class Function>
Function* next(const char* name, Function*) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}
#define NEXT(name) next(#name, &::name)

control* map_control() {
  const char* const path = std::getenv("FILEXFER_FAULTS");
  if (path == nullptr) return nullptr;
  static const auto open_it = NEXT(open);
  static const auto close_it = NEXT(close);
  const int fd = open_it(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  void* const mapped = ::mmap(nullptr, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close_it(fd);
  return mapped == MAP_FAILED ? nullptr : static_cast<control*>(mapped);
}

control* const shared = map_control();

bool strikes(call which) {
  if (shared == nullptr || shared->armed == 0) return false;
  const int count = ++shared->counts[which];
  if (shared->which != which || (shared->number != count && shared->number != 0)) return false;
  shared->struck = 1;
  if (shared->error != stall) return true;
  for (const int armed = shared->armed; armed != 0 && shared->armed == armed;) ::usleep(1000);
  return false;
}

bool strikes(call which, int fd) {
  if (shared == nullptr || shared->armed == 0 || fd <= STDERR_FILENO) return false;
  static const auto fstat_it = NEXT(fstat);
  struct stat status {};
  const int saved = errno;
  const bool is_file =
      fstat_it(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
  errno = saved;
  return is_file && strikes(which);
}

int fail() {
  if (shared->error == lie) return 0;
  errno = shared->error;
  return -1;
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* bytes, std::size_t size) {
  static const auto write_it = NEXT(write);
  if (!strikes(call_write, fd)) return write_it(fd, bytes, size);
  if (shared->error > 0) return fail();
  const auto written = write_it(fd, bytes, (size + 1) / 2);
  return shared->error == lie ? static_cast<ssize_t>(size) : written;
}

ssize_t pread(int fd, void* bytes, std::size_t size, off_t offset) {
  static const auto pread_it = NEXT(pread);
  if (!strikes(call_pread, fd)) return pread_it(fd, bytes, size, offset);
  return shared->error > 0 ? fail() : pread_it(fd, bytes, (size + 1) / 2, offset);
}

int fsync(int fd) {
  static const auto fsync_it = NEXT(fsync);
  return strikes(call_fsync, fd) ? fail() : fsync_it(fd);
}

// The mode is there if a file may be created.
int open(const char* path, int flags, ...) {
  std::va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  static const auto open_it = NEXT(open);
  return strikes(call_open) ? fail() : open_it(path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  std::va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  static const auto openat_it = NEXT(openat);
  return strikes(call_open) ? fail() : openat_it(folder, path, flags, mode);
}

// Closes it though it reports an error, as Linux does.
int close(int fd) {
  static const auto close_it = NEXT(close);
  if (!strikes(call_close, fd)) return close_it(fd);
  if (shared->error != lie) close_it(fd);
  return fail();
}

int mkdir(const char* path, mode_t mode) {
  static const auto mkdir_it = NEXT(mkdir);
  return strikes(call_mkdir) ? fail() : mkdir_it(path, mode);
}

int mkdirat(int folder, const char* path, mode_t mode) {
  static const auto mkdirat_it = NEXT(mkdirat);
  return strikes(call_mkdir) ? fail() : mkdirat_it(folder, path, mode);
}

int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  static const auto linkat_it = NEXT(linkat);
  return strikes(call_link) ? fail() : linkat_it(from_folder, from, to_folder, to, flags);
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) {
  static const auto renameat_it = NEXT(renameat);
  return strikes(call_rename) ? fail() : renameat_it(from_folder, from, to_folder, to);
}

// renameat2 and getdents64 are called so.
long syscall(long number, ...) {
  std::va_list arguments;
  va_start(arguments, number);
  std::array<long, 6> values{};
  for (long& value : values) value = va_arg(arguments, long);
  va_end(arguments);
  if (number == SYS_renameat2 && strikes(call_rename)) return fail();
  if (number == SYS_getdents64 && strikes(call_getdents)) return fail();
  static const auto syscall_it = NEXT(syscall);
  return syscall_it(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}

int unlink(const char* path) {
  static const auto unlink_it = NEXT(unlink);
  return strikes(call_unlink) ? fail() : unlink_it(path);
}

int unlinkat(int folder, const char* path, int flags) {
  static const auto unlinkat_it = NEXT(unlinkat);
  return strikes(call_unlink) ? fail() : unlinkat_it(folder, path, flags);
}

int ftruncate(int fd, off_t size) {
  static const auto ftruncate_it = NEXT(ftruncate);
  return strikes(call_ftruncate, fd) ? fail() : ftruncate_it(fd, size);
}

int fchmod(int fd, mode_t mode) {
  static const auto fchmod_it = NEXT(fchmod);
  return strikes(call_fchmod, fd) ? fail() : fchmod_it(fd, mode);
}

int futimens(int fd, const struct timespec times[2]) {
  static const auto futimens_it = NEXT(futimens);
  return strikes(call_futimens, fd) ? fail() : futimens_it(fd, times);
}

int fstat(int fd, struct stat* status) {
  static const auto fstat_it = NEXT(fstat);
  return strikes(call_stat, fd) ? fail() : fstat_it(fd, status);
}

int fstatat(int folder, const char* path, struct stat* status, int flags) {
  static const auto fstatat_it = NEXT(fstatat);
  return strikes(call_stat) ? fail() : fstatat_it(folder, path, status, flags);
}

int flock(int fd, int operation) {
  static const auto flock_it = NEXT(flock);
  return strikes(call_flock, fd) ? fail() : flock_it(fd, operation);
}

ssize_t sendfile(int socket, int fd, off_t* offset, std::size_t size) {
  static const auto sendfile_it = NEXT(sendfile);
  if (!strikes(call_sendfile, fd)) return sendfile_it(socket, fd, offset, size);
  return shared->error > 0 ? fail() : sendfile_it(socket, fd, offset, (size + 1) / 2);
}

// Reports no events: a loop that waits for some spins.
int epoll_wait(int fd, struct epoll_event* events, int size, int timeout) {
  static const auto epoll_wait_it = NEXT(epoll_wait);
  return strikes(call_epoll_wait) ? fail() : epoll_wait_it(fd, events, size, timeout);
}

off_t lseek(int fd, off_t offset, int whence) {
  static const auto lseek_it = NEXT(lseek);
  return strikes(call_lseek, fd) ? fail() : lseek_it(fd, offset, whence);
}

}  // extern "C"
