#ifndef PROGRAMS_CLIENT_INCOMING_HPP
#define PROGRAMS_CLIENT_INCOMING_HPP

/// \file
/// The files that a download receives.

#include "common/failure.hpp"

#include <filexfer/filexfer.hpp>

#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <unistd.h>

namespace programs {

/// A file to download: a `download_element`.
class incoming_file : public filexfer::file_download {
 public:
  /// A file named by its id.
  incoming_file(filexfer::download_target to, const filexfer::any_digest& id, std::string argument)
      : file_download{std::move(to), id}, label_{std::move(argument)} {}

  /// A file named by its name at the server.
  incoming_file(filexfer::download_target to, filexfer::listed_file file, std::string name)
      : file_download{std::move(to), std::move(file)}, label_{name}, name_{std::move(name)} {}

  /// An argument for which no file could be determined.
  incoming_file(filexfer::download_target to, std::string argument, failure why)
      : file_download{std::move(to), filexfer::any_digest{}},
        label_{std::move(argument)},
        lookup_failure_{std::move(why)} {}

  /// Keeps nothing unless `keeps_part`.
  struct sink : file_download::sink {
    sink(incoming_file& file, std::error_code& ec)
        : file_download::sink{file, ec}, keeps{file.keeps_part} {}
    void keep() {
      if (keeps) file_download::sink::keep();
    }
    bool keeps;
  };
  sink open(std::error_code& ec) { return {*this, ec}; }

  std::error_code error() const {
    return lookup_failure_.code == done ? std::error_code{} : filexfer::errc::not_found;
  }
  const failure& lookup_failure() const noexcept { return lookup_failure_; }

  /// The file's name in messages.
  const std::string& label() const noexcept { return label_; }

  /// The file's name at the server; empty if it was named by its id.
  const std::string& requested_name() const noexcept { return name_; }

  bool keeps_part = true;  ///< When an attempt fails.
  bool was_reported = false;

 private:
  std::string label_;
  std::string name_;
  failure lookup_failure_;
};

/// A file to write to standard output as it arrives: a `download_element`.
class stdout_download {
 public:
  stdout_download(const filexfer::any_digest& id, std::string label)
      : id_{id}, label_{std::move(label)} {}

  struct sink : filexfer::descriptor_sink {
    explicit sink(bool& flag) : descriptor_sink{STDOUT_FILENO}, has_written{flag} {}
    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      has_written = true;
      descriptor_sink::write(bytes, ec);
    }
    bool& has_written;
  };

  const filexfer::any_digest& id() const noexcept { return id_; }
  const std::string& label() const noexcept { return label_; }
  bool may_retry() const noexcept { return !has_written_; }
  sink open(std::error_code& ec) {
    ec.clear();
    return sink{has_written_};
  }

 private:
  filexfer::any_digest id_;
  std::string label_;
  bool has_written_ = false;
};

}  // namespace programs

#endif
