// Sources, sinks and callbacks that fail, and callers that misuse a client.

#include "support/client_dialogues.hpp"
#include "support/client_flows_fixture.hpp"
#include "support/known_files.hpp"
#include "support/recording_sink.hpp"
#include "support/script.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/detail/flow/client_downloads.hpp>
#include <filexfer/detail/flow/client_lists.hpp>
#include <filexfer/detail/flow/client_uploads.hpp>
#include <filexfer/error.hpp>
#include <filexfer/md5.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace client_flows_callers_tests {

using namespace client_flows_tests;

TEST_CASE("an invalid name is rejected before anything is sent") {
  for (const std::string& name : {std::string{}, std::string{".."}, std::string{"a//b"},
                                  std::string{"/a"}, std::string(256, 'n'), std::string{"\xff"}}) {
    client_by_hand client{{C("LIST_FILES\n"), S("none\n\n")}};
    const auto out = client({kind::upload, name, hello.bytes});
    CHECK(out.ec == errc::bad_name);
    CHECK(out.origin == failure_origin::local);
    CHECK(out.synchronized);
    CHECK(client.driver.peer.received().empty());
    CHECK_FALSE(client(list).ec);
  }
}

namespace {

// A source that ends early, fails, throws or has changed.
struct failing_source {
  std::uint64_t declared = 0;
  std::uint64_t available = 0;
  std::uint64_t failing_at = never;
  std::error_code failure{};
  bool throws = false;
  bool changed = false;
  std::uint64_t offset = 0;

  std::uint64_t size() const { return declared; }
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    ec.clear();
    if (offset + to.size() > failing_at) {
      if (throws) throw std::runtime_error{"no more"};
      ec = failure;
      return 0;
    }
    const auto count = std::min<std::uint64_t>(to.size(), available - offset);
    offset += count;
    return static_cast<std::size_t>(count);
  }
  void check_unchanged(std::error_code& ec) const {
    if (changed) ec = errc::source_changed;
    else ec.clear();
  }
};

std::error_code upload_error(client_by_hand& client, failing_source& source) {
  std::error_code ec;
  client.driver.run(
      [&](std::error_code& e) {
        return filexfer::detail::upload<filexfer::md5>(client.state, source, {"f"}, e);
      },
      ec);
  CHECK(client.state.origin == failure_origin::local);
  CHECK_FALSE(client.state.synchronized);
  CHECK_FALSE(client.state.running);
  return ec;
}

}  // namespace

TEST_CASE("a source that ends early, fails or throws never sends the last byte") {
  for (const std::uint64_t size : {std::uint64_t{5}, std::uint64_t{4096}, std::uint64_t{12500}}) {
    for (const std::uint64_t end : {std::uint64_t{0}, size / 2, size - 1}) {
      CAPTURE(size);
      CAPTURE(end);
      const auto talk = upload_dialogue("f;" + std::to_string(size), ready);
      const auto before = bytes_sent_by(role::client, talk).size();
      const dialogue whole = talk + dialogue{C(std::string(size, 'f'))};
      client_by_hand first{whole};
      failing_source short_source{size, end};
      CHECK(upload_error(first, short_source) == errc::short_source);
      CHECK(first.driver.peer.received().size() < before + size);

      client_by_hand second{whole};
      failing_source failing{size, size, end, std::make_error_code(std::errc::io_error)};
      CHECK(upload_error(second, failing) == std::errc::io_error);
      CHECK(second.driver.peer.received().size() < before + size);

      client_by_hand third{whole};
      failing_source throwing{size, size, end, {}, true};
      CHECK(upload_error(third, throwing) == errc::store_failed);
      CHECK(third.driver.peer.received().size() < before + size);
    }
  }
}

TEST_CASE("a source that has changed meanwhile never sends the last byte") {
  for (const std::uint64_t size : {0U, 1U, 4096U, 4097U, 12500U}) {
    const auto talk = upload_dialogue("f;" + std::to_string(size), ready);
    client_by_hand client{talk + dialogue{C(std::string(size, 'f'))}};
    failing_source source{size, size};
    source.changed = true;
    CHECK(upload_error(client, source) == errc::source_changed);
    if (size > 0) {
      CHECK(client.driver.peer.received().size() < bytes_sent_by(role::client, talk).size() + size);
    }
    CHECK_FALSE(client.state.synchronized);
  }
}

