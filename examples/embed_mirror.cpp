// Copies the files that one server has and another lacks, and stores nothing on this side.
//
//     embed_mirror FROM-HOST FROM-PORT TO-HOST TO-PORT

#include <filexfer/filexfer.hpp>

#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>

#include <exception>
#include <iostream>
#include <system_error>

using filexfer::tcp_connector;
using pool_type = filexfer::transfer_pool<tcp_connector>;

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::cerr << "embed_mirror FROM-HOST FROM-PORT TO-HOST TO-PORT\n";
    return 2;
  }
  asio::io_context context;
  const filexfer::pool_options options{.connections = 4};
  pool_type from{tcp_connector{context.get_executor(), argv[1], argv[2]}, options};
  pool_type to{tcp_connector{context.get_executor(), argv[3], argv[4]}, options};
  asio::thread_pool work{
      5};  // waits for bytes of `from`; declared last, so that it is joined first
  to.work_executor(work.get_executor());

  const auto on_result = [](const filexfer::file_result<filexfer::remote_file<pool_type>>& result) {
    if (result) return;
    std::cerr << result.element.name() << ": " << result.failure.error.message() << '\n';
  };
  int exit_code = 1;
  const auto on_complete = [&](std::error_code ec, const filexfer::transfer_totals& totals) {
    if (ec) throw std::system_error{ec};
    std::cout << totals.transferred << " copied, " << totals.already_present << " were there, "
              << totals.failed << " failed\n";
    exit_code = totals.failed == 0 ? 0 : 1;
  };
  to.async_mirror(from, {}, on_result, on_complete);
  context.run();
  return exit_code;
} catch (const std::exception& e) {
  std::cerr << e.what() << '\n';
  return 1;
}
