#ifndef FILEXFER_VERSION_HPP
#define FILEXFER_VERSION_HPP

/// \file
/// The version of the library, for `#if`. The only definition: the build reads it from here.

/// Incremented when users' code has to change.
#define FILEXFER_VERSION_MAJOR 0
/// Incremented for new features; while the major version is 0, also when users' code has to change.
#define FILEXFER_VERSION_MINOR 1
/// Incremented for fixes.
#define FILEXFER_VERSION_PATCH 0

/// The version as one number to compare: 10203 is version 1.2.3.
#define FILEXFER_VERSION \
  (FILEXFER_VERSION_MAJOR * 10000 + FILEXFER_VERSION_MINOR * 100 + FILEXFER_VERSION_PATCH)

#endif
