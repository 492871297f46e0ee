#ifndef PROGRAMS_REPORTER_HPP
#define PROGRAMS_REPORTER_HPP

/// \file
/// The output of filexfer-client: results, messages and progress.

#include "common/failure.hpp"

#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>

#include <asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

namespace programs {

/// Whether to show the progress of jobs that take longer than half a second.
enum class progress_mode { never, when_slow };

/// Text for people; or JSON lines on stdout for everything, one object per event.
enum class output_format { text, json };

/// The result of a file's transfer, of its verification, or of its removal.
enum class outcome {
  success,
  already_present,
  fail,
  held,
  lacks,
  removed,
  // Of --dry-run:
  would_send,
  would_fetch,
  would_add_name,
  would_skip
};

/// The direction of a transfer. Text output shows the file's name at its target.
enum class transfer_direction { up, down };

/// Whether a command has tried all of its files, or lost the server before.
enum class files_tried { all, some };

/// The result of one file, as it is printed.
struct file_report {
  outcome result;
  transfer_direction direction;
  std::string id;        ///< Digest of the bytes on this side; empty if --dry-run needs none.
  std::string id_there;  ///< Digest on the server's side, if it differs.
  std::string name;      ///< Name at the server; empty if unknown.
  std::string path;      ///< Local path.
  std::uint64_t size;
};

/// Prints results, messages and the progress line, which it erases before other output.
class reporter {
 public:
  using snapshot = filexfer::transfer_progress::snapshot;

  reporter(output_format format, progress_mode mode);

  void report_file(const file_report& file);

  /// Prints an entry of the server's list; JSON only.
  void report_entry(const filexfer::listed_file& entry);

  /// Prints text on standard output unchanged.
  void print(std::string_view text);

  /// Prints a message; as text on stderr, in the form `subject: text`. Returns the code.
  exit_code report(std::string_view subject, const failure& failure);

  /// Whether a message with the code `interrupted` was printed.
  bool has_reported_interruption() const noexcept { return has_reported_interruption_; }

  /// As `report`, of a file, which also counts as failed unless the code is `done`. `why` is the
  /// reason for the totals, if not the message's text.
  exit_code report_failed(std::string_view subject, const failure& failure,
                          std::string_view why = {});

  /// Counts a failed file without a message.
  void count_failed(std::string_view why);

  /// Counts an entry of a folder that was skipped: a symbolic link or a special file.
  void count_skipped(std::error_code why);

  void count_empty_folders(std::uint64_t count) noexcept { empty_folders_ += count; }

  /// Whether there will be totals, as text or in JSON.
  bool wants_totals() const noexcept;

  /// Says as text, if some of several files have failed, how many, and why most often; else, how
  /// many empty folders were not sent. In JSON the counts are members of the summary.
  void report_totals(std::string_view command, files_tried tried);

  /// Reports that another attempt is made, because of `why`.
  void report_retry(std::string_view subject, std::string_view why);

  /// Whether progress is to be shown at all.
  bool shows_progress() const noexcept { return shows_progress_; }

  /// Shows progress; as text, in a line that stays until something else is printed.
  void show_progress(const snapshot& now, double bytes_per_second);
  void hide_progress();

  /// How often to call `show_progress`.
  std::chrono::milliseconds progress_period() const noexcept {
    return std::chrono::milliseconds{format_ == output_format::json ? 500 : 200};
  }

  /// Prints the totals and the program's exit code at the end; JSON only.
  void report_summary(const snapshot& now, exit_code code);

 private:
  using clock = std::chrono::steady_clock;

  void write(std::ostream& to, std::string_view text);
  void write_line(std::string_view line);
  void erase_progress_line();
  std::string skipped_text() const;

  output_format format_;
  progress_mode mode_;
  bool shows_progress_;
  bool flushes_lines_;  ///< So that who watches sees each at once; else they are written in blocks.
  const clock::time_point started_at_ = clock::now();
  std::size_t progress_length_ = 0;  ///< Of the line on the terminal; 0 if there is none.
  std::uint64_t succeeded_ = 0;      ///< Files reported without failure, and entries.
  bool has_reported_interruption_ = false;
  std::uint64_t failed_ = 0;
  std::map<std::string, std::uint64_t> reasons_;  ///< How many files failed for each.
  std::uint64_t symbolic_links_ = 0;              ///< Skipped, as the next two.
  std::uint64_t special_files_ = 0;
  std::uint64_t empty_folders_ = 0;
};

/// Shows a job's progress while this object lives, from half a second on: in a line on the
/// terminal, which is erased at the end; or in JSON, twice a second. The context must be run.
class progress_display {
 public:
  progress_display(asio::io_context& context, reporter& out,
                   const filexfer::transfer_progress& job);
  progress_display(const progress_display&) = delete;
  progress_display& operator=(const progress_display&) = delete;
  ~progress_display();

 private:
  class progress_timer;

  std::shared_ptr<progress_timer> timer_;  ///< Null if no progress is shown.
};

}  // namespace programs

#endif
