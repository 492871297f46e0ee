#ifndef PROGRAMS_FAILURE_HPP
#define PROGRAMS_FAILURE_HPP

/// \file
/// What went wrong, to what, what to do about it, and how the program then ends.

#include "common/exit_code.hpp"

#include <filexfer/results.hpp>

#include <exception>
#include <string>
#include <string_view>
#include <system_error>

namespace programs {

struct failure {
  exit_code code = done;
  std::string text;
  bool may_pass = false;  ///< Another try can succeed.
};

/// What is said of a connection that failed.
inline constexpr const char* trying_again_is_safe = "; trying again is safe";

/// A file of this side could not be read or written.
failure explain_local(std::error_code ec);

/// The same, or it was the interruption that ended it.
failure explain_here(std::error_code ec);

/// An operation with the server failed, of which `reply` was the last line, escaped.
failure explain(std::error_code ec, filexfer::failure_origin origin, const std::string& reply);

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
