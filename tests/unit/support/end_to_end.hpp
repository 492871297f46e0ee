#ifndef FILEXFER_TESTS_END_TO_END_HPP
#define FILEXFER_TESTS_END_TO_END_HPP

// One client and one session on a memory pipe, with whatever is to go wrong between them, on one
// thread and in manual time.

#include "support/manual_clock.hpp"
#include "support/rfc1321.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/detail/stream/buffer_prefix.hpp>
#include <filexfer/client.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/session.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/compose.hpp>
#include <asio/io_context.hpp>
#include <asio/socket_base.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace tests {

using digest = filexfer::md5::digest_type;
using test::manual_clock;

using listed_file = filexfer::file_info<digest>;

/// A file's bytes, and their digest as RFC 1321 has it, not as the library has it.
struct sample {
  explicit sample(std::string o) : bytes{std::move(o)}, id{*digest::from_hex(rfc1321_hex(bytes))} {}
  std::string bytes;
  digest id;
};

/// Before it writes this byte, a stream waits that long.
struct lateness {
  std::uint64_t byte = 0;
  manual_clock::duration by{};
};

/// An end of a memory pipe that remembers what was written, and can be late.
class tap {
 public:
  using executor_type = filexfer::memory_pipe::executor_type;

  explicit tap(filexfer::memory_pipe pipe, std::optional<lateness> late = {})
      : pipe_{std::move(pipe)}, late_{late}, timer_{pipe_.get_executor()} {}

  executor_type get_executor() noexcept { return pipe_.get_executor(); }
  const std::string& said() const noexcept { return said_; }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return pipe_.async_read_some(buffers, std::forward<Token>(token));
  }

  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return asio::async_compose<Token, void(std::error_code, std::size_t)>(
        late_write<Buffers>{*this, buffers}, token, pipe_.get_executor());
  }

  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    pipe_.shutdown(what, ec);
  }
  void close(std::error_code& ec) { pipe_.close(ec); }

 private:
  template <class Buffers>
  struct late_write {
    enum class stage { starting, waiting, writing };
    using prefix = filexfer::detail::buffer_prefix<asio::const_buffer>;

    template <class Self>
    void operator()(Self& self, std::error_code ec = {}, std::size_t bytes = 0) {
      if (at == stage::writing) {
        const std::size_t before = on.said_.size();
        on.said_.resize(before + bytes);
        asio::buffer_copy(asio::buffer(on.said_.data() + before, bytes), buffers);
        return self.complete(ec, bytes);
      }
      if (at == stage::waiting && ec) return self.complete(ec, 0);
      std::size_t limit = asio::buffer_size(buffers);
      if (at == stage::starting) self.reset_cancellation_state(asio::enable_total_cancellation());
      if (on.late_ && limit > 0) {
        const std::uint64_t before = on.late_->byte - on.said_.size();
        if (before == 0) {
          at = stage::waiting;
          on.timer_.expires_after(on.late_->by);
          on.late_.reset();
          return on.timer_.async_wait(std::move(self));
        }
        limit = static_cast<std::size_t>(std::min<std::uint64_t>(limit, before));
      }
      at = stage::writing;
      const prefix part{buffers, limit};
      on.pipe_.async_write_some(part, std::move(self));
    }

    tap& on;
    Buffers buffers;
    stage at = stage::starting;
  };

  filexfer::memory_pipe pipe_;
  std::optional<lateness> late_;
  virtual_timer timer_;
  std::string said_;
};

/// What is asked of the server.
enum class task {
  list,
  upload,
  upload_declared,  ///< With the id, which the server has not.
  upload_held,      ///< With the id, which the server has under another name.
  download,
};

/// Whose operation is broken off; `server_gently` asks it to stop after the command under way.
enum class broken_off { nobody, client, server, server_gently };

/// Under what a client and a session meet.
struct circumstances {
  filexfer::fault_plan client;
  filexfer::fault_plan server;
  std::optional<lateness> client_late;
  std::optional<lateness> server_late;
  filexfer::time_limits client_limits;
  filexfer::time_limits server_limits;
  std::size_t capacity = 4096;  ///< Of the pipe.
  std::size_t chunk = 16;       ///< Bytes moved at once; what is smaller counts as small.
  bool work_elsewhere = false;  ///< Work is handed to an executor.
  broken_off cancelled = broken_off::nobody;
  std::size_t cancelled_at = 0;  ///< After that many handlers have run.
  std::size_t bystander_at = 0;  ///< Another session begins after that many handlers.
  /// What the other session does, and when somebody looks at the store; else it differs from
  /// session to session.
  std::optional<std::size_t> turn;
};

