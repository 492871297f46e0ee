#ifndef PROGRAMS_SANDBOX_HPP
#define PROGRAMS_SANDBOX_HPP

/// \file
/// What filexfer-server gives up once everything is open, so that a defect in it, exploited by a
/// client, does not reach further.

#include "common/server_settings.hpp"

#include <string>

namespace programs {

/// Lets this process, on Linux with Landlock, touch nothing any more but
/// - the store's folder;
/// - the folders of the certificate, the key and the clients' authorities, to read them again, and
///   the folders that they are symbolic links to;
/// - the folders of its Unix sockets, to remove these at the end;
/// - `/dev/null` and `/dev/urandom`;
/// and no program that it would start can gain privileges. Capabilities are kept: as root it could
/// otherwise lose access to the files of a store.
///
/// Must be called before the first thread is started: others are not restricted. Those of librados
/// have been by then; they read and write what the cluster says, and not what clients do.
///
/// Returns why there is no sandbox; empty if there is one. Throws `std::system_error` if the kernel
/// has Landlock, but it can't be used.
std::string enter_sandbox(const server_settings& settings);

}  // namespace programs

#endif
