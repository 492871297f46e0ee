#ifndef FILEXFER_VERIFICATION_HPP
#define FILEXFER_VERIFICATION_HPP

/// \file
/// The options and results of `directory_store::verify` and `rados_store::verify`.

#include <filexfer/entry.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <system_error>

namespace filexfer {

/// Options of `verify`.
struct verify_options {
  /// Most bytes that are read per second; 0 for no limit.
  std::uint64_t max_rate = 0;
  /// Whether to end. Called by the verifying thread after each chunk, and while it waits for
  /// `max_rate` or a lock, many times a second.
  std::function<bool()> should_stop{};
  /// The files are divided by their ids into so many parts, for as many threads or processes.
  std::size_t parts = 1;
  /// The part to verify, below `parts`.
  std::size_t part = 0;
};

/// What `verify` found a stored file to be.
enum class stored_state {
  intact,     ///< Its bytes hash to its id.
  damaged,    ///< They do not.
  unreadable  ///< They can't be read.
};

/// A stored file that was verified.
///
/// \tparam Digest  The digest that is its id.
template <class Digest>
struct verified_file {
  file_info<Digest> info;                     ///< Its entry, under one of its names.
  stored_state state = stored_state::intact;  ///< What it was found to be.
  /// Why it could not be read, or could not be set aside and is still listed.
  std::error_code error{};
};

/// The totals of a verification.
struct verify_totals {
  std::uint64_t files = 0;       ///< Files that were verified, each once, whatever its names.
  std::uint64_t bytes = 0;       ///< Their bytes.
  std::uint64_t damaged = 0;     ///< Those of them that were damaged.
  std::uint64_t unreadable = 0;  ///< Those of them that could not be read.
};

}  // namespace filexfer

#endif
