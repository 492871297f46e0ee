#include "common/failure.hpp"

#include "common/interruption.hpp"

#include <filexfer/error.hpp>
#include <filexfer/printable.hpp>

#include <iostream>

namespace programs {

using filexfer::condition;
using filexfer::errc;

failure explain_local(std::error_code ec) {
  if (ec == errc::bad_name) {
    return {wrong_usage, "this name can't be sent; --name gives the file another"};
  }
  if (ec == errc::file_exists) {
    return {local_file, "exists already, and was left as it is; --force replaces it"};
  }
  if (ec == errc::bad_size) return {local_file, "holds more bytes than its size says"};
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

failure explain_entry(std::error_code ec) {
  if (ec == errc::symbolic_link) {
    return {done, "is a symbolic link: skipped; --follow-links takes what it leads to"};
  }
  if (ec == errc::special_file) return {done, "is neither a file nor a folder: skipped"};
  if (ec == errc::folder_cycle) return {done, "leads back to a folder that it is in: skipped"};
  if (ec == errc::bad_name) {
    return {local_file, "can't be sent: names are UTF-8 of up to 255 bytes"};
  }
  return explain_local(ec);
}

namespace {

/// What is said of a connection that failed.
constexpr std::string_view trying_again_is_safe = "; trying again is safe";

failure explain_connecting(std::error_code ec, std::string_view server) {
  if (server.empty()) return {broken, "the command could not be started: " + ec.message()};
  const bool is_tls = server.starts_with("tls:");
  if (is_tls && ec == std::errc::invalid_argument) {
    return {broken, std::string{server} + ": no certificate can be for that host"};
  }
  const std::string_view category = ec.category().name();
  const bool is_refused = category == "filexfer.certificate";
  const bool is_plain = category == "asio.ssl";
  return {broken, "no connection to " + std::string{server} + ": " +
                      (is_refused ? "its certificate was refused: " : "") + ec.message() +
                      (is_refused ? "; --ca FILE says whose certificates to trust" : "") +
                      (is_plain ? "; it may be a server without TLS" : "")};
}

}  // namespace

failure explain(const filexfer::transfer_failure& why, std::string_view server) {
  using filexfer::transfer_phase;
  const std::error_code ec = why.error;
  if (interruption::came()) return {interrupted, "interrupted; nothing half-done was left"};
  if (why.origin == filexfer::failure_origin::local) return explain_local(ec);
  if (why.phase == transfer_phase::connecting) return explain_connecting(ec, server);
  const std::string said = '"' + why.reply + '"';
  if (why.end_reason && why.phase == transfer_phase::greeting) {  // a login's, most likely
    return {broken,
            *why.end_reason + (why.reply.empty() ? " before it answered" : " after " + said)};
  }
  if (why.end_reason) return {broken, *why.end_reason + std::string{trying_again_is_safe}};
  if (ec == condition::refused) {
    const std::string later = ec == condition::may_pass ? "; a later try can succeed" : "";
    return {ec == errc::mismatch ? wrong_digest : refused,
            "the server answered " + why.reply + later};
  }
  if (ec == errc::digest_changed) return {refused, "the server's ids are other digests now"};
  if (ec == errc::wrong_digest_kind) {
    return {broken, "the server's ids are digests of a kind unknown here: " +
                        filexfer::printable(why.reply)};
  }
  if (ec == errc::malformed_reply) {
    return {broken, "the other side does not speak the protocol; it said " + said};
  }
  return {broken, ec.message() + std::string{trying_again_is_safe}};
}

std::string cause(const filexfer::transfer_failure& why, std::string_view server) {
  std::string text = explain(why, server).text;
  if (text.ends_with(trying_again_is_safe)) text.resize(text.size() - trying_again_is_safe.size());
  return text;
}

std::string message(std::string_view subject, const failure& what) {
  return (subject.empty() ? "\"\"" : filexfer::printable(subject)) + ": " + what.text + '\n';
}

exit_code report(std::string_view subject, const failure& what) {
  std::cerr << message(subject, what);
  return what.code;
}

exit_code after_output(exit_code code) {
  if (std::cout.flush() || code != done) return code;
  return report("standard output", {local_file, "could not be written"});
}

}  // namespace programs
