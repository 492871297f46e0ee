#ifndef FILEXFER_TESTS_ALLOCATIONS_HPP
#define FILEXFER_TESTS_ALLOCATIONS_HPP

#include <cstddef>

namespace tests {

/// Calls of `new` less those of `delete` on this thread, which may have freed what another took.
/// Defined beside this program's `new`, in out_of_memory.cpp.
std::ptrdiff_t live_allocations() noexcept;

}  // namespace tests

#endif
