// filexfer-broken-server: a server whose store has one defect, for the tests that have to detect
// it. With the defect `none` the store is sound, which shows that they detect the defect alone.
//
//     filexfer-broken-server --listen ADDRESS --store DIR [OPTION...] DEFECT
//
// Listens on a free port of 127.0.0.1, whatever ADDRESS is, and ignores other options.

#include <filexfer/digest.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/server.hpp>
#include <filexfer/storage.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/signal_set.hpp>
#include <asio/thread_pool.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;
using digest = filexfer::md5::digest_type;

enum class defect {
  none,
  no_flush_of_file,
  no_flush_of_folders,
  shown_before_flush,
  written_in_place,
  acknowledged_before_commit,
  temporary_kept,
  no_clean_up,
  published_when_cut
};

defect parse_defect(std::string_view text) {
  constexpr std::array<std::string_view, 9> names{"none",
                                                  "no-flush-of-file",
                                                  "no-flush-of-folders",
                                                  "shown-before-flush",
                                                  "written-in-place",
                                                  "acknowledged-before-commit",
                                                  "temporary-kept",
                                                  "no-clean-up",
                                                  "published-when-cut"};
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end()) throw std::invalid_argument{"no defect: " + std::string{text}};
  return static_cast<defect>(std::distance(names.begin(), found));
}

int check(int result) {
  if (result < 0) throw std::system_error{errno, std::system_category()};
  return result;
}

struct descriptor {
  explicit descriptor(int opened) : value{check(opened)} {}
  descriptor(descriptor&& other) noexcept : value{std::exchange(other.value, -1)} {}
  descriptor& operator=(descriptor&&) = delete;
  ~descriptor() {
    if (value >= 0) ::close(value);
  }
  int value;
};

descriptor open_folder(int parent, const std::string& name) {
  if (::mkdirat(parent, name.c_str(), 0755) != 0 && errno != EEXIST) check(-1);
  return descriptor{::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
}

/// Lists and reads through a `directory_store`, and stores files itself, with the defect.
class broken_store {
 public:
  using sound_store = filexfer::directory_store<>;
  using cursor = sound_store::cursor;
  using reader = sound_store::reader;
  class upload;

  broken_store(const fs::path& root, defect kind)
      : defect_{kind},
        sound_{open_sound_store(root, kind)},
        root_{open_folder(AT_FDCWD, root.string())},
        incoming_{open_folder(root_.value, ".incoming")} {}

  cursor list(std::error_code& ec) {
    commit_pending();
    return sound_->list(ec);
  }

  auto open(const digest& id, std::error_code& ec) {
    commit_pending();
    return sound_->open(id, ec);
  }

  std::optional<upload> create(const filexfer::upload_details<digest>& details,
                               std::error_code& ec);

  bool add_name(const digest&, std::uint64_t, std::string_view, const filexfer::file_attributes&,
                std::error_code& ec) {
    ec.clear();
    return false;
  }

 private:
  /// A file that is being uploaded.
  struct incoming_file {
    incoming_file(broken_store& s, std::string n)
        : store{s},
          name{std::move(n)},
          temporary{std::to_string(::getpid()) + '-' + std::to_string(++s.count_)},
          file{::openat(s.incoming_.value, temporary.c_str(), O_RDWR | O_CREAT | O_EXCL, 0644)} {}
    incoming_file(const incoming_file&) = delete;
    incoming_file& operator=(const incoming_file&) = delete;
    ~incoming_file() {
      if (!is_published && store.defect_ == defect::published_when_cut) store.publish(*this, {});
      if (is_published || store.defect_ == defect::temporary_kept) return;
      ::unlinkat(store.incoming_.value, temporary.c_str(), 0);
    }
    broken_store& store;
    std::string name;
    std::string temporary;
    descriptor file;
    bool is_published = false;
  };

  /// With `no_clean_up`, hides what an earlier run left, so that opening does not remove it.
  static std::unique_ptr<sound_store> open_sound_store(const fs::path& root, defect kind) {
    const fs::path incoming = root / ".incoming";
    const fs::path hidden = root / ".left";
    const bool hide = kind == defect::no_clean_up && fs::exists(incoming);
    if (hide) fs::rename(incoming, hidden);
    auto store = std::make_unique<sound_store>(root);
    if (hide) {
      fs::remove_all(incoming);
      fs::rename(hidden, incoming);
    }
    return store;
  }

  void commit(std::unique_ptr<incoming_file> file, const digest& id) {
    if (defect_ != defect::acknowledged_before_commit) {
      publish(*file, id);
      return;
    }
    const std::lock_guard lock{mutex_};
    pending_commit_ = [this, id, pending = std::shared_ptr<incoming_file>{std::move(file)}] {
      publish(*pending, id);
    };
  }

  void commit_pending() {
    const std::lock_guard lock{mutex_};
    if (pending_commit_) std::exchange(pending_commit_, nullptr)();
  }

  void publish(incoming_file& file, const digest& id) {
    if (defect_ != defect::no_flush_of_file && defect_ != defect::shown_before_flush) {
      check(::fsync(file.file.value));
    }
    std::vector<descriptor> folders;
    folders.push_back(open_folder(root_.value, "."));
    folders.push_back(open_folder(root_.value, id.to_string()));
    const fs::path name{file.name};
    for (const fs::path& part : name.parent_path()) {
      folders.push_back(open_folder(folders.back().value, part.string()));
    }
    move_into(file, folders.back().value, name.filename().string());
    if (defect_ == defect::shown_before_flush) check(::fsync(file.file.value));
    if (defect_ == defect::no_flush_of_folders) return;
    for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder) {
      check(::fsync(folder->value));
    }
  }

  void move_into(incoming_file& file, int folder, const std::string& leaf) {
    const char* const from = file.temporary.c_str();
    if (defect_ == defect::written_in_place) {
      const descriptor target{::openat(folder, leaf.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644)};
      copy(file.file.value, target.value);
      check(::fsync(target.value));
    } else if (defect_ == defect::temporary_kept) {
      if (::linkat(incoming_.value, from, folder, leaf.c_str(), 0) != 0 && errno != EEXIST)
        check(-1);
      file.is_published = true;
    } else {
      check(::renameat(incoming_.value, from, folder, leaf.c_str()));
      file.is_published = true;
    }
  }

  static void copy(int from, int to) {
    std::array<char, 65536> buffer{};
    for (off_t offset = 0;;) {
      const auto count = ::pread(from, buffer.data(), buffer.size(), offset);
      check(static_cast<int>(count));
      if (count == 0) return;
      check(static_cast<int>(::write(to, buffer.data(), static_cast<std::size_t>(count))));
      offset += count;
    }
  }

  defect defect_;
  std::unique_ptr<sound_store> sound_;
  descriptor root_;
  descriptor incoming_;
  std::atomic<int> count_{0};
  std::mutex mutex_;
  std::function<void()> pending_commit_;
};

