#ifndef PROGRAMS_CLIENT_FILE_QUEUE_HPP
#define PROGRAMS_CLIENT_FILE_QUEUE_HPP

/// \file
/// A job's files, and who has them.

#include "client/jobs.hpp"
#include "client/retries.hpp"
#include "common/interruption.hpp"
#include "common/reporter.hpp"

#include <filexfer/results.hpp>

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace programs {

/// Whether looking for a file may take as long as somebody else likes, as with standard input.
/// While an operation is under way, the server would not.
enum class patience { any, little };

/// A job's files, which several connections take one after the other.
///
/// A `File` has `subject()`, what messages call it, and `place`, which is set here.
template <class File>
class file_queue {
 public:
  /// Finds the next file; null at the end, or if that needs more patience. Called by one thread at
  /// a time.
  using finder = std::function<std::unique_ptr<File>(patience)>;

  explicit file_queue(finder find) : find_{std::move(find)} {}

  /// The next file for one who has time; null if there is none, or after an interruption.
  std::unique_ptr<File> next(patience how_long) {
    if (interruption::came()) return nullptr;
    if (auto file = take_back()) return file;
    const std::lock_guard lock{mutex_};
    ++place_;
    auto file = find_(how_long);
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

  /// Says and notes that a file has failed.
  void tell(const File& file, const attempt& last, reporter& say) {
    const exit_code code = say.report(last.subject.value_or(file.subject()), last.why);
    const std::lock_guard lock{mutex_};
    note(file.place, code);
  }

  /// Notes a failure of what was found in place of a file; for the finder.
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

/// The files that one connection has in hand, of which it moves some in one operation. Those that
/// are left at its end go back to the queue.
///
/// The operation may call `next` and `sent` on another thread than the rest.
template <class File>
class batch {
 public:
  /// A file that goes on by itself, and how an attempt at it ended, if there was one.
  struct single {
    std::unique_ptr<File> file;
    std::optional<attempt> made;
  };

  batch(file_queue<File>& files, reporter& say) : files_{files}, say_{say} {}
  batch(const batch&) = delete;
  batch& operator=(const batch&) = delete;
  ~batch() {
    for (auto& one : singles_) files_.give_back(std::move(one.file));
    for (auto& file : in_flight_) files_.give_back(std::move(file));
    for (auto& file : waiting_) files_.give_back(std::move(file));
  }

  /// Whether there is a file: one that waits here, else the queue's next.
  bool fetch(patience how_long = patience::any) {
    if (!waiting_.empty()) return true;
    auto file = files_.next(how_long);
    if (file) waiting_.push_back(std::move(file));
    return !waiting_.empty();
  }

  /// What the next one is called.
  const std::string& subject() const { return waiting_.front()->subject(); }

  /// An operation begins, for so many files at most.
  void begin(std::size_t most) noexcept {
    room_ = most;
    has_answers_ = false;
  }

  /// The next file for it; null once it has all.
  std::unique_ptr<File> next() {
    if (room_ == 0 || !fetch(patience::little)) return nullptr;
    --room_;
    auto file = std::move(waiting_.front());
    waiting_.pop_front();
    return file;
  }

  /// The operation needs no more files.
  void suffices() noexcept { room_ = 0; }

  /// It is on its way; results come in that order.
  void sent(std::unique_ptr<File> file) {
    const std::lock_guard lock{mutex_};
    in_flight_.push_back(std::move(file));
  }

  /// The first on its way, whose result has come.
  std::unique_ptr<File> answered() {
    const std::lock_guard lock{mutex_};
    auto file = std::move(in_flight_.front());
    in_flight_.pop_front();
    has_answers_ = true;
    return file;
  }

  /// Whether the operation had a result.
  bool has_answers() const noexcept { return has_answers_; }

  /// It waits for the next operation, before all others.
  void wait(std::unique_ptr<File> file) { waiting_.push_front(std::move(file)); }

  /// An attempt at a file has failed: it is told, or goes on by itself if it may.
  void failed(std::unique_ptr<File> file, attempt made) {
    if (!made.why.may_pass) files_.tell(*file, made, say_);
    else singles_.push_back({std::move(file), std::move(made)});
  }

  /// A file has to be moved by itself.
  void alone(std::unique_ptr<File> file) { singles_.push_back({std::move(file), std::nullopt}); }

  /// The operation has ended: `how`, if anything is still on its way. That was an attempt at the
  /// first of it; the rest waits.
  void end(const attempt& how) {
    while (!in_flight_.empty()) {
      waiting_.push_front(std::move(in_flight_.back()));
      in_flight_.pop_back();
    }
    if (how.why.code == done || waiting_.empty()) return;
    singles_.push_back({std::move(waiting_.front()), how});
    waiting_.pop_front();
  }

  /// One that goes on by itself.
  std::optional<single> pending() {
    if (singles_.empty()) return std::nullopt;
    single one = std::move(singles_.front());
    singles_.pop_front();
    return one;
  }

 private:
  file_queue<File>& files_;
  reporter& say_;
  std::size_t room_ = 0;
  bool has_answers_ = false;
  std::deque<std::unique_ptr<File>> waiting_;
  std::deque<single> singles_;
  std::mutex mutex_;
  std::deque<std::unique_ptr<File>> in_flight_;
};

/// How an operation for `some` ended. After a failure on this side it is that of a file which has
/// been told of, and of no other.
template <class Client, class File>
attempt how_it_ended(workplace& at, Client& client, std::error_code ec, const batch<File>& some) {
  const bool here = client.last_failure() == filexfer::failure_origin::local;
  if (!ec || (here && some.has_answers() && !interruption::came())) return {};
  return {at.server.explain(ec)};
}

}  // namespace programs

#endif
