// Clients and sessions on scripted streams, with every driver.

#include "support/client_dialogues.hpp"
#include "support/drivers.hpp"
#include "support/failing_store.hpp"
#include "support/known_files.hpp"
#include "support/recording_sink.hpp"
#include "support/script.hpp"
#include "support/session_dialogues.hpp"
#include "support/session_replies.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/detail/flow/download_batch.hpp>
#include <filexfer/detail/flow/session_flow.hpp>
#include <filexfer/batch.hpp>

#include <asio/error.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

namespace run_dialogues_tests {

using namespace test;
using filexfer::errc;
using filexfer::failure_origin;

namespace {

// The maximum number of bytes per call, for reads and for writes.
struct call_sizes {
  std::size_t read;
  std::size_t written;
};

std::vector<call_sizes> chunkings_of(const dialogue& talk) {
  const auto bytes =
      std::max(bytes_sent_by(role::client, talk).size(), bytes_sent_by(role::server, talk).size());
  if (bytes > 4000) return {{no_limit, no_limit}, {61, 256}, {4096, 67}, {255, 4097}};
  std::vector<call_sizes> all{{no_limit, no_limit}, {1, no_limit}, {no_limit, 1}};
  for (std::size_t n = 1; n < std::min<std::size_t>(bytes, 70); ++n) all.push_back({n, 71 - n});
  return all;
}

struct client_on_a_stream {
  client_on_a_stream(driver_kind kind, const dialogue& talk)
      : driver{kind, scripted_peer{talk, role::client}} {
    state.connection.chunk_size = state.connection.small_file_size = chunk_size;
  }
  client_outcome operator()(const client_request& asked) { return perform(asked, state, driver); }
  filexfer::detail::client_state state;
  stream_driver driver;
};

struct session_on_a_stream {
  session_on_a_stream(driver_kind kind, const session_dialogue& d)
      : driver{kind, scripted_peer{d.talk, role::server}} {
    state.options.max_size = 1'000'000;
    state.connection.chunk_size = state.connection.small_file_size = chunk_size;
    int name = 0;
    for (const auto& file : d.before) put(store.inner, std::to_string(name++), file);
  }
  std::error_code run() {
    std::error_code ec;
    filexfer::detail::session_flow<failing_store, filexfer::md5> session{state, store};
    driver.run([&](std::error_code& e) { return session.serve(e); }, ec);
    CHECK(driver.stream.closed);
    CHECK_FALSE(driver.stream.used_after_close);
    CHECK(store.alive == 0);
    CHECK(all_whole(store.inner));
    return ec;
  }
  const std::string& sent() const { return driver.stream.peer.received(); }
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
    for (const client_dialogue& d : good_client_dialogues()) {
      CAPTURE(d.name);
      for (const call_sizes most : chunkings_of(d.talk)) {
        CAPTURE(most.read);
        CAPTURE(most.written);
        client_on_a_stream client{kind, d.talk};
        client.driver.stream.max_read = most.read;
        client.driver.stream.max_write = most.written;
        const auto out = client(d.asked);
        REQUIRE_FALSE(out.ec);
        REQUIRE(out.value == d.value);
        REQUIRE(out.synchronized);
        REQUIRE(client.driver.stream.peer.received() == bytes_sent_by(role::client, d.talk));
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
    for (const client_dialogue& d : good_client_dialogues()) {
      CAPTURE(d.name);
      for (const call_sizes most :
           {call_sizes{no_limit, no_limit}, call_sizes{5000, 3500}, call_sizes{1, 1}}) {
        const bool large = d.asked.bytes.size() + d.value.size() > 1000;
        if (most.read == 1 && (large || kind == driver_kind::overlapping)) continue;
        for (const std::error_code error : {reset, std::error_code{asio::error::eof}}) {
          for (std::size_t call = 0;; ++call) {
            CAPTURE(most.read);
            CAPTURE(call);
            client_on_a_stream client{kind, d.talk};
            auto& stream = client.driver.stream;
            stream.max_read = most.read;
            stream.max_write = most.written;
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
            REQUIRE(bytes_sent_by(role::client, d.talk).starts_with(stream.peer.received()));
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
    const auto bytes = pattern(3 * chunk_size);
    const auto opening = upload_dialogue("f;12288", "ready");
    const auto opening_size = bytes_sent_by(role::client, opening).size();
    for (std::size_t refused_at = 0; refused_at < bytes.size(); refused_at += 631) {
      for (const std::size_t written : {no_limit, std::size_t{700}}) {
        CAPTURE(refused_at);
        CAPTURE(written);
        client_on_a_stream client{
            kind, opening + dialogue{C(bytes.substr(0, refused_at)), S("ERROR no-space full\n")}};
        auto& stream = client.driver.stream;
        stream.max_write = written;
        stream.max_read = 7;
        // The blocking driver does not read while it writes, and gets the refusal once the server
        // closed.
        if (kind == driver_kind::blocking) stream.error_after_the_end = asio::error::broken_pipe;
        const auto out = client({client_request::kind::upload, "f", bytes});
        CHECK(out.ec == errc::no_space);
        CHECK(out.origin == failure_origin::peer);
        const auto sent = stream.peer.received().size() - opening_size;
        // Once all bytes are sent, it is unknown whether the refusal came before the last one.
        CHECK(out.synchronized == (sent == bytes.size()));
        CHECK(sent - refused_at <= 2 * chunk_size);
      }
    }
  }
}

TEST_CASE("an early refusal is reported even if the stream fails in the same write") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto bytes = pattern(3 * chunk_size);
    const auto opening = upload_dialogue("f;12288", "ready");
    for (std::size_t refused_at = 0; refused_at < bytes.size(); refused_at += 631) {
      CAPTURE(refused_at);
      client_on_a_stream client{
          kind, opening + dialogue{C(bytes.substr(0, refused_at)), S("ERROR io broken\n")}};
      auto& stream = client.driver.stream;
      stream.max_write = 67;
      stream.error_after_the_end = asio::error::connection_reset;
      const auto out = client({client_request::kind::upload, "f", bytes});
      CHECK(out.ec == errc::io);
      CHECK_FALSE(out.synchronized);
    }
  }
}

TEST_CASE("bytes behind a reply that came too early are the file's, with every driver") {
  const std::string id_line = hello.id + ";offset=1;length=3";
  const std::string early = "Please send a file ID\n" + hello.id + ";h;5;offset=1;length=3\ne";
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    client_on_a_stream client{kind,
                              {C("FEATURES\n"), S("version=1\ndigest=md5\n\n" + early),
                               C("DOWNLOAD\n" + id_line + "\n"), S("ll and more")}};
    const auto out = client({client_request::kind::range, "", "", hello.id, 1, 3});
    CHECK_FALSE(out.ec);
    CHECK(out.value == "h ell");
  }
}

TEST_CASE("bytes behind a reply that came too early are the file's, in a batch, too") {
  using download_item = filexfer::download_item<recording_sink, md5_digest>;
  const std::string prompt = "Please send a file ID\n";
  for (const driver_kind kind : {driver_kind::asynchronous, driver_kind::overlapping}) {
    CAPTURE(to_string(kind));
    client_on_a_stream client{
        kind, features_dialogue +
                  dialogue{C("DOWNLOAD\n" + abc.id + "\n"),
                           S(prompt + abc.id + ";a;3\nabc" + prompt + hello.id + ";h;5\nhe"),
                           C("DOWNLOAD\n" + hello.id + "\n"), S("llo and more")}};
    client.state.options.max_in_flight = 1;
    std::vector<download_item> files{{id_of(abc), {}}, {id_of(hello), {}}};
    std::vector<std::error_code> results;
    const auto on_result = [&](const auto&, std::error_code ec, const auto&) {
      results.push_back(ec);
    };
    std::error_code ec;
    client.driver.run(
        [&](std::error_code& e) {
          return filexfer::detail::download_all<filexfer::md5>(client.state, files, on_result, e);
        },
        ec);
    CHECK_FALSE(ec);
    CHECK(results == std::vector<std::error_code>(2));
    CHECK(files[1].sink.committed);
  }
}

// ---------------------------------------------------------------------------------------- sessions

TEST_CASE(
    "a session does the same on a stream as when driven by hand, however few bytes a call moves") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    for (const session_dialogue& d : good_session_dialogues()) {
      CAPTURE(d.name);
      for (const call_sizes most : chunkings_of(d.talk)) {
        CAPTURE(most.read);
        CAPTURE(most.written);
        session_on_a_stream session{kind, d};
        session.driver.stream.max_read = most.read;
        session.driver.stream.max_write = most.written;
        REQUIRE(session.run() == d.ec);
        REQUIRE(session.sent() == bytes_sent_by(role::server, d.talk));
        REQUIRE_FALSE(session.driver.stream.stalled);
        REQUIRE(entries_of(session.store.inner) == d.after);
      }
    }
  }
}

TEST_CASE("a stream that fails at any call ends the session, and only whole files are listed") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto reset = std::make_error_code(std::errc::connection_reset);
    std::size_t replays = 0;
    for (const session_dialogue& d : good_session_dialogues()) {
      if (d.ec) continue;  // fails by itself
      CAPTURE(d.name);
      for (const call_sizes most :
           {call_sizes{no_limit, no_limit}, call_sizes{3500, 5000}, call_sizes{1, 1}}) {
        const auto bytes =
            bytes_sent_by(role::client, d.talk).size() + bytes_sent_by(role::server, d.talk).size();
        if (most.read == 1 && (bytes > 1000 || kind == driver_kind::overlapping)) continue;
        for (std::size_t call = 0;; ++call) {
          CAPTURE(most.read);
          CAPTURE(call);
          session_on_a_stream session{kind, d};
          auto& stream = session.driver.stream;
          stream.max_read = most.read;
          stream.max_write = most.written;
          stream.failing_call = call;
          stream.error = reset;
          const auto ec = session.run();
          REQUIRE_FALSE(stream.stalled);
          REQUIRE(bytes_sent_by(role::server, d.talk).starts_with(session.sent()));
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
    session.driver.stream.max_read = 5;
    session.driver.stream.max_write = 3;
    CHECK(session.run() == errc::bad_request);
    CHECK(session.sent() == refusal(errc::bad_request));
    CHECK(session.driver.stream.sending_ended);
    CHECK(session.driver.stream.peer.has_ended());
  }
}

TEST_CASE("a store failure during an upload is answered after the upload's last byte") {
  for (const driver_kind kind : all_drivers) {
    CAPTURE(to_string(kind));
    const auto bytes = pattern(3 * chunk_size + 1);
    for (std::size_t nth = 0; nth < 4; ++nth) {
      const session_dialogue d{
          "",
          {C("UPLOAD\n"), S(details_prompt), C("f;12289\n"), S(ready_words), C(bytes),
           S(refusal(errc::no_space)), C("FEATURES\n"), S(all_features + "max-size=1000000\n\n")}};
      session_on_a_stream session{kind, d};
      session.driver.stream.max_read = 10007;
      session.store.fail(store_call::write, errc::no_space, nth);
      CHECK_FALSE(session.run());
      CHECK(session.sent() == bytes_sent_by(role::server, d.talk));
    }
  }
}

}  // namespace run_dialogues_tests
