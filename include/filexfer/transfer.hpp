#ifndef FILEXFER_TRANSFER_HPP
#define FILEXFER_TRANSFER_HPP

/// \file
/// Transfers that survive a lost connection: whether to retry, the backoff between attempts, and
/// resumed uploads (section 5 of the protocol, `resume`).

#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/client.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace filexfer {

/// For how long, and how often, a failed transfer is retried.
struct retry_policy {
  /// For how long to retry, counted from the last progress; 0 for a single attempt.
  std::chrono::milliseconds retry_for{std::chrono::seconds{30}};
  /// The first pause; it doubles with each attempt without progress.
  std::chrono::milliseconds first_pause{100};
  std::chrono::milliseconds longest_pause{std::chrono::seconds{5}};  ///< The longest pause.
};

/// Whether another attempt can succeed: after a broken connection, or a refusal that is
/// `condition::may_pass`; not after cancellation, nor after an error of the caller's own.
/// \snippet transfer.cpp retry_schedule
///
/// \param ec,origin  how the last attempt ended, and where the error arose.
/// \return whether to retry.
inline bool is_retryable(std::error_code ec, failure_origin origin) noexcept {
  if (!ec || origin == failure_origin::local || ec.value() == ECANCELED) return false;
  if (ec == condition::refused) return ec == condition::may_pass;
  return ec == errc::truncated || origin != failure_origin::peer;
}

/// The backoff between attempts. The pauses grow, and are shortened at random by up to half, so
/// that many clients do not reconnect at the same time.
/// \snippet transfer.cpp retry_schedule
///
/// \tparam Clock  measures the time since the last progress.
template <class Clock = std::chrono::steady_clock>
class retry_schedule {
 public:
  /// Starts with the first backoff, and counts time from now.
  ///
  /// \param policy  the limits.
  /// \param seed    of the random part.
  explicit retry_schedule(const retry_policy& policy,
                          std::uint32_t seed = std::random_device{}()) noexcept
      : policy_{policy}, pause_{policy.first_pause}, random_{seed} {}

  /// The last attempt has moved bytes: resets the backoff and the time that is left.
  void progress() {
    pause_ = policy_.first_pause;
    last_progress_ = Clock::now();
  }

  /// \return the pause before another attempt; nothing after `retry_policy::retry_for` without
  /// progress.
  std::optional<std::chrono::milliseconds> next() {
    if (Clock::now() - last_progress_ >= policy_.retry_for) return std::nullopt;
    const auto longest = std::exchange(pause_, std::min(2 * pause_, policy_.longest_pause)).count();
    std::uniform_int_distribution<std::chrono::milliseconds::rep> pauses{longest / 2, longest};
    return std::chrono::milliseconds{pauses(random_)};
  }

 private:
  retry_policy policy_;
  std::chrono::milliseconds pause_;
  std::minstd_rand random_;
  typename Clock::time_point last_progress_ = Clock::now();
};

/// Computes the digest of all of `source`, and returns to its beginning.
///
/// Errors: those of the source; `errc::short_source` if it ends before its size;
/// `errc::source_changed` if a `guarded_source` has changed meanwhile.
/// \snippet transfer.cpp hash_of
///
/// \tparam Hasher  computes the digest.
/// \param source  read from its beginning.
/// \param ec  receives the error.
/// \return the digest; meaningless after an error.
template <hasher Hasher, seekable_source Source>
typename Hasher::digest_type hash_of(Source& source, std::error_code& ec) {
  Hasher hash;
  source.seek(0, ec);
  std::vector<std::byte> buffer(
      static_cast<std::size_t>(std::min<std::uint64_t>(source.size(), detail::usual_chunk_size)));
  for (std::uint64_t left = source.size(); left > 0 && !ec;) {
    const auto part = std::span{buffer}.first(
        static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer.size())));
    const std::size_t bytes = source.read(part, ec);
    if (!ec && bytes < part.size()) ec = errc::short_source;
    if (ec) break;
    hash.update(part);
    left -= bytes;
  }
  if constexpr (guarded_source<Source>) {
    if (!ec) source.check_unchanged(ec);
  }
  if (!ec) source.seek(0, ec);
  return hash.finish();
}

