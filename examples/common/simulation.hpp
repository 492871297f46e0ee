#ifndef PROGRAMS_SIMULATION_HPP
#define PROGRAMS_SIMULATION_HPP

/// \file
/// The original design's simulation of a dialogue, in 22 steps: a file goes to a server and comes
/// back, and is the same. Steps 1 and 2, in which the server starts and the client connects, are
/// the caller's.

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

/// One line: the step's number, who acts, and what is said or done.
inline void show_step(int number, std::string_view who, std::string_view what) {
  std::cout << (number < 10 ? " " : "") << number << "  " << who << ' ' << what << std::endl;
}

/// What is simulated.
struct simulated {
  std::filesystem::path file;
  std::string name;                ///< At the server.
  filexfer::download_target copy;  ///< Where the file that comes back goes.
};

/// Steps 3 to 22, over a stream that is connected to a server.
template <filexfer::hasher Hasher = filexfer::md5>
class simulation {
  using digest = typename Hasher::digest_type;

 public:
  simulation(operation_runner& operations, filexfer::any_stream stream,
             const asio::any_io_executor& work)
      : operations_{operations},
        client_{filexfer::recording_stream<filexfer::any_stream>{std::move(stream)}} {
    client_.work_executor(work);
  }

  /// Ends in the digests, and Success or Fail.
  exit_code run(const simulated& what) {
    std::error_code ec;
    filexfer::file_source file{what.file, ec};
    if (ec) return report(what.file.string(), explain_local(ec));
    const std::filesystem::path to = what.copy.path_of(what.name);
    filexfer::file_download copy{what.copy, filexfer::listed_file{{}, what.name}};
    auto sink = copy.open(ec);
    if (ec) return report(to.string(), explain_local(ec));
    const exit_code code =
        first_of([&] { return list(3, nullptr); }, [&] { return upload(file, what.name); },
                 [&] { return list(13, &what.name); }, [&] { return download(sink, to); },
                 [&] { return compare(what.file, to); }, [&] { return disconnect(); });
    const std::string kind = kind_of_digest();
    std::cout << '\n'
              << kind << " of the file          " << text_of(sent_.computed_here) << '\n'
              << kind << " that the server has  " << text_of(sent_.computed_there) << '\n'
              << kind << " of the copy          " << text_of(arrived_.computed_here) << '\n'
              << (code == done ? "Success" : "Fail") << std::endl;
    return code;
  }

 private:
  static std::string kind_of_digest() {
    return std::same_as<Hasher, filexfer::sha256> ? "SHA-256" : "MD5";
  }

  static std::string text_of(const digest& known) {
    return known == digest{} ? "not known" : known.to_string();
  }

  template <class... Parts>
  static exit_code first_of(Parts... parts) {
    exit_code code = done;
    [[maybe_unused]] const bool all = (((code = parts()) == done) && ...);
    return code;
  }

  // ----------------------------------------------------------------------- what went over the wire

  filexfer::recording& said_by(std::string_view who) {
    auto& stream = client_.next_layer();
    return who == client_side ? stream.sent() : stream.received();
  }

  /// Shows the next line of that side; false if it is an ERROR, or did not come.
  bool line(int number, std::string_view who) {
    const auto text = said_by(who).take_line();
    if (!text) return false;
    show_step(number, who, "says: " + filexfer::printable(*text, 300));
    return !filexfer::parse_error(*text);
  }

  /// Shows a list's lines, not more than a few.
  bool lines(int number, std::string_view who, std::size_t entries) {
    constexpr std::size_t most = 10;
    const std::size_t shown = entries == 0 ? 1 : std::min(most, entries);
    for (std::size_t i = 0; i < shown; ++i) {
      if (!line(number, who)) return false;
    }
    const std::string more = std::to_string(std::max(entries, shown) - shown);
    if (entries > shown) show_step(number, who, "says " + more + " lines more");
    return true;
  }

  bool bytes(int number, std::string_view who, std::uint64_t wanted) {
    const std::uint64_t passed = said_by(who).take_bytes(wanted);
    show_step(number, who, "sends the file: " + std::to_string(passed) + " bytes");
    return passed == wanted;
  }

  static bool does(int number, std::string_view who, const std::string& what) {
    show_step(number, who, what);
    return true;
  }

  template <class... Results, class Start>
  auto record(Start start) {
    client_.next_layer().sent().clear();
    client_.next_layer().received().clear();
    return operations_.run<Results...>(std::move(start));
  }

