#ifndef FILEXFER_DETAIL_FLOW_CLIENT_REMOVALS_HPP
#define FILEXFER_DETAIL_FLOW_CLIENT_REMOVALS_HPP

// The client's side of REMOVE (the protocol's section 7a).

#include <filexfer/detail/flow/client_lists.hpp>
#include <filexfer/detail/flow/client_state.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/protocol.hpp>

#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// REMOVE; returns whether the file had the name.
template <hasher Hasher>
flow<bool> remove(client_state& state, remove_request<typename Hasher::digest_type> wanted,
                  std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return false;
  if (!is_name(wanted.name)) {
    fail_synchronized(state, failure_origin::local, errc::bad_name, ec);
    co_return false;
  }
  co_await learn_features<Hasher>(state, ec);
  if (ec) co_return false;
  if (!accepts_name(state, wanted.name)) {
    state.synchronized = true;
    co_return false;  // it can't have a file of that name
  }
  std::string line = format_remove_request(wanted);
  const std::string_view reply = co_await ask(state, command::remove, std::move(line), ec);
  if (ec == errc::not_found && state.synchronized) {
    ec.clear();
    state.origin = failure_origin::none;
    co_return false;
  }
  if (ec) co_return false;
  if (Hasher::digest_type::from_hex(reply) != wanted.id) {
    fail_protocol(state, ec);
    co_return false;
  }
  state.synchronized = true;
  co_return true;
}

}  // namespace filexfer::detail

#endif
