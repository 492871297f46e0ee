#ifndef FILEXFER_ERROR_HPP
#define FILEXFER_ERROR_HPP

/// \file
/// The library's own error codes, and the conditions that callers branch on.
///
/// Codes of the operating system and of Asio pass through unchanged, in `std::system_category()`
/// and Asio's categories.

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace filexfer {

/// The library's error codes. Compare with an `std::error_code`: `if (ec == errc::not_found)`.
enum class errc {
  // Refusals: the codes of section 8 of the protocol. A server sends them as
  // `ERROR <code> <text>`; a client reports them when it receives such a line.

  unknown_command = 1,  ///< The server does not know the command.
  bad_request,          ///< A line is malformed, or a field is missing.
  line_too_long,        ///< A line has no LF within 4096 bytes.
  bad_name,             ///< The name is malformed, or the store can't hold it.
  bad_size,             ///< The size is malformed, or out of range.
  bad_id,               ///< The id is not one of this server's digest.
  bad_range,            ///< The offset or length is malformed, or past the end.
  not_found,            ///< No file has that id.
  too_large,            ///< The size is over the server's limit.
  no_space,             ///< The disk is full, or the store is at its quota.
  mismatch,             ///< The bytes do not hash to the id that the client declared.
  collision,            ///< Other bytes with the same digest are stored already.
  io,                   ///< The server's store failed.
  read_only,            ///< The server permits no uploads, or no removals.
  superseded,           ///< A newer connection took over this upload.
  busy,                 ///< The server has too many connections.
  timeout,              ///< The server found this peer silent or too slow for too long.
  shutting_down,        ///< The server is stopping.
  denied,               ///< The server does not answer that request of this client.
  refused,              ///< An ERROR line whose code this version does not know.

  // Failures detected locally.

  end_of_stream = 64,     ///< The peer ended the stream between commands.
  truncated,              ///< The stream ended within a line, a command or a file's bytes.
  malformed_reply,        ///< The peer's reply breaks the protocol.
  digest_mismatch,        ///< The digests of the two ends differ.
  wrong_digest_kind,      ///< The server's ids are digests of another kind.
  timed_out,              ///< The peer missed a local deadline.
  too_many_entries,       ///< The list has more entries than the caller allowed.
  source_changed,         ///< The file changed while it was being sent.
  short_source,           ///< The source ended before the size that it reported.
  operation_in_progress,  ///< This client has another operation in progress.
  connection_unusable,    ///< An earlier failure left the stream at an unknown position.
  store_failed,           ///< A store, source or sink threw neither a system error nor `bad_alloc`.
  file_exists,            ///< A file of that name exists and must not be replaced.
  digest_changed,         ///< The server's ids are now digests of another kind than before.
  symbolic_link,          ///< An entry below a folder is a symbolic link, which is not followed.
  special_file,           ///< An entry below a folder is neither a regular file nor a folder.
  folder_cycle,           ///< A link below a folder leads back to a folder that it is in.
  not_private,            ///< A part or a cache is not a file that only this user can change.
  bad_proxy_header,       ///< A connection does not begin with a valid PROXY protocol header.
  untrusted_proxy,        ///< A connection is not from a proxy that may send such a header.
};

/// Classes of errors. Compare with an `std::error_code`: `if (ec == condition::may_pass)`.
/// \snippet values.cpp errors
enum class condition {
  /// The peer broke the protocol, and the connection is unusable: `malformed_reply`, `truncated`.
  protocol_violation = 1,
  /// The bytes and the digest do not match: `mismatch`, `digest_mismatch`, `collision`.
  verification_failed,
  /// A limit of either side was exceeded: `line_too_long`, `too_large`, `no_space`, `busy`,
  /// `too_many_entries`.
  limit_exceeded,
  /// A deadline of either side passed: `errc::timeout`, `timed_out`, the system's `ETIMEDOUT`.
  timeout,
  /// A refusal, from `unknown_command` to `errc::refused`: the peer answered with an ERROR line.
  refused,
  /// A later attempt can succeed (section 8 of the protocol): `busy`, `errc::timeout`,
  /// `shutting_down`, `io`, `no_space`.
  may_pass,
};

/// \return The category of `errc`, named "filexfer".
inline const std::error_category& error_category() noexcept;

/// \return The category of `condition`, named "filexfer.condition".
inline const std::error_category& condition_category() noexcept;

/// Makes an `std::error_code` of an `errc`; found by argument-dependent lookup.
/// \snippet values.cpp make_error_code
///
/// \param e  The error.
/// \return The code, of `error_category()`.
inline std::error_code make_error_code(errc e) noexcept {
  return {static_cast<int>(e), error_category()};
}

/// Makes an `std::error_condition` of a `condition`; found by argument-dependent lookup.
/// \snippet values.cpp make_error_code
///
/// \param c  The condition.
/// \return The condition, of `condition_category()`.
inline std::error_condition make_error_condition(condition c) noexcept {
  return {static_cast<int>(c), condition_category()};
}

}  // namespace filexfer

/// An `errc` converts to `std::error_code`.
template <>
struct std::is_error_code_enum<filexfer::errc> : std::true_type {};
/// A `condition` converts to `std::error_condition`.
template <>
struct std::is_error_condition_enum<filexfer::condition> : std::true_type {};

