#ifndef PROGRAMS_CLIENT_OUTGOING_HPP
#define PROGRAMS_CLIENT_OUTGOING_HPP

/// \file
/// The files that arguments name, and those in the folders that arguments name.

#include "client/unfinished_uploads.hpp"
#include "common/client_settings.hpp"
#include "common/failure.hpp"

#include <filexfer/filexfer.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace programs {

/// A local file: an `upload_element`.
class outgoing_file {
 public:
  using opener = std::function<filexfer::file_source(std::error_code&)>;

  outgoing_file(std::string path, std::string name, opener open)
      : path_{std::move(path)}, name_{std::move(name)}, open_{std::move(open)} {}

  /// A file that can't be sent.
  outgoing_file(std::string path, std::error_code ec) : path_{std::move(path)}, error_{ec} {}

  /// An entry of a folder.
  explicit outgoing_file(filexfer::tree_file entry)
      : path_{entry.path().string()}, name_{entry.name()}, error_{entry.error()}, is_entry_{true} {
    if (!error_) open_ = [e = std::move(entry)](std::error_code& ec) { return e.open(ec); };
  }

  const std::string& name() const noexcept { return name_; }
  const std::string& label() const noexcept { return path_; }
  std::error_code error() const noexcept { return error_; }
  filexfer::file_source open(std::error_code& ec);

  /// Lets this upload be resumed by a later run; `uploads` must outlive it.
  void track(unfinished_uploads& uploads) noexcept { uploads_ = &uploads; }
  bool was_interrupted() const;
  /// Empty before `open`, and if the upload is not tracked.
  const std::string& resume_token() const noexcept { return token_; }

  /// Whether it is standard input, which may block indefinitely, and which `prepare` spools.
  bool may_block() const noexcept { return !open_ && !error_; }
  void prepare(std::error_code& ec);

  /// Explains an error of this side.
  failure explain_local_error(std::error_code ec) const {
    return is_entry_ && ec == error_ ? explain_entry(ec) : explain_source(path_, ec);
  }

 private:
  std::string path_;
  std::string name_;
  std::error_code error_;
  bool is_entry_ = false;
  opener open_;
  unfinished_uploads* uploads_ = nullptr;
  std::string token_;
};

/// Standard input's name in messages.
inline constexpr const char* standard_input = "standard input";

/// The input range of the files that the command line's arguments mean.
class outgoing_files {
 public:
  /// \param uploads  Tracks the uploads; null if they are not to be resumed.
  explicit outgoing_files(const client_settings& settings, unfinished_uploads* uploads = nullptr)
      : settings_{&settings}, uploads_{uploads} {}

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = outgoing_file;
    using difference_type = std::ptrdiff_t;

    iterator() noexcept = default;
    explicit iterator(outgoing_files& files) : files_{&files} {}

    outgoing_file& operator*() const { return *files_->current_; }
    iterator& operator++() {
      files_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !files_->current_; }

   private:
    outgoing_files* files_ = nullptr;
  };

  iterator begin() {
    advance();
    return iterator{*this};
  }
  static std::default_sentinel_t end() noexcept { return {}; }

  /// The number of arguments that were started.
  std::size_t arguments_used() const noexcept { return next_; }

 private:
  void advance();
  void find_next();
  void start_argument(const std::string& argument);

  const client_settings* settings_;
  unfinished_uploads* uploads_;
  std::size_t next_ = 0;
  std::optional<filexfer::tree_source> folder_;  ///< The folder that is being iterated.
  std::optional<outgoing_file> current_;
};

/// Counts the empty folders that `outgoing_files` skips; not those behind symbolic links.
std::uint64_t count_empty_folders(const client_settings& settings);

}  // namespace programs

#endif
