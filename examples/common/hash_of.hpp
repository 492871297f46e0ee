#ifndef PROGRAMS_HASH_OF_HPP
#define PROGRAMS_HASH_OF_HPP

/// \file
/// The digest of a file on this side.

#include "common/interruption.hpp"

#include <filexfer/digest.hpp>
#include <filexfer/file.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <vector>

namespace programs {

/// Reads all of `file`, and goes back to its start. `errc::source_changed` if it changes meanwhile,
/// `ECANCELED` after an interruption.
template <filexfer::hasher Hasher>
typename Hasher::digest_type hash_of(filexfer::file_source& file, std::error_code& ec) {
  constexpr std::uint64_t most = std::uint64_t{256} * 1024;
  std::vector<std::byte> chunk(static_cast<std::size_t>(std::min(most, file.size())));
  Hasher hash;
  ec.clear();
  for (std::uint64_t left = file.size(); left > 0 && !ec;) {
    const std::size_t got = file.read(chunk, ec);
    hash.update(std::span{chunk}.first(got));
    left -= got;
    if (!ec && interruption::came()) ec = std::make_error_code(std::errc::operation_canceled);
  }
  if (!ec) file.check_unchanged(ec);
  if (!ec) file.seek(0, ec);
  return hash.finish();
}

}  // namespace programs

#endif
