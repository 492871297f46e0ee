// Your own store: a server can serve any type that models filexfer::file_store. This one is a map.

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

/// Sessions hash and compare digests; a store only keeps files. Several threads may call it.
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
    void commit(const digest& id, std::error_code& ec) {  // not visible before this
      ec.clear();
      const std::lock_guard lock{store->mutex_};
      auto& file = store->files_.try_emplace(id, bytes, std::set<std::string>{}).first->second;
      if (file.first != bytes) ec = filexfer::errc::collision;
      else file.second.insert(name);
    }
  };

  cursor list(std::error_code& ec) {
    ec.clear();
    cursor result;
    const std::lock_guard lock{mutex_};
    for (const auto& [id, file] : files_) {
      for (const auto& name : file.second) result.files.push_back({id, name, file.first.size()});
    }
    return result;
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
                const filexfer::file_attributes&, std::error_code& ec) {
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
  auto [client_end, server_end] = filexfer::make_memory_pipe(asio::system_executor{});
  filexfer::session session{std::move(server_end), store};
  std::thread server_thread{[&session] { session.run(); }};
  filexfer::client client{std::move(client_end)};
  filexfer::memory_source source{std::string{"hello"}};
  const auto uploaded = client.upload(source, "note.txt");
  filexfer::memory_sink sink{100};
  client.download(uploaded.remote_digest, sink);
  client.next_layer().close();
  server_thread.join();
  return sink.text() == "hello" ? 0 : 1;
}
