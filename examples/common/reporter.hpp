#ifndef PROGRAMS_REPORTER_HPP
#define PROGRAMS_REPORTER_HPP

/// \file
/// All that a client says while it works.

#include "common/exit_code.hpp"
#include "common/failure.hpp"
#include "common/progress.hpp"

#include <condition_variable>
#include <iosfwd>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

namespace programs {

/// Whether to show how far a job is that takes a while.
enum class show_progress { never, when_slow };

/// What came of a file.
enum class verdict { success, already_there, fail, held, lacks };

struct outcome {
  verdict what;
  std::string id;     ///< The digest of the octets that are here.
  std::string other;  ///< The one that the other side computed, if that differs.
  std::string place;  ///< Where the file is now: a name at the server, or a path here.
};

/// Says what came of each file, and whatever else there is to say. Any thread may call it: what one
/// says stays in one piece, and apart from the line that shows how far the job is.
class reporter {
 public:
  explicit reporter(show_progress when);

  void tell(const outcome& of_a_file);

  /// Says it on stderr: `subject: text`. Returns the code.
  exit_code report(std::string_view subject, const failure& what);

  /// Another attempt is made, because of `why`.
  void trying_again(std::string_view subject, std::string_view why);

  /// Whether `show` does anything.
  bool shows_progress() const noexcept { return shows_progress_; }

  /// Shows that line until something else is said; an empty one ends it.
  void show(std::string_view line);

 private:
  void write(std::ostream& to, std::string_view text);
  void erase();

  show_progress when_;
  bool shows_progress_;
  std::mutex mutex_;
  bool line_shown_ = false;
};

/// Shows how far a job is, for as long as this lives, once it has taken half a second: in one line
/// on the terminal, which is gone at the end.
class display {
 public:
  display(reporter& say, const progress& job);
  display(const display&) = delete;
  display& operator=(const display&) = delete;
  ~display();

 private:
  void run(const std::stop_token& ended);

  reporter& say_;
  const progress& job_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;
};

}  // namespace programs

#endif
