#ifndef PROGRAMS_DOWNLOAD_SINK_HPP
#define PROGRAMS_DOWNLOAD_SINK_HPP

/// \file
/// Where downloads go.

#include "common/progress.hpp"

#include <filexfer/digest.hpp>
#include <filexfer/file.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/tree_sink.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

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

/// What is known of a file that is wanted under a name: several may share its octets.
struct named_file {
  std::string name;
  std::optional<filexfer::file_time> modified{};
  std::optional<std::uint64_t> size{};
};

/// Where all downloads of a job go, on any thread.
class download_place {
 public:
  /// Opens the folder, if it is one; sets `ec` if it can't.
  download_place(destination where, filexfer::on_existing policy, std::error_code& ec);

  /// The file that stands where `wanted` is to come. A symbolic link is none.
  std::optional<filexfer::file_source> existing(const std::optional<named_file>& wanted) const;

  /// Where `wanted` is to come; an empty path as long as that is not known.
  std::filesystem::path target_of(const std::optional<named_file>& wanted) const;

 private:
  friend class download_sink;

  destination where_;
  filexfer::on_existing policy_;
  std::optional<filexfer::tree_root> tree_;  ///< Or else there is a file.
};

/// Puts a download where it belongs, and counts its octets.
class download_sink {
 public:
  download_sink(download_place& place, file_progress& shown);

  /// Begins a download, of which the file's name and time may be known. What can be found wrong
  /// before the server is asked for it, is. What an earlier attempt has left as `part`, beside the
  /// file, is gone on with.
  void begin(std::optional<named_file> wanted, std::string part, std::error_code& ec);

  template <class Digest>
  void announce(const filexfer::file_info<Digest>& file, std::error_code& ec) {
    announce(named_file{file.name, file.modified, file.size}, ec);
  }
  void write(std::span<const std::byte> octets, std::error_code& ec);
  void commit(std::error_code& ec);

  std::uint64_t held() const noexcept;
  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec);
  void drop_held(std::error_code& ec);

  /// Leaves what has come as the part.
  void keep();

  /// Removes what was begun and not committed.
  void give_up();

  /// What is known of the file, by now.
  const std::optional<named_file>& wanted() const noexcept { return wanted_; }

  std::filesystem::path target() const { return place_.target_of(wanted_); }

 private:
  void announce(named_file file, std::error_code& ec);

  download_place& place_;
  file_progress& shown_;
  std::optional<filexfer::tree_sink> tree_;  ///< Or else there is a file.
  std::optional<filexfer::file_sink> file_;
  std::optional<named_file> wanted_;
};

static_assert(filexfer::announced_sink<download_sink, filexfer::digest<16>>);
static_assert(filexfer::resumable_sink<download_sink>);

/// Gives a file of this side another time of modification.
void set_modified(const filexfer::file_source& file, filexfer::file_time time, std::error_code& ec);

/// Writes a download to standard output as it comes.
class stdout_sink {
 public:
  explicit stdout_sink(file_progress& shown) : shown_{shown} {}

  template <class Digest>
  void announce(const filexfer::file_info<Digest>& file, std::error_code& ec) {
    ec.clear();
    shown_.start(file.size);
  }
  void write(std::span<const std::byte> octets, std::error_code& ec);
  void commit(std::error_code& ec) { ec.clear(); }

  /// What it is called in messages.
  std::filesystem::path target() const { return "standard output"; }

 private:
  file_progress& shown_;
};

static_assert(filexfer::announced_sink<stdout_sink, filexfer::digest<16>>);

}  // namespace programs

#endif