/// Keeps what it was given, and says whether it was shown.
struct kept_sink {
  std::string bytes;
  int commits = 0;
  void write(std::span<const std::byte> more, std::error_code& ec) {
    ec.clear();
    bytes.append(reinterpret_cast<const char*>(more.data()), more.size());
  }
  void commit(std::error_code& ec) {
    ec.clear();
    ++commits;
  }
};

/// The client's side of an end-to-end test.
template <class Hasher>
class client_end {
 public:
  using stream = filexfer::fault_stream<tap&>;

  client_end(filexfer::memory_pipe pipe, const circumstances& c)
      : tap_{std::move(pipe), c.client_late},
        stream_{tap_, c.client},
        client_{stream_,
                {.limits = c.client_limits, .chunk_size = c.chunk, .small_file_size = c.chunk}} {
    if (c.work_elsewhere) client_.work_executor(stream_.get_executor());
  }

  void start(task what, std::string_view name, const sample& file) {
    source_.emplace(std::as_bytes(std::span{file.bytes.data(), file.bytes.size()}));
    switch (what) {
      case task::list: client_.async_list_files(handler(files)); return;
      case task::upload:
        client_.async_upload(*source_, std::string{name}, handler(uploaded));
        return;
      case task::upload_declared:
      case task::upload_held:
        client_.async_upload(*source_, filexfer::upload_request<digest>{std::string{name}, file.id},
                             handler(uploaded));
        return;
      case task::download: client_.async_download(file.id, sink, handler(downloaded)); return;
    }
  }

  asio::cancellation_signal cancel;
  stream& layer() noexcept { return stream_; }

  /// All that it wrote.
  const std::string& said() const noexcept { return tap_.said(); }

  int ended = 0;  ///< How often the operation completed.
  std::error_code error;
  std::vector<listed_file> files;
  filexfer::upload_result<digest> uploaded;
  filexfer::download_result<digest> downloaded;
  kept_sink sink;

 private:
  template <class Result>
  auto handler(Result& to) {
    const auto done = [this, &to](std::error_code ec, Result result) {
      ++ended;
      error = ec;
      to = std::move(result);
      std::error_code ignored;
      stream_.close(ignored);
    };
    return asio::bind_cancellation_slot(cancel.slot(), done);
  }

  tap tap_;
  stream stream_;
  std::optional<filexfer::memory_source> source_;
  filexfer::client<stream&, Hasher, virtual_timer> client_;
};

/// The server's side of an end-to-end test.
template <class Store, class Hasher>
class server_end {
 public:
  using stream = filexfer::fault_stream<tap&>;

  server_end(filexfer::memory_pipe pipe, Store& store, const circumstances& c)
      : tap_{std::move(pipe), c.server_late},
        stream_{tap_, c.server},
        session_{stream_, store, options_of(c)} {
    if (c.work_elsewhere) session_.work_executor(stream_.get_executor());
  }

  void start() {
    const auto done = [this](std::error_code ec) {
      ++ended;
      error = ec;
    };
    session_.async_run(asio::bind_cancellation_slot(cancel.slot(), done));
  }

  asio::cancellation_signal cancel;
  stream& layer() noexcept { return stream_; }

  /// All that it wrote.
  const std::string& said() const noexcept { return tap_.said(); }

  int ended = 0;
  std::error_code error;

 private:
  static filexfer::session_options options_of(const circumstances& c) {
    return {.limits = c.server_limits, .chunk_size = c.chunk, .small_file_size = c.chunk};
  }

  tap tap_;
  stream stream_;
  filexfer::session<stream&, Store, Hasher, virtual_timer> session_;
};

/// Both of them, on one pipe.
template <class Store, class Hasher>
class end_to_end {
  using pipe_pair = std::pair<filexfer::memory_pipe, filexfer::memory_pipe>;

 public:
  end_to_end(asio::io_context& context, Store& store, const circumstances& c)
      : end_to_end{filexfer::make_memory_pipe(context, c.capacity), store, c} {}

  end_to_end(const end_to_end&) = delete;
  end_to_end& operator=(const end_to_end&) = delete;

  void start(task what, std::string_view name, const sample& file) {
    server.start();
    client.start(what, name, file);
    started = true;
  }

  void cancel(broken_off whom) {
    if (whom == broken_off::client) client.cancel.emit(asio::cancellation_type::terminal);
    if (whom == broken_off::server) server.cancel.emit(asio::cancellation_type::terminal);
    if (whom == broken_off::server_gently) server.cancel.emit(asio::cancellation_type::total);
  }

  bool ended() const noexcept { return client.ended > 0 && server.ended > 0; }

 private:
  end_to_end(pipe_pair pipe, Store& store, const circumstances& c)
      : client{std::move(pipe.first), c}, server{std::move(pipe.second), store, c} {}

 public:
  client_end<Hasher> client;
  server_end<Store, Hasher> server;
  bool started = false;
};

}  // namespace tests

#endif
