// Uploads that follow each other are committed together, by a store that can.

#include "support/flush_with_threads.hpp"
#include "support/scratch_folder.hpp"
#include "support/session_flow_fixture.hpp"
#include "support/spare_descriptors.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/storage.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace session_flow_groups_tests {

using namespace session_flow_tests;

namespace {

/// Records what is committed together, and can hold back or fail uploads.
class grouping_store : public filexfer::memory_store<> {
 public:
  using commit = filexfer::upload_commit<upload, digest_type>;

  std::vector<std::size_t> groups;
  std::map<digest_type, int> locked;  ///< How often an id is locked.
  bool throws = false;

  void commit_all(std::span<commit> uploads) {
    groups.push_back(uploads.size());
    if (throws) throw std::runtime_error{"a defect of the store"};
    for (commit& one : uploads) {
      if (locked[one.id]-- > 0) one.error = make_error_code(std::errc::operation_would_block);
      else one.upload->commit(one.id, one.error);
    }
  }
};

static_assert(filexfer::group_commit_store<grouping_store, grouping_store::digest_type>);

/// A session with `count` uploads that are all there when it reads the first.
struct uploads_ahead {
  explicit uploads_ahead(int count, std::size_t size = 5) {
    for (int n = 0; n < count; ++n) {
      bytes.push_back(std::to_string(n) + std::string(size, '.'));
      const auto length = std::to_string(bytes.back().size());
      commands += "UPLOAD\n" + std::to_string(n) + ";" + length + ";nowait\n" + bytes.back();
    }
  }

  std::string reply(std::size_t n) const {
    return details_prompt + ready_words + id_of(bytes[n]).to_string() + "\n";
  }

  std::error_code run() {
    hand_driver driver{scripted_peer{{C(commands)}, role::server}};
    state.on_end = [this](const filexfer::session_event& event) { events.push_back(event); };
    std::error_code ec;
    filexfer::detail::session_flow<grouping_store, filexfer::md5> flow{state, store};
    driver.run([&](std::error_code& e) { return flow.serve(e); }, ec);
    sent = driver.peer.received();
    works = driver.works;
    return ec;
  }

  grouping_store store;
  filexfer::detail::session_state state;
  std::vector<std::string> bytes;
  std::string commands;
  std::string sent;
  std::size_t works = 0;
  std::vector<filexfer::session_event> events;
};

}  // namespace

TEST_CASE("uploads that have arrived are committed together, and answered in their order") {
  uploads_ahead s{10};
  CHECK_FALSE(s.run());
  std::string replies;
  for (std::size_t n = 0; n < 10; ++n) replies += s.reply(n);
  CHECK(s.sent == replies);
  CHECK(s.store.groups == std::vector<std::size_t>{5, 5});  // the first are in a small buffer
  CHECK(entries_of(s.store).size() == 10);
}

TEST_CASE("not more uploads are committed together than are kept in memory") {
  uploads_ahead s{200};
  CHECK_FALSE(s.run());
  CHECK(entries_of(s.store).size() == 200);
  std::size_t all = 0;
  for (const auto size : s.store.groups) {
    CHECK(size <= filexfer::detail::max_pending_requests);
    all += size;
  }
  CHECK(all == 200);
}

TEST_CASE("an upload whose id is locked is tried again, and its reply waits with those after it") {
  uploads_ahead s{10};
  s.store.locked[id_of(s.bytes[4])] = 3;
  CHECK_FALSE(s.run());
  std::string replies;
  for (std::size_t n = 0; n < 10; ++n) replies += s.reply(n);
  CHECK(s.sent == replies);
  CHECK(s.store.groups == std::vector<std::size_t>{5, 1, 1, 1, 5});
  CHECK(entries_of(s.store).size() == 10);
  REQUIRE(s.events.size() == 10);
  for (const auto& event : s.events) CHECK_FALSE(event.error);
}

TEST_CASE("an upload whose id stays locked is refused in time, and the others are stored") {
  uploads_ahead s{5};
  s.state.options.limits.reply = std::chrono::milliseconds{300};
  s.store.locked[id_of(s.bytes[2])] = 1'000'000;
  CHECK_FALSE(s.run());
  CHECK(entries_of(s.store).size() == 4);
  CHECK(s.sent.starts_with(s.reply(0) + s.reply(1) + details_prompt + ready_words + "ERROR io"));
  CHECK(s.sent.ends_with("\n" + s.reply(3) + s.reply(4)));
  REQUIRE(s.events.size() == 5);
  for (std::size_t n = 0; n < 5; ++n) CHECK(bool{s.events[n].error} == (n == 2));
}

