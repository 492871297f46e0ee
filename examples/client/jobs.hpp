#ifndef PROGRAMS_CLIENT_JOBS_HPP
#define PROGRAMS_CLIENT_JOBS_HPP

/// \file
/// What filexfer-client can be asked to do.

#include "common/checksum_cache.hpp"
#include "common/client_settings.hpp"
#include "common/exit_code.hpp"
#include "common/failure.hpp"
#include "common/foreground.hpp"
#include "common/interruption.hpp"
#include "common/listing.hpp"
#include "common/progress.hpp"
#include "common/remote.hpp"
#include "common/reporter.hpp"

#include <filexfer/error.hpp>
#include <filexfer/file.hpp>
#include <filexfer/options.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/transfer.hpp>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace programs {

/// What every job works with: a connection of its own, and what all of them share.
struct workplace {
  workplace(const client_settings& asked_for, reporter& to_say, progress& job,
            checksum_cache* remembered)
      : chosen{asked_for}, say{to_say}, moved{job}, known{remembered} {}

  const client_settings& chosen;
  reporter& say;
  progress& moved;
  checksum_cache* known;  ///< Null without --checksum-cache.
  foreground operations;
  remote server{operations, chosen.server};
};

exit_code list(workplace& at);
exit_code upload(workplace& at);
exit_code download(workplace& at);
exit_code verify(workplace& at);

/// Steps 3 to 22 of the simulation.
exit_code simulate(workplace& at);

/// The digest that is remembered of a file.
template <class Hasher>
std::optional<typename Hasher::digest_type> remembered(const workplace& at,
                                                       const filexfer::file_source& file) {
  const auto id = at.known ? at.known->find(file, Hasher::name()) : std::nullopt;
  return id ? Hasher::digest_type::from_hex(*id) : std::nullopt;
}

/// Calls `hash()`, which returns the digest of all that is in the file, and remembers that.
template <class Hasher, class Hash>
auto remember(const workplace& at, const filexfer::file_source& file, const std::error_code& ec,
              Hash hash) {
  const auto begun = std::chrono::system_clock::now();
  const typename Hasher::digest_type id = hash();
  if (at.known && !ec) at.known->add(file, Hasher::name(), begun, id.to_string());
  return id;
}

/// The id that a file has at the server, to which there is a connection; it is read if that is not
/// remembered. The source is at its start again. `errc::source_changed` if the file changes
/// meanwhile.
inline std::string id_of(workplace& at, filexfer::file_source& file, file_progress& shown,
                         std::error_code& ec) {
  return at.server.with_client([&](auto& client) {
    using hasher = typename std::remove_reference_t<decltype(client)>::hasher_type;
    if (const auto id = remembered<hasher>(at, file)) return id->to_string();
    counted_source source{file, shown};  // which ends at an interruption
    const auto hash = [&] { return filexfer::hash_of<hasher>(source, ec); };
    return remember<hasher>(at, file, ec, hash).to_string();
  });
}

/// Whether all files below what the user named are meant.
inline bool is_folder(const client_settings& chosen, const std::string& word) {
  std::error_code none;
  return !chosen.name && std::filesystem::is_directory(word, none);
}

/// Calls `call(word)` for each file that the user named.
template <class Call>
exit_code for_each_word(const workplace& at, Call call) {
  first_failure all;
  for (const std::string& word : at.chosen.words) {
    all.note(call(word));
    if (interruption::came()) return interrupted;
  }
  return all.code();
}

/// Calls `on_entry` for each of the server's files that is wanted.
template <class OnEntry>
failure list_into(workplace& at, const filexfer::list_request& wanted, OnEntry on_entry) {
  if (failure none = at.server.connect(); none.code != done) return none;
  const std::error_code ec = at.server.with_client([&](auto& client) {
    return std::get<0>(at.operations.run(
        [&](auto handler) { client.async_list_files(wanted, on_entry, std::move(handler)); }));
  });
  return ec ? at.server.explain(ec) : failure{};
}

/// The same for a job that keeps what it sees, as a `listed`, and so wants an end to it.
template <class OnListed>
failure list_bounded(workplace& at, const filexfer::list_request& wanted, OnListed on_listed) {
  std::size_t count = 0;
  const std::size_t most = filexfer::client_options{}.max_entries;
  return list_into(at, wanted, [&](const auto& file, std::error_code& ec) {
    if (++count > most) ec = filexfer::errc::too_many_entries;
    else on_listed(listed{file});
  });
}

}  // namespace programs

#endif
