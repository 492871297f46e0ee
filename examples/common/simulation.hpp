#ifndef PROGRAMS_SIMULATION_HPP
#define PROGRAMS_SIMULATION_HPP

/// \file
/// The original design's simulation of a dialogue in 22 steps: uploads a file, downloads it again,
/// and compares. The caller performs steps 1 and 2: the server starts and the client connects.

#include "common/failure.hpp"
#include "common/operation_runner.hpp"

#include <filexfer/filexfer.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace programs {

/// Prints a step: its number, the side that acts, and its action.
inline void show_step(int number, std::string_view side, std::string_view action) {
  std::cout << (number < 10 ? " " : "") << number << "  " << side << ' ' << action << std::endl;
}

/// The file to upload, and where to download it to.
struct simulation_files {
  std::filesystem::path source;
  std::string name;                ///< The file's name at the server.
  filexfer::download_target copy;  ///< The downloaded file.
};

/// Runs steps 3 to 22 over a stream that is connected to a server.
template <filexfer::hasher Hasher = filexfer::md5>
class simulation {
  using digest = typename Hasher::digest_type;

 public:
  simulation(operation_runner& operations, filexfer::any_stream stream,
             const asio::any_io_executor& work, const filexfer::client_options& options = {})
      : operations_{operations},
        client_{filexfer::recording_stream<filexfer::any_stream>{std::move(stream)}, options} {
    client_.work_executor(work);
  }

  /// Runs the steps, then prints the digests, and Success or Fail.
  exit_code run(const simulation_files& files) {
    std::error_code ec;
    filexfer::file_source file{files.source, ec};
    // Of other files, that is checked before the last bytes are sent.
    if (!ec && file.size() == 0) file.check_unchanged(ec);
    if (ec) return report(files.source.string(), explain_source(files.source, ec));
    const std::filesystem::path to = files.copy.path_of(files.name);
    filexfer::file_download copy{files.copy, filexfer::listed_file{{}, files.name}};
    auto sink = copy.open(ec);
    if (ec) return report(to.string(), explain_target(to, ec));
    const exit_code code = run_until_failure(
        [&] { return list(3, nullptr); }, [&] { return upload(file, files); },
        [&] { return list(13, &files.name); }, [&] { return download(sink, to); },
        [&] { return compare_files(files.source, to); }, [&] { return disconnect(); });
    const std::string kind = digest_kind();
    std::cout << '\n'
              << kind << " of the file          " << text_of(uploaded_.local_digest) << '\n'
              << kind << " that the server has  " << text_of(uploaded_.remote_digest) << '\n'
              << kind << " of the copy          " << text_of(downloaded_.local_digest) << '\n'
              << (code == done ? "Success" : "Fail") << std::endl;
    return code;
  }

 private:
  static std::string digest_kind() {
    return std::same_as<Hasher, filexfer::sha256> ? "SHA-256" : "MD5";
  }

  static std::string text_of(const digest& value) {
    return value == digest{} ? "not known" : value.to_string();
  }

  /// Returns the first code that is not `done`.
  template <class... Steps>
  static exit_code run_until_failure(Steps... steps) {
    exit_code code = done;
    [[maybe_unused]] const bool all = (((code = steps()) == done) && ...);
    return code;
  }

  // --------------------------------------------------------------------------- the recorded bytes

  filexfer::recording& recorded(std::string_view side) {
    auto& stream = client_.next_layer();
    return side == client_side ? stream.sent() : stream.received();
  }

  /// Shows the next line that `side` sent; false if there is none, or it is an ERROR.
  bool show_line(int number, std::string_view side) {
    const auto text = recorded(side).take_line();
    if (!text) return false;
    show_step(number, side, "says: " + filexfer::printable(*text, 300));
    return !filexfer::parse_error(*text);
  }

  /// Shows the first lines of a list.
  bool show_lines(int number, std::string_view side, std::size_t entries) {
    constexpr std::size_t max_shown = 10;
    const std::size_t shown = entries == 0 ? 1 : std::min(max_shown, entries);
    for (std::size_t i = 0; i < shown; ++i) {
      if (!show_line(number, side)) return false;
    }
    const std::string more = std::to_string(std::max(entries, shown) - shown);
    if (entries > shown) show_step(number, side, "says " + more + " lines more");
    return true;
  }

  bool show_bytes(int number, std::string_view side, std::uint64_t expected) {
    const std::uint64_t sent = recorded(side).take_bytes(expected);
    show_step(number, side, "sends the file: " + std::to_string(sent) + " bytes");
    return sent == expected;
  }

  static bool show_action(int number, std::string_view side, const std::string& action) {
    show_step(number, side, action);
    return true;
  }

  /// Runs an operation, and records what it sends and receives.
  template <class... Results, class Start>
  auto run_recorded(Start start) {
    client_.next_layer().sent().clear();
    client_.next_layer().received().clear();
    return operations_.run<Results...>(std::move(start));
  }

