// A program of two translation units that both include everything. It does not link if a header
// lacks an `inline`, and fails if the two see different objects.

#include "other.hpp"

#include <filexfer/filexfer.hpp>

#include <system_error>

int main() {
  const bool same_category = other_category() == &filexfer::error_category();
  const std::error_code error = filexfer::errc::not_found;
  const bool same_digest = other_digest() == filexfer::md5{}.finish();
  return same_category && error == other_error() && same_digest ? 0 : 1;
}
