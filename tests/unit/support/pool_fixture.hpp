#ifndef FILEXFER_TESTS_SUPPORT_POOL_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_POOL_FIXTURE_HPP

// A transfer_pool and its server in memory: sessions on memory pipes, one thread, virtual time.

#include "support/store_helpers.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/fault_stream.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace test {

using filexfer::memory_pipe;
using filexfer::memory_store;

/// A file in memory that counts how often it is opened.
struct memory_file {
  std::string file_name;
  std::string text;
  std::error_code open_error{};
  int opened = 0;

  const std::string& name() const noexcept { return file_name; }
  filexfer::memory_source open(std::error_code& ec) {
    ++opened;
    ec = open_error;
    return filexfer::memory_source{text};
  }
};

/// A download into memory that keeps an interrupted attempt's bytes for the next one.
struct memory_target {
  struct sink {
    memory_target& to;
    void write(std::span<const std::byte> bytes, std::error_code& ec) {
      ec = to.write_error;
      to.partial_text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      to.bytes_written += bytes.size();
    }
    void commit(std::error_code& ec) {
      ec.clear();
      to.text = to.partial_text;
      is_committed = true;
    }
    std::uint64_t held() const noexcept { return to.partial_text.size(); }
    std::size_t read_held(std::span<std::byte> into, std::uint64_t offset, std::error_code& ec) {
      ec.clear();
      ++to.held_reads;
      if (to.held_read_takes.count() > 0) virtual_timer::advance(to.held_read_takes);
      return to.partial_text.copy(reinterpret_cast<char*>(into.data()), into.size(), offset);
    }
    void discard_held(std::error_code& ec) {
      ec.clear();
      to.partial_text.clear();
    }
    void keep() { is_committed = true; }
    ~sink() {
      if (!is_committed) to.partial_text.clear();
    }
    bool is_committed = false;
  };

  filexfer::any_digest expected_id;
  std::string file_name;
  std::optional<std::uint64_t> listed_size;
  std::error_code write_error{};
  std::optional<std::string> existing_text{};
  std::string partial_text{};
  std::optional<std::string> text{};
  std::size_t bytes_written = 0;
  std::size_t held_reads = 0;
  std::chrono::seconds held_read_takes{0};

  const std::string& name() const noexcept { return file_name; }
  const filexfer::any_digest& id() const noexcept { return expected_id; }
  std::optional<std::uint64_t> size() const noexcept { return listed_size; }
  std::optional<filexfer::memory_source> existing(std::error_code& ec) const {
    ec.clear();
    if (!existing_text) return std::nullopt;
    return filexfer::memory_source{*existing_text};
  }
  sink open(std::error_code& ec) {
    ec.clear();
    return sink{*this};
  }
};

/// Accepts connectors' connections. Each can be broken after a number of bytes.
class pipe_listener {
 public:
  using stream_type = filexfer::fault_stream<memory_pipe>;

  explicit pipe_listener(asio::io_context& c) : context{c} {}
  virtual ~pipe_listener() = default;

  asio::io_context& context;
  std::size_t connections = 0;  ///< Accepted in all.
  std::size_t open = 0;
  std::size_t max_open = 0;
  std::size_t limit = 1000;                 ///< Of open connections; further ones are refused.
  std::list<std::uint64_t> break_after;     ///< Per connection: written bytes before a reset.
  std::list<std::uint64_t> end_read_after;  ///< Per connection: read bytes before a reset.

  stream_type accept() {
    auto [near, far] = filexfer::make_memory_pipe(context.get_executor(), 65536);
    ++connections;
    max_open = std::max(max_open, ++open);
    serve(std::move(far));
    filexfer::fault_plan plan;
    if (!break_after.empty()) {
      plan.reset_after_written = break_after.front();
      break_after.pop_front();
    }
    if (!end_read_after.empty()) {
      plan.reset_after_read = end_read_after.front();
      end_read_after.pop_front();
    }
    return stream_type{std::move(near), plan};
  }

 private:
  /// Serves the connection, and decrements `open` once the session has ended.
  virtual void serve(memory_pipe connection) = 0;
};

/// Runs a session with a store on each connection.
template <class Timer, class Store>
struct basic_pipe_server : pipe_listener {
  using store_type = Store;
  using session_type = filexfer::session<memory_pipe, store_type, filexfer::md5, Timer>;

  template <class... Args>
  explicit basic_pipe_server(asio::io_context& c, Args&&... args)
      : pipe_listener{c}, store{std::forward<Args>(args)...} {}

  store_type store;
  filexfer::session_options options;
  std::list<std::unique_ptr<session_type>> sessions;

 private:
  void serve(memory_pipe connection) override {
    sessions.push_back(std::make_unique<session_type>(std::move(connection), store, options));
    sessions.back()->async_run([this](std::error_code) { --open; });
  }
};

