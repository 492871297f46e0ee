// Downloads of files whose times their file system may not keep.

#include "support/bytes.hpp"
#include "support/scratch_folder.hpp"

#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/file.hpp>
#include <filexfer/file_download.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <system_error>

#include <unistd.h>

namespace file_download_times_tests {

namespace fs = std::filesystem;
using namespace test;
using filexfer::download_target;
using filexfer::file_download;
using filexfer::file_time;
using filexfer::listed_file;

namespace {

/// What the file system of that folder keeps of a time.
file_time kept_of(const fs::path& folder, file_time time) {
  std::error_code ec;
  filexfer::file_sink file{folder / "reference", filexfer::on_existing::replace};
  file.modified(time);
  file.commit(ec);
  REQUIRE_FALSE(ec);
  return filexfer::file_source{folder / "reference"}.modified();
}

void check_download(file_download download, const listed_file& file) {
  CHECK(download.keeps_time());
  const fs::path path = download.path();
  std::error_code ec;
  {
    auto sink = download.open(ec);
    REQUIRE_FALSE(ec);
    sink.announce(file, ec);
    REQUIRE_FALSE(ec);
    sink.write(as_bytes("text"), ec);
    sink.commit(ec);
    REQUIRE_FALSE(ec);
  }
  const file_time kept = kept_of(path.parent_path(), *file.modified);
  const bool is_kept = kept == *file.modified;
  CHECK(download.modified() == file.modified);
  CHECK(filexfer::file_source{path}.modified() == kept);
  CHECK(download.keeps_time() == is_kept);

  fs::last_write_time(path, fs::file_time_type::clock::now());
  file_download again{download_target::file(path), file};
  again.accept_existing(ec);
  REQUIRE_FALSE(ec);
  CHECK(filexfer::file_source{path}.modified() == kept);
  CHECK(again.keeps_time() == is_kept);
}

}  // namespace

TEST_CASE("a download, and an existing file, have the nearest time, and say if it is another") {
  for (const fs::path& place : {fs::temp_directory_path(), fs::path{"/dev/shm"}}) {
    if (::access(place.c_str(), W_OK) != 0) continue;
    for (const file_time time : {file_time{-20'000'000'000, 0}, file_time{1'000'000'000, 0},
                                 file_time{20'000'000'000, 0}}) {
      CAPTURE(place);
      CAPTURE(format_time(time));
      const scratch_folder folder{place};
      const listed_file file{filexfer::any_digest{}, "name", 4, time};
      check_download({download_target::folder(folder.path()), file}, file);
      check_download({download_target::file(folder / "other"), file}, file);
    }
  }
}

}  // namespace file_download_times_tests
