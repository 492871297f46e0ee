#ifndef FILEXFER_TESTS_SUPPORT_ALLOCATIONS_HPP
#define FILEXFER_TESTS_SUPPORT_ALLOCATIONS_HPP

#include <cstddef>

namespace test {

/// Calls of `new` minus calls of `delete` on this thread; negative if it freed other threads'
/// memory. Defined next to the program's replacement of `new`, in out_of_memory.cpp.
std::ptrdiff_t live_allocations() noexcept;

}  // namespace test

#endif
