#include "common/failure.hpp"

#include "common/interruption.hpp"

#include <filexfer/error.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/transfer.hpp>

#include <iostream>

namespace programs {

using filexfer::condition;
using filexfer::errc;
using filexfer::failure_origin;

failure explain_local(std::error_code ec) {
  if (ec == errc::bad_name) {
    return {wrong_usage, "this name can't be sent; --name gives the file another"};
  }
  if (ec == errc::file_exists) {
    return {local_file, "exists already, and was left as it is; --force replaces it"};
  }
  if (ec == errc::bad_size) return {local_file, "holds more octets than its size says"};
  if (ec == errc::short_source) return {local_file, "ended before its size was reached"};
  if (ec == errc::source_changed) {
    return {local_file, "changed while it was being sent; send it again"};
  }
  if (ec == std::errc::is_a_directory) return {local_file, "is a folder"};
  if (ec == std::errc::not_a_directory) return {local_file, "is no folder"};
  if (ec == std::errc::not_supported || ec == std::errc::operation_not_supported) {
    return {local_file, "is no regular file; use - for standard input or output"};
  }
  if (ec == std::errc::too_many_symbolic_link_levels) {
    return {local_file, "a symbolic link stands where a folder is to be; nothing was written"};
  }
  return {local_file, ec.message()};
}

namespace {

failure describe(std::error_code ec, failure_origin origin, const std::string& reply) {
  if (interruption::came()) return {interrupted, "interrupted; nothing half-done was left"};
  if (origin == failure_origin::local) return explain_local(ec);
  if (ec == condition::refused) {
    const std::string later = ec == condition::may_pass ? "; a later try can succeed" : "";
    return {ec == errc::mismatch ? wrong_digest : refused, "the server answered " + reply + later};
  }
  if (ec == errc::malformed_reply) {
    return {broken, "the other side does not speak the protocol; it said \"" + reply + '"'};
  }
  if (ec == errc::wrong_digest_kind) return {broken, ec.message()};
  return {broken, ec.message() + trying_again_is_safe};
}

}  // namespace

failure explain(std::error_code ec, failure_origin origin, const std::string& reply) {
  failure why = describe(ec, origin, reply);
  why.may_pass = filexfer::may_try_again(ec, origin);
  return why;
}

std::string message(std::string_view subject, const failure& what) {
  return (subject.empty() ? "\"\"" : filexfer::printable(subject)) + ": " + what.text + '\n';
}

failure explain_here(std::error_code ec) { return explain(ec, failure_origin::local, {}); }

exit_code report(std::string_view subject, const failure& what) {
  std::cerr << message(subject, what);
  return what.code;
}

exit_code after_output(exit_code code) {
  if (std::cout.flush() || code != done) return code;
  return report("standard output", {local_file, "could not be written"});
}

}  // namespace programs
