#include "support/dialogues.hpp"
#include "support/drivers.hpp"
#include "support/failing_store.hpp"
#include "support/script.hpp"

#include <filexfer/detail/driver/run.hpp>

#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/steady_timer.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace run_tests {

namespace {

using filexfer::errc;
using filexfer::failure_origin;
using filexfer::detail::action;
using filexfer::detail::flow;
using filexfer::detail::io_kind;
using filexfer::detail::outcome;
using test::all_drivers;
using test::all_whole;
using test::any_number;
using test::C;
using test::client_dialogue;
using test::client_outcome;
using test::client_request;
using test::dialogue;
using test::driver_kind;
using test::entries_of;
using test::failing_store;
using test::pattern;
using test::refusal;
using test::S;
using test::scripted_peer;
using test::session_dialogue;
using test::store_call;
using test::stream_driver;
using test::text_of;
using test::who;

// The bytes that a call may move at most, reading and writing.
struct cut {
  std::size_t read;
  std::size_t written;
};

std::vector<cut> cuts(const dialogue& talk) {
  const auto bytes = std::max(said_by(who::client, talk).size(), said_by(who::server, talk).size());
  if (bytes > 4000) return {{any_number, any_number}, {61, 256}, {4096, 67}, {255, 4097}};
  std::vector<cut> all{{any_number, any_number}, {1, any_number}, {any_number, 1}};
  for (std::size_t n = 1; n < std::min<std::size_t>(bytes, 70); ++n) all.push_back({n, 71 - n});
  return all;
}

struct client_on_a_stream {
  client_on_a_stream(driver_kind kind, const dialogue& talk)
      : driver{kind, scripted_peer{talk, who::client}} {
    state.connection.chunk_size = state.connection.small_file_size = test::chunk_size;
  }
  client_outcome operator()(const client_request& asked) { return perform(asked, state, driver); }
  filexfer::detail::client_state state;
  stream_driver driver;
};

struct session_on_a_stream {
  session_on_a_stream(driver_kind kind, const session_dialogue& d)
      : driver{kind, scripted_peer{d.talk, who::server}} {
    state.options.max_size = 1'000'000;
    state.connection.chunk_size = state.connection.small_file_size = test::chunk_size;
    int name = 0;
    for (const auto& file : d.before) put(store.held, std::to_string(name++), file);
  }
  std::error_code run() {
    std::error_code ec;
    filexfer::detail::session_flow<failing_store, filexfer::md5> session{state, store};
    driver.run([&](std::error_code& e) { return session.serve(e); }, ec);
    CHECK(driver.stream.closed);
    CHECK_FALSE(driver.stream.used_after_close);
    CHECK(store.alive == 0);
    CHECK(all_whole(store.held));
    return ec;
  }
  const std::string& said() const { return driver.stream.peer.said(); }
  failing_store store;
  filexfer::detail::session_state state;
  stream_driver driver;
};

}  // namespace

// ------------------------------------------------------------------------------- all drivers, clients

TEST_CASE("a client does over a stream what it does by hand, however calls are cut") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const client_dialogue& d : test::good_client_dialogues()) {
      CAPTURE(d.name);
      for (const cut c : cuts(d.talk)) {
        CAPTURE(c.read);
        CAPTURE(c.written);
        client_on_a_stream client{kind, d.talk};
        client.driver.stream.most_read = c.read;
        client.driver.stream.most_written = c.written;
        const auto out = client(d.asked);
        REQUIRE_FALSE(out.ec);
        REQUIRE(out.value == d.value);
        REQUIRE(out.synchronized);
        REQUIRE(client.driver.stream.peer.said() == said_by(who::client, d.talk));
        REQUIRE_FALSE(client.driver.stream.stalled);
      }
    }
  }
}

