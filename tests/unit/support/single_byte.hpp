#ifndef FILEXFER_TESTS_SUPPORT_SINGLE_BYTE_HPP
#define FILEXFER_TESTS_SUPPORT_SINGLE_BYTE_HPP

#include <string>

namespace test {

// A string of the one byte `value`, which is below 256.
inline std::string byte(int value) { return {static_cast<char>(value)}; }

}  // namespace test

#endif
