#ifndef FILEXFER_TESTS_SUPPORT_CONNECTED_STREAMS_HPP
#define FILEXFER_TESTS_SUPPORT_CONNECTED_STREAMS_HPP

// Pairs of connected streams of each kind: `over_tcp::connect(a, b)` connects two sockets, one on
// either context.

#include <filexfer/fault_stream.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/pipe_stream.hpp>

#include <asio/connect_pipe.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/readable_pipe.hpp>
#include <asio/writable_pipe.hpp>

#include <utility>

namespace test {

struct over_memory {
  using stream = filexfer::memory_pipe;
  static std::pair<stream, stream> connect(asio::io_context& a, asio::io_context& b) {
    return filexfer::make_memory_pipe(a.get_executor(), b.get_executor());
  }
};

struct over_tcp {
  using stream = asio::ip::tcp::socket;
  static std::pair<stream, stream> connect(asio::io_context& a, asio::io_context& b) {
    asio::ip::tcp::acceptor acceptor{b, {asio::ip::address_v4::loopback(), 0}};
    asio::ip::tcp::socket first{a};
    first.connect(acceptor.local_endpoint());
    asio::ip::tcp::socket second = acceptor.accept(b);
    for (asio::ip::tcp::socket* socket : {&first, &second})
      socket->set_option(asio::ip::tcp::no_delay{true});
    return {std::move(first), std::move(second)};
  }
};

struct over_unix {
  using stream = asio::local::stream_protocol::socket;
  static std::pair<stream, stream> connect(asio::io_context& a, asio::io_context& b) {
    asio::local::stream_protocol::socket first{a};
    asio::local::stream_protocol::socket second{b};
    asio::local::connect_pair(first, second);
    return {std::move(first), std::move(second)};
  }
};

struct over_pipes {
  using stream = filexfer::pipe_stream;
  static std::pair<stream, stream> connect(asio::io_context& a, asio::io_context& b) {
    asio::readable_pipe a_reads{a};
    asio::writable_pipe a_writes{a};
    asio::readable_pipe b_reads{b};
    asio::writable_pipe b_writes{b};
    asio::connect_pipe(a_reads, b_writes);
    asio::connect_pipe(b_reads, a_writes);
    return {stream{std::move(a_reads), std::move(a_writes)},
            stream{std::move(b_reads), std::move(b_writes)}};
  }
};

/// In a fault_stream without faults.
template <class Over>
struct wrapped {
  using stream = filexfer::fault_stream<typename Over::stream>;
  static std::pair<stream, stream> connect(asio::io_context& a, asio::io_context& b) {
    auto ends = Over::connect(a, b);
    return {stream{std::move(ends.first)}, stream{std::move(ends.second)}};
  }
};

}  // namespace test

#endif