TEST_CASE("a stream that fails at any call fails the operation and the client") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto reset = std::make_error_code(std::errc::connection_reset);
    std::size_t replays = 0;
    for (const client_dialogue& d : test::good_client_dialogues()) {
      CAPTURE(d.name);
      for (const cut c : {cut{any_number, any_number}, cut{5000, 3500}, cut{1, 1}}) {
        const bool large = d.asked.bytes.size() + d.value.size() > 1000;
        if (c.read == 1 && (large || kind == driver_kind::overlapping)) continue;
        for (const std::error_code error : {reset, std::error_code{asio::error::eof}}) {
          for (std::size_t call = 0;; ++call) {
            CAPTURE(c.read);
            CAPTURE(call);
            client_on_a_stream client{kind, d.talk};
            auto& stream = client.driver.stream;
            stream.most_read = c.read;
            stream.most_written = c.written;
            stream.failing_call = call;
            stream.error = error;
            const auto out = client(d.asked);
            REQUIRE_FALSE(stream.stalled);
            if (!out.ec) break;
            ++replays;
            if (error == reset) {
              REQUIRE(out.ec == reset);
              REQUIRE(out.origin == failure_origin::stream);
            } else {
              // A write that "ends" is no orderly end, whatever a stream means by it.
              REQUIRE((out.ec == errc::truncated || out.ec == errc::end_of_stream));
            }
            REQUIRE_FALSE(out.synchronized);
            REQUIRE_FALSE(out.committed);
            REQUIRE(said_by(who::client, d.talk).starts_with(stream.peer.said()));
          }
        }
      }
    }
    MESSAGE(replays, " operations failed");
  }
}

TEST_CASE("an early refusal of an upload is reported, wherever it comes") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto bytes = pattern(3 * test::chunk_size);
    const auto before = test::upload_talk("f;12288", "ready");
    const auto said_before = said_by(who::client, before).size();
    for (std::size_t sent = 0; sent < bytes.size(); sent += 631) {
      for (const std::size_t written : {any_number, std::size_t{700}}) {
        CAPTURE(sent);
        CAPTURE(written);
        client_on_a_stream client{
            kind, before + dialogue{C(bytes.substr(0, sent)), S("ERROR no-space full\n")}};
        auto& stream = client.driver.stream;
        stream.most_written = written;
        stream.most_read = 7;
        // A driver that does not watch sees it when the server has closed.
        if (kind == driver_kind::blocking) stream.error_after_the_end = asio::error::broken_pipe;
        const auto out = client({client_request::kind::upload, "f", bytes});
        CHECK(out.ec == errc::no_space);
        CHECK(out.origin == failure_origin::peer);
        const auto said = stream.peer.said().size() - said_before;
        // Once all bytes have left, nobody can tell whether it came before the last one.
        CHECK(out.synchronized == (said == bytes.size()));
        CHECK(said - sent <= 2 * test::chunk_size);
      }
    }
  }
}

TEST_CASE("an early refusal is reported though the stream breaks in that very write") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto bytes = pattern(3 * test::chunk_size);
    const auto before = test::upload_talk("f;12288", "ready");
    for (std::size_t sent = 0; sent < bytes.size(); sent += 631) {
      CAPTURE(sent);
      client_on_a_stream client{
          kind, before + dialogue{C(bytes.substr(0, sent)), S("ERROR io broken\n")}};
      auto& stream = client.driver.stream;
      stream.most_written = 67;
      stream.error_after_the_end = asio::error::connection_reset;
      const auto out = client({client_request::kind::upload, "f", bytes});
      CHECK(out.ec == errc::io);
      CHECK_FALSE(out.synchronized);
    }
  }
}

// ------------------------------------------------------------------------------ all drivers, sessions

TEST_CASE("a session does over a stream what it does by hand, however calls are cut") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const session_dialogue& d : test::good_session_dialogues()) {
      CAPTURE(d.name);
      for (const cut c : cuts(d.talk)) {
        CAPTURE(c.read);
        CAPTURE(c.written);
        session_on_a_stream session{kind, d};
        session.driver.stream.most_read = c.read;
        session.driver.stream.most_written = c.written;
        REQUIRE(session.run() == d.ec);
        REQUIRE(session.said() == said_by(who::server, d.talk));
        REQUIRE_FALSE(session.driver.stream.stalled);
        REQUIRE(entries_of(session.store.held) == d.after);
      }
    }
  }
}

