#ifndef FILEXFER_TESTS_SUPPORT_SPARE_DESCRIPTORS_HPP
#define FILEXFER_TESTS_SUPPORT_SPARE_DESCRIPTORS_HPP

#include <cstddef>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

namespace test {

/// While it lives, this process can open so many descriptors and no more.
class spare_descriptors {
 public:
  explicit spare_descriptors(std::size_t count) {
    // The limit is one of their numbers, among which some may be taken: a process inherits any.
    std::vector<int> taken;
    for (std::size_t n = 0; n < count; ++n) taken.push_back(::dup(0));
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    few.rlim_cur = static_cast<rlim_t>(taken.back()) + 1;
    for (const int fd : taken) ::close(fd);
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  spare_descriptors(const spare_descriptors&) = delete;
  spare_descriptors& operator=(const spare_descriptors&) = delete;
  ~spare_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace test

#endif