namespace {

std::error_code download_error(client_by_hand& client, recording_sink& sink,
                               const std::string& id = hello.id) {
  std::error_code ec;
  const auto wanted = md5_digest::from_hex(id).value();
  client.driver.run(
      [&](std::error_code& e) {
        return filexfer::detail::download<filexfer::md5>(client.state, wanted, sink, e);
      },
      ec);
  CHECK(client.state.origin == failure_origin::local);
  CHECK_FALSE(sink.committed);
  return ec;
}

}  // namespace

TEST_CASE("a sink that fails ends the download with its error, and without a commit") {
  const auto full = std::make_error_code(std::errc::no_space_on_device);
  const auto talk = download_dialogue(hello.id) + dialogue{S(hello.id + ";a;5\nhello")};
  {
    client_by_hand client{talk};
    recording_sink sink;
    sink.announce_error = errc::file_exists;
    CHECK(download_error(client, sink) == errc::file_exists);
    CHECK(sink.bytes.empty());
    CHECK_FALSE(client.state.synchronized);
  }
  for (const std::size_t chunk : {std::size_t{1}, no_limit}) {
    client_by_hand client{talk};
    client.driver.chunk = chunk;
    recording_sink sink;
    sink.failing_write = 0;
    sink.write_error = full;
    CHECK(download_error(client, sink) == full);
    CHECK_FALSE(client.state.synchronized);
  }
  {
    client_by_hand client{talk};
    recording_sink sink;
    sink.commit_error = full;
    CHECK(download_error(client, sink) == full);
    CHECK(client.state.synchronized);  // all bytes have been read
  }
}

TEST_CASE("a sink that fails at any chunk gets no further write") {
  const known_file s{pattern(3 * chunk_size + 1), "ab25117206a17330103ecaf2192363ce"};
  const auto talk = download_dialogue(s.id) + dialogue{S(s.id + ";a;12289\n" + s.bytes)};
  client_by_hand whole{talk};
  recording_sink counting;
  std::error_code ec;
  whole.driver.run(
      [&](std::error_code& e) {
        return filexfer::detail::download<filexfer::md5>(whole.state, id_of(s), counting, e);
      },
      ec);
  REQUIRE_FALSE(ec);
  REQUIRE(counting.writes >= 4);
  for (std::size_t write = 0; write < counting.writes; ++write) {
    client_by_hand client{talk};
    recording_sink sink;
    sink.failing_write = write;
    sink.write_error = std::make_error_code(std::errc::no_space_on_device);
    CHECK(download_error(client, sink, s.id) == std::errc::no_space_on_device);
    CHECK(sink.writes == write + 1);
    CHECK_FALSE(client.state.synchronized);
  }
}

TEST_CASE("a sink that has thrown gets no later bytes") {
  struct throwing_sink {
    std::string bytes;
    int calls = 0;
    void write(std::span<const std::byte> more, std::error_code& ec) {
      ec.clear();
      if (++calls == 2) throw std::runtime_error{"full"};
      bytes += text_of(more);
    }
    void commit(std::error_code&) {}
  };
  client_by_hand client{download_dialogue(hello.id) +
                        dialogue{S(hello.id + ";a;1000\n"), S(pattern(1000))}};
  client.state.connection.chunk_size = client.state.connection.small_file_size = 100;
  client.driver.chunk = 50;
  throwing_sink sink;
  std::error_code ec;
  client.driver.run(
      [&](std::error_code& e) {
        return filexfer::detail::download<filexfer::md5>(
            client.state, md5_digest::from_hex(hello.id).value(), sink, e);
      },
      ec);
  CHECK(ec == errc::store_failed);
  CHECK(pattern(1000).starts_with(sink.bytes));
  CHECK(sink.calls == 2);
}

