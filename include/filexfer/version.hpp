#ifndef FILEXFER_VERSION_HPP
#define FILEXFER_VERSION_HPP

/// \file
/// The version of the library, for `#if`. The build reads it from here, so this is the only place.

/// Grows when code that uses the library has to change.
#define FILEXFER_VERSION_MAJOR 0
/// Grows with what is new; while the major version is 0, also when users' code has to change.
#define FILEXFER_VERSION_MINOR 1
/// Grows with what is mended.
#define FILEXFER_VERSION_PATCH 0

/// One number to compare: 10203 is version 1.2.3.
#define FILEXFER_VERSION \
  (FILEXFER_VERSION_MAJOR * 10000 + FILEXFER_VERSION_MINOR * 100 + FILEXFER_VERSION_PATCH)

#endif