namespace filexfer {
namespace detail {

class error_category_impl final : public std::error_category {
 public:
  const char* name() const noexcept override { return "filexfer"; }

  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::unknown_command: return "unknown command";
      case errc::bad_request: return "malformed request";
      case errc::line_too_long: return "line too long";
      case errc::bad_name: return "not a name that can be stored";
      case errc::bad_size: return "not a size";
      case errc::bad_id: return "not an id of this server";
      case errc::bad_range: return "offset or length out of range";
      case errc::not_found: return "no file has that id";
      case errc::too_large: return "file too large for the server";
      case errc::no_space: return "no space left in the store";
      case errc::mismatch: return "the octets do not hash to the id that was declared";
      case errc::collision: return "other octets with the same digest are stored already";
      case errc::io: return "the server's store failed";
      case errc::read_only: return "the server does not permit this change";
      case errc::denied: return "the server does not permit this";
      case errc::superseded: return "a newer connection took over this upload";
      case errc::busy: return "the server has too many connections";
      case errc::timeout: return "the server found this peer silent or too slow";
      case errc::shutting_down: return "the server is stopping";
      case errc::refused: return "refused with a code unknown to this version";
      case errc::end_of_stream: return "the peer ended the stream";
      case errc::truncated: return "the stream ended too early";
      case errc::malformed_reply: return "the peer's reply breaks the protocol";
      case errc::digest_mismatch: return "the digests of the two ends differ";
      case errc::wrong_digest_kind: return "the server's ids are digests of another kind";
      case errc::timed_out: return "the peer was silent or too slow";
      case errc::too_many_entries: return "too many entries in the list";
      case errc::source_changed: return "the file changed while it was being sent";
      case errc::short_source: return "the source ended before its size";
      case errc::operation_in_progress: return "another operation is in progress";
      case errc::connection_unusable: return "the connection is unusable after a failure";
      case errc::store_failed: return "a store, source or sink failed";
      case errc::file_exists: return "the file exists already";
      case errc::digest_changed: return "the server's ids are other digests now";
      case errc::symbolic_link: return "a symbolic link, which is not followed";
      case errc::special_file: return "neither a regular file nor a folder";
      case errc::folder_cycle: return "leads back to a folder that it is in";
      case errc::not_private: return "not a file that only this user can change";
      case errc::bad_proxy_header: return "no valid PROXY protocol header";
      case errc::untrusted_proxy: return "not the address of a trusted proxy";
    }
    return "unknown filexfer error";
  }
};

class condition_category_impl final : public std::error_category {
 public:
  const char* name() const noexcept override { return "filexfer.condition"; }

  std::string message(int value) const override {
    switch (static_cast<condition>(value)) {
      case condition::protocol_violation: return "protocol violation";
      case condition::verification_failed: return "verification failed";
      case condition::limit_exceeded: return "limit exceeded";
      case condition::timeout: return "timeout";
      case condition::refused: return "refused by the peer";
      case condition::may_pass: return "a later try can succeed";
    }
    return "unknown filexfer condition";
  }

  bool equivalent(const std::error_code& code, int value) const noexcept override {
    if (code.category() != filexfer::error_category()) {
      // Asio 1.22 has a system category of its own, which does not map to std::errc.
      const bool is_asio_system = std::string_view{code.category().name()} == "asio.system";
      return static_cast<condition>(value) == condition::timeout &&
             (code == std::errc::timed_out || (is_asio_system && code.value() == ETIMEDOUT));
    }
    const auto e = static_cast<errc>(code.value());
    switch (static_cast<condition>(value)) {
      case condition::protocol_violation: return e == errc::malformed_reply || e == errc::truncated;
      case condition::verification_failed:
        return e == errc::mismatch || e == errc::digest_mismatch || e == errc::collision;
      case condition::limit_exceeded:
        return e == errc::line_too_long || e == errc::too_large || e == errc::no_space ||
               e == errc::busy || e == errc::too_many_entries;
      case condition::timeout: return e == errc::timeout || e == errc::timed_out;
      case condition::refused: return e >= errc::unknown_command && e <= errc::refused;
      case condition::may_pass:
        return e == errc::busy || e == errc::timeout || e == errc::shutting_down || e == errc::io ||
               e == errc::no_space;
    }
    return false;
  }
};

}  // namespace detail

inline const std::error_category& error_category() noexcept {
  static const detail::error_category_impl category;
  return category;
}

inline const std::error_category& condition_category() noexcept {
  static const detail::condition_category_impl category;
  return category;
}

/// The default argument for an `std::error_code&`: the function then throws `std::system_error`
/// instead of setting it.
/// \snippet values.cpp throws
///
/// \return A placeholder, recognized by its address and never set.
inline std::error_code& throws() noexcept {
  static std::error_code placeholder;
  return placeholder;
}

namespace detail {

/// Returns `call(ec)`. If `ec` is `throws()`, passes a local error code instead, and throws it as
/// `std::system_error` if `call` has set it.
template <class Call>
auto call_or_throw(const Call& call, std::error_code& ec) {
  if (&ec != &throws()) return call(ec);
  std::error_code local;
  if constexpr (std::is_void_v<std::invoke_result_t<const Call&, std::error_code&>>) {
    call(local);
    if (local) throw std::system_error{local};
  } else {
    auto result = call(local);
    if (local) throw std::system_error{local};
    return result;
  }
}

}  // namespace detail

}  // namespace filexfer

#endif
