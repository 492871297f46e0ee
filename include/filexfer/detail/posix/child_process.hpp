#ifndef FILEXFER_DETAIL_POSIX_CHILD_PROCESS_HPP
#define FILEXFER_DETAIL_POSIX_CHILD_PROCESS_HPP

// A shell command with pipes to its standard input and from its standard output.

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

[[noreturn]] inline void throw_system_error(int error) {
  throw std::system_error{system_code(error)};
}

/// Moves `fd` above the standard descriptors, some of which may be closed, and sets close-on-exec.
inline descriptor move_above_stderr(int fd) {
  const descriptor original{fd};
  std::error_code ec;
  descriptor moved = duplicate(original.get(), first_non_standard_fd, ec);
  if (ec) throw std::system_error{ec};
  return moved;
}

struct pipe_ends {
  descriptor reading;
  descriptor writing;
};

inline pipe_ends make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) throw_system_error(errno);
  descriptor writing{ends[1]};
  descriptor reading = move_above_stderr(ends[0]);
  return {std::move(reading), move_above_stderr(writing.release())};
}

/// The pipe's other end keeps its own mode.
inline void make_non_blocking(const descriptor& end) {
  if (::fcntl(end.get(), F_SETFL, ::fcntl(end.get(), F_GETFL) | O_NONBLOCK) == -1) {
    throw_system_error(errno);
  }
}

/// Resets signals that this program may ignore: the command would ignore them too.
class spawn_attributes {
 public:
  spawn_attributes() {
    if (const int error = ::posix_spawnattr_init(&attributes_)) throw_system_error(error);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    ::posix_spawnattr_setsigdefault(&attributes_, &defaults);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGDEF);
  }
  spawn_attributes(const spawn_attributes&) = delete;
  spawn_attributes& operator=(const spawn_attributes&) = delete;
  ~spawn_attributes() { ::posix_spawnattr_destroy(&attributes_); }
  const posix_spawnattr_t* get() const noexcept { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

class spawn_actions {
 public:
  spawn_actions() {
    if (const int error = ::posix_spawn_file_actions_init(&actions_)) throw_system_error(error);
  }
  spawn_actions(const spawn_actions&) = delete;
  spawn_actions& operator=(const spawn_actions&) = delete;
  ~spawn_actions() { ::posix_spawn_file_actions_destroy(&actions_); }

  void duplicate(const descriptor& from, int to) {
    if (const int error = ::posix_spawn_file_actions_adddup2(&actions_, from.get(), to)) {
      throw_system_error(error);
    }
  }
  const posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

/// The command stays in this process group, so that Ctrl-C reaches it too.
///
/// It gets pipes, not a socket pair: /dev/stdin can't be opened on a socket, and bash takes a
/// socket for a remote login and reads the user's .bashrc, whose output would break the protocol.
class child_process {
 public:
  /// Starts `/bin/sh -c command`. Throws `std::system_error`.
  explicit child_process(const std::string& command) {
    // Another thread's child would inherit pipe ends that have no close-on-exec yet.
    static std::mutex spawning;
    const std::lock_guard lock{spawning};
    pipe_ends input = make_pipe();
    pipe_ends output = make_pipe();
    make_non_blocking(input.writing);
    make_non_blocking(output.reading);
    spawn_actions actions;
    actions.duplicate(input.reading, STDIN_FILENO);
    actions.duplicate(output.writing, STDOUT_FILENO);
    const spawn_attributes attributes;
    std::string shell = "sh";
    std::string option = "-c";
    std::string text = command;
    const std::array<char*, 4> arguments{shell.data(), option.data(), text.data(), nullptr};
    const int error =
        ::posix_spawn(&id_, "/bin/sh", actions.get(), attributes.get(), arguments.data(), environ);
    if (error != 0) throw_system_error(error);
    to_child = std::move(input.writing);
    from_child = std::move(output.reading);
  }

  /// Waits for the command, whose pipes should be closed; if it does not end, sends SIGTERM, then
  /// SIGKILL.
  ~child_process() {
    if (id_ == -1 || wait(std::chrono::seconds{5})) return;
    ::kill(id_, SIGTERM);
    if (wait(std::chrono::seconds{5})) return;
    ::kill(id_, SIGKILL);
    wait(std::chrono::seconds{5});
  }

  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;

  /// How the command ended: `exit status 1`, `signal 15`. Nothing if it still runs after `timeout`,
  /// or if the status is unknown because this process ignores SIGCHLD.
  std::optional<std::string> wait(std::chrono::milliseconds timeout) {
    using clock = std::chrono::steady_clock;
    const auto deadline = clock::now() + timeout;
    auto pause = std::chrono::milliseconds{1};  // no portable call waits for a child with a timeout
    while (!has_ended()) {
      if (clock::now() > deadline) return std::nullopt;
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, std::chrono::milliseconds{50});
    }
    if (!status_) return std::nullopt;
    if (WIFSIGNALED(*status_)) return "signal " + std::to_string(WTERMSIG(*status_));
    return "exit status " + std::to_string(WEXITSTATUS(*status_));
  }

  /// This side's pipe ends, non-blocking.
  descriptor from_child;
  descriptor to_child;

 private:
  bool has_ended() {
    if (id_ == -1) return true;
    int status = 0;
    const pid_t ended = retry_on_eintr([&] { return ::waitpid(id_, &status, WNOHANG); });
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