  exit_code check_step(std::error_code ec, bool all_shown) {
    if (ec && ec != filexfer::errc::digest_mismatch) {
      return report("the simulation",
                    explain({ec, client_.last_failure(), filexfer::transfer_phase::transferring,
                             client_.last_reply()},
                            "server"));
    }
    if (ec) return wrong_digest;
    return all_shown ? done : report("the simulation", {connection_error, "a step is missing"});
  }

  // ------------------------------------------------------------------------------------- the steps

  /// Steps 3 and 4; or 13 and 14, where the list must have the file named `expected`.
  exit_code list(int number, const std::string* expected) {
    std::size_t entries = 0;
    bool found = expected == nullptr;
    const auto on_entry = [&](const filexfer::file_info<digest>& file) {
      ++entries;
      found = found || (file.id == uploaded_.remote_digest && file.name == *expected);
    };
    const auto [ec] =
        run_recorded([&](auto handler) { client_.async_list_files(on_entry, std::move(handler)); });
    const bool shown =
        show_line(number, client_side) && show_lines(number + 1, server_side, entries);
    if (!ec && !found)
      return report("the simulation", {connection_error, "the file is not in the list"});
    return check_step(ec, shown);
  }

  exit_code upload(filexfer::file_source& file, const simulation_files& files) {
    std::error_code ec;
    std::tie(ec, uploaded_) = run_recorded<filexfer::upload_result<digest>>(
        [&](auto handler) { client_.async_upload(file, files.name, std::move(handler)); });
    if (client_.last_failure() == filexfer::failure_origin::local && !interruption::received())
      return report(files.source.string(), explain_source(files.source, ec));
    const bool shown =
        show_line(5, client_side) && show_line(6, server_side) && show_line(7, client_side) &&
        show_line(8, server_side) && show_bytes(9, client_side, file.size()) &&
        show_action(10, server_side, "stores the file and computes its " + digest_kind()) &&
        show_line(11, server_side) &&
        compare_digests(12, uploaded_.local_digest, uploaded_.remote_digest);
    return check_step(ec, shown);
  }

  exit_code download(filexfer::file_download::sink& copy, const std::filesystem::path& to) {
    std::error_code ec;
    std::tie(ec, downloaded_) = run_recorded<filexfer::download_result<digest>>([&](auto handler) {
      client_.async_download(uploaded_.remote_digest, copy, std::move(handler));
    });
    const bool shown = show_line(15, client_side) && show_line(16, server_side) &&
                       show_line(17, client_side) && show_line(18, server_side) &&
                       show_bytes(19, server_side, downloaded_.file.size) &&
                       show_action(20, client_side,
                                   "stores the copy and computes its " + digest_kind() + ": " +
                                       filexfer::printable(to.string())) &&
                       compare_digests(21, uploaded_.remote_digest, downloaded_.local_digest);
    return check_step(ec, shown);
  }

  static bool compare_digests(int number, const digest& one, const digest& other) {
    show_step(number, client_side,
              "compares " + one.to_string() + " and " + other.to_string() +
                  (one == other ? ": Success" : ": Fail"));
    return one == other;
  }

  /// Also step 21: equal digests alone do not show that both sides hashed these files' bytes.
  static exit_code compare_files(const std::filesystem::path& file,
                                 const std::filesystem::path& copy) {
    std::ifstream original{file, std::ios::binary};
    std::ifstream downloaded{copy, std::ios::binary};
    if (!original || !downloaded)
      return report(copy.string(), {local_error, "can't be read again"});
    std::string left(65536, '\0');
    std::string right = left;
    bool same = true;
    while (same && original) {
      original.read(left.data(), std::ssize(left));
      downloaded.read(right.data(), std::ssize(right));
      same = original.gcount() == downloaded.gcount() && left == right;
    }
    if (!same) return report(copy.string(), {wrong_digest, "differs from the file in its bytes"});
    std::cout << "    and the copy with the file, byte by byte: Success" << std::endl;
    return done;
  }

  exit_code disconnect() {
    auto& stream = client_.next_layer();
    std::array<std::byte, 1> buffer;
    std::error_code ec;
    asio::steady_timer deadline{operations_.context(), std::chrono::seconds{10}};
    deadline.async_wait([&stream](std::error_code wait_error) {
      std::error_code ignored;
      if (!wait_error) stream.close(ignored);
    });
    stream.shutdown(asio::socket_base::shutdown_send, ec);
    std::tie(ec, std::ignore) = operations_.run<std::size_t>(
        [&](auto handler) { stream.async_read_some(asio::buffer(buffer), std::move(handler)); });
    const failure not_closed{connection_error, "the server does not close"};
    if (ec != asio::error::eof) return report("the simulation", not_closed);
    show_step(22, client_side, "disconnects, and the server closes");
    return done;
  }

  static constexpr std::string_view client_side = "client";
  static constexpr std::string_view server_side = "server";

  operation_runner& operations_;
  filexfer::client<filexfer::recording_stream<filexfer::any_stream>, Hasher> client_;
  filexfer::upload_result<digest> uploaded_;
  filexfer::download_result<digest> downloaded_;
};

}  // namespace programs

#endif