TEST_CASE("a sink that fails ends the download of a range") {
  const auto talk = features_dialogue + download_dialogue(hello.id + ";offset=1") +
                    dialogue{S(hello.id + ";a;5;offset=1\nello")};
  for (const bool announcing : {true, false}) {
    client_by_hand client{talk};
    recording_sink sink;
    if (announcing) sink.announce_error = errc::file_exists;
    else sink.failing_write = 0;
    sink.write_error = errc::file_exists;
    std::error_code ec;
    client.driver.run(
        [&](std::error_code& e) {
          return filexfer::detail::download_range<filexfer::md5>(
              client.state, {id_of(hello), 1, std::nullopt}, sink, e);
        },
        ec);
    CHECK(ec == errc::file_exists);
    CHECK(client.state.origin == failure_origin::local);
    CHECK_FALSE(client.state.synchronized);
  }
}

TEST_CASE("a range is not requested from a server without FEATURES, and the client stays usable") {
  client_by_hand client{
      {C("FEATURES\n"), S("ERROR unknown-command\n"), C("LIST_FILES\n"), S("none\n\n")}};
  const auto out = client({kind::range, "", "", hello.id, 1, 3});
  CHECK(out.ec == errc::unknown_command);
  CHECK(out.synchronized);
  CHECK_FALSE(client(list).ec);
}

TEST_CASE("the callback of a list can end it with an error or an exception") {
  const dialogue talk{C("LIST_FILES\n"), S(hello.id + ";a;5\n" + abc.id + ";b;3\n\n")};
  const auto list_into = [](client_by_hand& client, auto on_entry) {
    std::error_code ec;
    client.driver.run(
        [&](std::error_code& e) {
          return filexfer::detail::list_files<filexfer::md5>(client.state, {}, 1000, on_entry, e);
        },
        ec);
    CHECK_FALSE(client.state.running);
    return ec;
  };
  std::vector<std::string> names;
  const auto stop_after_one = [&](auto&& file, std::error_code& ec) {
    names.push_back(file.name);
    ec = errc::too_many_entries;
  };
  client_by_hand first{talk};
  CHECK(list_into(first, stop_after_one) == errc::too_many_entries);
  CHECK(names == std::vector<std::string>{"a"});
  CHECK(first.state.origin == failure_origin::local);
  CHECK_FALSE(first.state.synchronized);

  client_by_hand second{talk};
  const auto out_of_memory = [](auto&&, std::error_code&) { throw std::bad_alloc{}; };
  CHECK(list_into(second, out_of_memory) == std::errc::not_enough_memory);
  CHECK(second.state.origin == failure_origin::local);
  CHECK_FALSE(second.state.synchronized);
}

TEST_CASE("a second operation fails with operation_in_progress, and does not disturb the first") {
  client_by_hand client{{C("LIST_FILES\n"), S("none\n\n")}};
  std::error_code first_error;
  auto first = filexfer::detail::list_bounded<filexfer::md5>(client.state, {}, first_error);
  filexfer::detail::flow_context context;
  first.start(context);
  REQUIRE(filexfer::detail::advance(context) != nullptr);
  CHECK(client.state.running);

  hand_driver other{scripted_peer{{}, role::client}};
  std::error_code ec;
  other.run([&](std::error_code& e) { return filexfer::detail::get_features(client.state, e); },
            ec);
  CHECK(ec == errc::operation_in_progress);
  CHECK(other.steps.empty());
  CHECK(client.state.running);
}

TEST_CASE("an operation destroyed before any action leaves the client unusable, and not running") {
  for (const client_dialogue& d : good_client_dialogues()) {
    CAPTURE(d.name);
    client_by_hand whole{d.talk};
    REQUIRE_FALSE(whole(d.asked).ec);
    for (std::size_t action = 0; action < whole.driver.steps.size(); ++action) {
      client_by_hand client{d.talk};
      client.driver.dropped_at = action;
      CHECK_THROWS_AS(client(d.asked), flow_dropped);
      CHECK_FALSE(client.state.running);
      CHECK_FALSE(client.state.synchronized);
    }
  }
}

}  // namespace client_flows_callers_tests