class broken_store::upload {
 public:
  void write(std::span<const std::byte> bytes, std::error_code& ec) try {
    ec.clear();
    while (!bytes.empty()) {
      const auto written = ::write(file_->file.value, bytes.data(), bytes.size());
      check(static_cast<int>(written));
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  } catch (const std::system_error& e) {
    ec = e.code();
  }

  void commit(const digest& id, std::error_code& ec) try {
    ec.clear();
    broken_store& store = file_->store;
    store.commit(std::move(file_), id);
  } catch (const std::system_error& e) {
    ec = e.code();
  }

 private:
  friend class broken_store;
  explicit upload(std::unique_ptr<incoming_file> file) : file_{std::move(file)} {}

  std::unique_ptr<incoming_file> file_;
};

std::optional<broken_store::upload> broken_store::create(
    const filexfer::upload_details<digest>& details, std::error_code& ec) try {
  ec.clear();
  commit_pending();
  return upload{std::make_unique<incoming_file>(*this, std::string{details.name})};
} catch (const std::system_error& e) {
  ec = e.code();
  return std::nullopt;
}

static_assert(filexfer::file_store<broken_store, digest>);

void serve(const fs::path& folder, defect kind) {
  using asio::ip::tcp;
  broken_store store{folder, kind};
  asio::io_context context;
  asio::thread_pool work{1};
  filexfer::server<tcp, broken_store> server{
      context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  server.work_executor(work.get_executor());
  asio::signal_set signals{context, SIGTERM};
  signals.async_wait([&](std::error_code, int) { server.async_stop([](std::error_code) {}); });
  server.start();
  std::cout << "listening on " << server.local_endpoint() << std::endl;
  context.run();
  work.join();
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto store = std::find(words.begin(), words.end(), "--store");
  if (words.end() - store < 3) throw std::invalid_argument{"--store DIR ... DEFECT"};
  serve(*(store + 1), parse_defect(words.back()));
} catch (const std::exception& e) {
  std::cerr << "filexfer-broken-server: " << e.what() << '\n';
  return 2;
}
