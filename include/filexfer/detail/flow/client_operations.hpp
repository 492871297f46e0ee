#ifndef FILEXFER_DETAIL_FLOW_CLIENT_OPERATIONS_HPP
#define FILEXFER_DETAIL_FLOW_CLIENT_OPERATIONS_HPP

// A client's operations, for both drivers: each function here returns a factory, which a driver
// calls with its `std::error_code&` to make the operation's flow.

#include <filexfer/detail/flow/client_downloads.hpp>
#include <filexfer/detail/flow/client_lists.hpp>
#include <filexfer/detail/flow/client_removals.hpp>
#include <filexfer/detail/flow/client_state.hpp>
#include <filexfer/detail/flow/client_uploads.hpp>
#include <filexfer/detail/flow/download_batch.hpp>
#include <filexfer/detail/flow/upload_batch.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

template <hasher Hasher>
class client_operations {
 protected:
  using digest_type = typename Hasher::digest_type;
  using file_info = filexfer::file_info<digest_type>;
  using upload_request = filexfer::upload_request<digest_type>;
  using download_request = filexfer::download_request<digest_type>;
  using name_request = filexfer::name_request<digest_type>;

  auto features_flow() {
    return [this](std::error_code& ec) { return detail::get_features(state_, ec); };
  }

  template <class OnEntry>
  auto list_flow(list_request wanted, OnEntry on_entry) {
    auto call = [on_entry = std::move(on_entry)](file_info&& file, std::error_code& ec) mutable {
      if constexpr (std::is_invocable_v<OnEntry&, file_info, std::error_code&>) {
        on_entry(std::move(file), ec);
      } else {
        on_entry(std::move(file));
      }
    };
    return [this, wanted = std::move(wanted), call = std::move(call)](std::error_code& ec) mutable {
      constexpr auto unlimited = std::numeric_limits<std::uint64_t>::max();
      return detail::list_files<Hasher>(state_, std::move(wanted), unlimited, std::move(call), ec);
    };
  }

  auto bounded_list_flow(list_request wanted) {
    return [this, wanted = std::move(wanted)](std::error_code& ec) mutable {
      return detail::list_bounded<Hasher>(state_, std::move(wanted), ec);
    };
  }

  auto add_name_flow(const digest_type& id, std::uint64_t size, std::string name,
                     const file_attributes& attributes) {
    return [this, asked = name_request{std::move(name), size, id, attributes.modified,
                                       attributes.executable}](std::error_code& ec) mutable {
      return detail::add_name<Hasher>(state_, std::move(asked), ec);
    };
  }

  auto remove_flow(const digest_type& id, std::string name) {
    return [this, wanted = remove_request<digest_type>{id, std::move(name)}](
               std::error_code& ec) mutable {
      return detail::remove<Hasher>(state_, std::move(wanted), ec);
    };
  }

  template <class Source>
  auto upload_flow(Source& source, upload_request wanted) {
    return [this, &source, wanted = std::move(wanted)](std::error_code& ec) mutable {
      return detail::upload<Hasher>(state_, source, std::move(wanted), ec);
    };
  }

  template <class Sink>
  auto download_flow(const digest_type& id, Sink& sink) {
    return [this, id, &sink](std::error_code& ec) {
      return detail::download<Hasher>(state_, id, sink, ec);
    };
  }

  template <class Sink>
  auto range_flow(const download_request& wanted, Sink& sink) {
    return [this, wanted, &sink](std::error_code& ec) {
      return detail::download_range<Hasher>(state_, wanted, sink, ec);
    };
  }

  template <class Files, class OnResult>
  auto uploads_flow(Files& files, OnResult on_result) {
    return [this, &files, on_result = std::move(on_result)](std::error_code& ec) mutable {
      return detail::upload_all<Hasher>(state_, files, std::move(on_result), ec);
    };
  }

  template <class Files, class OnResult>
  auto names_flow(Files& files, OnResult on_result) {
    return [this, &files, on_result = std::move(on_result)](std::error_code& ec) mutable {
      return detail::add_names<Hasher>(state_, files, std::move(on_result), ec);
    };
  }

  template <class Files, class OnResult>
  auto downloads_flow(Files& files, OnResult on_result) {
    return [this, &files, on_result = std::move(on_result)](std::error_code& ec) mutable {
      return detail::download_all<Hasher>(state_, files, std::move(on_result), ec);
    };
  }

  client_state state_;
};

}  // namespace filexfer::detail

#endif
