#ifndef FILEXFER_TESTS_SUPPORT_STORE_REQUIREMENT_HPP
#define FILEXFER_TESTS_SUPPORT_STORE_REQUIREMENT_HPP

// A requirement of the contract of a store, and its violations, which are collected by `EXPECT`.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace test {

using violations = std::vector<std::string>;

#define EXPECT(condition)                                                                    \
  do {                                                                                       \
    if (!(condition)) wrong.push_back("line " + std::to_string(__LINE__) + ": " #condition); \
  } while (false)

template <class Store>
struct store_requirement {
  std::string_view sentence;
  void (*check)(Store&, violations&);
};

/// Quota, in bytes, of the stores under test.
inline constexpr std::uint64_t test_quota = 64u << 20;

}  // namespace test

#endif
