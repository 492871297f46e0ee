#include "common/progress.hpp"

#include "common/units.hpp"

#include <filexfer/printable.hpp>

#include <iostream>

#include <unistd.h>

namespace programs {

progress::progress(asio::io_context& context, shown when)
    : timer_{context}, wanted_{when == shown::on_terminal && ::isatty(STDERR_FILENO) == 1} {}

void progress::begin(std::string_view name, std::uint64_t octets) {
  if (!wanted_) return;
  name_ = filexfer::printable(name, 40);
  all_ = octets;
  moved_ = 0;
  begun_ = clock::now();
  running_ = true;
  draw_after(std::chrono::milliseconds{500});
}

void progress::end() {
  running_ = false;
  timer_.cancel();
  if (drawn_) std::cerr << "\r\033[K" << std::flush;
  drawn_ = false;
}

void progress::draw_after(std::chrono::milliseconds pause) {
  timer_.expires_after(pause);
  timer_.async_wait([this](std::error_code ec) {
    if (ec || !running_) return;
    draw();
    draw_after(std::chrono::milliseconds{200});
  });
}

void progress::draw() {
  const std::uint64_t octets = moved_;
  const auto time = clock::now() - begun_;
  std::string line =
      name_ + "  " + megabytes(octets) + " of " + megabytes(all_) + "  " + rate(octets, time);
  if (octets > 0) {
    const double left =
        seconds(time) * static_cast<double>(all_ - octets) / static_cast<double>(octets);
    line += "  " + clock_time(static_cast<std::uint64_t>(left)) + " left";
  }
  std::cerr << '\r' << line << "\033[K" << std::flush;
  drawn_ = true;
}

}  // namespace programs
