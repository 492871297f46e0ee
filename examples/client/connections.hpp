#ifndef PROGRAMS_CLIENT_CONNECTIONS_HPP
#define PROGRAMS_CLIENT_CONNECTIONS_HPP

/// \file
/// A job's files over as many connections as the user wants.

#include "client/file_queue.hpp"
#include "client/jobs.hpp"
#include "client/retries.hpp"
#include "common/process.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

namespace programs {

/// Takes files from a queue and moves them over one connection, and over others while the server
/// takes them.
///
/// A connection that can't be had, or is lost for good, leaves its files to those that there are.
/// The first comes again when the others have ended: only if it can't connect then is the server
/// taken to be gone.
///
/// A `Mover` moves files:
/// - `move(at, some)`: those that `some.next()` gives, in one operation, as far as that comes.
/// Those
///   whose end is known it has told or handed to `some.failed`; the others are in flight. Returns
///   the attempt at the first of them.
/// - `move(at, file, made)`: one, by however many attempts, of which `made` was the first, if there
///   was any. Returns the last.
template <class File, class Mover>
class connections {
 public:
  connections(workplace& first, file_queue<File>& files, Mover& mover)
      : first_{first}, files_{files}, mover_{mover} {}

  /// Returns why there is no server any more, if that has left files untried.
  failure run() {
    const interruption::interruptible scope;
    find_descriptors();
    const failure gone = first_.chosen.parallel > 1 ? work_with_others() : work_alone();
    if (gone.code == done) return {};
    while (const auto rest = files_.take_back()) files_.tell(*rest, {gone}, first_.say);
    return gone;
  }

 private:
  failure work_alone() {
    batch<File> mine{files_, first_.say};
    return mine.fetch() ? work(first_, mine) : failure{};
  }

  failure work_with_others() {
    {
      std::vector<std::jthread> others;
      batch<File> mine{files_, first_.say};  // gives back what is left before the others end
      if (!mine.fetch()) return {};
      const attempt begun = connect_with_retries(first_, mine.subject());
      if (!begun.was_connected) return begun.why;
      while (others.size() + 1 < first_.chosen.parallel) others.emplace_back([this] { help(); });
      work(first_, mine);
    }
    return work_alone();
  }

  /// Another connection's thread.
  void help() {
    try {
      batch<File> mine{files_, first_.say};
      if (!mine.fetch()) return;
      workplace at{first_.chosen, first_.say, first_.moved, first_.known};
      failure none = at.server.connect();
      if (none.code == done) none = work(at, mine);
      if (none.code != done) tell_of_loss(none);
    } catch (const std::exception& e) {
      tell_of_loss({local_file, e.what()});
    }
  }

  /// Why it has not dealt with all files, if the connection was lost.
  failure work(workplace& at, batch<File>& mine) {
    for (std::size_t most = first_batch(); mine.fetch(); most = std::min(2 * most, most_)) {
      const attempt begun = connect_with_retries(at, mine.subject());
      if (!begun.was_connected && !interruption::came()) return begun.why;
      mine.begin(most);
      attempt ended = begun;
      if (begun.was_connected) ended = mover_.move(at, mine);
      mine.end(ended);
      while (auto pending = mine.pending()) {
        auto& [file, made] = *pending;
        const attempt last = mover_.move(at, *file, std::move(made));
        if (!last.was_connected && !interruption::came()) {
          files_.give_back(std::move(file));
          return last.why;
        }
        if (last.why.code != done) files_.tell(*file, last, at.say);
      }
    }
    return {};
  }

  /// Where several share the files, one begins with few: the others shall have some, too.
  std::size_t first_batch() const { return first_.chosen.parallel > 1 ? 1 : most_; }

  /// Files that are in flight are open, on each connection, beside what it needs itself.
  void find_descriptors() {
    constexpr std::size_t most_alone = 1024;
    constexpr std::size_t most_shared = 64;
    constexpr std::size_t others = 32;
    const std::size_t parallel = first_.chosen.parallel;
    most_ = parallel > 1 ? most_shared : most_alone;
    const std::size_t each = take_descriptors(2 * parallel * (most_ + others)) / (2 * parallel);
    most_ = std::clamp(each, others + 1, most_ + others) - others;
  }

  void tell_of_loss(const failure& why) {
    if (interruption::came() || told_of_loss_.exchange(true)) return;
    first_.say.report("--parallel", {done, "goes on with fewer connections: " + why.text});
  }

  workplace& first_;
  file_queue<File>& files_;
  Mover& mover_;
  std::size_t most_ = 1;  ///< Files of one operation.
  std::atomic<bool> told_of_loss_{false};
};

}  // namespace programs

#endif
