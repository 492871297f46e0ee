#ifndef PROGRAMS_FAILURE_HPP
#define PROGRAMS_FAILURE_HPP

/// \file
/// The programs' error messages and exit codes.

#include <filexfer/transfer_types.hpp>

#include <exception>
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

/// Explains why an entry of a folder can't be sent, or is skipped; the latter with the code `done`.
failure explain_entry(std::error_code ec);

/// Explains why a transfer, or another request to the server, failed. `server` is the server's
/// address; empty if the connection is a command's pipe.
failure explain(const filexfer::transfer_failure& why, std::string_view server);

/// As `explain`, but only the text, without "trying again is safe".
std::string cause(const filexfer::transfer_failure& why, std::string_view server);

/// Returns the line `subject: text`.
std::string format_message(std::string_view subject, const failure& failure);

/// Prints the message on stderr. Returns the code.
exit_code report(std::string_view subject, const failure& failure);

/// Flushes standard output. Returns `code`, or `local_error` if all else succeeded but this failed.
exit_code flush_output(exit_code code);

/// Runs a program. An exception that escapes is reported and becomes the exit code.
template <class Run>
int run_guarded(std::string_view program, Run run) {
  try {
    return run();
  } catch (const std::exception& e) {
    return report(program, {local_error, e.what()});
  }
}

}  // namespace programs

#endif
