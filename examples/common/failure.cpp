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
    return {local_error, "exists already, and was left as it is; --force replaces it"};
  }
  if (ec == errc::bad_size) return {local_error, "holds more bytes than its size says"};
  if (ec == errc::short_source) return {local_error, "ended before its size was reached"};
  if (ec == errc::source_changed) {
    return {local_error, "changed while it was being sent; send it again"};
  }
  if (ec == std::errc::is_a_directory) return {local_error, "is a folder"};
  if (ec == std::errc::not_a_directory) return {local_error, "is no folder"};
  if (ec == std::errc::not_supported || ec == std::errc::operation_not_supported) {
    return {local_error, "is no regular file; use - for standard input or output"};
  }
  if (ec == std::errc::too_many_symbolic_link_levels) {
    return {local_error, "a symbolic link stands where a folder is to be; nothing was written"};
  }
  return {local_error, ec.message()};
}

failure explain_entry(std::error_code ec) {
  if (ec == errc::symbolic_link) {
    return {done, "is a symbolic link: skipped; --follow-links takes what it leads to"};
  }
  if (ec == errc::special_file) return {done, "is neither a file nor a folder: skipped"};
  if (ec == errc::folder_cycle) return {done, "leads back to a folder that it is in: skipped"};
  if (ec == errc::bad_name) {
    return {local_error, "can't be sent: names are UTF-8 of up to 255 bytes"};
  }
  return explain_local(ec);
}

namespace {

constexpr std::string_view trying_again_is_safe = "; trying again is safe";

failure explain_connecting(std::error_code ec, std::string_view server) {
  if (server.empty())
    return {connection_error, "the command could not be started: " + ec.message()};
  const bool is_tls = server.starts_with("tls:");
  if (is_tls && ec == std::errc::invalid_argument) {
    return {connection_error, std::string{server} + ": no certificate can be for that host"};
  }
  const std::string_view category = ec.category().name();
  const bool is_certificate_error = category == "filexfer.certificate";
  const bool is_tls_error = category == "asio.ssl";
  return {connection_error,
          "no connection to " + std::string{server} + ": " +
              (is_certificate_error ? "its certificate was refused: " : "") + ec.message() +
              (is_certificate_error ? "; --ca FILE says whose certificates to trust" : "") +
              (is_tls_error ? "; it may be a server without TLS" : "")};
}

}  // namespace

failure explain(const filexfer::transfer_failure& why, std::string_view server) {
  using filexfer::transfer_phase;
  const std::error_code ec = why.error;
  if (interruption::received()) return {interrupted, "interrupted; nothing half-done was left"};
  if (why.origin == filexfer::failure_origin::local) return explain_local(ec);
  if (why.phase == transfer_phase::connecting) return explain_connecting(ec, server);
  const std::string reply = '"' + why.reply + '"';
  if (why.end_reason &&
      why.phase == transfer_phase::greeting) {  // most likely ended by a failed login
    return {connection_error,
            *why.end_reason + (why.reply.empty() ? " before it answered" : " after " + reply)};
  }
  if (why.end_reason)
    return {connection_error, *why.end_reason + std::string{trying_again_is_safe}};
  if (ec == condition::refused) {
    const std::string advice = ec == condition::may_pass ? "; a later try can succeed" : "";
    return {ec == errc::mismatch ? wrong_digest : refused,
            "the server answered " + why.reply + advice};
  }
  if (ec == errc::digest_changed) return {refused, "the server's ids are other digests now"};
  if (ec == errc::wrong_digest_kind) {
    return {connection_error, "the server's ids are digests of a kind unknown here: " +
                                  filexfer::printable(why.reply)};
  }
  if (ec == errc::malformed_reply) {
    return {connection_error, "the other side does not speak the protocol; it said " + reply};
  }
  return {connection_error, ec.message() + std::string{trying_again_is_safe}};
}

std::string cause(const filexfer::transfer_failure& why, std::string_view server) {
  std::string text = explain(why, server).text;
  if (text.ends_with(trying_again_is_safe)) text.resize(text.size() - trying_again_is_safe.size());
  return text;
}

std::string format_message(std::string_view subject, const failure& failure) {
  return (subject.empty() ? "\"\"" : filexfer::printable(subject)) + ": " + failure.text + '\n';
}

exit_code report(std::string_view subject, const failure& failure) {
  std::cerr << format_message(subject, failure);
  return failure.code;
}

exit_code flush_output(exit_code code) {
  if (std::cout.flush() || code != done) return code;
  return report("standard output", {local_error, "could not be written"});
}

}  // namespace programs