TEST_CASE("an exception of the store fails the uploads of its group, and not the session") {
  uploads_ahead s{3};
  s.store.throws = true;
  CHECK_FALSE(s.run());
  CHECK(entries_of(s.store).empty());
  REQUIRE(s.events.size() == 3);
  for (const auto& event : s.events) CHECK(event.error == errc::io);
}

TEST_CASE("a download among uploads finds those before it") {
  uploads_ahead s{4};
  const auto last = s.bytes[3];
  s.commands += "DOWNLOAD\n" + id_of(last).to_string() + "\nUPLOAD\nmore;1;nowait\nx";
  CHECK_FALSE(s.run());
  CHECK(s.sent.find(id_of(last).to_string() + ";3;" + std::to_string(last.size()) + "\n" + last) !=
        s.sent.npos);
  CHECK(s.sent.ends_with(id_of("x").to_string() + "\n"));
  CHECK(s.store.groups == std::vector<std::size_t>{4, 1});
}

TEST_CASE("queries among uploads and downloads find the files before them") {
  uploads_ahead s{2};
  const auto last = s.bytes[1];
  const std::string id = id_of(last).to_string();
  const auto query = [&](const std::string& name, const std::string& wanted) {
    return "UPLOAD\n" + name + ";" + std::to_string(last.size()) + ";id=" + wanted + ";have\n";
  };
  s.commands += query("again", id) + query("lacks", abc.id) + "DOWNLOAD\n" + id + "\n" +
                "UPLOAD\nx;3;nowait\nabc" + query("y", id);
  CHECK_FALSE(s.run());
  const std::string entry = id + ";1;" + std::to_string(last.size()) + "\n" + last;
  CHECK(s.sent == s.reply(0) + s.reply(1) + details_prompt + id + "\n" + details_prompt +
                      refusal(errc::not_found) + id_prompt + entry + details_prompt + ready_words +
                      abc.id + "\n" + details_prompt + id + "\n");
  CHECK(entries_of(s.store).size() == 5);
  REQUIRE(s.events.size() == 7);
  CHECK(s.events[2].id == id);
  CHECK(s.events[2].name == "again");
  CHECK(s.events[3].error == errc::not_found);
  CHECK(s.events[3].id.empty());
}

TEST_CASE("queries that have arrived are carried out together") {
  uploads_ahead s{1};
  for (int n = 0; n < 100; ++n) {
    s.commands +=
        "UPLOAD\n" + std::to_string(n) + ";6;id=" + id_of(s.bytes[0]).to_string() + ";have\n";
  }
  CHECK_FALSE(s.run());
  CHECK(s.events.size() == 101);
  CHECK(s.works < 10);
}

TEST_CASE("with few descriptors left uploads are committed in smaller groups") {
  using store_type = filexfer::directory_store<>;
  using request = filexfer::detail::pending_request<store_type, store_type::digest_type>;
  const scratch_folder folder;
  store_type store{folder / "store"};
  REQUIRE_FALSE(put(store, "before", "before"));
  flush_with_threads();
  constexpr std::size_t count = 40;
  for (std::size_t spare = 4; spare < count + 5; ++spare) {
    CAPTURE(spare);
    std::vector<request> requests;
    for (std::size_t n = 0; n < count; ++n) {
      const auto text = std::to_string(spare) + ' ' + std::to_string(n);
      const auto bytes = as_bytes(text);
      request::pending_upload upload{std::nullopt, {text, text.size(), {}}, {}, id_of(text)};
      upload.bytes.assign(bytes.begin(), bytes.end());
      requests.push_back({{}, std::move(upload)});
    }
    // The last one was begun when its details line arrived, and can't be begun anew.
    std::error_code ec;
    auto* const last = requests.back().upload();
    last->upload = store.create(last->details, ec);
    REQUIRE_FALSE(ec);
    {
      const spare_descriptors few{spare};
      for (std::span left{requests}; !left.empty();) {
        filexfer::detail::carry_out_uploads(store, left);
        REQUIRE(left.front().done);
        while (!left.empty() && left.front().done) left = left.subspan(1);
      }
    }
    for (const request& one : requests) CHECK_FALSE(one.failed);
    CHECK(entries(store).size() == 1 + count * (spare - 3));
  }
}

}  // namespace session_flow_groups_tests
