#ifndef PROGRAMS_INTERRUPTION_HPP
#define PROGRAMS_INTERRUPTION_HPP

/// \file
/// SIGINT, SIGTERM and SIGHUP for a program that may have something to clean up.

namespace programs {

/// Ends the process with code 130 at such a signal, or lets it end by itself.
///
/// While an `interruptible` object lives, the first signal makes `descriptor()` readable, for ever:
/// whoever waits for it cancels what is under way. A second signal kills.
class interruption {
 public:
  /// Begins to watch for signals. Throws `std::system_error`.
  static void watch();

  /// Whether a signal came that did not end the process.
  static bool came() noexcept;

  static int descriptor() noexcept;

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
