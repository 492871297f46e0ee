// Backs up a folder over eight connections: skips files that the server already has, resumes after
// lost connections, and shows progress.
//
//     embed_backup FOLDER HOST PORT

#include <filexfer/filexfer.hpp>

#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <system_error>

using namespace std::chrono_literals;

int main(int argc, char** argv) try {
  if (argc != 4) {
    std::cerr << "embed_backup FOLDER HOST PORT\n";
    return 2;
  }
  asio::io_context context;
  filexfer::transfer_pool pool{filexfer::tcp_connector{context.get_executor(), argv[2], argv[3]},
                               filexfer::pool_options{.connections = 8, .retry_for = 2min}};
  pool.on_progress(500ms, [](const filexfer::transfer_progress::snapshot& now) {
    std::cerr << now.files << " files, " << now.bytes / 1'000'000 << " MB\n";
  });
  filexfer::tree_source files{argv[1]};
  asio::thread_pool work{4};  // reads and hashes; declared last, so that it is joined first
  pool.work_executor(work.get_executor());

  const auto on_result = [](const filexfer::file_result<filexfer::tree_file>& result) {
    if (result) return;
    std::cerr << result.element.path() << ": " << result.failure.error.message() << '\n';
  };
  int exit_code = 1;
  const auto on_complete = [&](std::error_code ec, const filexfer::transfer_totals& totals) {
    if (ec) throw std::system_error{ec};
    std::cout << totals.transferred << " sent, " << totals.already_present << " were there, "
              << totals.failed << " failed\n";
    exit_code = totals.failed == 0 ? 0 : 1;
  };
  pool.async_upload_missing(files, on_result, on_complete);
  context.run();
  return exit_code;
} catch (const std::exception& e) {
  std::cerr << e.what() << '\n';
  return 1;
}
