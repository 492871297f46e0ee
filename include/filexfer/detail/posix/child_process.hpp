#ifndef FILEXFER_DETAIL_POSIX_CHILD_PROCESS_HPP
#define FILEXFER_DETAIL_POSIX_CHILD_PROCESS_HPP

// A command that the shell runs, with pipes to and from it.

#include <filexfer/detail/posix/descriptor.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <spawn.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;  // NOLINT: unistd.h declares it on some systems only

namespace filexfer::detail {

[[noreturn]] inline void fail_to_start(int error) { throw std::system_error{system_code(error)}; }

/// Moved above the standard descriptors, of which some may be closed, and kept from other commands.
inline descriptor above_stderr(int fd) {
  const descriptor below{fd};
  std::error_code ec;
  descriptor above = duplicate(below.get(), first_other, ec);
  if (ec) throw std::system_error{ec};
  return above;
}

struct pipe_ends {
  descriptor reading;
  descriptor writing;
};

inline pipe_ends make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) fail_to_start(errno);
  descriptor writing{ends[1]};
  descriptor reading = above_stderr(ends[0]);
  return {std::move(reading), above_stderr(writing.release())};
}

/// The other end's mode is its own.
inline void make_non_blocking(const descriptor& end) {
  if (::fcntl(end.get(), F_SETFL, ::fcntl(end.get(), F_GETFL) | O_NONBLOCK) == -1) {
    fail_to_start(errno);
  }
}

/// What this program ignores, a command would ignore too.
class spawn_attributes {
 public:
  spawn_attributes() {
    if (const int error = ::posix_spawnattr_init(&all_)) fail_to_start(error);
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
    if (const int error = ::posix_spawn_file_actions_init(&all_)) fail_to_start(error);
  }
  spawn_actions(const spawn_actions&) = delete;
  spawn_actions& operator=(const spawn_actions&) = delete;
  ~spawn_actions() { ::posix_spawn_file_actions_destroy(&all_); }

  void duplicate(const descriptor& from, int to) {
    if (const int error = ::posix_spawn_file_actions_adddup2(&all_, from.get(), to)) {
      fail_to_start(error);
    }
  }
  const posix_spawn_file_actions_t* get() const noexcept { return &all_; }

 private:
  posix_spawn_file_actions_t all_;
};

/// The command belongs to the same group of processes, so that a Ctrl-C reaches it too.
///
/// It is given pipes, not a pair of sockets: on a socket /dev/stdin can't be opened, and bash takes
/// it for a remote login and reads the user's .bashrc, whose output would break the protocol.
class child_process {
 public:
  /// Starts `/bin/sh -c command`. Throws `std::system_error`.
  explicit child_process(const std::string& command) {
    // Another thread's child would keep the ends of a pipe that are not yet closed on execution.
    static std::mutex one_at_a_time;
    const std::lock_guard lock{one_at_a_time};
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
    if (error != 0) fail_to_start(error);
    to_child = std::move(to.writing);
    from_child = std::move(from.reading);
  }

  /// Waits for the command, whose pipes should be closed; one that does not end is told to with
  /// SIGTERM, and killed at last.
  ~child_process() {
    if (id_ == -1 || wait(std::chrono::seconds{5})) return;
    ::kill(id_, SIGTERM);
    if (wait(std::chrono::seconds{5})) return;
    ::kill(id_, SIGKILL);
    wait(std::chrono::seconds{5});
  }

  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;

  /// How the command ended: `exit status 1`, `signal 15`. Nothing if it goes on after `patience`,
  /// or nobody knows, for this process ignores SIGCHLD.
  std::optional<std::string> wait(std::chrono::milliseconds patience) {
    using clock = std::chrono::steady_clock;
    const auto end = clock::now() + patience;
    auto pause = std::chrono::milliseconds{1};  // no portable call waits for a child and a time
    while (!has_ended()) {
      if (clock::now() > end) return std::nullopt;
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, std::chrono::milliseconds{50});
    }
    if (!status_) return std::nullopt;
    if (WIFSIGNALED(*status_)) return "signal " + std::to_string(WTERMSIG(*status_));
    return "exit status " + std::to_string(WEXITSTATUS(*status_));
  }

  /// This side's ends of the pipes, which do not block.
  descriptor from_child;
  descriptor to_child;

 private:
  bool has_ended() {
    if (id_ == -1) return true;
    int status = 0;
    const pid_t ended = retried([&] { return ::waitpid(id_, &status, WNOHANG); });
    if (ended == 0) return false;
    if (ended == id_) status_ = status;
    id_ = -1;
    return true;
  }

  pid_t id_ = -1;
  std::optional<int> status_;
};

}  // namespace filexfer::detail

#endif
