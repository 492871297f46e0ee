#include "common/reporter.hpp"

#include "common/units.hpp"

#include <filexfer/printable.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <iostream>
#include <utility>

#include <unistd.h>

namespace programs {
namespace {

using clock = std::chrono::steady_clock;

const char* words_for(verdict what) {
  switch (what) {
    case verdict::success: return "Success";
    case verdict::already_there: return "Already there";
    case verdict::fail: return "Fail";
    case verdict::held: return "Held";
    case verdict::lacks: return "Lacks";
  }
  return "";
}

/// Octets per second, over the last few.
class recent_rate {
 public:
  explicit recent_rate(std::uint64_t octets) : samples_{{clock::now(), octets}} {}

  double after(std::uint64_t octets) {
    const auto now = clock::now();
    while (samples_.size() > 1 && now - samples_.front().first > std::chrono::seconds{5}) {
      samples_.pop_front();
    }
    samples_.emplace_back(now, octets);
    const auto& [then, octets_then] = samples_.front();
    const double time = seconds(now - then);
    return time > 0 ? static_cast<double>(octets - octets_then) / time : 0;
  }

 private:
  std::deque<std::pair<clock::time_point, std::uint64_t>> samples_;
};

/// `12 of 150 files  3.4 MB of 80.1 MB  12 MB/s  0:06 left`; a `+` is for what is not known yet.
std::string line_for(const progress::figures& now, double rate) {
  const char* more = now.all_known ? "" : "+";
  std::string line;
  if (now.files_known > 1) {
    line = std::to_string(now.files) + " of " + std::to_string(now.files_known) + more + " files  ";
  }
  line +=
      megabytes(now.octets) + " of " + megabytes(now.octets_known) + more + "  " + rate_text(rate);
  if (now.all_known && rate > 0) {
    const double left = static_cast<double>(now.octets_known - now.octets) / rate;
    line += "  " + clock_time(static_cast<std::uint64_t>(left)) + " left";
  }
  return line;
}

}  // namespace

reporter::reporter(show_progress when)
    : when_{when},
      shows_progress_{when == show_progress::when_slow && ::isatty(STDERR_FILENO) == 1} {}

void reporter::tell(const outcome& of_a_file) {
  std::string line = std::string{words_for(of_a_file.what)} + "  " + of_a_file.id + "  ";
  if (!of_a_file.other.empty()) line += of_a_file.other + "  ";
  write(std::cout, line + filexfer::printable(of_a_file.place) + '\n');
}

exit_code reporter::report(std::string_view subject, const failure& what) {
  write(std::cerr, message(subject, what));
  return what.code;
}

void reporter::trying_again(std::string_view subject, std::string_view why) {
  if (when_ == show_progress::never) return;
  write(std::cerr, message(subject, {done, std::string{why} + "; trying again"}));
}

void reporter::show(std::string_view line) {
  const std::lock_guard lock{mutex_};
  if (line.empty()) {
    erase();
    return;
  }
  std::cerr << '\r' << line << "\033[K" << std::flush;
  line_shown_ = true;
}

void reporter::write(std::ostream& to, std::string_view text) {
  const std::lock_guard lock{mutex_};
  erase();
  to << text << std::flush;
}

void reporter::erase() {
  if (std::exchange(line_shown_, false)) std::cerr << "\r\033[K" << std::flush;
}

display::display(reporter& say, const progress& job) : say_{say}, job_{job} {
  if (!say_.shows_progress()) return;
  thread_ = std::jthread{[this](const std::stop_token& ended) { run(ended); }};
}

display::~display() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  say_.show({});
}

void display::run(const std::stop_token& ended) {
  std::unique_lock lock{mutex_};
  recent_rate rate{job_.now().octets};
  auto pause = std::chrono::milliseconds{500};
  for (;;) {
    wake_.wait_for(lock, ended, pause, [] { return false; });
    if (ended.stop_requested()) return;
    const progress::figures now = job_.now();
    const double octets_per_second = rate.after(now.octets);
    if (now.files_known > 0) say_.show(line_for(now, octets_per_second));
    pause = std::chrono::milliseconds{200};
  }
}

}  // namespace programs
