#ifndef PROGRAMS_REPORTER_HPP
#define PROGRAMS_REPORTER_HPP

/// \file
/// All that a client says while it works.

#include "common/failure.hpp"

#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>

#include <asio/io_context.hpp>

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>

namespace programs {

/// Whether to show how far a job is that takes a while.
enum class show_progress { never, when_slow };

/// Text for people, or everything on stdout in lines of JSON, an object an event.
enum class output_form { text, json };

/// What came of a file.
enum class verdict { success, already_there, fail, held, lacks };

/// Which way a file goes. Text shows it as it is called where it goes to.
enum class direction { up, down };

struct outcome {
  verdict what;
  direction way;
  std::string id;        ///< The digest of the bytes here.
  std::string id_there;  ///< That of those there, if it differs.
  std::string name;      ///< At the server; empty if that is not known.
  std::string path;      ///< Here.
  std::uint64_t size;
};

/// Says what came of each file, and whatever else there is to say, apart from the line that shows
/// how far the job is.
class reporter {
 public:
  using snapshot = filexfer::transfer_progress::snapshot;

  reporter(output_form form, show_progress when);

  void tell(const outcome& of_a_file);

  /// An entry of the server's list; in JSON only.
  void tell(const filexfer::listed_file& entry);

  /// Text for standard output as it stands.
  void print(std::string_view text);

  /// Says it: as text on stderr, `subject: text`. Returns the code.
  exit_code report(std::string_view subject, const failure& what);

  /// Another attempt is made, because of `why`.
  void trying_again(std::string_view subject, std::string_view why);

  /// Whether `show` does anything.
  bool shows_progress() const noexcept { return shows_progress_; }

  /// How far the job is; as text, until something else is said.
  void show(const snapshot& now, double bytes_per_second);
  void end_show();

  /// How often `show` is worth it.
  std::chrono::milliseconds period() const noexcept {
    return std::chrono::milliseconds{form_ == output_form::json ? 500 : 200};
  }

  /// The job has come to its end, and the program exits with that code; in JSON only.
  void end(const snapshot& now, exit_code code);

 private:
  using clock = std::chrono::steady_clock;

  void write(std::ostream& to, std::string_view text);
  void write_line(std::string_view line);
  void erase();

  output_form form_;
  show_progress when_;
  bool shows_progress_;
  const clock::time_point begun_ = clock::now();
  bool line_shown_ = false;
  std::uint64_t good_ = 0;  ///< Files that something else than a failure was told of.
};

/// Shows how far a job is, for as long as this lives, once it has taken half a second: in one line
/// on the terminal, which is gone at the end; or in JSON, twice a second. The context has to run.
class display {
 public:
  display(asio::io_context& context, reporter& out, const filexfer::transfer_progress& job);
  display(const display&) = delete;
  display& operator=(const display&) = delete;
  ~display();

 private:
  class progress_timer;

  std::shared_ptr<progress_timer> shown_;  ///< Null if nothing is.
};

}  // namespace programs

#endif
