// Clients and sessions on scripted streams, with every driver.

#include "support/dialogues.hpp"
#include "support/drivers.hpp"
#include "support/failing_store.hpp"
#include "support/script.hpp"

#include <asio/error.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

namespace run_dialogues_tests {

namespace {

using filexfer::errc;
using filexfer::failure_origin;
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
using test::who;

// The maximum number of bytes per call, for reads and for writes.
struct call_sizes {
  std::size_t read;
  std::size_t written;
};

std::vector<call_sizes> chunkings_of(const dialogue& talk) {
  const auto bytes = std::max(said_by(who::client, talk).size(), said_by(who::server, talk).size());
  if (bytes > 4000) return {{any_number, any_number}, {61, 256}, {4096, 67}, {255, 4097}};
  std::vector<call_sizes> all{{any_number, any_number}, {1, any_number}, {any_number, 1}};
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
  const std::string& sent() const { return driver.stream.peer.said(); }
  failing_store store;
  filexfer::detail::session_state state;
  stream_driver driver;
};

}  // namespace

// ----------------------------------------------------------------------------------------- clients

TEST_CASE(
    "a client does the same on a stream as when driven by hand, however few bytes a call moves") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const client_dialogue& d : test::good_client_dialogues()) {
      CAPTURE(d.name);
      for (const call_sizes most : chunkings_of(d.talk)) {
        CAPTURE(most.read);
        CAPTURE(most.written);
        client_on_a_stream client{kind, d.talk};
        client.driver.stream.most_read = most.read;
        client.driver.stream.most_written = most.written;
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

TEST_CASE("a stream that fails at any call fails the operation, and makes the client unusable") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto reset = std::make_error_code(std::errc::connection_reset);
    std::size_t replays = 0;
    for (const client_dialogue& d : test::good_client_dialogues()) {
      CAPTURE(d.name);
      for (const call_sizes most :
           {call_sizes{any_number, any_number}, call_sizes{5000, 3500}, call_sizes{1, 1}}) {
        const bool large = d.asked.bytes.size() + d.value.size() > 1000;
        if (most.read == 1 && (large || kind == driver_kind::overlapping)) continue;
        for (const std::error_code error : {reset, std::error_code{asio::error::eof}}) {
          for (std::size_t call = 0;; ++call) {
            CAPTURE(most.read);
            CAPTURE(call);
            client_on_a_stream client{kind, d.talk};
            auto& stream = client.driver.stream;
            stream.most_read = most.read;
            stream.most_written = most.written;
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
              // A write that fails with eof is no orderly end.
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

TEST_CASE("an early refusal of an upload is reported, however many bytes were sent before it") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto bytes = pattern(3 * test::chunk_size);
    const auto opening = test::upload_talk("f;12288", "ready");
    const auto opening_size = said_by(who::client, opening).size();
    for (std::size_t refused_at = 0; refused_at < bytes.size(); refused_at += 631) {
      for (const std::size_t written : {any_number, std::size_t{700}}) {
        CAPTURE(refused_at);
        CAPTURE(written);
        client_on_a_stream client{
            kind, opening + dialogue{C(bytes.substr(0, refused_at)), S("ERROR no-space full\n")}};
        auto& stream = client.driver.stream;
        stream.most_written = written;
        stream.most_read = 7;
        // The blocking driver does not read while it writes, and gets the refusal once the server
        // closed.
        if (kind == driver_kind::blocking) stream.error_after_the_end = asio::error::broken_pipe;
        const auto out = client({client_request::kind::upload, "f", bytes});
        CHECK(out.ec == errc::no_space);
        CHECK(out.origin == failure_origin::peer);
        const auto sent = stream.peer.said().size() - opening_size;
        // Once all bytes are sent, it is unknown whether the refusal came before the last one.
        CHECK(out.synchronized == (sent == bytes.size()));
        CHECK(sent - refused_at <= 2 * test::chunk_size);
      }
    }
  }
}

TEST_CASE("an early refusal is reported even if the stream fails in the same write") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto bytes = pattern(3 * test::chunk_size);
    const auto opening = test::upload_talk("f;12288", "ready");
    for (std::size_t refused_at = 0; refused_at < bytes.size(); refused_at += 631) {
      CAPTURE(refused_at);
      client_on_a_stream client{
          kind, opening + dialogue{C(bytes.substr(0, refused_at)), S("ERROR io broken\n")}};
      auto& stream = client.driver.stream;
      stream.most_written = 67;
      stream.error_after_the_end = asio::error::connection_reset;
      const auto out = client({client_request::kind::upload, "f", bytes});
      CHECK(out.ec == errc::io);
      CHECK_FALSE(out.synchronized);
    }
  }
}

// ---------------------------------------------------------------------------------------- sessions

TEST_CASE(
    "a session does the same on a stream as when driven by hand, however few bytes a call moves") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const session_dialogue& d : test::good_session_dialogues()) {
      CAPTURE(d.name);
      for (const call_sizes most : chunkings_of(d.talk)) {
        CAPTURE(most.read);
        CAPTURE(most.written);
        session_on_a_stream session{kind, d};
        session.driver.stream.most_read = most.read;
        session.driver.stream.most_written = most.written;
        REQUIRE(session.run() == d.ec);
        REQUIRE(session.sent() == said_by(who::server, d.talk));
        REQUIRE_FALSE(session.driver.stream.stalled);
        REQUIRE(entries_of(session.store.held) == d.after);
      }
    }
  }
}

TEST_CASE("a stream that fails at any call ends the session, and only whole files are listed") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto reset = std::make_error_code(std::errc::connection_reset);
    std::size_t replays = 0;
    for (const session_dialogue& d : test::good_session_dialogues()) {
      if (d.ec) continue;  // fails by itself
      CAPTURE(d.name);
      for (const call_sizes most :
           {call_sizes{any_number, any_number}, call_sizes{3500, 5000}, call_sizes{1, 1}}) {
        const auto bytes =
            said_by(who::client, d.talk).size() + said_by(who::server, d.talk).size();
        if (most.read == 1 && (bytes > 1000 || kind == driver_kind::overlapping)) continue;
        for (std::size_t call = 0;; ++call) {
          CAPTURE(most.read);
          CAPTURE(call);
          session_on_a_stream session{kind, d};
          auto& stream = session.driver.stream;
          stream.most_read = most.read;
          stream.most_written = most.written;
          stream.failing_call = call;
          stream.error = reset;
          const auto ec = session.run();
          REQUIRE_FALSE(stream.stalled);
          REQUIRE(said_by(who::server, d.talk).starts_with(session.sent()));
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

TEST_CASE("a session that the server ends shuts down its sending side and closes") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    session_on_a_stream session{kind, {"", {C("GET / HTTP/1.1\nHost: example.org\n\n")}}};
    session.driver.stream.most_read = 5;
    session.driver.stream.most_written = 3;
    CHECK(session.run() == errc::bad_request);
    CHECK(session.sent() == refusal(errc::bad_request));
    CHECK(session.driver.stream.sending_ended);
    CHECK(session.driver.stream.peer.has_ended());
  }
}

TEST_CASE("a store failure during an upload is answered after the upload's last byte") {
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
      CHECK(session.sent() == said_by(who::server, d.talk));
    }
  }
}

}  // namespace run_dialogues_tests
