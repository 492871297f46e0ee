#ifndef FILEXFER_PUBLICATION_HPP
#define FILEXFER_PUBLICATION_HPP

/// \file
/// Publishing many complete files with few flushes: what a journaling file system has to flush for
/// several, it does at once.

#include <filexfer/detail/posix/descriptor.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <map>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace filexfer {

/// What is left to do for a complete file until it is published, in steps. They are called in this
/// order; none after one that has failed, but `finish`, which is always called.
/// \snippet files.cpp publish_all
class publication {
 public:
  /// \return The descriptor of the file that is to be flushed before it gets a name; -1 if it need
  ///   not be.
  virtual int file() const noexcept = 0;

  /// Gives the file its name.
  /// \param ec  Cleared, or set to why it could not.
  virtual void publish(std::error_code& ec) = 0;

  /// Names the folders that are to be flushed then: the file's own, and those above it up to the
  /// last that may have changed.
  /// \param folders  Their descriptors are appended.
  virtual void append_folders(std::vector<int>& folders) const = 0;

  /// Ends the publication.
  /// \param ec  Set if a step has failed; may be replaced by a better error.
  virtual void finish(std::error_code& ec) = 0;

 protected:
  /// For derived classes.
  publication() = default;
  /// For derived classes.
  publication(const publication&) = default;
  /// For derived classes.
  /// \return This object.
  publication& operator=(const publication&) = default;
  virtual ~publication() = default;
};

namespace detail {

/// Flushes files or folders; `results` are as many. If one takes longer than `slow`, several are
/// flushed at once: a disk does so with little more work than for one.
inline void flush_all(std::span<const int> fds, std::span<std::error_code> results,
                      std::chrono::microseconds slow = std::chrono::microseconds{100}) {
  using clock = std::chrono::steady_clock;
  constexpr std::size_t most_threads = 8;
  // A single one may seem slow because the thread had to wait for a processor.
  const auto very_slow = 10 * slow;

  std::atomic<std::size_t> next{0};
  const auto flush_next = [&]() noexcept {
    const std::size_t i = next++;
    if (i >= fds.size()) return false;
    flush(fds[i], results[i]);
    return true;
  };
  clock::duration before{};
  for (auto begin = clock::now(); flush_next();) {
    const auto end = clock::now();
    const auto took = end - std::exchange(begin, end);
    if (took >= very_slow || (took >= slow && before >= slow)) break;
    before = took;
  }

  std::vector<std::thread> threads;
  const std::size_t left = fds.size() - std::min(next.load(), fds.size());
  threads.reserve(std::min(left, most_threads));
  try {
    // One of the flushes is left to this thread.
    while (threads.size() + 1 < std::min(left, most_threads)) {
      threads.emplace_back([&]() noexcept {
        while (flush_next()) continue;
      });
    }
  } catch (const std::exception&) {  // those that could be started do
  }
  while (flush_next()) continue;
  for (std::thread& thread : threads) thread.join();
}

/// Flushes the folders in `chains`, each once and after those below it. In a chain each folder is
/// in the next one. Returns the result for each.
inline std::map<int, std::error_code> flush_folders(std::span<const std::vector<int>> chains) {
  std::map<int, std::size_t> heights;  // above the top of the highest chain
  std::size_t highest = 0;
  for (const auto& chain : chains) {
    for (std::size_t i = 0; i < chain.size(); ++i) {
      auto& height = heights[chain[i]];
      height = std::max(height, chain.size() - i);
    }
    highest = std::max(highest, chain.size());
  }
  std::map<int, std::error_code> results;
  std::vector<int> fds;
  std::vector<std::error_code> flushed;
  for (; highest > 0; --highest) {
    fds.clear();
    for (const auto& [fd, height] : heights) {
      if (height == highest) fds.push_back(fd);
    }
    flushed.assign(fds.size(), {});
    flush_all(fds, flushed);
    for (std::size_t i = 0; i < fds.size(); ++i) results[fds[i]] = flushed[i];
  }
  return results;
}

/// As `publish_all`, of files whose type has the functions of a `publication`.
template <class Publication>
void publish_in_phases(std::span<Publication* const> files, std::span<std::error_code> errors) {
  std::vector<int> fds;
  std::vector<std::size_t> owners;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (errors[i] || files[i]->file() < 0) continue;
    fds.push_back(files[i]->file());
    owners.push_back(i);
  }
  std::vector<std::error_code> flushed(fds.size());
  flush_all(fds, flushed);
  for (std::size_t i = 0; i < owners.size(); ++i) errors[owners[i]] = flushed[i];
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (!errors[i]) files[i]->publish(errors[i]);
  }

  std::vector<std::vector<int>> folders(files.size());
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (!errors[i]) files[i]->append_folders(folders[i]);
  }
  const auto results = flush_folders(folders);
  for (std::size_t i = 0; i < files.size(); ++i) {
    for (const int folder : folders[i]) {
      if (!errors[i]) errors[i] = results.at(folder);
    }
    files[i]->finish(errors[i]);
  }
}

}  // namespace detail

/// Publishes complete files in phases: first all are flushed, several at once, then all get their
/// names, then each of their folders is flushed once, after those below it.
/// \snippet files.cpp publish_all
/// \param files  What is left to do for each.
/// \param errors  As many; each is set if that file could not be published. Of a file whose error
///   is set already only `finish` is called.
inline void publish_all(std::span<publication* const> files, std::span<std::error_code> errors) {
  detail::publish_in_phases(files, errors);
}

/// As `publish_all`, of one file.
/// \snippet files.cpp publish_all
/// \param file  What is left to do.
/// \param ec  Cleared before the call; set if the file could not be published.
inline void publish(publication& file, std::error_code& ec) {
  publication* const one = &file;
  publish_all({&one, 1}, {&ec, 1});
}

}  // namespace filexfer

#endif