/// The attempts at one upload. The first attempt only names a resume token. Before the second the
/// source is hashed: with the digest, the server may resume at the bytes that it has. Two versions
/// of a file are never mixed: the server refuses bytes that do not hash to that digest.
///
/// For each attempt call `next`, connect, pass the request to `client::upload` or `async_upload`,
/// and if that fails, call `may_pass`.
/// \snippet transfer.cpp upload_attempts
///
/// \tparam Hasher  computes the server's kind of digest.
/// \tparam Source  read again for each attempt.
template <hasher Hasher, seekable_source Source>
class upload_attempts {
 public:
  using digest_type = typename Hasher::digest_type;  ///< An id.

  /// Chooses a random resume token, unless `wanted` has one.
  ///
  /// \param source  must outlive this object.
  /// \param wanted  the name, and what else is known of the file.
  upload_attempts(Source& source, upload_request<digest_type> wanted)
      : source_{source}, wanted_{std::move(wanted)} {
    if (wanted_.resume.empty()) wanted_.resume = detail::random_name();
  }

  /// Hashes the source, unless its digest is known, for example to ask whether the server holds it.
  ///
  /// \param ec  receives an error of `hash_of`.
  /// \return the digest; nothing after an error.
  const std::optional<digest_type>& hash(std::error_code& ec) {
    ec.clear();
    if (wanted_.expected) return wanted_.expected;
    const digest_type digest = hash_of<Hasher>(source_, ec);
    if (!ec) wanted_.expected = digest;
    return wanted_.expected;
  }

  /// Returns to the beginning of the source, and from the second attempt on hashes it, unless its
  /// digest is known.
  ///
  /// \param ec  receives an error of the source or of `hash_of`.
  /// \return the request for the next attempt.
  upload_request<digest_type> next(std::error_code& ec) {
    ec.clear();
    if (attempts_++ > 0) hash(ec);
    if (!ec) source_.seek(0, ec);
    return wanted_;
  }

  /// Whether another attempt can succeed, as `is_retryable`; also after one `errc::mismatch` of a
  /// resumed upload.
  ///
  /// \param ec,origin  how the last attempt ended, and where the error arose.
  /// \param result  of the last attempt.
  /// \return whether to retry.
  bool may_pass(std::error_code ec, failure_origin origin,
                const upload_result<digest_type>& result) {
    // The bytes that the server had kept were not this file's, and are discarded now: retry once.
    if (ec == errc::mismatch && result.offset > 0) return !std::exchange(restarted_, true);
    return is_retryable(ec, origin);
  }

 private:
  Source& source_;
  upload_request<digest_type> wanted_;
  int attempts_ = 0;
  bool restarted_ = false;
};

/// Uploads over one connection after another until the file is stored, or another attempt cannot
/// succeed, or `policy` ends. Blocks, also between attempts. A server that can't resume gets the
/// whole file each time.
///
/// Errors: that of the last attempt, of `connect` or `client::upload`; those of `hash_of`.
/// \snippet transfer.cpp upload_with_retries
///
/// \tparam Hasher  computes the server's kind of digest.
/// \param connect  called with an `std::error_code&` for each attempt; returns a connected stream,
///        which the attempt owns.
/// \param source   read again for each attempt.
/// \param wanted   the name, and what else is known of the file.
/// \param policy   when to stop.
/// \param ec       receives the error.
/// \return the result of the last attempt.
template <hasher Hasher = md5, class Connect, seekable_source Source>
upload_result<typename Hasher::digest_type> upload_with_retries(
    Connect connect, Source& source, upload_request<typename Hasher::digest_type> wanted,
    const retry_policy& policy, std::error_code& ec) {
  upload_attempts<Hasher, Source> attempts{source, std::move(wanted)};
  retry_schedule<> schedule{policy};
  for (;;) {
    upload_result<typename Hasher::digest_type> result;
    auto request = attempts.next(ec);
    if (ec) return result;
    auto origin = failure_origin::stream;
    auto stream = connect(ec);
    if (!ec) {
      client<decltype(stream), Hasher> uploader{std::move(stream)};
      result = uploader.upload(source, std::move(request), ec);
      origin = uploader.last_failure();
    }
    if (result.bytes > 0) schedule.progress();
    if (!attempts.may_pass(ec, origin, result)) return result;
    const auto pause = schedule.next();
    if (!pause) return result;
    std::this_thread::sleep_for(*pause);
  }
}

}  // namespace filexfer

#endif