/// Does not depend on the server's type, so that one type of pool connects to any.
template <class Timer>
struct basic_pipe_connector {
  using stream_type = pipe_listener::stream_type;
  using timer_type = Timer;

  pipe_listener* server;

  asio::any_io_executor get_executor() const { return server->context.get_executor(); }

  template <class Token>
  auto async_connect(Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, stream_type)>(
        [](auto handler, pipe_listener* to) {
          const bool refused = to->open >= to->limit;
          std::error_code ec;
          if (refused) ec = asio::error::connection_refused;
          auto [unused, other] = filexfer::make_memory_pipe(to->context.get_executor(), 16);
          stream_type stream = refused ? stream_type{std::move(unused), {}} : to->accept();
          const auto executor = asio::get_associated_executor(handler, to->context.get_executor());
          asio::post(executor, [h = std::move(handler), ec, s = std::move(stream)]() mutable {
            std::move(h)(ec, std::move(s));
          });
        },
        token, server);
  }
};

using memory_file_result = filexfer::file_result<memory_file>;

/// A server, a pool, and what a job has reported.
///
/// \tparam Hashers  further ones of the pool: none unless a test needs them, as each costs compile
/// time.
template <class Timer, class Server = basic_pipe_server<Timer, memory_store<>>, class... Hashers>
struct basic_pool_fixture {
  using connector_type = basic_pipe_connector<Timer>;
  using pool_type = filexfer::transfer_pool<connector_type, filexfer::md5, Hashers...>;

  template <class... Args>
  explicit basic_pool_fixture(filexfer::pool_options options = {}, Args&&... args)
      : server{context, std::forward<Args>(args)...},
        pool{std::in_place, connector_type{&server}, options} {
    pool->on_event([this](const filexfer::pool_event& e) { events.push_back(e); });
  }

  template <class Files>
  void upload_missing(Files&& files) {
    pool->async_upload_missing(std::forward<Files>(files), on_result(), on_end());
  }

  template <class Files>
  void upload(Files&& files) {
    pool->async_upload(std::forward<Files>(files), on_result(), on_end());
  }

  template <class Files>
  void download(Files&& files) {
    pool->async_download(std::forward<Files>(files), on_result(), on_end());
  }

  /// The handler of a file's result, which records it.
  auto on_result() {
    return [this](const auto& r) {
      ++reports[r.element.name()];
      if (r.failure) failures[r.element.name()] = r.failure;
      if constexpr (std::is_same_v<decltype(r), const memory_file_result&>) {
        if (on_report) on_report(r);
      }
    };
  }

  /// The handler of the next job, which `cancel` cancels.
  auto on_end() {
    ended.reset();
    return asio::bind_cancellation_slot(
        cancel.slot(), [this](std::error_code ec, const filexfer::transfer_totals& t) {
          ended = ec;
          totals = t;
        });
  }

  /// Runs until the job has ended, and advances the virtual time when nothing else is ready.
  void run() {
    while (!ended) {
      context.restart();
      context.poll();
      if (!ended && !virtual_timer::advance_to_next_expiry()) break;
    }
  }

  /// Runs up to `count` handlers, fewer if the job ends before.
  void run_steps(int count) {
    for (int n = 0; n < count && !ended; ++n) {
      context.restart();
      context.poll_one();
    }
  }

  /// Closes the connections and waits for the sessions' end, unless `is_dropped`.
  ~basic_pool_fixture() {
    if (is_dropped) return;
    pool.reset();
    let_sessions_end();
  }

  /// Runs until every session has ended, with its connection or by its idle timeout.
  void let_sessions_end() {
    do {
      context.restart();
      context.poll();
    } while (server.open > 0 && virtual_timer::advance_to_next_expiry());
  }

  bool is_dropped = false;
  asio::io_context context;
  Server server;
  std::map<std::string, int> reports;
  std::map<std::string, filexfer::transfer_failure> failures;
  std::vector<filexfer::pool_event> events;
  std::function<void(const memory_file_result&)> on_report;
  asio::cancellation_signal cancel;
  std::optional<std::error_code> ended;
  filexfer::transfer_totals totals;
  std::optional<pool_type> pool;
};

using pool_fixture = basic_pool_fixture<virtual_timer>;

/// Whether the server has exactly these files.
inline bool all_stored(pool_fixture& f, const std::vector<memory_file>& files) {
  const auto stored = entries(f.server.store);
  for (const memory_file& file : files) {
    const std::string line = entry(file.name(), file.text);
    if (std::find(stored.begin(), stored.end(), line) == stored.end()) return false;
  }
  return stored.size() == files.size();
}

/// Files with different contents, named "file 0", "file 1", ...
inline std::vector<memory_file> some_files(std::size_t count, std::size_t size = 100) {
  std::vector<memory_file> files;
  for (std::size_t n = 0; n < count; ++n) {
    files.push_back({"file " + std::to_string(n), noise(size, static_cast<unsigned>(n))});
  }
  return files;
}

}  // namespace test

#endif
