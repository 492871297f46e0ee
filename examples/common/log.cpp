#include "common/log.hpp"

#include <filexfer/error.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/refusal.hpp>
#include <filexfer/session_log.hpp>

#include <asio/error.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/address_v6.hpp>
#include <asio/ip/network_v6.hpp>
#ifdef PROGRAMS_WITH_TLS
#include <asio/ssl/error.hpp>
#endif

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include <unistd.h>

namespace programs {
namespace {

using json = nlohmann::ordered_json;
using filexfer::session_event;
using namespace std::chrono_literals;

/// Most addresses that are remembered.
constexpr std::size_t max_addresses = 4096;
constexpr std::chrono::nanoseconds rate_period = 10s;

/// Writes each line with a single `write`, so that lines of several threads and processes don't
/// mix.
void write_line(std::string line) {
  line += '\n';
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

std::string timestamp() { return filexfer::format_timestamp(std::chrono::system_clock::now()); }

/// Serializes to ASCII, so that no control characters are left; invalid UTF-8 becomes U+FFFD.
std::string to_line(const json& object) {
  return object.dump(-1, ' ', true, json::error_handler_t::replace);
}

/// Stands for the address where no connection could be accepted.
constexpr std::string_view no_address = "-";

/// The address that a peer's lines are counted by, to be shown.
std::string counted_address(const std::string& peer) {
  if (peer.empty()) return std::string{no_address};
  constexpr std::string_view local = "unix:";
  if (peer.starts_with(local)) return std::string{local};
  std::string host = peer.substr(0, peer.rfind(':'));
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  std::error_code not_ip;
  const auto ip = asio::ip::make_address(host, not_ip);
  if (not_ip || ip.is_v4() || ip.is_loopback()) return host;
  const auto v6 = ip.to_v6();
  if (v6.is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, v6).to_string();
  return asio::ip::make_network_v6(v6, 64).canonical().to_string();
}

/// Whether a peer connected and disconnected, which is how load balancers find out whether a server
/// is up.
bool is_health_check(const session_event& event) {
  const std::error_code ec = event.error;
  if (!event.from_silent_peer) return false;
#ifdef PROGRAMS_WITH_TLS
  if (ec == asio::ssl::error::stream_truncated) return true;
#endif
  return ec == asio::error::eof || ec == asio::error::connection_reset ||
         ec == asio::error::broken_pipe || ec == asio::error::not_connected;
}

/// The protocol's code if there is one, such as `not-found`; else the category and its number.
std::string error_code_text(std::error_code ec) {
  if (ec == filexfer::condition::refused && ec != filexfer::errc::refused)
    return filexfer::format_error(static_cast<filexfer::errc>(ec.value()), {}).substr(6);
  return std::string{ec.category().name()} + ':' + std::to_string(ec.value());
}

void add_error(json& object, const std::string& member, std::error_code ec) {
  object[member] = error_code_text(ec);
  object[member + "_text"] = ec.message();
}

std::string json_event(const std::string& peer, const session_event& event) {
  using filexfer::command;
  json object{{"event", event.verb ? "command" : "connection"}, {"time", timestamp()}};
  if (!peer.empty()) object["address"] = peer;
  if (event.verb) object["command"] = filexfer::to_string(*event.verb);
  if (!event.name.empty()) object["name"] = event.name;
  if (!event.id.empty()) object["id"] = event.id;
  const bool is_transfer = event.verb == command::upload || event.verb == command::download;
  if (is_transfer && !event.name.empty()) {
    object["size"] = event.size;
    object["bytes"] = event.bytes;
  }
  if (event.verb == command::list_files) object["entries"] = event.size;
  if (event.verb) {
    const std::chrono::duration<double, std::micro> duration{event.elapsed};
    object["duration"] = std::round(duration.count()) / 1e6;
  }
  if (event.error) add_error(object, "error", event.error);
  if (event.cause && event.cause != event.error) add_error(object, "cause", event.cause);
  return to_line(object);
}

}  // namespace

server_log::server_log(log_format format, std::size_t rate)
    : format_{format},
      failure_token_{std::chrono::nanoseconds{1s} / static_cast<std::int64_t>(rate)},
      completed_token_{failure_token_ / 100} {}

void server_log::report(const std::string& peer, const session_event& event) {
  const bool asked_for_features = event.verb == filexfer::command::features && !event.error;
  if (asked_for_features || is_health_check(event)) return;
  if (!may_write(counted_address(peer), event)) return;
  write_line(format_ == log_format::json
                 ? json_event(peer, event)
                 : filexfer::format_event(std::chrono::system_clock::now(), peer, event));
}

void server_log::report(std::string_view text) {
  if (format_ == log_format::json) {
    write_line(to_line({{"event", "message"}, {"time", timestamp()}, {"text", text}}));
  } else {
    write_line(timestamp() + ' ' + filexfer::printable(text));
  }
}

/// Counts the line. False if it is to be suppressed.
bool server_log::may_write(const std::string& from, const session_event& event) {
  const auto now = std::chrono::steady_clock::now();
  const bool is_completed = event.verb && !event.error;
  const std::lock_guard lock{mutex_};
  // Out of descriptors, a server fails to accept repeatedly: that is logged once.
  const bool is_accept_error = from == no_address;
  if (std::exchange(was_accept_error_, is_accept_error) && is_accept_error) return false;
  make_latest(from);
  address_state& state = states_.back();
  time& full_at = is_completed ? state.completed_full_at : state.failures_full_at;
  const time then = std::max(full_at, now) + (is_completed ? completed_token_ : failure_token_);
  if (then - now > rate_period) {
    ++state.suppressed;
    return false;
  }
  full_at = then;
  return true;
}

void server_log::make_latest(const std::string& from) {
  if (const auto known = table_.find(from); known != table_.end()) {
    states_.splice(states_.end(), states_, known->second);
    return;
  }
  if (states_.size() >= max_addresses) forget_oldest();
  std::list<address_state> added(1);
  added.front().address = from;
  table_.emplace(from, added.begin());
  states_.splice(states_.end(), added);
}

void server_log::forget_oldest() {
  if (states_.front().suppressed > 0) write_line(suppressed_line(states_.front()));
  table_.erase(states_.front().address);
  states_.pop_front();
}

void server_log::report_suppressed() {
  std::vector<std::string> lines;
  {
    const std::lock_guard lock{mutex_};
    for (address_state& state : states_) {
      if (state.suppressed > 0) lines.push_back(suppressed_line(state));
      state.suppressed = 0;
    }
  }
  for (std::string& line : lines) write_line(std::move(line));
}

std::string server_log::suppressed_line(const address_state& state) const {
  if (format_ == log_format::json) {
    return to_line({{"event", "suppressed"},
                    {"time", timestamp()},
                    {"address", state.address},
                    {"lines", state.suppressed}});
  }
  return timestamp() + ' ' + state.address + " suppressed " + std::to_string(state.suppressed) +
         " lines";
}

}  // namespace programs
