#ifndef PROGRAMS_FAILURE_HPP
#define PROGRAMS_FAILURE_HPP

/// \file
/// What went wrong, to what, what to do about it, and how the program then ends.

#include <filexfer/transfer_types.hpp>

#include <exception>
#include <string>
#include <string_view>
#include <system_error>

namespace programs {

/// How the programs end.
enum exit_code : int {
  done = 0,
  wrong_digest = 1,  ///< What arrived is not what was sent.
  wrong_usage = 2,
  refused = 3,     ///< The server said no.
  broken = 4,      ///< The connection failed or broke, or the peer broke the protocol.
  local_file = 5,  ///< A file or a store on this side could not be read or written.
  interrupted = 130
};

struct failure {
  exit_code code = done;
  std::string text;
};

/// A file of this side could not be read or written.
failure explain_local(std::error_code ec);

/// An entry below a folder can't be sent; or it is skipped, which is no failure.
failure explain_entry(std::error_code ec);

/// A transfer, or whatever else was asked of the server, has failed. `server` is its address, or
/// empty if a command leads there.
failure explain(const filexfer::transfer_failure& why, std::string_view server);

/// The same in the middle of a sentence: without what to do about it.
std::string cause(const filexfer::transfer_failure& why, std::string_view server);

/// A line that says it: `subject: text`.
std::string message(std::string_view subject, const failure& what);

/// Says it on stderr. Returns the code.
exit_code report(std::string_view subject, const failure& what);

/// How a program ends that would end with `code`, once all is said on standard output.
exit_code after_output(exit_code code);

/// Runs a program: what it could not cope with ends it with a message, not with a trace.
template <class Run>
int guarded(std::string_view program, Run run) {
  try {
    return run();
  } catch (const std::exception& e) {
    return report(program, {local_file, e.what()});
  }
}

}  // namespace programs

#endif
