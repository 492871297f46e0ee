// Two translation units that include everything make one program: whatever a header forgets to mark
// `inline` fails to link, and what both of them see is one and the same.

#include "other.hpp"

#include <filexfer/filexfer.hpp>

#include <system_error>

int main() {
  const bool one_category = other_category() == &filexfer::error_category();
  const std::error_code refused = filexfer::errc::not_found;
  const bool one_digest = other_digest() == filexfer::md5{}.finish();
  return one_category && refused == other_error() && one_digest ? 0 : 1;
}
