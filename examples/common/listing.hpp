#ifndef PROGRAMS_LISTING_HPP
#define PROGRAMS_LISTING_HPP

/// \file
/// A server's list, as people and other programs read it.

#include <filexfer/protocol.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace programs {

/// An entry of a server's list, whatever its digest.
struct listed {
  template <class Digest>
  explicit listed(const filexfer::file_info<Digest>& file)
      : id{file.id.to_string()}, name{file.name}, size{file.size}, modified{file.modified} {}

  std::string id;
  std::string name;
  std::uint64_t size;
  std::optional<filexfer::file_time> modified;
};

/// What `md5sum -c` reads: a `\` before the line where the name holds what has to be escaped.
std::string md5sum_line(const listed& file);

/// A line a file, by name, for a terminal.
std::string table(std::vector<listed> files);

}  // namespace programs

#endif
