#ifndef FILEXFER_DETAIL_STORE_DIRECTORY_STORE_IMPL_HPP
#define FILEXFER_DETAIL_STORE_DIRECTORY_STORE_IMPL_HPP

// The longer member functions of directory_store, which includes this at its end.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/regular_file.hpp>
#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/detail/store/name_walk.hpp>
#include <filexfer/detail/store/partials.hpp>
#include <filexfer/detail/store/publishing.hpp>
#include <filexfer/detail/store/space.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/publication.hpp>
#include <filexfer/storage.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/types.h>
#include <unistd.h>

namespace filexfer {

template <hasher Hasher>
auto directory_store<Hasher>::open(const digest_type& id, std::error_code& ec) const
    -> std::optional<opened_file<digest_type, reader>> {
  auto folder = detail::open_folder(folder_.root(), id.to_string().c_str(), ec);
  if (detail::is_absent(ec)) ec.clear();
  if (!folder) return std::nullopt;
  detail::name_walk walk{std::move(folder), ec};
  while (!ec && walk.next(ec)) {
    auto opened = detail::open_at(walk.folder(), walk.leaf(), detail::file_flags, ec);
    detail::regular_file file;
    if (!ec) file = detail::regular_file{std::move(opened), ec};
    if (detail::is_absent(ec) || detail::is_not_regular(ec)) {
      ec.clear();  // removed or replaced since it was found
      continue;
    }
    if (ec) break;
    file_info<digest_type> info{id, walk.name(), file.size(), detail::modified_time(file.opened()),
                                detail::is_executable(file.opened())};
    return opened_file<digest_type, reader>{std::move(info), reader{std::move(file)}};
  }
  return std::nullopt;
}

template <hasher Hasher>
auto directory_store<Hasher>::create(const upload_details<digest_type>& details,
                                     std::error_code& ec) -> std::optional<upload> {
  ec.clear();
  if (!folder_.can_hold(details.name)) {
    ec = errc::bad_name;
    return std::nullopt;
  }
  // The file, the id's folder, and those of the name.
  const auto inodes = 2 + detail::folders_of(details.name);
  auto reserved = space_.reserve({details.size, 1}, {details.size, inodes}, ec);
  if (ec) return std::nullopt;
  detail::temporary file = folder_.make_temporary(ec);
  if (ec) return std::nullopt;
  reserved.on_disk.use({0, 1});
  return upload{folder_, details, std::move(reserved), {}, std::move(file), 0};
}

template <hasher Hasher>
auto directory_store<Hasher>::resume(const upload_details<digest_type>& details,
                                     std::error_code& ec) -> std::optional<upload> {
  ec.clear();
  if (!folder_.can_hold(details.name)) {
    ec = errc::bad_name;
    return std::nullopt;
  }
  const auto key = detail::partials::key_of(details.resume, details.size);
  auto claim = space_.partials().take(key);
  if (!claim) {
    ec = make_error_code(std::errc::operation_would_block);
    return std::nullopt;
  }
  space_.partials().remove_old();
  auto file = space_.partials().open(key, ec);
  if (ec == errc::not_private) {
    folder_.log(".partial/" + key +
                ": is no interrupted upload of this store's user, and can't be removed. "
                "Remove it: uploads with its token can't be resumed.");
  }
  if (ec == std::errc::operation_would_block || ec == errc::not_private) {
    return create(details, ec);
  }
  if (ec) return std::nullopt;
  const auto kept = static_cast<std::uint64_t>(detail::status_of(file.handle(), ec).st_size);
  if (ec) return std::nullopt;
  const std::uint64_t held = details.id && kept <= details.size ? kept : 0;
  space_.release({kept, 0});
  const auto folders = 1 + detail::folders_of(details.name);
  auto reserved = space_.reserve({details.size, 1}, {details.size - held, folders}, ec);
  const auto end = static_cast<off_t>(held);
  if (!ec && (::ftruncate(file.handle(), end) != 0 || ::lseek(file.handle(), end, SEEK_SET) < 0)) {
    ec = detail::last_error();
  }
  if (ec) return std::nullopt;
  return upload{folder_, details, std::move(reserved), std::move(claim), std::move(file), held};
}

/// Commits uploads from the first on, as many as there are descriptors for; returns their number.
template <hasher Hasher>
std::size_t directory_store<Hasher>::upload::commit_some(
    const detail::store_folder& folder, std::span<upload_commit<upload, digest_type>> uploads) {
  std::error_code ec;
  const auto root = detail::reopen_folder(folder.root(), ec);
  std::deque<detail::publishing<Hasher>> publications;
  std::vector<upload_commit<upload, digest_type>*> begun;
  std::vector<detail::publishing<Hasher>*> files;
  std::vector<std::error_code> errors;
  std::set<digest_type> locked;
  std::size_t count = 0;
  for (auto& one : uploads) {
    upload& arrived = *one.upload;
    one.error = arrived.readiness();
    if (!one.error) one.error = ec;
    if (!one.error && locked.contains(one.id)) one.error = detail::system_code(EWOULDBLOCK);
    if (!one.error) {
      auto& publication = publications.emplace_back(folder, root.get(), one.id,
                                                    detail::if_missing::make, one.error);
      if (one.error == std::errc::operation_would_block) {
        locked.insert(one.id);
        publications.pop_back();
      } else {
        if (!one.error)
          publication.put(arrived.file_, arrived.name_, arrived.attributes_, one.error);
        if (one.error == std::errc::too_many_files_open && count > 0) {
          publication.finish(one.error);
          publications.pop_back();
          break;
        }
        begun.push_back(&one);
        files.push_back(&publication);
        errors.push_back(one.error);
      }
    }
    ++count;
  }
  detail::publish_in_phases<detail::publishing<Hasher>>(files, errors);
  for (std::size_t i = 0; i < begun.size(); ++i) {
    begun[i]->error = errors[i];
    begun[i]->upload->settle(publications[i], errors[i]);
  }
  return count;
}

template <hasher Hasher>
bool directory_store<Hasher>::add_name(const digest_type& id, std::uint64_t size,
                                       std::string_view name, const file_attributes& attributes,
                                       std::error_code& ec) {
  if (!folder_.can_hold(name)) {
    ec = errc::bad_name;
    return false;
  }
  const auto root = detail::reopen_folder(folder_.root(), ec);
  if (ec) return false;
  detail::publishing<Hasher> publication{folder_, root.get(), id, detail::if_missing::leave, ec};
  if (ec) return false;
  if (publication.keep_name(size, name, attributes, ec) || ec) return !ec;
  auto reserved = space_.reserve({0, 1}, {0, detail::folders_of(name)}, ec);
  publication.forbid_new_names(ec);  // but the file may have this one, with other attributes
  const auto reserve_copy = [this](std::uint64_t bytes, std::error_code& failed) {
    return space_.reserve({bytes, 0}, {bytes, 1}, failed);
  };
  const bool found = publication.add_name(size, name, attributes, reserve_copy, ec);
  if (publication.made_name()) reserved.keep({0, 1});
  return found;
}

}  // namespace filexfer

#endif
