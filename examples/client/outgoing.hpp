#ifndef PROGRAMS_CLIENT_OUTGOING_HPP
#define PROGRAMS_CLIENT_OUTGOING_HPP

/// \file
/// The files that the user named, and those below the folders that the user named.

#include "common/client_settings.hpp"
#include "common/failure.hpp"

#include <filexfer/filexfer.hpp>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace programs {

/// A file of this side, as an `upload_element`.
class outgoing {
 public:
  using opener = std::function<filexfer::file_source(std::error_code&)>;

  outgoing(std::string path, std::string name, opener open)
      : path_{std::move(path)}, name_{std::move(name)}, open_{std::move(open)} {}

  /// One that can't be sent.
  outgoing(std::string path, std::error_code ec) : path_{std::move(path)}, error_{ec} {}

  /// An entry below a folder.
  explicit outgoing(filexfer::tree_file entry)
      : path_{entry.path().string()}, name_{entry.name()}, error_{entry.error()}, is_entry_{true} {
    if (!error_) open_ = [e = std::move(entry)](std::error_code& ec) { return e.open(ec); };
  }

  const std::string& name() const noexcept { return name_; }
  const std::string& label() const noexcept { return path_; }
  std::error_code error() const noexcept { return error_; }
  filexfer::file_source open(std::error_code& ec) const { return open_(ec); }

  /// Whether it takes as long as somebody else likes to have it: standard input is spooled first.
  bool may_block() const noexcept { return !open_ && !error_; }
  void prepare(std::error_code& ec);

  /// Why it failed on this side.
  failure explain_here(std::error_code ec) const {
    return is_entry_ && ec == error_ ? explain_entry(ec) : explain_local(ec);
  }

 private:
  std::string path_;
  std::string name_;
  std::error_code error_;
  bool is_entry_ = false;
  opener open_;
};

/// What messages call it.
inline constexpr const char* standard_input = "standard input";

/// A range of what the words of the command line mean, gone through once.
class outgoing_files {
 public:
  explicit outgoing_files(const client_settings& chosen) : chosen_{&chosen} {}

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = outgoing;
    using difference_type = std::ptrdiff_t;

    iterator() noexcept = default;
    explicit iterator(outgoing_files& all) : all_{&all} {}

    outgoing& operator*() const { return *all_->current_; }
    iterator& operator++() {
      all_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !all_->current_; }

   private:
    outgoing_files* all_ = nullptr;
  };

  iterator begin() {
    advance();
    return iterator{*this};
  }
  static std::default_sentinel_t end() noexcept { return {}; }

  /// Words that were gone through.
  std::size_t words_seen() const noexcept { return next_; }

 private:
  void advance();
  void take(const std::string& word);

  const client_settings* chosen_;
  std::size_t next_ = 0;
  std::optional<filexfer::tree_source> folder_;  ///< That is gone through.
  std::optional<outgoing> current_;
};

}  // namespace programs

#endif
