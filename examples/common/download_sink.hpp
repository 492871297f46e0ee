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
};

/// Puts downloads where they belong, one after the other, and shows how far they are.
class download_sink {
 public:
  /// Opens the folder, if it is one; sets `ec` if it can't.
  download_sink(destination where, filexfer::on_existing policy, progress& shown,
                std::error_code& ec);

  /// Begins a download, of which the file's name and time may be known. What can be found wrong
  /// before the server is asked for it, is.
  void begin(std::optional<named_file> wanted, std::error_code& ec);

  template <class Digest>
  void announce(const filexfer::file_info<Digest>& file, std::error_code& ec) {
    announce(named_file{file.name, file.modified}, file.size, ec);
  }
  void write(std::span<const std::byte> octets, std::error_code& ec);
  void commit(std::error_code& ec);

  /// Removes what was begun and not committed.
  void give_up();

  /// The file's path; empty as long as it is not known.
  std::filesystem::path target() const;

 private:
  void announce(const named_file& file, std::uint64_t size, std::error_code& ec);
  void open(const std::string& name, std::error_code& ec);

  destination where_;
  filexfer::on_existing policy_;
  progress& shown_;
  std::optional<filexfer::tree_sink> tree_;  ///< Or else there is a file.
  std::optional<filexfer::file_sink> file_;
  std::optional<named_file> wanted_;
  std::string name_;  ///< Empty as long as it is not known.
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
