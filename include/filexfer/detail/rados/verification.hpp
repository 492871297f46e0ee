#ifndef FILEXFER_DETAIL_RADOS_VERIFICATION_HPP
#define FILEXFER_DETAIL_RADOS_VERIFICATION_HPP

#include <filexfer/detail/rados/chunks.hpp>
#include <filexfer/detail/rados/index.hpp>
#include <filexfer/detail/rados/listing.hpp>
#include <filexfer/detail/rados/publishing.hpp>
#include <filexfer/detail/store/verify_pace.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/verification.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// Hashes the files of a `rados_store`, and sets aside those that do not hash to their id.
template <hasher Hasher>
class rados_verification {
 public:
  using digest_type = typename Hasher::digest_type;

  rados_verification(const rados_context& store, const verify_options& options)
      : store_{store}, pace_{options}, buffer_(pace_.chunk_size()) {}

  /// Calls `on_file` with each `verified_file`. `ec` is cleared, or set to `operation_canceled` if
  /// the verification was stopped, or to librados's code if the index can't be read.
  template <class OnFile>
  verify_totals run(OnFile& on_file, std::error_code& ec) {
    verify_totals totals;
    rados_listing<digest_type> listing{store_};
    std::optional<digest_type> last;
    while (auto file = listing.next(ec)) {
      if (last == file->id || !pace_.is_in_part(file->id)) continue;
      last = file->id;
      verified_file<digest_type> result{std::move(*file)};
      verify(result, listing.record());
      if (result.error == std::errc::operation_canceled) {
        ec = result.error;
        break;
      }
      const auto record = find_again(result.info.id, listing.record());
      if (!record) continue;  // it was removed meanwhile
      ++totals.files;
      totals.bytes += result.info.size;
      if (result.state == stored_state::unreadable) ++totals.unreadable;
      if (result.state == stored_state::damaged) {
        ++totals.damaged;
        set_aside(store_, result.info.id, *record, result.error);
      }
      on_file(std::as_const(result));
    }
    return totals;
  }

 private:
  /// Reads a file that seems damaged twice, as that may pass.
  void verify(verified_file<digest_type>& file, const stored_record& record) {
    std::error_code& ec = file.error;
    bool is_intact = has_id(file.info.id, record, ec);
    if (!is_intact && !ec) is_intact = has_id(file.info.id, record, ec);
    if (ec) file.state = stored_state::unreadable;
    else if (!is_intact) file.state = stored_state::damaged;
  }

  bool has_id(const digest_type& id, const stored_record& record, std::error_code& ec) {
    return has_digest<Hasher>(
        {store_.pool, record.bytes, record.size, record.chunk_size}, id, buffer_,
        [this](std::size_t got) { return pace_.keep_rate(got); }, ec);
  }

  /// The record of a file now: its names may have changed. Nothing if it has other bytes, or none.
  std::optional<stored_record> find_again(const digest_type& id, const stored_record& was) const {
    std::error_code ec;
    const omap_pairs pairs =
        read_keys(store_.pool, index_object(id, store_.index_objects), {id.to_string()}, ec);
    if (ec) return was;
    auto found = pairs.empty() ? std::nullopt : stored_record::parse(pairs.begin()->second);
    if (found && found->bytes != was.bytes) found.reset();
    return found;
  }

  const rados_context& store_;
  verify_pace pace_;
  std::vector<std::byte> buffer_;
};

}  // namespace filexfer::detail

#endif
