#ifndef FILEXFER_TESTS_SUPPORT_END_TO_END_HPP
#define FILEXFER_TESTS_SUPPORT_END_TO_END_HPP

// One client and one session over a memory pipe with faults, on one thread and on the manual clock.

#include "support/manual_clock.hpp"
#include "support/rfc1321.hpp"
#include "support/store_helpers.hpp"
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

namespace test {

using listed_file = filexfer::file_info<md5_digest>;

/// A file's bytes, and their digest by rfc1321.hpp, not by the library.
struct sample {
  explicit sample(std::string b)
      : bytes{std::move(b)}, id{*md5_digest::from_hex(rfc1321_hex(bytes))} {}
  std::string bytes;
  md5_digest id;
};

/// A pause of a stream before it writes the byte at an offset.
struct write_delay {
  std::uint64_t offset = 0;
  manual_clock::duration duration{};
};

/// One end of a memory pipe, which records the bytes written to it and can delay one of them.
class recording_pipe {
 public:
  using executor_type = filexfer::memory_pipe::executor_type;

  explicit recording_pipe(filexfer::memory_pipe pipe, std::optional<write_delay> delay = {})
      : pipe_{std::move(pipe)}, delay_{delay}, timer_{pipe_.get_executor()} {}

  executor_type get_executor() noexcept { return pipe_.get_executor(); }
  const std::string& written() const noexcept { return written_; }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return pipe_.async_read_some(buffers, std::forward<Token>(token));
  }

  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return asio::async_compose<Token, void(std::error_code, std::size_t)>(
        delayed_write<Buffers>{*this, buffers}, token, pipe_.get_executor());
  }

  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    pipe_.shutdown(what, ec);
  }
  void close(std::error_code& ec) { pipe_.close(ec); }

 private:
  template <class Buffers>
  struct delayed_write {
    enum class stage { starting, waiting, writing };
    using prefix = filexfer::detail::buffer_prefix<asio::const_buffer>;

    template <class Self>
    void operator()(Self& self, std::error_code ec = {}, std::size_t bytes = 0) {
      if (current == stage::writing) {
        const std::size_t before = owner.written_.size();
        owner.written_.resize(before + bytes);
        asio::buffer_copy(asio::buffer(owner.written_.data() + before, bytes), buffers);
        return self.complete(ec, bytes);
      }
      if (current == stage::waiting && ec) return self.complete(ec, 0);
      std::size_t limit = asio::buffer_size(buffers);
      if (current == stage::starting)
        self.reset_cancellation_state(asio::enable_total_cancellation());
      if (owner.delay_ && limit > 0) {
        const std::uint64_t before = owner.delay_->offset - owner.written_.size();
        if (before == 0) {
          current = stage::waiting;
          owner.timer_.expires_after(owner.delay_->duration);
          owner.delay_.reset();
          return owner.timer_.async_wait(std::move(self));
        }
        limit = static_cast<std::size_t>(std::min<std::uint64_t>(limit, before));
      }
      current = stage::writing;
      const prefix part{buffers, limit};
      owner.pipe_.async_write_some(part, std::move(self));
    }

    recording_pipe& owner;
    Buffers buffers;
    stage current = stage::starting;
  };

  filexfer::memory_pipe pipe_;
  std::optional<write_delay> delay_;
  virtual_timer timer_;
  std::string written_;
};

/// The operation of the client.
enum class task {
  list,
  upload,
  upload_declared,  ///< With its id, which the server does not have.
  upload_held,      ///< With its id, which the server has under another name.
  download,
};

/// Whose operation is cancelled. `server_gracefully` lets the session finish the current command.
enum class cancel_target { none, client, server, server_gracefully };

/// The faults, limits and sizes for a client and a session.
struct scenario {
  filexfer::fault_plan client;
  filexfer::fault_plan server;
  std::optional<write_delay> client_delay;
  std::optional<write_delay> server_delay;
  filexfer::time_limits client_limits;
  filexfer::time_limits server_limits;
  std::size_t capacity = 4096;  ///< The pipe's, in bytes.
  std::size_t chunk = 16;       ///< Both sides' `chunk_size` and `small_file_size`.
  bool offload_work = false;    ///< Whether work goes to a work executor.
  cancel_target cancelled = cancel_target::none;
  std::size_t cancel_after = 0;     ///< Handlers that run before the cancellation.
  std::size_t bystander_after = 0;  ///< Handlers that run before another session starts.
  /// Determines what the other session does, and when the store is checked. By default it is the
  /// number of the session.
  std::optional<std::size_t> variant;
};