TEST_CASE("a stream that fails at any call ends the session and shows nothing torn") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto reset = std::make_error_code(std::errc::connection_reset);
    std::size_t replays = 0;
    for (const session_dialogue& d : test::good_session_dialogues()) {
      if (d.ec) continue;  // it breaks by itself
      CAPTURE(d.name);
      for (const cut c : {cut{any_number, any_number}, cut{3500, 5000}, cut{1, 1}}) {
        const auto bytes =
            said_by(who::client, d.talk).size() + said_by(who::server, d.talk).size();
        if (c.read == 1 && (bytes > 1000 || kind == driver_kind::overlapping)) continue;
        for (std::size_t call = 0;; ++call) {
          CAPTURE(c.read);
          CAPTURE(call);
          session_on_a_stream session{kind, d};
          auto& stream = session.driver.stream;
          stream.most_read = c.read;
          stream.most_written = c.written;
          stream.failing_call = call;
          stream.error = reset;
          const auto ec = session.run();
          REQUIRE_FALSE(stream.stalled);
          REQUIRE(said_by(who::server, d.talk).starts_with(session.said()));
          if (!ec) break;
          ++replays;
          REQUIRE(ec == reset);
          REQUIRE_FALSE(stream.sending_ended);
        }
      }
    }
    MESSAGE(replays, " sessions failed");
  }
}

TEST_CASE("a session that is ended by its server ends its sending side and closes") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    session_on_a_stream session{kind, {"", {C("GET / HTTP/1.1\nHost: example.org\n\n")}}};
    session.driver.stream.most_read = 5;
    session.driver.stream.most_written = 3;
    CHECK(session.run() == errc::bad_request);
    CHECK(session.said() == refusal(errc::bad_request));
    CHECK(session.driver.stream.sending_ended);
    CHECK(session.driver.stream.peer.has_ended());
  }
}

TEST_CASE("a store that fails in the middle of an upload is answered after its last byte") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto bytes = pattern(3 * test::chunk_size + 1);
    for (std::size_t nth = 0; nth < 4; ++nth) {
      const session_dialogue d{"",
                               {C("UPLOAD\n"), S(test::details_prompt), C("f;12289\n"),
                                S(test::ready_words), C(bytes), S(refusal(errc::no_space)),
                                C("FEATURES\n"), S(test::all_features + "max-size=1000000\n\n")}};
      session_on_a_stream session{kind, d};
      session.driver.stream.most_read = 10007;
      session.store.fail(store_call::write, errc::no_space, nth);
      CHECK_FALSE(session.run());
      CHECK(session.said() == said_by(who::server, d.talk));
    }
  }
}

// --------------------------------------------------------------------------- all drivers, one action

namespace {

// What became of one action.
outcome outcome_of(stream_driver& driver, action& wanted) {
  const auto one_action = [](action& a) -> flow<outcome> { co_return co_await a; };
  std::error_code ec;
  const auto out = driver.run([&](std::error_code&) { return one_action(wanted); }, ec);
  CHECK_FALSE(ec);
  return out;
}

}  // namespace

TEST_CASE("a read takes what is there, and a full read all that it asks for") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const io_kind io : {io_kind::read_some, io_kind::read_full}) {
      stream_driver driver{kind, scripted_peer{{C("0123456789")}, who::server}};
      driver.stream.most_read = 3;
      std::array<std::byte, 8> into{};
      action reading;
      reading.io = io;
      reading.read_buffer = into;
      const auto out = outcome_of(driver, reading);
      CHECK_FALSE(out.error);
      CHECK(out.bytes == (io == io_kind::read_some ? 3 : 8));
      CHECK(text_of(into).substr(0, out.bytes) == std::string{"01234567"}.substr(0, out.bytes));
    }
  }
}

TEST_CASE("a full read that breaks tells how far it came") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    stream_driver driver{kind, scripted_peer{{C("01234")}, who::server}};
    driver.stream.most_read = 2;
    std::array<std::byte, 8> into{};
    action reading;
    reading.io = io_kind::read_full;
    reading.read_buffer = into;
    const auto out = outcome_of(driver, reading);
    CHECK(out.error == errc::end_of_stream);
    CHECK(out.bytes == 5);
    CHECK(text_of(into).substr(0, 5) == "01234");
  }
}

