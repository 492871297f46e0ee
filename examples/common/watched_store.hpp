#ifndef PROGRAMS_WATCHED_STORE_HPP
#define PROGRAMS_WATCHED_STORE_HPP

/// \file
/// A folder as a store that notices when the folder is removed.

#include <filexfer/directory_store.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/verification.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <sys/stat.h>

namespace programs {

/// The category of the one error of a store whose folder is gone.
inline const std::error_category& store_category() noexcept {
  struct category final : std::error_category {
    const char* name() const noexcept override { return "filexfer.store"; }
    std::string message(int) const override {
      return "the store's folder was removed or replaced; restart the server";
    }
  };
  static const category instance;
  return instance;
}

/// A `directory_store` that fails once another folder, or none, is at its path. The store itself
/// has its folder open, and would then appear empty.
template <filexfer::hasher Hasher>
class watched_store : public filexfer::directory_store<Hasher> {
  using base = filexfer::directory_store<Hasher>;

 public:
  using typename base::digest_type;

  /// Throws `std::system_error`.
  watched_store(const std::filesystem::path& folder, filexfer::directory_store_options options)
      : base{folder, std::move(options)}, path_{folder}, opened_{status()} {}

  typename base::cursor list(std::error_code& ec) const {
    auto entries = base::list(ec);
    check(ec);
    return entries;
  }

  auto open(const digest_type& id, std::error_code& ec) const {
    auto found = base::open(id, ec);
    if (!found) check(ec);
    return found;
  }

  auto create(const filexfer::upload_details<digest_type>& details, std::error_code& ec) {
    auto begun = base::create(details, ec);
    if (ec) check(ec);
    return begun;
  }

  auto resume(const filexfer::upload_details<digest_type>& details, std::error_code& ec) {
    auto begun = base::resume(details, ec);
    if (ec) check(ec);
    return begun;
  }

  bool add_name(const digest_type& id, std::uint64_t size, std::string_view name,
                const filexfer::file_attributes& attributes, std::error_code& ec) {
    const bool added = base::add_name(id, size, name, attributes, ec);
    if (!added) check(ec);
    return added;
  }

  bool remove(const digest_type& id, std::string_view name, std::error_code& ec) {
    const bool found = base::remove(id, name, ec);
    if (!found) check(ec);
    return found;
  }

  template <class OnFile>
  filexfer::verify_totals verify(const filexfer::verify_options& options, OnFile on_file,
                                 std::error_code& ec) const {
    const auto totals = base::verify(options, on_file, ec);
    check(ec);
    return totals;
  }

 private:
  struct stat status() const noexcept {
    struct stat now {};
    ::stat(path_.c_str(), &now);
    return now;
  }

  void check(std::error_code& ec) const noexcept {
    const auto now = status();
    if (now.st_dev != opened_.st_dev || now.st_ino != opened_.st_ino) ec = {1, store_category()};
  }

  std::filesystem::path path_;
  struct stat opened_;
};

static_assert(filexfer::resumable_store<watched_store<filexfer::md5>, filexfer::md5::digest_type>);
static_assert(filexfer::removing_store<watched_store<filexfer::md5>, filexfer::md5::digest_type>);

}  // namespace programs

#endif
