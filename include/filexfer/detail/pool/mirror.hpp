#ifndef FILEXFER_DETAIL_POOL_MIRROR_HPP
#define FILEXFER_DETAIL_POOL_MIRROR_HPP

// Mirrors one server to another: lists the files of the first, and uploads those that the second
// lacks.

#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/remote_file.hpp>
#include <filexfer/transfer_types.hpp>

#include <asio/associated_executor.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

template <class From, class To, class OnResult>
class mirror_operation {
 public:
  mirror_operation(From& from, To& to, list_request wanted, std::size_t max_entries,
                   std::error_code refused, OnResult on_result)
      : state_{std::make_unique<state>(state{
            from, to, std::move(wanted), max_entries, refused, std::move(on_result), {}, {}})} {}

  /// The operation starts.
  template <class Self>
  void operator()(Self& self) {
    self.reset_cancellation_state(asio::enable_total_cancellation());
    state& s = *state_;
    if (!s.refused) return s.from.async_features(std::move(self));
    const auto executor = asio::get_associated_executor(self, s.to.get_executor());
    asio::post(executor, [refused = s.refused, self = std::move(self)]() mutable {
      self.complete(refused, {});
    });
  }

  /// The features of the first server, then of the second, are known.
  template <class Self>
  void operator()(Self& self, std::error_code ec, const server_features& known) {
    state& s = *state_;
    if (!ec) ec = cancelled(self);
    if (ec) return self.complete(ec, {});
    std::string kind = known.digest.empty() ? std::string{md5::name()} : known.digest;
    if (s.digest.empty()) {
      s.digest = std::move(kind);
      return s.to.async_features(std::move(self));
    }
    if (kind != s.digest) return self.complete(errc::wrong_digest_kind, {});
    const auto on_entry = [&s](const listed_file& file, std::error_code& failed) {
      if (s.files.size() == s.max_entries) failed = errc::too_many_entries;
      else s.files.emplace_back(s.from, file);
    };
    s.from.async_list_files(std::move(s.wanted), on_entry, std::move(self));
  }

  /// The list has ended.
  template <class Self>
  void operator()(Self& self, std::error_code ec, std::uint64_t) {
    state& s = *state_;
    if (!ec) ec = cancelled(self);
    if (ec) return self.complete(ec, {});
    s.to.async_upload_missing(s.files, std::move(s.on_result), std::move(self));
  }

  /// The upload has ended.
  template <class Self>
  void operator()(Self& self, std::error_code ec, const transfer_totals& totals) {
    state_.reset();
    self.complete(ec, totals);
  }

 private:
  /// Set if the operation was cancelled, as it can be between two steps.
  template <class Self>
  static std::error_code cancelled(Self& self) {
    const bool is_cancelled =
        self.get_cancellation_state().cancelled() != asio::cancellation_type::none;
    return is_cancelled ? std::error_code{asio::error::operation_aborted} : std::error_code{};
  }

  struct state {
    From& from;
    To& to;
    list_request wanted;
    std::size_t max_entries;
    std::error_code refused;
    OnResult on_result;
    std::string digest;  ///< The first server's, once known.
    std::vector<remote_file<From>> files;
  };

  std::unique_ptr<state> state_;
};

}  // namespace filexfer::detail

#endif
