#ifndef PROGRAMS_INTERRUPTION_HPP
#define PROGRAMS_INTERRUPTION_HPP

/// \file
/// Handling of SIGINT, SIGTERM and SIGHUP that lets a program clean up.

namespace programs {

/// By default such a signal ends the process at once, with exit code 130.
///
/// While an `interruptible` object lives, the first signal instead makes `descriptor()` permanently
/// readable; the code that waits for it then cancels what is in flight. Another of the same signal
/// kills the process.
class interruption {
 public:
  /// Installs the signal handlers. Throws `std::system_error`.
  static void watch();

  /// Whether a signal was received that did not end the process.
  static bool received() noexcept;

  /// Readable once `received()`; remains owned by this class.
  static int descriptor() noexcept;

  /// A scope in which a signal does not end the process.
  class interruptible {
   public:
    interruptible() noexcept;
    ~interruptible();
    interruptible(const interruptible&) = delete;
    interruptible& operator=(const interruptible&) = delete;
  };
};

}  // namespace programs

#endif
