#include "common/failure.hpp"

#include "common/interruption.hpp"

#include <filexfer/error.hpp>
#include <filexfer/printable.hpp>
#ifdef PROGRAMS_WITH_TLS
#include <filexfer/tls_context.hpp>
#endif

#include <fstream>
#include <iostream>
#ifdef PROGRAMS_WITH_TLS
#include <openssl/x509_vfy.h>
#endif

namespace programs {

using filexfer::condition;
using filexfer::errc;

bool is_not_regular(std::error_code ec) {
  return ec == std::errc::not_supported || ec == std::errc::operation_not_supported ||
         ec == std::errc::no_such_device_or_address || ec == std::errc::no_such_device;
}

failure explain_local(std::error_code ec) {
  if (ec == errc::bad_name) {
    return {wrong_usage,
            "not a valid name, or too long for the server; choose another with --name"};
  }
  if (ec == errc::file_exists) {
    return {local_error, "already exists; use --force to replace it"};
  }
  if (ec == errc::bad_size) return {local_error, "is longer than its size"};
  if (ec == errc::short_source) return {local_error, "ended before its size"};
  if (ec == errc::source_changed) {
    return {local_error, "changed while it was being sent; send it again"};
  }
  if (ec == std::errc::bad_file_descriptor) return {local_error, "is closed"};
  if (ec == std::errc::is_a_directory) return {local_error, "is a folder"};
  if (ec == std::errc::not_a_directory) return {local_error, "is not a folder"};
  if (is_not_regular(ec)) {
    return {local_error, "is not a regular file; use - for standard input or output"};
  }
  if (ec == std::errc::too_many_symbolic_link_levels) {
    return {local_error, "a folder of its path is a symbolic link; nothing was written"};
  }
  return {local_error, ec.message()};
}

namespace {

/// Whether `path` is a regular file that holds bytes although its size is 0.
bool is_larger_than_its_size(const std::filesystem::path& path) {
  std::error_code ec;
  return std::filesystem::is_regular_file(path, ec) && std::filesystem::file_size(path, ec) == 0 &&
         std::ifstream{path}.peek() != std::ifstream::traits_type::eof();
}

}  // namespace

failure explain_source(const std::filesystem::path& path, std::error_code ec) {
  if (ec == errc::short_source || (ec == errc::source_changed && is_larger_than_its_size(path))) {
    return {local_error,
            "its size is not known before it is read, as of files in /proc; use: "
            "cat FILE | filexfer-client upload - --name NAME"};
  }
  return explain_local(ec);
}

failure explain_target(const std::filesystem::path& path, std::error_code ec) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const auto status = fs::symlink_status(path, ignored);
  const bool is_replaceable = fs::is_regular_file(status) || fs::is_symlink(status);
  if (ec == errc::file_exists && fs::exists(status) && !is_replaceable)
    ec = std::make_error_code(std::errc::not_supported);
  return explain_local(ec);
}

failure explain_entry(std::error_code ec) {
  if (ec == errc::symbolic_link) {
    return {done, "skipped: a symbolic link; use --follow-links to follow it"};
  }
  if (ec == errc::special_file) return {done, "skipped: not a regular file"};
  if (ec == errc::folder_cycle) return {done, "skipped: leads back to a folder that contains it"};
  if (ec == errc::bad_name) {
    return {local_error,
            "can't be sent: the path below the folder is no UTF-8, or longer than 1024 bytes"};
  }
  return explain_local(ec);
}

namespace {

/// What a server's TLS port answers to a client without TLS.
constexpr std::string_view tls_expected = "ERROR bad-request TLS is spoken here";
constexpr std::string_view retry_is_safe = "; it is safe to retry";

/// Explains why one end rejects the other's certificate; `done` if that is not what `ec` means.
failure explain_certificate([[maybe_unused]] std::error_code ec,
                            [[maybe_unused]] std::string_view server) {
#ifdef PROGRAMS_WITH_TLS
  if (ec.category() == filexfer::certificate_category()) {
    const int reason = ec.value();
    const bool has_unknown_issuer = reason == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
                                    reason == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
                                    reason == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
                                    reason == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
    return {connection_error,
            "can't connect to " + std::string{server} + ": " + ec.message() +
                (has_unknown_issuer ? "; use --ca FILE to trust its issuer" : "")};
  }
  const std::string_view objection = filexfer::certificate_alert(ec);
  if (objection == "required") {
    return {connection_error,
            "the server demands a certificate of the client; use --cert FILE and --key FILE"};
  }
  if (!objection.empty()) {
    return {connection_error,
            "the server rejected this client's certificate: " + std::string{objection}};
  }
#endif
  return {};
}

failure explain_connecting(std::error_code ec, std::string_view server) {
  if (server.empty())
    return {connection_error, "the command could not be started: " + ec.message()};
  const bool is_tls = server.starts_with("tls:");
  if (is_tls && ec == std::errc::invalid_argument) {
    return {connection_error, std::string{server} + ": not a valid host name in a certificate"};
  }
  const bool is_tls_error = std::string_view{ec.category().name()} == "asio.ssl";
  return {connection_error, "can't connect to " + std::string{server} + ": " + ec.message() +
                                (is_tls_error ? "; the server may not use TLS" : "")};
}

}  // namespace

failure explain(const filexfer::transfer_failure& why, std::string_view server) {
  using filexfer::transfer_phase;
  const std::error_code ec = why.error;
  if (interruption::received()) return {interrupted, "interrupted"};
  if (why.origin == filexfer::failure_origin::local) return explain_local(ec);
  if (failure certificate = explain_certificate(ec, server); certificate.code != done)
    return certificate;
  if (why.phase == transfer_phase::connecting) return explain_connecting(ec, server);
  const std::string reply = '"' + why.reply + '"';
  if (why.end_reason &&
      why.phase == transfer_phase::greeting) {  // most likely ended by a failed login
    return {connection_error,
            *why.end_reason + (why.reply.empty() ? " before it replied" : " after " + reply)};
  }
  if (why.end_reason) return {connection_error, *why.end_reason + std::string{retry_is_safe}};
  if (ec == condition::refused) {
    const bool expects_tls = ec == errc::bad_request && why.reply.starts_with(tls_expected);
    if (expects_tls)
      return {connection_error, "the server expects TLS; use --server tls:HOST:PORT"};
    const std::string advice = ec == errc::io              ? "; its log says why"
                               : ec == condition::may_pass ? "; try again later"
                                                           : "";
    return {ec == errc::mismatch ? wrong_digest : refused,
            "the server answered " + why.reply + advice};
  }
  if (ec == errc::digest_changed) return {refused, "the server's kind of digest has changed"};
  if (ec == errc::wrong_digest_kind) {
    return {connection_error,
            "the server's kind of digest is not supported: " + filexfer::printable(why.reply)};
  }
  if (ec == errc::malformed_reply) {
    const std::string sent = why.reply.empty() ? "" : "; it sent " + reply;  // too long, or empty
    return {connection_error, "the peer does not speak the protocol" + sent};
  }
  return {connection_error, ec.message() + std::string{retry_is_safe}};
}

std::string cause(const filexfer::transfer_failure& why, std::string_view server) {
  std::string text = explain(why, server).text;
  if (text.ends_with(retry_is_safe)) text.resize(text.size() - retry_is_safe.size());
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
