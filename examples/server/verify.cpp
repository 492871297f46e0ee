#include "server/verify.hpp"

#include "common/interruption.hpp"
#include "common/log.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/sha256.hpp>
#include <filexfer/verification.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <limits>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace programs {
namespace {

/// Prints what the threads find.
class findings {
 public:
  template <class Digest>
  void add(const filexfer::verified_file<Digest>& file) {
    using filexfer::stored_state;
    if (file.state == stored_state::intact) return;
    const auto id = file.info.id.to_string();
    const std::lock_guard lock{mutex_};
    if (file.state == stored_state::damaged) {
      std::cout << "Damaged  " << id << "  " << filexfer::printable(file.info.name) << std::endl;
    }
    if (!file.error) return;
    const std::string what =
        file.state == stored_state::damaged ? "can't be set aside: " : "can't be read: ";
    report(id + '/' + file.info.name, {local_error, what + file.error.message()});
    has_error_ = true;
  }

  void add(const std::string& store, const filexfer::verify_totals& totals, std::error_code ec) {
    const std::lock_guard lock{mutex_};
    files_ += totals.files;
    bytes_ += totals.bytes;
    damaged_ += totals.damaged;
    if (!ec || ec == std::errc::operation_canceled) return;
    report(store, {local_error, "can't be verified to its end: " + ec.message()});
    has_error_ = true;
  }

  /// Prints the totals.
  exit_code end() const {
    std::cout << files_ << (files_ == 1 ? " file, " : " files, ") << bytes_ << " bytes verified, "
              << damaged_ << " damaged" << std::endl;
    if (interruption::received()) return report("verify", {interrupted, "interrupted"});
    if (damaged_ > 0) return wrong_digest;
    return has_error_ ? local_error : done;
  }

 private:
  std::mutex mutex_;
  std::uint64_t files_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t damaged_ = 0;
  bool has_error_ = false;
};

template <filexfer::hasher Hasher>
void verify_files(const server_settings& settings, findings& found) {
  filexfer::directory_store_options options;
  // What interrupted uploads left is for the servers on this folder to remove.
  options.partial_age = std::chrono::seconds::max();
  options.max_partial_size = std::numeric_limits<std::uint64_t>::max();
  server_log log{settings.format_of_log, settings.log_rate};
  if (!settings.quiet) options.log = [&log](std::string_view text) { log.report(text); };
  const filexfer::directory_store<Hasher> store{settings.store, options};
  std::vector<std::jthread> threads;
  for (std::size_t part = 0; part < settings.threads; ++part) {
    threads.emplace_back([&, part] {
      filexfer::verify_options how;
      how.should_stop = interruption::received;
      how.parts = settings.threads;
      how.part = part;
      std::error_code ec;
      const auto totals = store.verify(
          how, [&](const auto& file) { found.add(file); }, ec);
      found.add(settings.store, totals, ec);
    });
  }
}

}  // namespace

exit_code verify(const server_settings& settings) try {
  interruption::watch();
  const interruption::interruptible scope;
  std::error_code ec;
  if (!std::filesystem::is_directory(settings.store, ec)) {
    return report(settings.store, {local_error, "is not a folder"});
  }
  findings found;
  const auto& digest = settings.verified_digest;
  if (digest.empty() || digest == filexfer::md5::name()) {
    verify_files<filexfer::md5>(settings, found);
  }
  if (digest.empty() || digest == filexfer::sha256::name()) {
    verify_files<filexfer::sha256>(settings, found);
  }
  return flush_output(found.end());
} catch (const std::system_error& e) {
  return report(e.what(), {local_error, "can't be used as a store"});
}

}  // namespace programs
