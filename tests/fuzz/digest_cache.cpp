// The file of a digest cache, as other processes, crashes and accidents leave it: only whole lines
// are believed, the last one of a file counts, and what is added is found in the next run.
//
// Input: the lines of the file. In a line that begins with `+` (which is dropped), `@` is the
// identity of the file that is looked up, and the checksum is appended.

#include "fuzz/support/fuzzing.hpp"
#include "fuzz/support/grammar.hpp"
#include "fuzz/support/scratch.hpp"
#include "support/rfc1321.hpp"

#include <filexfer/digest_cache.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using fuzz::require;

constexpr const char* hello = "5d41402abc4b2a76b9719d911017c592";

/// A file in the cache.
class known_file {
 public:
  explicit known_file(const std::filesystem::path& path)
      : descriptor_{::open(path.c_str(), O_RDWR | O_CREAT, 0600)} {
    require(::write(descriptor_, "hello", 5) == 5, "a file can be written");
    const timespec times[] = {{0, UTIME_OMIT}, {1'700'000'000, 500'000'000}};
    require(::futimens(descriptor_, times) == 0, "its time can be set");
    require(::fstat(descriptor_, &status_) == 0, "its status can be read");
  }
  known_file(const known_file&) = delete;
  known_file& operator=(const known_file&) = delete;
  ~known_file() { ::close(descriptor_); }

  int descriptor() const { return descriptor_; }

  /// Device, inode, size, times of modification and status change.
  std::string identity() const {
    const timespec changed = filexfer::detail::status_changed(status_);
    std::string fraction = std::to_string(1'000'000'000 + changed.tv_nsec).substr(1);
    while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
    return std::to_string(status_.st_dev) + ' ' + std::to_string(status_.st_ino) +
           " 5 1700000000.5 " + std::to_string(changed.tv_sec) +
           (fraction.empty() ? "" : '.' + fraction);
  }

 private:
  int descriptor_;
  struct stat status_ {};
};

std::string with_checksum(std::string line) {
  line += ' ';
  return line + test::rfc1321_hex(line);
}

/// The file's lines; see above.
std::string lines_of(std::string_view input, const std::string& identity) {
  std::string text;
  for (fuzz::input lines{input}; !lines.empty();) {
    const std::string line{lines.line()};
    const auto fields = fuzz::split(line, ' ');
    const bool is_damaged = fields.size() == 4 && fields[3] == "!";
    if (filexfer::is_clean_line(line) && fields.size() == (is_damaged ? 4 : 3) &&
        fields[2] == "@") {
      text += with_checksum(fields[0] + ' ' + fields[1] + ' ' + identity);
      if (is_damaged) text.back() = text.back() == '0' ? '1' : '0';
    } else {
      text += line;
    }
    text += '\n';
  }
  if (!input.ends_with('\n') && !text.empty()) text.pop_back();
  return text;
}

/// The MD5 digest that the lines have for the file, read in the simplest way.
std::optional<std::string> digest_in(const std::string& text, const std::string& identity) {
  const std::string file = " md5 " + identity;
  std::optional<std::string> found;
  auto lines = fuzz::split(text, '\n');
  lines.pop_back();  // an incomplete line, or nothing
  for (const std::string& line : lines) {
    const std::string digest = fuzz::split(line, ' ')[0];
    if (line != with_checksum(digest + file)) continue;
    if (digest == "-") found.reset();
    else if (const auto id = fuzz::grammar::id_of(digest, {32, 64})) found = id;
  }
  return found;
}

std::string contents(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

std::optional<std::string> find(const filexfer::file_digest_cache& cache, const known_file& file) {
  const auto digest = cache.find(file.descriptor(), "md5");
  return digest ? std::optional{digest->to_string()} : std::nullopt;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const known_file file{fuzz::process_folder() / "known"};
  static const std::string identity = file.identity();
  const auto path = fuzz::process_folder() / "cache";
  const std::string text = lines_of({reinterpret_cast<const char*>(data), size}, identity);
  std::ofstream{path, std::ios::binary} << text;
  std::filesystem::permissions(path, std::filesystem::perms{0600});

  const auto later = std::chrono::system_clock::now() + std::chrono::hours{1};
  {
    filexfer::file_digest_cache cache{path};
    require(find(cache, file) == digest_in(text, identity), "the last whole line is believed",
            text);
    cache.add(file.descriptor(), "md5", later, *filexfer::any_digest::from_hex(hello));
    require(find(cache, file) == hello, "what is added is found");
  }
  require(contents(path).starts_with(text), "the lines of others stay", text);
  {
    filexfer::file_digest_cache cache{path};
    require(find(cache, file) == hello, "what was added is found in the next run", contents(path));
    cache.forget(file.descriptor(), "md5");
    require(!find(cache, file), "what is forgotten is not found");
  }
  const filexfer::file_digest_cache cache{path};
  require(!find(cache, file), "what was forgotten is not found in the next run", contents(path));
  return 0;
}
