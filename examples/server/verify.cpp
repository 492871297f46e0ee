#include "server/verify.hpp"

#include "common/interruption.hpp"
#include "common/log.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/sha256.hpp>
#include <filexfer/verification.hpp>
#ifdef PROGRAMS_WITH_RADOS
#include "server/pool.hpp"
#endif

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <limits>
#include <mutex>
#include <optional>
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

template <class Store>
void verify_files(const server_settings& settings, const Store& store, findings& found) {
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

template <filexfer::hasher Hasher>
void verify_folder(const server_settings& settings, findings& found) {
  filexfer::directory_store_options options;
  // What interrupted uploads left is for the servers on this folder to remove.
  options.partial_age = std::chrono::seconds::max();
  options.max_partial_size = std::numeric_limits<std::uint64_t>::max();
  server_log log{settings.format_of_log, settings.log_rate};
  options.log = reports_to(log, settings);
  const filexfer::directory_store<Hasher> store{settings.store, options};
  verify_files(settings, store, found);
}

#ifdef PROGRAMS_WITH_RADOS
/// Returns nothing if the ids of the files there are other digests, else the exit code.
template <filexfer::hasher Hasher>
std::optional<exit_code> verify_pool(const server_settings& settings, findings& found) {
  server_log log{settings.format_of_log, settings.log_rate};
  filexfer::rados_store_options options = pool_options(settings, log);
  options.make_index = false;
  std::error_code ec;
  const filexfer::rados_store<Hasher> store{options, ec};
  if (ec == filexfer::errc::wrong_digest_kind) return std::nullopt;
  if (ec) return report(settings.store, {local_error, explain_pool(ec)});
  verify_files(settings, store, found);
  return found.end();
}
#endif

}  // namespace

exit_code verify(const server_settings& settings) try {
  interruption::watch();
  const interruption::interruptible scope;
  findings found;
  const auto& digest = settings.verified_digest;
  const bool takes_md5 = digest.empty() || digest == filexfer::md5::name();
  const bool takes_sha256 = digest.empty() || digest == filexfer::sha256::name();
#ifdef PROGRAMS_WITH_RADOS
  if (settings.pool) {  // its ids are digests of one kind
    std::optional<exit_code> ended;
    if (takes_md5) ended = verify_pool<filexfer::md5>(settings, found);
    if (!ended && takes_sha256) ended = verify_pool<filexfer::sha256>(settings, found);
    if (!ended) return report(settings.store, {local_error, "has ids of another digest"});
    return flush_output(*ended);
  }
#endif
  std::error_code ec;
  if (!std::filesystem::is_directory(settings.store, ec)) {
    return report(settings.store, {local_error, "is not a folder"});
  }
  if (takes_md5) verify_folder<filexfer::md5>(settings, found);
  if (takes_sha256) verify_folder<filexfer::sha256>(settings, found);
  return flush_output(found.end());
} catch (const std::system_error& e) {
  return report(e.what(), {local_error, "can't be used as a store"});
}

}  // namespace programs
