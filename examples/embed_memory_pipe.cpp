// How to test code of your own that moves files: give it one end of a pipe in memory, and let a
// session serve the other. No sockets, no ports, and faults at any byte you like.

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

/// What is to be tested: code of yours that takes any stream.
template <class Stream>
std::error_code send_report(Stream& stream, const std::string& text) {
  filexfer::client<Stream&> client{stream};  // refers to the stream; client<Stream> would own it
  filexfer::memory_source report{text};
  std::error_code ec;
  client.upload(report, "reports/today.txt", ec);
  return ec;
}

using store_type = filexfer::memory_store<>;

/// Runs `send_report` against a server in memory. With a fault, the server's side breaks there.
std::error_code try_it(store_type& files, const filexfer::fault_plan& fault) {
  auto [near, far] = filexfer::make_memory_pipe(asio::system_executor{});
  filexfer::fault_stream faulty{std::move(far), fault};
  filexfer::session<decltype(faulty)&, store_type> session{faulty, files};
  std::thread serving{[&session] {
    std::error_code ended;  // an error where a fault was planned
    session.run(ended);
  }};
  const std::error_code ec = send_report(near, "all is well");
  near.close();
  serving.join();
  return ec;
}

bool lists_something(store_type& files) {
  std::error_code ec;
  return files.list(ec).next(ec).has_value();
}

int main() {
  store_type broken;
  for (std::uint64_t byte = 0; byte < 20; ++byte) {
    filexfer::fault_plan cut;
    cut.reset_after_read = byte;
    if (!try_it(broken, cut) || lists_something(broken)) {
      std::cerr << "a cut at byte " << byte << " was not noticed\n";
      return 1;
    }
  }
  store_type sound;
  const std::error_code ec = try_it(sound, {});
  if (ec || !lists_something(sound)) {
    std::cerr << "not sent: " << ec.message() << '\n';
    return 1;
  }
  std::cout << "sent, and every fault was noticed\n";
}
