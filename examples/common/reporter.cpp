#include "common/reporter.hpp"

#include <filexfer/fields.hpp>
#include <filexfer/printable.hpp>

#include <asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

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
    {"Lacks", "lacks"}};

/// Serializes to a line of ASCII, safe on a terminal; invalid UTF-8 becomes U+FFFD.
std::string json_line(const json& event) {
  return event.dump(-1, ' ', true, json::error_handler_t::replace) + '\n';
}

}  // namespace

reporter::reporter(output_format format, progress_mode mode)
    : format_{format},
      mode_{mode},
      shows_progress_{mode == progress_mode::when_slow &&
                      (format == output_format::json || ::isatty(STDERR_FILENO) == 1)} {}

void reporter::report_file(const file_report& file) {
  const auto& [result, direction, id, id_there, name, path, size] = file;
  const outcome_words& words = all_outcome_words[static_cast<int>(result)];
  if (result != outcome::fail && result != outcome::lacks) ++succeeded_;
  if (format_ == output_format::json) {
    json event{{"event", "file"}, {"outcome", words.json}, {"id", id}};
    if (!id_there.empty()) event["id_there"] = id_there;
    if (!name.empty()) event["name"] = name;
    event["path"] = path;
    event["size"] = size;
    return write_line(json_line(event));
  }
  std::string line = std::string{words.text} + "  " + id + "  ";
  if (!id_there.empty()) line += id_there + "  ";
  line += filexfer::printable(direction == transfer_direction::up ? name : path) + '\n';
  write_line(line);
}

void reporter::report_entry(const filexfer::listed_file& entry) {
  if (format_ != output_format::json) return;
  json event{
      {"event", "entry"}, {"id", entry.id.to_string()}, {"name", entry.name}, {"size", entry.size}};
  if (entry.modified) event["mtime"] = filexfer::format_time(*entry.modified);
  ++succeeded_;
  write(std::cout, json_line(event));
}

void reporter::print(std::string_view text) { write(std::cout, text); }

exit_code reporter::report(std::string_view subject, const failure& failure) {
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

void reporter::report_retry(std::string_view subject, std::string_view why) {
  if (format_ == output_format::json) {
    write_line(json_line({{"event", "retry"}, {"subject", subject}, {"text", why}}));
  } else if (mode_ != progress_mode::never) {
    write(std::cerr, format_message(subject, {done, std::string{why} + "; trying again"}));
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
    std::cerr << '\r' << filexfer::format_progress(now, bytes_per_second) << "\033[K" << std::flush;
    has_progress_line_ = true;
  }
}

void reporter::hide_progress() { erase_progress_line(); }

void reporter::report_summary(const snapshot& now, exit_code code) {
  if (format_ != output_format::json) return;
  using std::chrono::milliseconds;
  const auto time = std::chrono::duration_cast<milliseconds>(clock::now() - started_at_);
  write(std::cout, json_line({{"event", "summary"},
                              {"files", succeeded_},
                              {"bytes", now.bytes},
                              {"seconds", static_cast<double>(time.count()) / 1000},
                              {"exit_code", code}}));
}

void reporter::write_line(std::string_view line) {
  write(std::cout, line);
  std::cout.flush();
}

void reporter::write(std::ostream& to, std::string_view text) {
  erase_progress_line();
  to << text;
}

void reporter::erase_progress_line() {
  if (std::exchange(has_progress_line_, false)) std::cerr << "\r\033[K" << std::flush;
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
