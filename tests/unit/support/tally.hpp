#ifndef FILEXFER_TESTS_SUPPORT_TALLY_HPP
#define FILEXFER_TESTS_SUPPORT_TALLY_HPP

// Counts violations of what must hold. Nothing asserts, so that a test can also show that a broken
// store or a broken hasher is found.

#include "support/allocations.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace test {

/// The results of a sweep.
struct tally {
  std::size_t sessions = 0;
  std::size_t violations = 0;
  std::map<std::string, std::size_t> kinds;  ///< Violations of each kind.
  std::vector<std::string> examples;         ///< Descriptions of the first three of each kind.

  void add_violation(const std::string& kind, const std::string& details) {
    ++violations;
    if (++kinds[kind] <= 3) examples.push_back(kind + ": " + details);
  }

  std::string summary() const {
    std::string all;
    for (const auto& example : examples) all += example + '\n';
    return all;
  }
};

/// Checks that as many allocations are live at its destruction as at its construction. Skipped if
/// there are other violations.
class leak_check {
 public:
  explicit leak_check(tally& counts) noexcept : counts_{counts} {}
  leak_check(const leak_check&) = delete;
  leak_check& operator=(const leak_check&) = delete;
  ~leak_check() {
    const auto leaked = live_allocations() - before_;
    if (counts_.violations == 0 && leaked != 0) {
      counts_.add_violation("memory", std::to_string(leaked) + " allocations are left");
    }
  }

 private:
  tally& counts_;
  std::ptrdiff_t before_ = live_allocations();
};

}  // namespace test

#endif
