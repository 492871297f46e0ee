#ifndef PROGRAMS_LISTING_HPP
#define PROGRAMS_LISTING_HPP

/// \file
/// A server's list, as people and other programs read it.

#include <filexfer/md5.hpp>
#include <filexfer/protocol.hpp>

#include <string>
#include <vector>

namespace programs {

using digest = filexfer::md5::digest_type;
using file_info = filexfer::file_info<digest>;

/// What `md5sum -c` reads: a `\` before the line where the name holds what has to be escaped.
std::string md5sum_line(const file_info& file);

/// A line a file, by name, for a terminal.
std::string table(std::vector<file_info> files);

}  // namespace programs

#endif
