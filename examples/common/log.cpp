#include "common/log.hpp"

#include "common/units.hpp"

#include <filexfer/error.hpp>
#include <filexfer/printable.hpp>

#include <atomic>
#include <cstdint>
#include <ctime>

#include <unistd.h>

namespace programs {
namespace {

using filexfer::command;

std::string timestamp(std::chrono::system_clock::time_point now) {
  const std::time_t time = std::chrono::system_clock::to_time_t(now);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text, length};
}

std::string in_quotes(std::string_view name) {
  std::string text = "\"";
  for (const char c : filexfer::printable(name)) {
    if (c == '"') text += '\\';
    text += c;
  }
  return text + '"';
}

bool is_transfer(const filexfer::session_event& event) {
  return event.verb == command::upload || event.verb == command::download;
}

/// What moved of what there is. An upload of what is here already moves nothing.
std::string octets_of(const filexfer::session_event& event) {
  const std::string all = std::to_string(event.size) + " octets";
  return event.octets == event.size ? all : std::to_string(event.octets) + " of " + all;
}

/// One `write` a line, so that the lines of several threads and processes stay apart.
void write_line(std::string line) {
  line += '\n';
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

std::string format_event(std::chrono::system_clock::time_point now, std::string_view peer,
                         const filexfer::session_event& event) {
  std::string line = timestamp(now) + ' ';
  line += peer.empty() ? "-" : filexfer::printable(peer);
  if (event.verb) (line += ' ') += to_string(*event.verb);
  if (!event.name.empty()) line += ' ' + in_quotes(event.name);
  if (is_transfer(event) && !event.name.empty()) line += ' ' + octets_of(event);
  if (event.verb == command::list_files) line += ' ' + std::to_string(event.size) + " entries";
  if (!event.id.empty()) line += ' ' + filexfer::printable(event.id);
  if (event.error) {
    line += " failed: " + event.error.message();
    if (event.cause && event.cause != event.error) line += " (" + event.cause.message() + ')';
  }
  if (event.verb) line += ' ' + fixed(seconds(event.elapsed), 3) + " s";
  if (is_transfer(event) && event.octets > 0) line += ' ' + rate(event.octets, event.elapsed);
  return line;
}

void log_event(const std::string& peer, const filexfer::session_event& event) {
  if (event.verb == command::features && !event.error) return;  // says nothing of any file
  // Without descriptors a server asks for a connection again and again: one line tells it.
  static std::atomic<bool> said_so = false;
  const bool no_connection = peer.empty() && event.error;
  if (said_so.exchange(no_connection) && no_connection) return;
  write_line(format_event(std::chrono::system_clock::now(), peer, event));
}

void log_text(std::string_view text) {
  write_line(timestamp(std::chrono::system_clock::now()) + ' ' + filexfer::printable(text));
}

}  // namespace programs