TEST_CASE("a write gathers both its parts, however the stream takes them") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const std::string first = "header\n";
    const std::string second = "and bytes";
    for (const auto& [one, two] :
         {std::pair{first, second}, std::pair{std::string{}, second},
          std::pair{first, std::string{}}, std::pair{std::string{}, std::string{}}}) {
      for (std::size_t most = 1; most <= first.size() + second.size(); ++most) {
        stream_driver driver{kind, scripted_peer{{}, who::server}};
        driver.stream.most_written = most;
        action writing;
        writing.io = io_kind::write;
        writing.write_buffers = {filexfer::detail::as_bytes(one), filexfer::detail::as_bytes(two)};
        const auto out = outcome_of(driver, writing);
        CHECK_FALSE(out.error);
        CHECK(out.bytes == one.size() + two.size());
        CHECK(driver.stream.peer.said() == one + two);
      }
    }
  }
}

TEST_CASE("a read into nothing and a write of nothing are done without the stream") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const io_kind io :
         {io_kind::read_some, io_kind::read_full, io_kind::write, io_kind::none}) {
      stream_driver driver{kind, scripted_peer{{S("our turn")}, who::server}};
      action nothing;
      nothing.io = io;
      CHECK_FALSE(outcome_of(driver, nothing).error);
      CHECK(driver.stream.calls == 0);
    }
  }
}

TEST_CASE("the work of an action is done once, also where its I/O fails") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const bool fails : {false, true}) {
      stream_driver driver{kind, scripted_peer{{C("0123456789")}, who::server}};
      driver.stream.most_read = 4;
      if (fails) driver.stream.failing_call = 1;
      driver.stream.error = asio::error::connection_reset;
      int runs = 0;
      filexfer::detail::work counting{[&](std::error_code& ec) {
        ++runs;
        ec = errc::io;
      }};
      std::array<std::byte, 8> into{};
      action both;
      both.io = io_kind::read_full;
      both.read_buffer = into;
      both.run_and_wait(counting);
      const auto out = outcome_of(driver, both);
      CHECK(runs == 1);
      CHECK(counting.error() == errc::io);
      CHECK(out.error ==
            (fails ? std::error_code{asio::error::connection_reset} : std::error_code{}));
      CHECK(out.bytes == (fails ? 4 : 8));
    }
  }
}

TEST_CASE("a million actions that are done at once do not use up the stack") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto many = [](int& done) -> flow<void> {
      action nothing;
      for (; done < 1'000'000; ++done) co_await nothing;
    };
    stream_driver driver{kind, scripted_peer{{}, who::server}};
    int done = 0;
    std::error_code ec;
    driver.run([&](std::error_code&) { return many(done); }, ec);
    CHECK_FALSE(ec);
    CHECK(done == 1'000'000);
  }
}

TEST_CASE("a flow that throws ends its operation with that error") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto throws = [](std::error_code code) -> flow<int> {
      action nothing;
      co_await nothing;
      if (code) throw std::system_error{code};
      co_return 1;
    };
    for (const std::error_code code : {std::error_code{}, make_error_code(errc::collision)}) {
      stream_driver driver{kind, scripted_peer{{}, who::server}};
      std::error_code ec;
      const int value = driver.run([&](std::error_code&) { return throws(code); }, ec);
      CHECK(ec == code);
      CHECK(value == (code ? 0 : 1));
    }
  }
}

// -------------------------------------------------------------------------------------- blocking only

