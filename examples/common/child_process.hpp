#ifndef PROGRAMS_CHILD_PROCESS_HPP
#define PROGRAMS_CHILD_PROCESS_HPP

/// \file
/// A command that the shell runs, with pipes to and from it.

#include <chrono>
#include <optional>
#include <string>

#include <sys/types.h>

namespace programs {

/// The command belongs to the same group of processes, so that a Ctrl-C reaches it too.
///
/// It is given pipes, not a pair of sockets: on a socket /dev/stdin can't be opened, and bash takes
/// it for a remote login and reads the user's .bashrc, whose output would break the protocol.
class child_process {
 public:
  /// Starts `/bin/sh -c command`. Throws `std::system_error`.
  explicit child_process(const std::string& command);

  /// Waits for the command, whose pipes should be closed; one that does not end is told to with
  /// SIGTERM, and killed at last.
  ~child_process();

  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;

  /// This side's ends of the pipes, which do not block. They belong to the caller.
  int from_child() const noexcept { return from_child_; }
  int to_child() const noexcept { return to_child_; }

  /// How the command ended: `exit status 1`, `signal 15`. Nothing if it goes on after `patience`.
  std::optional<std::string> wait(std::chrono::milliseconds patience);

 private:
  bool has_ended();

  pid_t id_ = -1;
  int from_child_ = -1;
  int to_child_ = -1;
  std::optional<int> status_;
};

}  // namespace programs

#endif
