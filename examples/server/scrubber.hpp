#ifndef PROGRAMS_SERVER_SCRUBBER_HPP
#define PROGRAMS_SERVER_SCRUBBER_HPP

/// \file
/// Verifies a store again and again while it is served.

#include "common/log.hpp"

#include <filexfer/verification.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

#include <sys/resource.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace programs {

/// Lets all other threads use the processor and the disk first, where a thread can say so.
inline void lower_priority() noexcept {
#if defined(__linux__)
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 19);  // this thread only
  constexpr int this_thread = 1;  // IOPRIO_WHO_PROCESS of <linux/ioprio.h>, with 0
  constexpr int idle_class = 3 << 13;
  ::syscall(SYS_ioprio_set, this_thread, 0, idle_class);
#endif
}

/// Verifies a store on a thread of its own until it is destroyed, which takes a moment only. Logs
/// what it finds. The store must outlive it.
template <class Store>
class scrubber {
 public:
  /// Reads `rate` bytes per second. Logs nothing without a log.
  scrubber(const Store& store, std::uint64_t rate, server_log* log)
      : store_{store}, log_{log}, thread_{[this, rate] { run(rate); }} {}

  ~scrubber() {
    {
      const std::lock_guard lock{mutex_};
      is_stopping_ = true;
    }
    stopped_.notify_all();
  }

  scrubber(const scrubber&) = delete;
  scrubber& operator=(const scrubber&) = delete;

 private:
  /// Between rounds, so that a small store is not read all the time.
  static constexpr std::chrono::hours pause{1};

  void run(std::uint64_t rate) {
    lower_priority();
    const filexfer::verify_options options{rate, [this] { return is_stopping_.load(); }};
    std::unique_lock lock{mutex_};
    while (!is_stopping_) {
      lock.unlock();
      verify(options);
      lock.lock();
      stopped_.wait_for(lock, pause, [this] { return is_stopping_.load(); });
    }
  }

  void verify(const filexfer::verify_options& options) {
    try {
      std::error_code ec;
      const auto on_file = [this](const auto& file) { this->log(file); };
      const auto totals = store_.verify(options, on_file, ec);
      if (is_stopping_) return;
      log("scrub: " + std::to_string(totals.files) + " files, " + std::to_string(totals.bytes) +
          " bytes verified, " + std::to_string(totals.damaged) + " damaged" +
          (ec ? "; stopped: " + ec.message() : ""));
    } catch (const std::exception& e) {
      log("scrub: " + std::string{e.what()});
    }
  }

  /// The store itself logs that it moved a file.
  template <class Digest>
  void log(const filexfer::verified_file<Digest>& file) const {
    if (file.error) {
      log("scrub: " + file.info.id.to_string() + ": " + file.info.name + ": " +
          file.error.message());
    }
  }

  void log(const std::string& text) const {
    if (log_ != nullptr) log_->report(text);
  }

  const Store& store_;
  server_log* const log_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  std::atomic<bool> is_stopping_{false};
  std::jthread thread_;  ///< Joined first.
};

}  // namespace programs

#endif
