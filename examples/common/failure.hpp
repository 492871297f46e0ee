#ifndef PROGRAMS_FAILURE_HPP
#define PROGRAMS_FAILURE_HPP

/// \file
/// The programs' error messages and exit codes.

#include <filexfer/transfer_types.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace programs {

/// Exit codes of the programs.
enum exit_code : int {
  done = 0,
  wrong_digest = 1,  ///< The bytes that arrived are not those that were sent.
  wrong_usage = 2,
  refused = 3,           ///< The server refused.
  connection_error = 4,  ///< The connection failed or broke, or the peer broke the protocol.
  local_error = 5,       ///< A file or a store on this side could not be read or written.
  interrupted = 130
};

/// A message, and the exit code that goes with it.
struct failure {
  exit_code code = done;
  std::string text;
};

/// Explains why a local file could not be read or written.
failure explain_local(std::error_code ec);

/// As `explain_local`, of a file that was to be sent.
failure explain_source(const std::filesystem::path& path, std::error_code ec);

/// As `explain_local`, of a file that was to be written.
failure explain_target(const std::filesystem::path& path, std::error_code ec);

/// Whether a file could not be opened as it is not a regular one.
bool is_not_regular(std::error_code ec);

/// Explains why an entry of a folder can't be sent, or is skipped; the latter with the code `done`.
failure explain_entry(std::error_code ec);

/// Explains why a transfer, or another request to the server, failed. `server` is the server's
/// address; empty if the connection is a command's pipe.
failure explain(const filexfer::transfer_failure& why, std::string_view server);

/// As `explain`, but only the text, without "it is safe to retry".
std::string cause(const filexfer::transfer_failure& why, std::string_view server);

/// Returns the line `subject: text`.
std::string format_message(std::string_view subject, const failure& failure);

/// Prints the message on stderr. Returns the code.
exit_code report(std::string_view subject, const failure& failure);

/// Flushes standard output. Returns `code`, or `local_error` if all else succeeded but this failed.
exit_code flush_output(exit_code code);

}  // namespace programs

#endif
