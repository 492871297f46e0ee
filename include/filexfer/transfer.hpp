#ifndef FILEXFER_TRANSFER_HPP
#define FILEXFER_TRANSFER_HPP

/// \file
/// Transfers that outlive their connections: when to try again, how long to wait before, and an
/// upload that goes on where it stopped (the protocol's section 5, `resume`).

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

/// How persistent a transfer is.
struct retry_policy {
  /// Since bytes last moved; 0 for one attempt only.
  std::chrono::milliseconds patience{std::chrono::seconds{30}};
  std::chrono::milliseconds first_pause{100};  ///< It doubles with each attempt that moves nothing,
  std::chrono::milliseconds longest_pause{std::chrono::seconds{5}};  ///< up to this.
};

/// Whether another attempt can succeed after one that ended with `ec`: a broken connection, or a
/// refusal that `may_pass`; not what was cancelled, nor a failure of the caller's own.
inline bool may_try_again(std::error_code ec, failure_origin origin) noexcept {
  if (!ec || origin == failure_origin::local || ec.value() == ECANCELED) return false;
  if (ec == condition::refused) return ec == condition::may_pass;
  return ec == errc::truncated || origin != failure_origin::peer;
}

/// Says how long to wait before each attempt. The pauses grow, and are shortened at random by up to
/// half, so that many clients do not come back together.
template <class Clock = std::chrono::steady_clock>
class retry_schedule {
 public:
  /// \param seed  of the random part.
  explicit retry_schedule(const retry_policy& policy,
                          std::uint32_t seed = std::random_device{}()) noexcept
      : policy_{policy}, pause_{policy.first_pause}, random_{seed} {}

  /// The last attempt has moved bytes: patience and pauses begin anew.
  void progress() {
    pause_ = policy_.first_pause;
    last_progress_ = Clock::now();
  }

  /// The pause before another attempt; nothing once patience has ended.
  std::optional<std::chrono::milliseconds> next() {
    if (Clock::now() - last_progress_ >= policy_.patience) return std::nullopt;
    const auto most = std::exchange(pause_, std::min(2 * pause_, policy_.longest_pause)).count();
    std::uniform_int_distribution<std::chrono::milliseconds::rep> pauses{most / 2, most};
    return std::chrono::milliseconds{pauses(random_)};
  }

 private:
  retry_policy policy_;
  std::chrono::milliseconds pause_;
  std::minstd_rand random_;
  typename Clock::time_point last_progress_ = Clock::now();
};

/// The digest of all that `source` holds, which is at its beginning afterwards.
///
/// Fails with what the source reports, `errc::source_changed` if it changes meanwhile.
template <hasher Hasher, seekable_source Source>
typename Hasher::digest_type hash_of(Source& source, std::error_code& ec) {
  Hasher hash;
  source.seek(0, ec);
  std::vector<std::byte> buffer(
      static_cast<std::size_t>(std::min<std::uint64_t>(source.size(), default_chunk_size)));
  for (std::uint64_t left = source.size(); left > 0 && !ec;) {
    const auto part = std::span{buffer}.first(
        static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer.size())));
    const std::size_t got = source.read(part, ec);
    if (!ec && got < part.size()) ec = errc::short_source;
    if (ec) break;
    hash.update(part);
    left -= got;
  }
  if constexpr (guarded_source<Source>) {
    if (!ec) source.check_unchanged(ec);
  }
  if (!ec) source.seek(0, ec);
  return hash.finish();
}

/// The attempts at one upload. The first one names a token only. Before the next the file is
/// hashed, so that the server may answer how much it has; nothing is glued: what the server stores
/// hashes to what was hashed here, or is refused.
///
/// For each attempt: `next`, connect, `client::upload` or `async_upload` with what it returned, and
/// if that fails `may_pass`.
template <hasher Hasher, seekable_source Source>
class upload_attempts {
 public:
  using digest_type = typename Hasher::digest_type;

  /// \param source  must outlive this.
  upload_attempts(Source& source, upload_request<digest_type> wanted)
      : source_{source}, wanted_{std::move(wanted)} {
    if (wanted_.resume.empty()) wanted_.resume = detail::random_name();
  }

  /// Hashes all of the source, if its digest is not known; for one who asks what the server holds.
  ///
  /// Fails with what the source reports.
  const std::optional<digest_type>& hash(std::error_code& ec) {
    ec.clear();
    if (wanted_.expected) return wanted_.expected;
    const digest_type digest = hash_of<Hasher>(source_, ec);
    if (!ec) wanted_.expected = digest;
    return wanted_.expected;
  }

  /// What to ask for next; the source is at its beginning then. May hash all of the source.
  ///
  /// Fails with what the source reports.
  upload_request<digest_type> next(std::error_code& ec) {
    ec.clear();
    if (attempts_++ > 0) hash(ec);
    if (!ec) source_.seek(0, ec);
    return wanted_;
  }

  /// Whether another attempt can succeed after one that failed with `ec`, which arose at `origin`
  /// and came as far as `result`.
  bool may_pass(std::error_code ec, failure_origin origin,
                const upload_result<digest_type>& result) {
    // What was left there was not of this file, and is dropped now: once that may be so.
    if (ec == errc::mismatch && result.offset > 0) return !std::exchange(began_afresh_, true);
    return may_try_again(ec, origin);
  }

 private:
  Source& source_;
  upload_request<digest_type> wanted_;
  int attempts_ = 0;
  bool began_afresh_ = false;
};

/// Uploads over one connection after the other until the file is stored or there is no sense in
/// another attempt. Blocks, also between attempts. A server that can't resume gets the whole file
/// each time.
///
/// \param connect  called with an `std::error_code&` for each attempt; returns a connected stream,
///        which is owned.
/// \param source   must live until this returns.
///
/// Errors: those of `connect` and of `client::upload`, of the last attempt.
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
      client<decltype(stream), Hasher> one{std::move(stream)};
      result = one.upload(source, std::move(request), ec);
      origin = one.last_failure();
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
