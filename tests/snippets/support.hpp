#ifndef FILEXFER_TESTS_SNIPPETS_SUPPORT_HPP
#define FILEXFER_TESTS_SNIPPETS_SUPPORT_HPP

// What the examples run in: an empty folder, a server on the loopback interface, their output.

#include <filexfer/md5.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>
#include <filexfer/storage.hpp>

#include <asio/detail/config.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <stdlib.h>

#if defined(ASIO_HAS_CO_AWAIT)
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/use_awaitable.hpp>
#endif

namespace snippets {

using asio::ip::tcp;

/// An empty folder, which is the current one for the lifetime of this.
class current_folder {
 public:
  current_folder() : before_{std::filesystem::current_path()} {
    std::string path = std::filesystem::temp_directory_path() / "filexfer.XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) {
      throw std::system_error{errno, std::generic_category(), path};
    }
    path_ = path;
    std::filesystem::current_path(path_);
  }
  current_folder(const current_folder&) = delete;
  current_folder& operator=(const current_folder&) = delete;
  ~current_folder() {
    std::error_code ignored;
    std::filesystem::current_path(before_, ignored);
    std::filesystem::remove_all(path_, ignored);
  }

 private:
  std::filesystem::path before_;
  std::filesystem::path path_;
};

inline void write_file(const std::filesystem::path& path, std::string_view text) {
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path());
  std::ofstream{path, std::ios::binary} << text;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

/// What is written to a standard stream, until `take`. What was not taken is written at last, for
/// it may be what a failed check says.
class captured_output {
 public:
  explicit captured_output(std::ostream& from = std::cout)
      : from_{from}, before_{from.rdbuf(text_.rdbuf())} {}
  captured_output(const captured_output&) = delete;
  captured_output& operator=(const captured_output&) = delete;
  ~captured_output() {
    if (before_ != nullptr) std::cerr << take();
  }

  std::string take() {
    from_.rdbuf(std::exchange(before_, nullptr));
    return text_.str();
  }

 private:
  std::ostream& from_;
  std::ostringstream text_;
  std::streambuf* before_;
};

template <class Hasher = filexfer::md5>
typename Hasher::digest_type id_of(std::string_view text) {
  Hasher hash;
  hash.update(std::as_bytes(std::span{text}));
  return hash.finish();
}

/// Stores a file, and returns its id.
template <class Hasher = filexfer::md5, class Store>
typename Hasher::digest_type put(Store& store, std::string name, std::string_view text) {
  const auto id = id_of<Hasher>(text);
  filexfer::upload_details<typename Hasher::digest_type> details{};
  details.name = std::move(name);
  details.size = text.size();
  std::error_code ec;
  auto upload = store.create(details, ec);
  if (upload) upload->write(std::as_bytes(std::span{text}), ec);
  if (upload && !ec) upload->commit(id, ec);
  if (ec) throw std::system_error{ec, details.name};
  return id;
}

/// The names in a store, sorted, with a space between two.
template <class Store>
std::string names_in(Store& store) {
  std::vector<std::string> names;
  std::error_code ec;
  auto cursor = store.list(ec);
  while (auto file = cursor.next(ec)) names.push_back(file->name);
  if (ec) throw std::system_error{ec};
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text;
}

/// The bytes of the stored file `name`.
template <class Store>
std::string text_in(Store& store, std::string_view name) {
  std::error_code ec;
  auto cursor = store.list(ec);
  while (auto file = cursor.next(ec)) {
    if (file->name != name) continue;
    auto opened = store.open(file->id, ec);
    if (!opened) break;
    std::string text(opened->reader.size(), '\0');
    opened->reader.read(std::as_writable_bytes(std::span{text}), ec);
    return text;
  }
  return "(no file has that name)";
}

/// A server with an empty store, on a thread of its own.
template <class Store = filexfer::memory_store<>, class Hasher = filexfer::md5>
class loopback_server {
 public:
  explicit loopback_server(const filexfer::server_options& options = {})
      : server_{std::in_place, context_.get_executor(),
                tcp::endpoint{asio::ip::address_v4::loopback(), 0}, store, options} {
    server_->start();
    thread_ = std::thread{[this] { context_.run(); }};
  }
  loopback_server(const loopback_server&) = delete;
  loopback_server& operator=(const loopback_server&) = delete;
  ~loopback_server() {
    server_.reset();
    thread_.join();
  }

  tcp::endpoint endpoint() const { return server_->local_endpoint(); }
  std::string port() const { return std::to_string(endpoint().port()); }

  tcp::socket connect(asio::io_context& context) const {
    tcp::socket socket{context};
    socket.connect(endpoint());
    return socket;
  }

  Store store;

 private:
  asio::io_context context_;
  std::optional<filexfer::server<tcp, Store, Hasher>> server_;
  std::thread thread_;
};

#if defined(ASIO_HAS_CO_AWAIT)
/// Runs a coroutine on `context`, with whatever it starts there.
inline void run(asio::io_context& context, asio::awaitable<void> coroutine) {
  std::exception_ptr failure;
  asio::co_spawn(context, std::move(coroutine), [&](std::exception_ptr e) { failure = e; });
  context.restart();
  context.run();
  if (failure) std::rethrow_exception(failure);
}
#endif

}  // namespace snippets

#endif