/// A sink that keeps the bytes, and counts the commits.
struct collecting_sink {
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
  using stream = filexfer::fault_stream<recording_pipe&>;

  client_end(filexfer::memory_pipe pipe, const scenario& c)
      : pipe_{std::move(pipe), c.client_delay},
        stream_{pipe_, c.client},
        client_{stream_,
                {.limits = c.client_limits, .chunk_size = c.chunk, .small_file_size = c.chunk}} {
    if (c.offload_work) client_.work_executor(stream_.get_executor());
  }

  void start(task operation, std::string_view name, const sample& file) {
    source_.emplace(std::as_bytes(std::span{file.bytes.data(), file.bytes.size()}));
    switch (operation) {
      case task::list: client_.async_list_files(handler(files)); return;
      case task::upload:
        client_.async_upload(*source_, std::string{name}, handler(uploaded));
        return;
      case task::upload_declared:
      case task::upload_held:
        client_.async_upload(*source_,
                             filexfer::upload_request<md5_digest>{std::string{name}, file.id},
                             handler(uploaded));
        return;
      case task::download: client_.async_download(file.id, sink, handler(downloaded)); return;
    }
  }

  asio::cancellation_signal cancel;
  stream& layer() noexcept { return stream_; }

  /// All bytes that it wrote.
  const std::string& written() const noexcept { return pipe_.written(); }

  int completions = 0;
  std::error_code error;
  std::vector<listed_file> files;
  filexfer::upload_result<md5_digest> uploaded;
  filexfer::download_result<md5_digest> downloaded;
  collecting_sink sink;

 private:
  template <class Result>
  auto handler(Result& target) {
    const auto done = [this, &target](std::error_code ec, Result result) {
      ++completions;
      error = ec;
      target = std::move(result);
      std::error_code ignored;
      stream_.close(ignored);
    };
    return asio::bind_cancellation_slot(cancel.slot(), done);
  }

  recording_pipe pipe_;
  stream stream_;
  std::optional<filexfer::memory_source> source_;
  filexfer::client<stream&, Hasher, virtual_timer> client_;
};

/// The server's side of an end-to-end test.
template <class Store, class Hasher>
class server_end {
 public:
  using stream = filexfer::fault_stream<recording_pipe&>;

  server_end(filexfer::memory_pipe pipe, Store& store, const scenario& c)
      : pipe_{std::move(pipe), c.server_delay},
        stream_{pipe_, c.server},
        session_{stream_, store, options_of(c)} {
    if (c.offload_work) session_.work_executor(stream_.get_executor());
  }

  void start() {
    const auto done = [this](std::error_code ec) {
      ++completions;
      error = ec;
    };
    session_.async_run(asio::bind_cancellation_slot(cancel.slot(), done));
  }

  asio::cancellation_signal cancel;
  stream& layer() noexcept { return stream_; }

  /// All bytes that it wrote.
  const std::string& written() const noexcept { return pipe_.written(); }

  int completions = 0;
  std::error_code error;

 private:
  static filexfer::session_options options_of(const scenario& c) {
    return {.limits = c.server_limits, .chunk_size = c.chunk, .small_file_size = c.chunk};
  }

  recording_pipe pipe_;
  stream stream_;
  filexfer::session<stream&, Store, Hasher, virtual_timer> session_;
};

/// A client and a session on one pipe.
template <class Store, class Hasher>
class end_to_end {
  using pipe_pair = std::pair<filexfer::memory_pipe, filexfer::memory_pipe>;

 public:
  end_to_end(asio::io_context& context, Store& store, const scenario& c)
      : end_to_end{filexfer::make_memory_pipe(context, c.capacity), store, c} {}

  end_to_end(const end_to_end&) = delete;
  end_to_end& operator=(const end_to_end&) = delete;

  void start(task operation, std::string_view name, const sample& file) {
    server.start();
    client.start(operation, name, file);
    started = true;
  }

  void cancel(cancel_target target) {
    if (target == cancel_target::client) client.cancel.emit(asio::cancellation_type::terminal);
    if (target == cancel_target::server) server.cancel.emit(asio::cancellation_type::terminal);
    if (target == cancel_target::server_gracefully)
      server.cancel.emit(asio::cancellation_type::total);
  }

  bool ended() const noexcept { return client.completions > 0 && server.completions > 0; }

 private:
  end_to_end(pipe_pair pipe, Store& store, const scenario& c)
      : client{std::move(pipe.first), c}, server{std::move(pipe.second), store, c} {}

 public:
  client_end<Hasher> client;
  server_end<Store, Hasher> server;
  bool started = false;
};

}  // namespace test

#endif
