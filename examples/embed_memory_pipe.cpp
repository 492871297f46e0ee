// How to test your own code that transfers files: give it one end of an in-memory pipe, and run a
// session on the other. No sockets, no ports, and faults at any byte.

#include <filexfer/client.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>

#include <asio/system_executor.hpp>

#include <iostream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

/// The code under test, which takes any stream.
template <class Stream>
std::error_code send_report(Stream& stream, const std::string& text) {
  filexfer::client<Stream&> client{stream};  // refers to the stream; client<Stream> would own it
  filexfer::memory_source report{text};
  std::error_code ec;
  client.upload(report, "reports/today.txt", ec);
  return ec;
}

using store_type = filexfer::memory_store<>;

/// Runs `send_report` against a session on `store`, whose end of the pipe fails as `fault` says.
std::error_code send_with_fault(store_type& store, const filexfer::fault_plan& fault) {
  auto [client_end, server_end] = filexfer::make_memory_pipe(asio::system_executor{});
  filexfer::fault_stream faulty{std::move(server_end), fault};
  filexfer::session<decltype(faulty)&, store_type> session{faulty, store};
  std::thread server_thread{[&session] {
    std::error_code ignored;  // set if there is a fault
    session.run(ignored);
  }};
  const std::error_code ec = send_report(client_end, "all is well");
  client_end.close();
  server_thread.join();
  return ec;
}

bool has_files(store_type& store) {
  std::error_code ec;
  return store.list(ec).next(ec).has_value();
}

int main() {
  store_type empty_store;
  for (std::uint64_t byte = 0; byte < 20; ++byte) {
    filexfer::fault_plan cut;
    cut.reset_after_read = byte;
    if (!send_with_fault(empty_store, cut) || has_files(empty_store)) {
      std::cerr << "a cut at byte " << byte << " was not noticed\n";
      return 1;
    }
  }
  store_type store;
  const std::error_code ec = send_with_fault(store, {});
  if (ec || !has_files(store)) {
    std::cerr << "not sent: " << ec.message() << '\n';
    return 1;
  }
  std::cout << "sent, and every fault was noticed\n";
}
