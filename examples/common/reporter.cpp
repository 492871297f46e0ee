#include "common/reporter.hpp"

#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/printable.hpp>

#include <asio/steady_timer.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

namespace programs {
namespace {

using clock = std::chrono::steady_clock;
using json = nlohmann::ordered_json;

struct outcome_words {
  const char* text;
  const char* json;
};
constexpr outcome_words all_outcome_words[] = {  // in the order of `outcome`
    {"Success", "success"},
    {"Already there", "already-there"},
    {"Fail", "fail"},
    {"Held", "held"},
    {"Lacks", "lacks"},
    {"Removed", "removed"},
    {"Would send", "would-send"},
    {"Would fetch", "would-fetch"},
    {"Would add name", "would-add-name"},
    {"Would skip", "would-skip"}};

/// Serializes to a line of ASCII, safe on a terminal; invalid UTF-8 becomes U+FFFD.
std::string json_line(const json& event) {
  return event.dump(-1, ' ', true, json::error_handler_t::replace) + '\n';
}

/// The length of a line on the terminal, which may change at any time. The last column stays empty,
/// as many terminals wrap after it.
std::size_t line_length() {
  struct winsize size {};
  constexpr std::size_t usual = 80;
  const bool is_known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return (is_known ? size.ws_col : usual) - 1;
}

/// Leaves out the last parts of a line, which two spaces separate, until it fits.
std::string fit(std::string line, std::size_t length) {
  while (line.size() > length) {
    const auto end = line.rfind("  ");
    line.resize(end == line.npos ? length : end);
  }
  return line;
}

}  // namespace

reporter::reporter(output_format format, progress_mode mode)
    : format_{format},
      mode_{mode},
      shows_progress_{mode == progress_mode::when_slow &&
                      (format == output_format::json || ::isatty(STDERR_FILENO) == 1)},
      flushes_lines_{format == output_format::json || ::isatty(STDOUT_FILENO) == 1} {}

void reporter::report_file(const file_report& file) {
  const auto& [result, direction, id, id_there, name, path, size] = file;
  const outcome_words& words = all_outcome_words[static_cast<int>(result)];
  if (result != outcome::fail && result != outcome::lacks) ++succeeded_;
  if (format_ == output_format::json) {
    json event{{"event", "file"}, {"outcome", words.json}};
    if (!id.empty()) event["id"] = id;
    if (!id_there.empty()) event["id_there"] = id_there;
    if (!name.empty()) event["name"] = name;
    event["path"] = path;
    event["size"] = size;
    return write_line(json_line(event));
  }
  std::string line = std::string{words.text} + "  ";
  if (result < outcome::would_send) line += id + "  ";
  if (!id_there.empty()) line += id_there + "  ";
  line += filexfer::printable(direction == transfer_direction::up ? name : path) + '\n';
  write_line(line);
}

void reporter::report_entry(const filexfer::listed_file& entry) {
  if (format_ != output_format::json) return;
  json event{
      {"event", "entry"}, {"id", entry.id.to_string()}, {"name", entry.name}, {"size", entry.size}};
  if (entry.modified) event["mtime"] = filexfer::format_time(*entry.modified);
  if (entry.executable) event["exec"] = *entry.executable;
  ++succeeded_;
  write(std::cout, json_line(event));
}

void reporter::print(std::string_view text) { write(std::cout, text); }

exit_code reporter::report(std::string_view subject, const failure& failure) {
  if (failure.code == interrupted) has_reported_interruption_ = true;
  if (format_ == output_format::json) {
    write_line(json_line({{"event", "message"},
                          {"subject", subject},
                          {"text", failure.text},
                          {"exit_code", failure.code}}));
  } else {
    write(std::cerr, format_message(subject, failure));
  }
  return failure.code;
}

exit_code reporter::report_failed(std::string_view subject, const failure& failure,
                                  std::string_view why) {
  if (failure.code != done) count_failed(why.empty() ? failure.text : why);
  return report(subject, failure);
}

void reporter::count_failed(std::string_view why) {
  ++failed_;
  ++reasons_[std::string{why.substr(0, why.find(';'))}];  // the advice after it is not a reason
}

void reporter::count_skipped(std::error_code why) {
  if (why == filexfer::errc::special_file) ++special_files_;
  else ++symbolic_links_;
}

bool reporter::wants_totals() const noexcept {
  return format_ == output_format::json || (failed_ > 0 && failed_ + succeeded_ > 1);
}

void reporter::report_totals(std::string_view command, files_tried tried) {
  if (format_ == output_format::json) return;
  if (!wants_totals()) {
    if (empty_folders_ == 0) return;
    const std::string count = std::to_string(empty_folders_);
    const char* const what = empty_folders_ == 1 ? " empty folder was" : " empty folders were";
    return write(std::cerr, format_message(command, {done, count + what + " not sent"}));
  }
  const auto most = std::max_element(reasons_.begin(), reasons_.end(),
                                     [](auto& a, auto& b) { return a.second < b.second; });
  std::string text =
      std::to_string(failed_) + " of " + std::to_string(failed_ + succeeded_) + " files failed";
  if (most->second == failed_) text += ": " + most->first;
  else if (most->second == 1) text += ", for different reasons";
  else text += ", most often (" + std::to_string(most->second) + "): " + most->first;
  if (tried == files_tried::some) text += "; the other files were not tried";
  text += skipped_text();
  write(std::cerr, format_message(command, {done, text}));
}

/// Says how many entries of folders were skipped; empty if none were.
std::string reporter::skipped_text() const {
  std::string text;
  const auto add = [&](std::uint64_t count, std::string_view what) {
    if (count == 0) return;
    text += (text.empty() ? "; skipped " : ", ") + std::to_string(count) + ' ';
    text.append(what) += count == 1 ? "" : "s";
  };
  add(symbolic_links_, "symbolic link");
  add(special_files_, "special file");
  add(empty_folders_, "empty folder");
  return text;
}

void reporter::report_retry(std::string_view subject, std::string_view why) {
  if (format_ == output_format::json) {
    write_line(json_line({{"event", "retry"}, {"subject", subject}, {"text", why}}));
  } else if (mode_ != progress_mode::never) {
    write(std::cerr, format_message(subject, {done, std::string{why} + "; retrying"}));
  }
}

void reporter::show_progress(const snapshot& now, double bytes_per_second) {
  if (format_ == output_format::json) {
    write_line(json_line({{"event", "progress"},
                          {"files", now.files},
                          {"files_known", now.files_known},
                          {"bytes", now.bytes},
                          {"bytes_known", now.bytes_known},
                          {"all_known", now.all_known},
                          {"rate", static_cast<std::uint64_t>(bytes_per_second)}}));
  } else {
    const std::size_t length = line_length();
    std::string line = fit(filexfer::format_progress(now, bytes_per_second), length);
    const std::size_t shown = std::exchange(progress_length_, line.size());
    line.resize(std::max(line.size(), std::min(shown, length)), ' ');
    std::cerr << '\r' << line << std::flush;
  }
}

void reporter::hide_progress() { erase_progress_line(); }

void reporter::report_summary(const snapshot& now, exit_code code) {
  if (format_ != output_format::json) return;
  using std::chrono::milliseconds;
  const auto time = std::chrono::duration_cast<milliseconds>(clock::now() - started_at_);
  write(std::cout, json_line({{"event", "summary"},
                              {"files", succeeded_},
                              {"failed", failed_},
                              {"symbolic_links", symbolic_links_},
                              {"special_files", special_files_},
                              {"empty_folders", empty_folders_},
                              {"bytes", now.bytes},
                              {"seconds", static_cast<double>(time.count()) / 1000},
                              {"exit_code", code}}));
}

void reporter::write_line(std::string_view line) {
  write(std::cout, line);
  if (flushes_lines_) std::cout.flush();
}

void reporter::write(std::ostream& to, std::string_view text) {
  erase_progress_line();
  to << text;
}

void reporter::erase_progress_line() {
  const std::size_t shown = std::exchange(progress_length_, 0);
  if (shown == 0) return;
  std::cerr << '\r' << std::string(std::min(shown, line_length()), ' ') << '\r' << std::flush;
}

/// The pending wait does not keep this object alive.
class progress_display::progress_timer : public std::enable_shared_from_this<progress_timer> {
 public:
  progress_timer(asio::io_context& context, reporter& out, const filexfer::transfer_progress& job)
      : timer_{context}, out_{out}, job_{job} {}

  void wait(std::chrono::milliseconds pause) {
    timer_.expires_after(pause);
    timer_.async_wait([weak = weak_from_this()](std::error_code ec) {
      const auto self = weak.lock();
      if (!ec && self) self->update();
    });
  }

  void end() { out_.hide_progress(); }

 private:
  void update() {
    const reporter::snapshot now = job_.now();
    const double bytes_per_second = rate_.after(now.bytes);
    if (now.files_known > 0) out_.show_progress(now, bytes_per_second);
    wait(out_.progress_period());
  }

  asio::steady_timer timer_;
  reporter& out_;
  const filexfer::transfer_progress& job_;
  filexfer::transfer_rate rate_{job_.now().bytes};
};

progress_display::progress_display(asio::io_context& context, reporter& out,
                                   const filexfer::transfer_progress& job) {
  if (!out.shows_progress()) return;
  timer_ = std::make_shared<progress_timer>(context, out, job);
  timer_->wait(std::chrono::milliseconds{500});
}

progress_display::~progress_display() {
  if (timer_) timer_->end();
}

}  // namespace programs