TEST_CASE("bytes that a failing call has moved are counted") {
  struct generous {
    std::size_t read_some(asio::mutable_buffer, std::error_code& ec) {
      ec = asio::error::connection_reset;
      return 3;
    }
    std::size_t write_some(std::array<asio::const_buffer, 2>, std::error_code& ec) {
      ec = asio::error::connection_reset;
      return 3;
    }
  };
  generous stream;
  const auto one_action = [](action& a) -> flow<outcome> { co_return co_await a; };
  for (const io_kind io : {io_kind::read_full, io_kind::write}) {
    std::array<std::byte, 8> bytes{};
    action moving;
    moving.io = io;
    moving.read_buffer = bytes;
    moving.write_buffers[0] = bytes;
    std::error_code ec;
    const auto out = filexfer::detail::run(
        stream, [&](std::error_code&) { return one_action(moving); }, ec);
    CHECK(out.error == asio::error::connection_reset);
    CHECK(out.bytes == 3);
  }
}

// ----------------------------------------------------------------------------- files by the system

namespace {

// A file without a name, and a connected pair of sockets.
struct file_on_a_socket {
  explicit file_on_a_socket(const std::string& bytes) : file{std::tmpfile()} {
    REQUIRE(file != nullptr);
    REQUIRE(std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
    REQUIRE(std::fflush(file) == 0);
    asio::local::connect_pair(ours, theirs);
  }
  file_on_a_socket(const file_on_a_socket&) = delete;
  file_on_a_socket& operator=(const file_on_a_socket&) = delete;
  ~file_on_a_socket() { std::fclose(file); }

  action sending(std::uint64_t offset, std::uint64_t bytes) const {
    action a;
    a.io = io_kind::send_file;
    a.file = {::fileno(file), offset, bytes};
    return a;
  }

  outcome send(driver_kind kind, action& wanted) {
    const auto one_action = [](action& a) -> flow<outcome> { co_return co_await a; };
    const auto make = [&](std::error_code&) { return one_action(wanted); };
    std::error_code ec;
    if (kind == driver_kind::blocking) return filexfer::detail::run(ours, make, ec);
    outcome out;
    filexfer::detail::async_run<asio::steady_timer>(
        ours, {}, make, [&](std::error_code, outcome got) { out = got; });
    context.run();
    return out;
  }

  std::FILE* file;
  asio::io_context context;
  asio::local::stream_protocol::socket ours{context};
  asio::local::stream_protocol::socket theirs{context};
};

}  // namespace

TEST_CASE("the system sends a range of a file, also one that does not fit into the socket") {
  const auto bytes = pattern(3'000'000);
  for (const driver_kind kind : {driver_kind::blocking, driver_kind::asynchronous}) {
    CAPTURE(to_string(kind));
    file_on_a_socket f{bytes};
    auto sending = f.sending(7, 2'500'000);
    std::string heard;
    std::thread reader{[&] {
      std::array<char, 65536> part;
      std::error_code ec;
      while (!ec) heard.append(part.data(), f.theirs.read_some(asio::buffer(part), ec));
    }};
    const auto out = f.send(kind, sending);
    f.ours.close();
    reader.join();
    CHECK_FALSE(out.error);
    CHECK(out.bytes == 2'500'000);
    CHECK(heard == bytes.substr(7, 2'500'000));
  }
}

TEST_CASE("a file that ends before the range that is to be sent is too short") {
  for (const driver_kind kind : {driver_kind::blocking, driver_kind::asynchronous}) {
    file_on_a_socket f{"hello"};
    auto sending = f.sending(1, 100);
    const auto out = f.send(kind, sending);
    CHECK(out.error == errc::short_source);
    CHECK(out.bytes == 4);
  }
}

TEST_CASE("a peer that is gone while the system sends a file is an error, not a signal") {
  for (const driver_kind kind : {driver_kind::blocking, driver_kind::asynchronous}) {
    file_on_a_socket f{"hello"};
    auto sending = f.sending(0, 5);
    f.theirs.close();
    CHECK(f.send(kind, sending).error == asio::error::broken_pipe);
  }
}

TEST_CASE("a file that the system is to send to what is no socket is not supported") {
  stream_driver driver{driver_kind::blocking, scripted_peer{{}, who::server}};
  action sending;
  sending.io = io_kind::send_file;
  sending.file = {0, 0, 5};
  CHECK(outcome_of(driver, sending).error == std::errc::operation_not_supported);
}

}  // namespace run_tests