  exit_code ended(std::error_code ec, bool all_shown) {
    if (ec && ec != filexfer::errc::digest_mismatch) {
      return report("the simulation",
                    explain({ec, client_.last_failure(), filexfer::transfer_phase::transferring,
                             client_.last_reply()},
                            "server"));
    }
    if (ec) return wrong_digest;
    return all_shown ? done : report("the simulation", {broken, "a step is missing"});
  }

  // ------------------------------------------------------------------------------------- the steps

  /// Steps 3 and 4, or 13 and 14, where the file `wanted` has to be in the list.
  exit_code list(int number, const std::string* wanted) {
    std::size_t entries = 0;
    bool found = wanted == nullptr;
    const auto see = [&](const filexfer::file_info<digest>& file) {
      ++entries;
      found = found || (file.id == sent_.computed_there && file.name == *wanted);
    };
    const auto [ec] =
        record([&](auto handler) { client_.async_list_files(see, std::move(handler)); });
    const bool shown = line(number, client_side) && lines(number + 1, server_side, entries);
    if (!ec && !found) return report("the simulation", {broken, "the file is not in the list"});
    return ended(ec, shown);
  }

  exit_code upload(filexfer::file_source& file, const std::string& name) {
    std::error_code ec;
    std::tie(ec, sent_) = record<filexfer::upload_result<digest>>(
        [&](auto handler) { client_.async_upload(file, name, std::move(handler)); });
    const bool shown =
        line(5, client_side) && line(6, server_side) && line(7, client_side) &&
        line(8, server_side) && bytes(9, client_side, file.size()) &&
        does(10, server_side, "stores the file and computes its " + kind_of_digest()) &&
        line(11, server_side) && compared(12, sent_.computed_here, sent_.computed_there);
    return ended(ec, shown);
  }

  exit_code download(filexfer::file_download::sink& copy, const std::filesystem::path& to) {
    std::error_code ec;
    std::tie(ec, arrived_) = record<filexfer::download_result<digest>>([&](auto handler) {
      client_.async_download(sent_.computed_there, copy, std::move(handler));
    });
    const bool shown = line(15, client_side) && line(16, server_side) && line(17, client_side) &&
                       line(18, server_side) && bytes(19, server_side, arrived_.file.size) &&
                       does(20, client_side,
                            "stores the copy and computes its " + kind_of_digest() + ": " +
                                filexfer::printable(to.string())) &&
                       compared(21, sent_.computed_there, arrived_.computed_here);
    return ended(ec, shown);
  }

  static bool compared(int number, const digest& one, const digest& other) {
    show_step(number, client_side,
              "compares " + one.to_string() + " and " + other.to_string() +
                  (one == other ? ": Success" : ": Fail"));
    return one == other;
  }

  /// More of step 21: if both ends computed digests of something else, they would agree all the
  /// same.
  static exit_code compare(const std::filesystem::path& file, const std::filesystem::path& copy) {
    std::ifstream one{file, std::ios::binary};
    std::ifstream other{copy, std::ios::binary};
    if (!one || !other) return report(copy.string(), {local_file, "can't be read again"});
    std::string left(65536, '\0');
    std::string right = left;
    bool same = true;
    while (same && one) {
      one.read(left.data(), std::ssize(left));
      other.read(right.data(), std::ssize(right));
      same = one.gcount() == other.gcount() && left == right;
    }
    if (!same) return report(copy.string(), {wrong_digest, "differs from the file in its bytes"});
    std::cout << "    and the copy with the file, byte by byte: Success" << std::endl;
    return done;
  }

  exit_code disconnect() {
    auto& stream = client_.next_layer();
    std::array<std::byte, 1> nothing;
    std::error_code ec;
    asio::steady_timer patience{operations_.context(), std::chrono::seconds{10}};
    patience.async_wait([&stream](std::error_code cancelled) {
      std::error_code ignored;
      if (!cancelled) stream.close(ignored);
    });
    stream.shutdown(asio::socket_base::shutdown_send, ec);
    std::tie(ec, std::ignore) = operations_.run<std::size_t>(
        [&](auto handler) { stream.async_read_some(asio::buffer(nothing), std::move(handler)); });
    const failure open{broken, "the server does not close"};
    if (ec != asio::error::eof) return report("the simulation", open);
    show_step(22, client_side, "disconnects, and the server closes");
    return done;
  }

  static constexpr std::string_view client_side = "client";
  static constexpr std::string_view server_side = "server";

  operation_runner& operations_;
  filexfer::client<filexfer::recording_stream<filexfer::any_stream>, Hasher> client_;
  filexfer::upload_result<digest> sent_;
  filexfer::download_result<digest> arrived_;
};

}  // namespace programs

#endif
