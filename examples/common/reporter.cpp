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

struct verdict_words {
  const char* text;
  const char* json;
};
constexpr verdict_words all_verdict_words[] = {  // in the order of `verdict`
    {"Success", "success"},
    {"Already there", "already-there"},
    {"Fail", "fail"},
    {"Held", "held"},
    {"Lacks", "lacks"}};

/// What is no UTF-8 becomes U+FFFD, and what could act on a terminal is escaped.
std::string line_of(const json& event) {
  return event.dump(-1, ' ', true, json::error_handler_t::replace) + '\n';
}

}  // namespace

reporter::reporter(output_form form, show_progress when)
    : form_{form},
      when_{when},
      shows_progress_{when == show_progress::when_slow &&
                      (form == output_form::json || ::isatty(STDERR_FILENO) == 1)} {}

void reporter::tell(const outcome& of_a_file) {
  const auto& [what, way, id, id_there, name, path, size] = of_a_file;
  const verdict_words& words = all_verdict_words[static_cast<int>(what)];
  if (what != verdict::fail && what != verdict::lacks) ++good_;
  if (form_ == output_form::json) {
    json event{{"event", "file"}, {"outcome", words.json}, {"id", id}};
    if (!id_there.empty()) event["id_there"] = id_there;
    if (!name.empty()) event["name"] = name;
    event["path"] = path;
    event["size"] = size;
    return write_line(line_of(event));
  }
  std::string line = std::string{words.text} + "  " + id + "  ";
  if (!id_there.empty()) line += id_there + "  ";
  line += filexfer::printable(way == direction::up ? name : path) + '\n';
  write_line(line);
}

void reporter::tell(const filexfer::listed_file& entry) {
  if (form_ != output_form::json) return;
  json event{
      {"event", "entry"}, {"id", entry.id.to_string()}, {"name", entry.name}, {"size", entry.size}};
  if (entry.modified) event["mtime"] = filexfer::format_time(*entry.modified);
  ++good_;
  write(std::cout, line_of(event));
}

void reporter::print(std::string_view text) { write(std::cout, text); }

exit_code reporter::report(std::string_view subject, const failure& what) {
  if (form_ == output_form::json) {
    write_line(line_of({{"event", "message"},
                        {"subject", subject},
                        {"text", what.text},
                        {"exit_code", what.code}}));
  } else {
    write(std::cerr, message(subject, what));
  }
  return what.code;
}

void reporter::trying_again(std::string_view subject, std::string_view why) {
  if (form_ == output_form::json) {
    write_line(line_of({{"event", "retry"}, {"subject", subject}, {"text", why}}));
  } else if (when_ != show_progress::never) {
    write(std::cerr, message(subject, {done, std::string{why} + "; trying again"}));
  }
}

void reporter::show(const snapshot& now, double bytes_per_second) {
  if (form_ == output_form::json) {
    write_line(line_of({{"event", "progress"},
                        {"files", now.files},
                        {"files_known", now.files_known},
                        {"bytes", now.bytes},
                        {"bytes_known", now.bytes_known},
                        {"all_known", now.all_known},
                        {"rate", static_cast<std::uint64_t>(bytes_per_second)}}));
  } else {
    std::cerr << '\r' << filexfer::format_progress(now, bytes_per_second) << "\033[K" << std::flush;
    line_shown_ = true;
  }
}

void reporter::end_show() { erase(); }

void reporter::end(const snapshot& now, exit_code code) {
  if (form_ != output_form::json) return;
  using std::chrono::milliseconds;
  const auto time = std::chrono::duration_cast<milliseconds>(clock::now() - begun_);
  write(std::cout, line_of({{"event", "summary"},
                            {"files", good_},
                            {"bytes", now.bytes},
                            {"seconds", static_cast<double>(time.count()) / 1000},
                            {"exit_code", code}}));
}

void reporter::write_line(std::string_view line) {
  write(std::cout, line);
  std::cout.flush();
}

void reporter::write(std::ostream& to, std::string_view text) {
  erase();
  to << text;
}

void reporter::erase() {
  if (std::exchange(line_shown_, false)) std::cerr << "\r\033[K" << std::flush;
}

/// Its timer does not keep it alive.
class display::progress_timer : public std::enable_shared_from_this<progress_timer> {
 public:
  progress_timer(asio::io_context& context, reporter& out, const filexfer::transfer_progress& job)
      : timer_{context}, out_{out}, job_{job} {}

  void wait(std::chrono::milliseconds pause) {
    timer_.expires_after(pause);
    timer_.async_wait([weak = weak_from_this()](std::error_code ec) {
      const auto self = weak.lock();
      if (!ec && self) self->show();
    });
  }

  void end() { out_.end_show(); }

 private:
  void show() {
    const reporter::snapshot now = job_.now();
    const double bytes_per_second = rate_.after(now.bytes);
    if (now.files_known > 0) out_.show(now, bytes_per_second);
    wait(out_.period());
  }

  asio::steady_timer timer_;
  reporter& out_;
  const filexfer::transfer_progress& job_;
  filexfer::transfer_rate rate_{job_.now().bytes};
};

display::display(asio::io_context& context, reporter& out, const filexfer::transfer_progress& job) {
  if (!out.shows_progress()) return;
  shown_ = std::make_shared<progress_timer>(context, out, job);
  shown_->wait(std::chrono::milliseconds{500});
}

display::~display() {
  if (shown_) shown_->end();
}

}  // namespace programs
