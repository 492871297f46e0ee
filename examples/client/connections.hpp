#ifndef PROGRAMS_CLIENT_CONNECTIONS_HPP
#define PROGRAMS_CLIENT_CONNECTIONS_HPP

/// \file
/// A job's files over as many connections as the user wants.

#include "client/jobs.hpp"
#include "client/retries.hpp"
#include "common/process.hpp"

#include <atomic>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace programs {

/// A job's files, which several connections take one after the other.
///
/// A `File` has `subject()`, what messages call it, and `place`, which is set here.
template <class File>
class file_queue {
 public:
  /// Finds the next file; null at the end. Called by one thread at a time.
  using finder = std::function<std::unique_ptr<File>()>;

  explicit file_queue(finder find) : find_{std::move(find)} {}

  /// The next file for one who has time; null if there is none, or after an interruption.
  std::unique_ptr<File> next() {
    if (interruption::came()) return nullptr;
    if (auto file = take_back()) return file;
    const std::lock_guard lock{mutex_};
    ++place_;
    auto file = find_();
    if (file) file->place = place_;
    return file;
  }

  /// Somebody else has to take it.
  void give_back(std::unique_ptr<File> file) {
    const std::lock_guard lock{mutex_};
    given_back_.push_back(std::move(file));
  }

  /// One that was given back; null if there is none.
  std::unique_ptr<File> take_back() {
    const std::lock_guard lock{mutex_};
    if (given_back_.empty()) return nullptr;
    auto file = std::move(given_back_.front());
    given_back_.pop_front();
    return file;
  }

  /// Notes how a file ended.
  void note(const File& file, exit_code code) {
    const std::lock_guard lock{mutex_};
    note(file.place, code);
  }

  /// The same for something that was found in place of a file; for the finder.
  void note(exit_code code) { note(place_, code); }

  /// The first failure's, in the order of the files.
  exit_code code() const {
    const std::lock_guard lock{mutex_};
    return interruption::came() ? interrupted : code_;
  }

 private:
  void note(std::size_t place, exit_code code) {
    if (code == done || (code_ != done && failed_ <= place)) return;
    code_ = code;
    failed_ = place;
  }

  finder find_;
  mutable std::mutex mutex_;
  std::deque<std::unique_ptr<File>> given_back_;
  std::size_t place_ = 0;
  exit_code code_ = done;
  std::size_t failed_ = 0;  ///< The place of the file that `code_` is from.
};

/// Takes files from a queue and has `transfer(at, file)`, which returns the last `attempt`, deal
/// with each, over one connection, and over others while the server takes them.
///
/// A connection that can't be had, or is lost for good, leaves its file to those that there are.
/// The first comes again when the others have ended: only if it can't connect then is the server
/// taken to be gone.
template <class File, class Transfer>
class connections {
 public:
  connections(workplace& first, file_queue<File>& files, Transfer transfer)
      : first_{first}, files_{files}, transfer_{std::move(transfer)} {}

  /// Returns why there is no server any more, if that has left files untried.
  failure run() {
    const interruption::interruptible scope;
    auto file = files_.next();
    if (!file) return {};
    const failure gone = first_.chosen.parallel > 1 ? work_with_others(file) : work(first_, file);
    if (gone.code == done) return {};
    files_.give_back(std::move(file));
    while (const auto rest = files_.take_back()) tell(rest->subject(), *rest, gone);
    return gone;
  }

 private:
  failure work_with_others(std::unique_ptr<File>& file) {
    const attempt begun = connect_with_retries(first_, file->subject());
    if (!begun.was_connected) return begun.why;
    {
      const std::vector<std::jthread> others = start_others();
      work(first_, file);
      if (file) files_.give_back(std::move(file));
    }
    file = files_.next();  // which they had to give back
    return work(first_, file);
  }

  std::vector<std::jthread> start_others() {
    take_all_descriptors();
    std::vector<std::jthread> others;
    while (others.size() + 1 < first_.chosen.parallel) others.emplace_back([this] { help(); });
    return others;
  }

  /// Another connection's thread.
  void help() {
    auto file = files_.next();
    if (!file) return;
    try {
      workplace at{first_.chosen, first_.say, first_.moved};
      failure none = at.server.connect();
      if (none.code == done) none = work(at, file);
      if (none.code != done) tell_of_loss(none);
    } catch (const std::exception& e) {
      tell_of_loss({local_file, e.what()});
    }
    if (file) files_.give_back(std::move(file));
  }

  /// Deals with files from this one on; why not with all, if the connection was lost. Then the file
  /// is left.
  failure work(workplace& at, std::unique_ptr<File>& file) {
    for (; file; file = files_.next()) {
      attempt last = connect_with_retries(at, file->subject());
      if (last.was_connected) last = transfer_(at, *file);
      if (!last.was_connected && !interruption::came()) return last.why;
      if (last.why.code != done) tell(last.subject.value_or(file->subject()), *file, last.why);
    }
    return {};
  }

  void tell(const std::string& subject, const File& file, const failure& why) {
    files_.note(file, first_.say.report(subject, why));
  }

  void tell_of_loss(const failure& why) {
    if (interruption::came() || told_of_loss_.exchange(true)) return;
    first_.say.report("--parallel", {done, "goes on with fewer connections: " + why.text});
  }

  workplace& first_;
  file_queue<File>& files_;
  Transfer transfer_;
  std::atomic<bool> told_of_loss_{false};
};

}  // namespace programs

#endif
