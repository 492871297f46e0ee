// A store of your own: whatever models filexfer::file_store can be served. This one is a map.

#include <filexfer/filexfer.hpp>

#include <asio/system_executor.hpp>

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using digest = filexfer::md5::digest_type;
using file_info = filexfer::file_info<digest>;

/// Sessions hash and compare; a store only keeps. They may call it from several threads.
class map_store {
 public:
  using reader = filexfer::memory_source;

  struct cursor {
    std::vector<file_info> files;
    std::optional<file_info> next(std::error_code& ec) {
      ec.clear();
      if (files.empty()) return std::nullopt;
      const file_info file = files.back();
      files.pop_back();
      return file;
    }
  };

  struct upload {
    map_store* store;
    std::string name;
    std::string bytes{};
    void write(std::span<const std::byte> more, std::error_code& ec) {
      ec.clear();
      bytes.append(reinterpret_cast<const char*>(more.data()), more.size());
    }
    void commit(const digest& id, std::error_code& ec) {  // only now may the file be seen
      ec.clear();
      const std::lock_guard lock{store->mutex_};
      auto& file = store->files_.try_emplace(id, bytes, std::set<std::string>{}).first->second;
      if (file.first != bytes) ec = filexfer::errc::collision;
      else file.second.insert(name);
    }
  };

  cursor list(std::error_code& ec) {
    ec.clear();
    cursor all;
    const std::lock_guard lock{mutex_};
    for (const auto& [id, file] : files_) {
      for (const auto& name : file.second) all.files.push_back({id, name, file.first.size()});
    }
    return all;
  }

  std::optional<filexfer::opened_file<digest, reader>> open(const digest& id, std::error_code& ec) {
    ec.clear();
    const std::lock_guard lock{mutex_};
    const auto file = files_.find(id);
    if (file == files_.end()) return std::nullopt;
    const auto& [bytes, names] = file->second;
    return {{{id, *names.begin(), bytes.size()}, reader{bytes}}};
  }

  std::optional<upload> create(const filexfer::upload_details<digest>& file, std::error_code& ec) {
    ec.clear();
    return upload{this, file.name};
  }

  bool add_name(const digest& id, std::uint64_t size, std::string_view name,
                std::optional<filexfer::file_time>, std::error_code& ec) {
    ec.clear();
    const std::lock_guard lock{mutex_};
    const auto file = files_.find(id);
    if (file == files_.end() || file->second.first.size() != size) return false;
    file->second.second.emplace(name);
    return true;
  }

 private:
  std::mutex mutex_;
  std::map<digest, std::pair<std::string, std::set<std::string>>> files_;  ///< bytes, names
};

int main() {
  map_store store;
  auto [near, far] = filexfer::make_memory_pipe(asio::system_executor{});
  filexfer::session session{std::move(far), store};
  std::thread serving{[&session] { session.run(); }};
  filexfer::client client{std::move(near)};
  filexfer::memory_source note{std::string{"hello"}};
  const auto sent = client.upload(note, "note.txt");
  filexfer::memory_sink copy{100};
  client.download(sent.computed_there, copy);
  client.next_layer().close();
  serving.join();
  return copy.text() == "hello" ? 0 : 1;
}
