#ifndef FILEXFER_DETAIL_DRIVER_RUN_HPP
#define FILEXFER_DETAIL_DRIVER_RUN_HPP

// The blocking driver: performs a flow's actions one after another on the calling thread. It has no
// deadlines, does not read while it writes, and can't be cancelled.

#include <filexfer/detail/driver/send_file.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>
#include <filexfer/stream.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <type_traits>

namespace filexfer::detail {

/// Replaces Asio's end-of-stream error by the library's.
inline std::error_code translated(std::error_code ec) noexcept {
  return ec == asio::error::eof ? make_error_code(errc::end_of_stream) : ec;
}

/// What is left of `parts` after the first `done` bytes.
inline std::array<asio::const_buffer, 2> buffers_after(
    const std::array<std::span<const std::byte>, 2>& parts, std::uint64_t done) noexcept {
  const std::array<asio::const_buffer, 2> all{asio::buffer(parts[0].data(), parts[0].size()),
                                              asio::buffer(parts[1].data(), parts[1].size())};
  const auto first = static_cast<std::size_t>(done);
  const std::size_t second = first > all[0].size() ? first - all[0].size() : 0;
  return {all[0] + first, all[1] + second};
}

inline std::uint64_t bytes_wanted(const action& a) noexcept {
  switch (a.io) {
    case io_kind::read_some: return a.read_buffer.empty() ? 0 : 1;
    case io_kind::read_full: return a.read_buffer.size();
    case io_kind::write:
    case io_kind::read_write: return a.write_buffers[0].size() + a.write_buffers[1].size();
    case io_kind::send_file: return a.file.bytes;
    default: return 0;
  }
}

/// Calls the user's code, and waits for its answer.
inline std::error_code wait_for_answer(const external_call& call) {
  std::future<std::error_code> answered;
  try {
    const auto answer = std::make_shared<std::promise<std::error_code>>();
    const auto first = std::make_shared<std::atomic_flag>();
    answered = answer->get_future();
    call([answer, first](std::error_code ec) {
      if (!first->test_and_set()) answer->set_value(ec);
    });
  } catch (...) {
    return error_of(std::current_exception());
  }
  try {
    return answered.get();
  } catch (const std::future_error&) {  // nobody is left to answer
    return make_error_code(std::errc::operation_canceled);
  }
}

/// Performs one read or write of an action's I/O. Returns the bytes transferred.
template <class Stream>
std::size_t do_some(Stream& stream, const action& a, std::uint64_t done, std::error_code& ec) {
  switch (a.io) {
    case io_kind::read_some:
    case io_kind::read_full: {
      const auto buffer = a.read_buffer.subspan(static_cast<std::size_t>(done));
      return stream.read_some(asio::buffer(buffer.data(), buffer.size()), ec);
    }
    case io_kind::write:
    case io_kind::read_write: return stream.write_some(buffers_after(a.write_buffers, done), ec);
    default: break;
  }
  if constexpr (file_sending_stream<Stream>) {
    const file_segment left{a.file.descriptor, a.file.offset + done, a.file.bytes - done};
    const std::size_t sent = send_file_some(stream.native_handle(), left, ec);
    if (ec == std::errc::operation_would_block) stream.wait(Stream::wait_write, ec);
    return sent;
  }
  ec = make_error_code(std::errc::operation_not_supported);
  return 0;
}

/// Runs the flow that `make_flow(ec)` returns to its end on `stream`. Returns the flow's value.
template <class Stream, class MakeFlow>
auto run(Stream& stream, MakeFlow make_flow, std::error_code& ec) {
  ec.clear();
  std::optional<std::invoke_result_t<MakeFlow&, std::error_code&>> main;
  try {
    main.emplace(make_flow(ec));
  } catch (...) {  // no memory for the outermost flow
    ec = error_of(std::current_exception());
    return decltype(main->take(ec))();
  }
  flow_context context;
  main->start(context);
  while (action* a = advance(context)) {
    for (work_base* const piece : a->starts) {
      if (piece != nullptr) piece->run();
    }
    outcome& out = context.result;
    out.work_ended = a->or_work;
    const std::uint64_t wanted = a->or_work ? 0 : bytes_wanted(*a);
    while (!out.error && out.bytes < wanted) {
      if (a->revoked != nullptr && *a->revoked) out.error = errc::superseded;
      else out.bytes += do_some(stream, *a, out.bytes, out.error);
    }
    out.error = translated(out.error);
    out.written = !out.error && !a->or_work;
    if (a->io == io_kind::pause) std::this_thread::sleep_for(a->pause);
    if (a->io == io_kind::call) out.error = wait_for_answer(*a->call);
    if (a->io == io_kind::shutdown_send) shutdown_send(stream);
    if (a->io == io_kind::close) close_stream(stream);
  }
  return main->take(ec);
}

}  // namespace filexfer::detail

#endif
