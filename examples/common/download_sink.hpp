#ifndef PROGRAMS_DOWNLOAD_SINK_HPP
#define PROGRAMS_DOWNLOAD_SINK_HPP

/// \file
/// Where downloads go.

#include "common/progress.hpp"

#include <filexfer/digest.hpp>
#include <filexfer/file.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/storage.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace programs {

/// A file that the user has named, or a folder below which a file stands under its own name.
struct destination {
  std::filesystem::path folder;
  std::optional<std::filesystem::path> file{};

  /// The file that `name`, which `filexfer::is_name`, becomes.
  std::filesystem::path file_for(std::string_view name) const {
    return file ? *file : folder / name;
  }
};

/// What the text behind `-o` means for `count` downloads; empty is the current folder. Sets
/// `ENOTDIR` if it has to be a folder and is none.
destination choose_destination(const std::string& output, std::size_t count, std::error_code& ec);

/// Whether `target` can be written: `errc::file_exists` if it is there and to be kept, `ENOTSUP`
/// for what is neither a file nor a symbolic link.
void check_target(const std::filesystem::path& target, filexfer::on_existing policy,
                  std::error_code& ec);

/// What is known of a file that is wanted under a name: several may share its octets.
struct named_file {
  std::string name;
  std::optional<filexfer::file_time> modified{};
};

/// Puts a download where it belongs once the server has announced it. The folders in its name are
/// made; a symbolic link among them is refused, so that no name leads out of the folder. Folders
/// that were made for a download that failed are removed again.
class download_sink {
 public:
  /// `wanted`: the name and time that the file is to have, if that is not the server's choice.
  download_sink(destination where, filexfer::on_existing policy, std::optional<named_file> wanted,
                progress& shown)
      : where_{std::move(where)}, policy_{policy}, wanted_{std::move(wanted)}, shown_{shown} {}
  download_sink(const download_sink&) = delete;
  download_sink& operator=(const download_sink&) = delete;
  ~download_sink();

  template <class Digest>
  void announce(const filexfer::file_info<Digest>& file, std::error_code& ec) {
    announce(wanted_ ? *wanted_ : named_file{file.name, file.modified}, file.size, ec);
  }
  void write(std::span<const std::byte> octets, std::error_code& ec);
  void commit(std::error_code& ec);

  /// The file's path; empty before it was announced.
  const std::filesystem::path& target() const noexcept { return target_; }

 private:
  void announce(const named_file& file, std::uint64_t size, std::error_code& ec);
  void make_folders(std::string_view name, std::error_code& ec);

  destination where_;
  filexfer::on_existing policy_;
  std::optional<named_file> wanted_;
  progress& shown_;
  std::filesystem::path target_;
  std::vector<std::filesystem::path> made_;
  std::optional<filexfer::file_sink> file_;
};

static_assert(filexfer::announced_sink<download_sink, filexfer::digest<16>>);

/// Writes a download to standard output as it comes.
class stdout_sink {
 public:
  explicit stdout_sink(progress& shown) : shown_{shown} {}

  template <class Digest>
  void announce(const filexfer::file_info<Digest>& file, std::error_code& ec) {
    ec.clear();
    shown_.begin(file.name, file.size);
  }
  void write(std::span<const std::byte> octets, std::error_code& ec);
  void commit(std::error_code& ec) { ec.clear(); }

  /// What it is called in messages.
  std::filesystem::path target() const { return "standard output"; }

 private:
  progress& shown_;
};

static_assert(filexfer::announced_sink<stdout_sink, filexfer::digest<16>>);

}  // namespace programs

#endif
