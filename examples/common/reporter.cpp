#include "common/reporter.hpp"

#include "common/json.hpp"
#include "common/units.hpp"

#include <filexfer/fields.hpp>
#include <filexfer/printable.hpp>

#include <asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <iostream>
#include <system_error>
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

const char* json_word_for(verdict what) {
  switch (what) {
    case verdict::success: return "success";
    case verdict::already_there: return "already-there";
    case verdict::fail: return "fail";
    case verdict::held: return "held";
    case verdict::lacks: return "lacks";
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
std::string line_for(const reporter::snapshot& now, double rate) {
  const char* more = now.all_known ? "" : "+";
  std::string line;
  if (now.files_known > 1) {
    line = std::to_string(now.files) + " of " + std::to_string(now.files_known) + more + " files  ";
  }
  line +=
      megabytes(now.bytes) + " of " + megabytes(now.bytes_known) + more + "  " + rate_text(rate);
  if (now.all_known && rate > 0) {
    const double left = static_cast<double>(now.bytes_known - now.bytes) / rate;
    line += "  " + clock_time(static_cast<std::uint64_t>(left)) + " left";
  }
  return line;
}

std::uint64_t number(exit_code code) { return static_cast<std::uint64_t>(code); }

}  // namespace

reporter::reporter(output_form form, show_progress when)
    : form_{form},
      when_{when},
      shows_progress_{when == show_progress::when_slow &&
                      (form == output_form::json || ::isatty(STDERR_FILENO) == 1)} {}

void reporter::tell(const outcome& of_a_file) {
  const auto& [what, way, id, id_there, name, path, size] = of_a_file;
  std::string line;
  if (form_ == output_form::json) {
    json_line event{"file"};
    event.add("outcome", json_word_for(what)).add("id", id);
    if (!id_there.empty()) event.add("id_there", id_there);
    if (!name.empty()) event.add("name", name);
    line = event.add("path", path).add("size", size).text();
  } else {
    line = std::string{words_for(what)} + "  " + id + "  ";
    if (!id_there.empty()) line += id_there + "  ";
    line += filexfer::printable(way == direction::up ? name : path) + '\n';
  }
  if (what != verdict::fail && what != verdict::lacks) ++good_;
  write(std::cout, line);
  std::cout.flush();
}

void reporter::tell(const filexfer::listed_file& entry) {
  if (form_ != output_form::json) return;
  json_line event{"entry"};
  event.add("id", entry.id.to_string()).add("name", entry.name).add("size", entry.size);
  if (entry.modified) event.add("mtime", filexfer::format_time(*entry.modified));
  ++good_;
  write(std::cout, event.text());
}

void reporter::print(std::string_view text) { write(std::cout, text); }

exit_code reporter::report(std::string_view subject, const failure& what) {
  if (form_ == output_form::text) {
    write(std::cerr, message(subject, what));
  } else {
    json_line event{"message"};
    event.add("subject", subject).add("text", what.text).add("exit_code", number(what.code));
    write(std::cout, event.text());
    std::cout.flush();
  }
  return what.code;
}

void reporter::trying_again(std::string_view subject, std::string_view why) {
  if (form_ == output_form::json) {
    write(std::cout, json_line{"retry"}.add("subject", subject).add("text", why).text());
    std::cout.flush();
  } else if (when_ != show_progress::never) {
    write(std::cerr, message(subject, {done, std::string{why} + "; trying again"}));
  }
}

void reporter::show(const snapshot& now, double octets_per_second) {
  if (form_ == output_form::json) {
    json_line event{"progress"};
    event.add("files", now.files).add("files_known", now.files_known);
    event.add("octets", now.bytes).add("octets_known", now.bytes_known);
    event.add_value("all_known", now.all_known ? "true" : "false");
    write(std::cout, event.add("rate", static_cast<std::uint64_t>(octets_per_second)).text());
    std::cout.flush();
  } else {
    std::cerr << '\r' << line_for(now, octets_per_second) << "\033[K" << std::flush;
    line_shown_ = true;
  }
}

void reporter::end_show() { erase(); }

void reporter::end(const snapshot& now, exit_code code) {
  if (form_ != output_form::json) return;
  json_line event{"summary"};
  event.add("files", good_).add("octets", now.bytes);
  event.add_value("seconds", fixed(seconds(clock::now() - begun_), 3));
  write(std::cout, event.add("exit_code", number(code)).text());
}

void reporter::write(std::ostream& to, std::string_view text) {
  erase();
  to << text;
}

void reporter::erase() {
  if (std::exchange(line_shown_, false)) std::cerr << "\r\033[K" << std::flush;
}

/// Its timer does not keep it alive.
class display::clockwork : public std::enable_shared_from_this<clockwork> {
 public:
  clockwork(asio::io_context& context, reporter& say, const filexfer::transfer_progress& job)
      : timer_{context}, say_{say}, job_{job} {}

  void wait(std::chrono::milliseconds pause) {
    timer_.expires_after(pause);
    timer_.async_wait([weak = weak_from_this()](std::error_code ec) {
      const auto self = weak.lock();
      if (!ec && self) self->show();
    });
  }

  void end() { say_.end_show(); }

 private:
  void show() {
    const reporter::snapshot now = job_.now();
    const double octets_per_second = rate_.after(now.bytes);
    if (now.files_known > 0) say_.show(now, octets_per_second);
    wait(say_.period());
  }

  asio::steady_timer timer_;
  reporter& say_;
  const filexfer::transfer_progress& job_;
  recent_rate rate_{job_.now().bytes};
};

display::display(asio::io_context& context, reporter& say, const filexfer::transfer_progress& job) {
  if (!say.shows_progress()) return;
  shown_ = std::make_shared<clockwork>(context, say, job);
  shown_->wait(std::chrono::milliseconds{500});
}

display::~display() {
  if (shown_) shown_->end();
}

}  // namespace programs
