#ifndef PROGRAMS_SERVER_VERIFY_HPP
#define PROGRAMS_SERVER_VERIFY_HPP

#include "common/failure.hpp"
#include "common/server_settings.hpp"

namespace programs {

/// `filexfer-server verify`: hashes a folder's files again, and sets aside the damaged ones.
exit_code verify(const server_settings& settings);

}  // namespace programs

#endif
