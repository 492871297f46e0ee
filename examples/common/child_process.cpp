#include "common/child_process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;  // NOLINT: unistd.h declares it on some systems only

namespace programs {
namespace {

[[noreturn]] void fail(int error) { throw std::system_error{error, std::system_category()}; }

/// A descriptor that is closed, unless it is handed on.
class owned {
 public:
  /// Moved above the standard ones, of which some may be closed, and kept from other commands.
  explicit owned(int descriptor) : value_{::fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)} {
    const int error = errno;
    ::close(descriptor);
    if (value_ == -1) fail(error);
  }
  owned(owned&& other) noexcept : value_{std::exchange(other.value_, -1)} {}
  owned& operator=(owned&&) = delete;
  ~owned() {
    if (value_ != -1) ::close(value_);
  }

  int get() const noexcept { return value_; }
  int release() noexcept { return std::exchange(value_, -1); }

 private:
  int value_;
};

struct pipe_ends {
  owned reading;
  owned writing;
};

pipe_ends make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) fail(errno);
  owned writing{ends[1]};
  return {owned{ends[0]}, std::move(writing)};
}

/// The other end's mode is its own.
void make_non_blocking(const owned& end) {
  if (::fcntl(end.get(), F_SETFL, ::fcntl(end.get(), F_GETFL) | O_NONBLOCK) == -1) fail(errno);
}

/// What this program ignores, a command would ignore too.
class spawn_attributes {
 public:
  spawn_attributes() {
    if (const int error = ::posix_spawnattr_init(&all_)) fail(error);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    ::posix_spawnattr_setsigdefault(&all_, &defaults);
    ::posix_spawnattr_setflags(&all_, POSIX_SPAWN_SETSIGDEF);
  }
  spawn_attributes(const spawn_attributes&) = delete;
  spawn_attributes& operator=(const spawn_attributes&) = delete;
  ~spawn_attributes() { ::posix_spawnattr_destroy(&all_); }
  const posix_spawnattr_t* get() const noexcept { return &all_; }

 private:
  posix_spawnattr_t all_;
};

class spawn_actions {
 public:
  spawn_actions() {
    if (const int error = ::posix_spawn_file_actions_init(&all_)) fail(error);
  }
  spawn_actions(const spawn_actions&) = delete;
  spawn_actions& operator=(const spawn_actions&) = delete;
  ~spawn_actions() { ::posix_spawn_file_actions_destroy(&all_); }

  void duplicate(const owned& from, int to) {
    if (const int error = ::posix_spawn_file_actions_adddup2(&all_, from.get(), to)) fail(error);
  }
  const posix_spawn_file_actions_t* get() const noexcept { return &all_; }

 private:
  posix_spawn_file_actions_t all_;
};

}  // namespace

child_process::child_process(const std::string& command) {
  // Another thread's child would keep the ends of a pipe that are not yet closed on execution.
  static std::mutex one_at_a_time;
  const std::lock_guard lock{one_at_a_time};
  // Where it is ignored, as whoever started this program may have it, no child can be waited for.
  std::signal(SIGCHLD, SIG_DFL);
  pipe_ends to = make_pipe();
  pipe_ends from = make_pipe();
  make_non_blocking(to.writing);
  make_non_blocking(from.reading);
  spawn_actions actions;
  actions.duplicate(to.reading, STDIN_FILENO);
  actions.duplicate(from.writing, STDOUT_FILENO);
  const spawn_attributes attributes;
  std::string shell = "sh";
  std::string option = "-c";
  std::string text = command;
  const std::array<char*, 4> words{shell.data(), option.data(), text.data(), nullptr};
  const int error =
      ::posix_spawn(&id_, "/bin/sh", actions.get(), attributes.get(), words.data(), environ);
  if (error != 0) fail(error);
  to_child_ = to.writing.release();
  from_child_ = from.reading.release();
}

child_process::~child_process() {
  if (wait(std::chrono::seconds{5})) return;
  ::kill(id_, SIGTERM);
  if (wait(std::chrono::seconds{5})) return;
  ::kill(id_, SIGKILL);
  wait(std::chrono::seconds{5});
}

bool child_process::has_ended() {
  if (status_) return true;
  int status = 0;
  if (::waitpid(id_, &status, WNOHANG) != id_) return false;
  status_ = status;
  return true;
}

std::optional<std::string> child_process::wait(std::chrono::milliseconds patience) {
  using clock = std::chrono::steady_clock;
  const auto end = clock::now() + patience;
  auto pause = std::chrono::milliseconds{1};  // no portable call waits for a child and a time
  while (!has_ended()) {
    if (clock::now() > end) return std::nullopt;
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds{50});
  }
  if (WIFSIGNALED(*status_)) return "signal " + std::to_string(WTERMSIG(*status_));
  return "exit status " + std::to_string(WEXITSTATUS(*status_));
}

}  // namespace programs
