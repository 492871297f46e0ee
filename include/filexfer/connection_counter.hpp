#ifndef FILEXFER_CONNECTION_COUNTER_HPP
#define FILEXFER_CONNECTION_COUNTER_HPP

/// \file
/// Counts connections, so that several servers keep to common limits.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

namespace filexfer {

namespace detail {

/// The limits that apply to one connection.
struct connection_limits {
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
  std::size_t connections = none;
  std::size_t per_address = none;
  std::size_t rate_per_address = none;  ///< Connections per second.
};

/// The time over which a rate is averaged, and so how much a token bucket holds.
inline constexpr std::chrono::nanoseconds rate_period = std::chrono::seconds{10};

class connection_slot;

}  // namespace detail

/// What servers count in common: the connections that they serve, in total and by address, and how
/// fast each address opens them. Each server compares this with its own `server_options`.
///
/// An address is an IPv4 address, or an IPv6 network of 64 bits, as a host chooses the other 64
/// bits itself. An address is forgotten when it no longer matters, so memory is bounded, whatever
/// number of addresses connect.
///
/// Any number of threads may use it. Servers that share it must have the same clock.
/// \snippet server.cpp connection_counter
class connection_counter {
 public:
  /// Most addresses without connections that are remembered because they have lately had many;
  /// beyond that number the oldest are forgotten.
  static constexpr std::size_t max_idle_addresses = 4096;

  connection_counter() = default;
  connection_counter(const connection_counter&) = delete;
  connection_counter& operator=(const connection_counter&) = delete;

  /// \return how many connections are served now.
  [[nodiscard]] std::size_t connections() const {
    const std::lock_guard lock{mutex_};
    return connections_;
  }

  /// \return how many addresses are remembered now. All local peers count as one.
  [[nodiscard]] std::size_t addresses() const {
    const std::lock_guard lock{mutex_};
    return table_.size();
  }

 private:
  friend class detail::connection_slot;

  using time = std::chrono::nanoseconds;  ///< Since the clock's epoch.

  struct address_state {
    std::string address;
    std::size_t connections = 0;
    time full_at{};  ///< When the token bucket will be full, which is all that it needs to know.
  };
  using position = std::list<address_state>::iterator;

  /// Counts a connection opened `now`; nothing if it would exceed the limits.
  std::optional<position> add_connection(const std::string& address,
                                         const detail::connection_limits& limits, time now) {
    const std::lock_guard lock{mutex_};
    now_ = now;
    forget_some();
    const auto known = table_.find(address);
    const bool is_known = known != table_.end();
    const std::size_t open = is_known ? known->second->connections : 0;
    const time full_at =
        std::max(now, is_known ? known->second->full_at : now) + token_time(limits);
    if (connections_ >= limits.connections || open >= limits.per_address ||
        full_at - now > detail::rate_period) {
      return std::nullopt;
    }
    const position state = is_known ? known->second : add_address(address);
    if (open == 0) active_.splice(active_.end(), idle_, state);
    state->full_at = full_at;
    ++state->connections;
    ++connections_;
    return state;
  }

  void remove_connection(position state) noexcept {
    const std::lock_guard lock{mutex_};
    --connections_;
    if (--state->connections > 0) return;
    idle_.splice(state->full_at <= now_ ? idle_.begin() : idle_.end(), active_, state);
    if (idle_.size() > max_idle_addresses) forget_oldest();
    forget_some();
  }

  static time token_time(const detail::connection_limits& limits) noexcept {
    constexpr std::uint64_t second = 1'000'000'000;
    if (limits.rate_per_address == 0) return 2 * detail::rate_period;  // more than a bucket holds
    return time{static_cast<time::rep>(second / limits.rate_per_address)};
  }

  position add_address(const std::string& address) {
    std::list<address_state> added;
    added.push_back({.address = address});
    const position state = added.begin();
    table_.emplace(address, state);
    idle_.splice(idle_.end(), added);
    return state;
  }

  void forget_oldest() noexcept {
    table_.erase(idle_.front().address);
    idle_.pop_front();
  }

  /// Forgets more addresses than one connection adds, and few enough not to delay it.
  void forget_some() noexcept {
    for (int i = 0; i < 2 && !idle_.empty() && idle_.front().full_at <= now_; ++i) forget_oldest();
  }

  mutable std::mutex mutex_;
  std::size_t connections_ = 0;
  time now_{};                       ///< When a connection was last opened.
  std::list<address_state> active_;  ///< Those with connections.
  std::list<address_state> idle_;    ///< Those without, in the order in which they are forgotten.
  std::unordered_map<std::string, position> table_;  ///< All of them.
};

namespace detail {

/// One of a counter's connections, as long as it exists.
class connection_slot {
 public:
  /// Counts a connection opened `now`, which is a time since the epoch of a clock. All local peers
  /// have the empty address. Counts nothing if it would exceed the limits.
  connection_slot(std::shared_ptr<connection_counter> counter, const std::string& address,
                  const connection_limits& limits, std::chrono::nanoseconds now)
      : counter_{std::move(counter)}, state_{counter_->add_connection(address, limits, now)} {}

  connection_slot(connection_slot&& other) noexcept
      : counter_{std::move(other.counter_)}, state_{std::exchange(other.state_, std::nullopt)} {}
  connection_slot& operator=(connection_slot&&) = delete;
  ~connection_slot() { release(); }

  /// \return whether it counts a connection.
  explicit operator bool() const noexcept { return state_.has_value(); }

  void release() noexcept {
    if (state_) counter_->remove_connection(*std::exchange(state_, std::nullopt));
  }

 private:
  std::shared_ptr<connection_counter> counter_;
  std::optional<connection_counter::position> state_;
};

}  // namespace detail
}  // namespace filexfer

#endif
