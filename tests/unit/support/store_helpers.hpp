#ifndef FILEXFER_TESTS_SUPPORT_STORE_HELPERS_HPP
#define FILEXFER_TESTS_SUPPORT_STORE_HELPERS_HPP

#include "support/bytes.hpp"

#include <filexfer/md5.hpp>
#include <filexfer/storage.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace test {

using md5_digest = filexfer::md5::digest_type;
using details_type = filexfer::upload_details<md5_digest>;

inline md5_digest id_of(std::string_view bytes) {
  filexfer::md5 hash;
  hash.update(as_bytes(bytes));
  return hash.finish();
}

/// Two different files with the same MD5.
inline std::array<std::string, 2> md5_collision() {
  constexpr std::string_view hex =
      "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571"
      "415a085125e8f7cdc99fd91dbdf280373c5bd8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306"
      "d248cda0e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70";
  std::string first;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    first += static_cast<char>(std::stoi(std::string{hex.substr(i, 2)}, nullptr, 16));
  }
  std::string second = first;
  for (const std::size_t i : {19u, 45u, 59u, 83u, 109u, 123u}) {
    second[i] = static_cast<char>(second[i] ^ 0x80);
  }
  return {first, second};
}

/// Calls `call(ec)` again while somebody else holds a lock that it needs, as a session does.
/// Returns its error.
template <class Call>
std::error_code when_unlocked(Call call) {
  std::error_code ec;
  do {
    call(ec);
  } while (ec == std::errc::operation_would_block && (std::this_thread::yield(), true));
  return ec;
}

/// Uploads `bytes` as `name`, in chunks. Returns the first error.
template <class Store>
std::error_code put(Store& store, std::string_view name, std::string_view bytes,
                    std::size_t chunk = 100'000, std::optional<filexfer::file_time> modified = {}) {
  std::error_code ec;
  details_type details{std::string{name}, bytes.size(), {}};
  details.modified = modified;
  auto upload = store.create(details, ec);
  if (ec || !upload) return ec ? ec : make_error_code(filexfer::errc::store_failed);
  for (std::size_t sent = 0; sent < bytes.size() && !ec; sent += chunk) {
    upload->write(as_bytes(bytes.substr(sent, chunk)), ec);
  }
  if (ec) return ec;
  return when_unlocked([&](std::error_code& failed) { upload->commit(id_of(bytes), failed); });
}

enum class times { no, yes };

/// The list's lines, sorted, with modification times or without; `error: ...` if the list failed.
template <class Store>
std::vector<std::string> entries(Store& store, times wanted = times::no) {
  std::vector<std::string> lines;
  std::error_code ec;
  auto cursor = store.list(ec);
  while (!ec) {
    auto file = cursor.next(ec);
    if (!file) break;
    if (wanted == times::no) file->modified.reset();
    lines.push_back(format_entry(*file));
  }
  if (ec) lines.push_back("error: " + ec.message());
  std::sort(lines.begin(), lines.end());
  return lines;
}

/// The line of the list for a file with these bytes.
inline std::string entry(std::string_view name, std::string_view bytes,
                         std::optional<filexfer::file_time> modified = {}) {
  return format_entry(
      filexfer::file_info<md5_digest>{id_of(bytes), std::string{name}, bytes.size(), modified});
}

inline std::vector<std::string> sorted(std::vector<std::string> lines) {
  std::sort(lines.begin(), lines.end());
  return lines;
}

template <class Source>
std::string read_all(Source& source, std::error_code& ec, std::size_t chunk = 70'000) {
  std::string all;
  std::vector<std::byte> buffer(chunk);
  for (;;) {
    const auto count = source.read(buffer, ec);
    all.append(reinterpret_cast<const char*>(buffer.data()), count);
    if (ec || count < buffer.size()) return all;
  }
}

/// The bytes of the file with this id; nullopt if there is none or it can't be read.
template <class Store>
std::optional<std::string> fetch(Store& store, const md5_digest& id) {
  std::error_code ec;
  auto file = store.open(id, ec);
  if (ec || !file) return std::nullopt;
  auto bytes = read_all(file->reader, ec);
  if (ec || bytes.size() != file->info.size || file->info.id != id) return std::nullopt;
  return bytes;
}

/// The list's lines without modification times, in the store's order.
template <class Store>
std::vector<std::string> entries_of(Store& store) {
  std::error_code ec;
  std::vector<std::string> all;
  auto cursor = store.list(ec);
  while (auto file = cursor.next(ec)) {
    file->modified.reset();
    all.push_back(format_entry(*file));
  }
  REQUIRE_FALSE(ec);
  return all;
}

/// Whether the bytes of every listed file hash to its id.
template <class Store>
bool all_whole(Store& store) {
  std::error_code ec;
  auto cursor = store.list(ec);
  while (const auto file = cursor.next(ec)) {
    auto opened = store.open(file->id, ec);
    if (ec || !opened) return false;
    std::vector<std::byte> bytes(static_cast<std::size_t>(file->size) + 1);
    bytes.resize(opened->reader.read(bytes, ec));
    filexfer::md5 hash;
    hash.update(bytes);
    if (ec || bytes.size() != file->size || hash.finish() != file->id) return false;
  }
  return !ec;
}

}  // namespace test

#endif
