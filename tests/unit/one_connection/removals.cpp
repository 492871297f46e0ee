#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/client.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/session.hpp>

#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/socket_base.hpp>
#include <asio/system_executor.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace removals_tests {
namespace {

using filexfer::errc;
using filexfer::md5;
using filexfer::permissions;
using test::id_of;
using test::put;
using test::when_unlocked;
using digest_type = md5::digest_type;
using remove_request = filexfer::remove_request<digest_type>;

template <class Store>
std::vector<std::string> names(const Store& store) {
  std::vector<std::string> all;
  std::error_code ec;
  auto cursor = store.list(ec);
  while (const auto file = cursor.next(ec)) all.push_back(file->name);
  CHECK_FALSE(ec);
  std::sort(all.begin(), all.end());
  return all;
}

template <class Store>
bool remove(Store& store, std::string_view text, std::string_view name) {
  std::error_code ec = errc::io;
  const bool found = store.remove(id_of(text), name, ec);
  CHECK_FALSE(ec);
  return found;
}

using names_list = std::vector<std::string>;

struct in_memory {
  filexfer::memory_store<> store{{.quota = 100}};
};
struct in_directory {
  test::scratch_folder folder;
  filexfer::directory_store<> store{folder / "store", {.quota = 100, .log = {}}};
};

// ------------------------------------------------------------------------------------------- lines

TEST_CASE("the line of a removal names a file's id and its name, and nothing else") {
  const std::string id = id_of("x").to_string();
  std::error_code ec = errc::io;
  const auto parse = [&](const std::string& line) {
    return filexfer::parse_remove_request<digest_type>(line, ec);
  };
  const auto parsed = parse(id + ";a%3Bb/c");
  CHECK_FALSE(ec);
  CHECK(parsed.id == id_of("x"));
  CHECK(parsed.name == "a;b/c");
  CHECK(format_remove_request(parsed) == id + ";a%3Bb/c");
  for (const std::string& line : {std::string{}, id, id + ";a;b", id + ";a;"}) {
    parse(line);
    CHECK_MESSAGE(ec == errc::bad_request, line);
  }
  for (const std::string& line : {id + ";", id + ";..", id + ";a//b", id + ";%zz"}) {
    parse(line);
    CHECK_MESSAGE(ec == errc::bad_name, line);
  }
  parse("12;a");
  CHECK(ec == errc::bad_id);
}

// ------------------------------------------------------------------------------------------ stores

TEST_CASE_TEMPLATE("a removed name is not listed, the file's other names are", Fixture, in_memory,
                   in_directory) {
  Fixture f;
  CHECK_FALSE(put(f.store, "a", "x"));
  CHECK_FALSE(put(f.store, "b/c", "x"));
  CHECK_FALSE(put(f.store, "a", "y"));
  CHECK(remove(f.store, "x", "a"));
  CHECK(names(f.store) == names_list{"a", "b/c"});
  std::error_code ec;
  CHECK(f.store.open(id_of("x"), ec)->info.name == "b/c");
  CHECK_FALSE(remove(f.store, "x", "a"));
  CHECK_FALSE(remove(f.store, "x", "b"));
  CHECK_FALSE(remove(f.store, "z", "a"));
  CHECK(names(f.store) == names_list{"a", "b/c"});
}

TEST_CASE_TEMPLATE("a file's last name takes the file with it, and its space", Fixture, in_memory,
                   in_directory) {
  Fixture f;
  const std::string large(40, 'l');
  CHECK_FALSE(put(f.store, "a", large));
  CHECK_FALSE(put(f.store, "b", large));
  CHECK(remove(f.store, large, "a"));
  CHECK(put(f.store, "c", std::string(70, 'c')) == errc::no_space);
  CHECK(remove(f.store, large, "b"));
  std::error_code ec;
  CHECK_FALSE(f.store.open(id_of(large), ec));
  CHECK_FALSE(ec);
  CHECK_FALSE(put(f.store, "c", std::string(90, 'c')));
  CHECK_FALSE(put(f.store, "a", std::string(10, 'a')));
  CHECK(names(f.store) == names_list{"a", "c"});
}

TEST_CASE_TEMPLATE("an open reader reads a removed file to its end", Fixture, in_memory,
                   in_directory) {
  Fixture f;
  CHECK_FALSE(put(f.store, "a", "text"));
  std::error_code ec;
  auto file = f.store.open(id_of("text"), ec);
  REQUIRE(file);
  CHECK(remove(f.store, "text", "a"));
  std::byte read[10];
  CHECK(file->reader.read(read, ec) == 4);
  CHECK_FALSE(ec);
  CHECK(static_cast<char>(read[3]) == 't');
}

TEST_CASE_TEMPLATE("a name can be used in another way once it is removed", Fixture, in_memory,
                   in_directory) {
  Fixture f;
  CHECK_FALSE(put(f.store, "a/b/c", "x"));
  CHECK_FALSE(put(f.store, "d", "x"));
  CHECK(put(f.store, "a/b", "x") == errc::bad_name);
  CHECK(remove(f.store, "x", "a/b/c"));
  CHECK_FALSE(put(f.store, "a/b", "x"));
  CHECK(names(f.store) == names_list{"a/b", "d"});
}

TEST_CASE_TEMPLATE("what is uploaded while others remove it is listed whole, or not", Fixture,
                   in_memory, in_directory) {
  Fixture f;
  constexpr int rounds = 200;
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> running;
    for (int t = 0; t < 2; ++t) {
      running.emplace_back([&, name = "n/" + std::to_string(t)] {
        for (int i = 0; i < rounds; ++i) {
          if (put(f.store, name, "text")) ++failures;
          const auto add = [&](std::error_code& ec) {
            f.store.add_name(id_of("text"), 4, name + "-", {}, ec);
          };
          if (when_unlocked(add)) ++failures;
        }
      });
      running.emplace_back([&, name = "n/" + std::to_string(t)] {
        for (int i = 0; i < rounds; ++i) {
          for (const std::string& removed : {name, name + "-"}) {
            const auto call = [&](std::error_code& ec) {
              f.store.remove(id_of("text"), removed, ec);
            };
            if (when_unlocked(call)) ++failures;
          }
          std::error_code ec;
          const auto file = f.store.open(id_of("text"), ec);
          if (ec || (file && file->info.size != 4)) ++failures;
        }
      });
    }
  }
  CHECK(failures == 0);
  for (const std::string& name : names(f.store)) CHECK(remove(f.store, "text", name));
  CHECK(names(f.store).empty());
}

TEST_CASE("removing a directory store's files leaves no folder of theirs") {
  in_directory f;
  CHECK_FALSE(put(f.store, "a/b/c", "x"));
  CHECK_FALSE(put(f.store, "a/d", "x"));
  const auto id = f.folder / "store" / id_of("x").to_string();
  CHECK(remove(f.store, "x", "a/b/c"));
  CHECK_FALSE(std::filesystem::exists(id / "a/b"));
  CHECK(remove(f.store, "x", "a/d"));
  CHECK_FALSE(std::filesystem::exists(id));
}

TEST_CASE("a removal follows no symbolic link, and removes no folder's contents") {
  in_directory f;
  CHECK_FALSE(put(f.store, "a", "x"));
  const auto id = f.folder / "store" / id_of("x").to_string();
  std::filesystem::create_directory(f.folder / "outside");
  std::filesystem::copy_file(id / "a", f.folder / "outside/file");
  std::filesystem::create_directory_symlink(f.folder / "outside", id / "link");
  CHECK_FALSE(remove(f.store, "x", "link/file"));
  CHECK_FALSE(remove(f.store, "x", "link"));
  CHECK(std::filesystem::exists(f.folder / "outside/file"));
  CHECK(std::filesystem::is_symlink(id / "link"));
}

TEST_CASE_TEMPLATE("a name that is not valid removes nothing, in the store or outside", Fixture,
                   in_memory, in_directory) {
  Fixture f;
  CHECK_FALSE(put(f.store, "a", "x"));
  CHECK_FALSE(put(f.store, "a", "y"));
  for (const std::string& name : {std::string{}, std::string{"."}, std::string{"./a"},
                                  std::string{"/a"}, "../" + id_of("y").to_string() + "/a"}) {
    CAPTURE(name);
    CHECK_FALSE(remove(f.store, "x", name));
  }
  CHECK(names(f.store) == names_list{"a", "a"});
}

TEST_CASE("no name leads a removal out of a directory store") {
  in_directory f;
  CHECK_FALSE(put(f.store, "a", "x"));
  test::write_file(f.folder / "file", "text");
  CHECK_FALSE(remove(f.store, "x", "../../file"));
  CHECK(std::filesystem::exists(f.folder / "file"));
}

// ----------------------------------------------------------------------------------------- sessions

/// A store without removal.
class plain_store {
 public:
  using digest_type = md5::digest_type;
  using cursor = filexfer::memory_store<>::cursor;
  using reader = filexfer::memory_store<>::reader;
  using upload = filexfer::memory_store<>::upload;

  auto list(std::error_code& ec) const { return inner.list(ec); }
  auto open(const digest_type& id, std::error_code& ec) const { return inner.open(id, ec); }
  auto create(const filexfer::upload_details<digest_type>& details, std::error_code& ec) {
    return inner.create(details, ec);
  }
  bool add_name(const digest_type& id, std::uint64_t size, std::string_view name,
                const filexfer::file_attributes& attributes, std::error_code& ec) {
    return inner.add_name(id, size, name, attributes, ec);
  }

  filexfer::memory_store<> inner;
};
static_assert(!filexfer::removing_store<plain_store, digest_type>);

/// A blocking session on a thread of its own, and the other end of its pipe.
template <class Store>
class served {
 public:
  explicit served(Store& store, permissions permitted = {.remove = true})
      : served{filexfer::make_memory_pipe(asio::system_executor{}, asio::system_executor{}), store,
               permitted} {}
  ~served() { end.close(); }

  filexfer::memory_pipe end;

 private:
  served(std::pair<filexfer::memory_pipe, filexfer::memory_pipe> pipe, Store& store,
         permissions permitted)
      : end{std::move(pipe.first)},
        thread_{[stream = std::move(pipe.second), &store, permitted]() mutable {
          filexfer::session session{std::move(stream), store, {.permitted = permitted}};
          std::error_code ignored;
          session.run(ignored);
        }} {}

  std::jthread thread_;
};

TEST_CASE("a client removes a name, and is told if there was none") {
  filexfer::memory_store<> store;
  CHECK_FALSE(put(store, "a;b", "x"));
  served s{store};
  filexfer::client<filexfer::memory_pipe&> client{s.end};
  CHECK(client.features().remove);
  CHECK(client.remove(id_of("x"), "a;b"));
  CHECK(names(store).empty());
  CHECK_FALSE(client.remove(id_of("x"), "a;b"));
  std::error_code ec;
  CHECK_FALSE(client.remove(id_of("x"), "..", ec));
  CHECK(ec == errc::bad_name);
  CHECK(client.usable());
}

TEST_CASE("a client does not ask for the removal of a name that the server can't have") {
  auto [near, far] = filexfer::make_memory_pipe(asio::system_executor{}, asio::system_executor{});
  asio::write(far, asio::buffer(std::string_view{"version=1\ndigest=md5\nremove\n\n"}));
  far.shutdown(asio::socket_base::shutdown_send);
  filexfer::client<filexfer::memory_pipe&> client{near};
  std::error_code ec;
  const std::string longer_than_255 = std::string(200, 'a') + '/' + std::string(100, 'b');
  CHECK_FALSE(client.remove(id_of("x"), longer_than_255, ec));
  CHECK_FALSE(ec);
  CHECK(client.usable());
  near.close();
  std::string asked;
  asio::read(far, asio::dynamic_buffer(asked), ec);
  CHECK(asked == "FEATURES\n");
}

TEST_CASE("a client removes a name over an asynchronous stream") {
  asio::io_context context;
  filexfer::memory_store<> store;
  CHECK_FALSE(put(store, "a", "x"));
  auto [near, far] = filexfer::make_memory_pipe(context);
  filexfer::session session{std::move(far), store, {.permitted = {.remove = true}}};
  session.async_run([](std::error_code) {});
  filexfer::client<filexfer::memory_pipe> client{std::move(near)};
  for (const bool found : {true, false}) {
    auto removed = client.async_remove(id_of("x"), "a", asio::use_future);
    while (removed.wait_for(std::chrono::seconds{0}) != std::future_status::ready)
      context.run_one();
    CHECK(removed.get() == found);
  }
  client.next_layer().close();
  context.run();
}

template <class Store>
void check_refused(Store& store, permissions permitted, errc refusal) {
  served s{store, permitted};
  filexfer::client<filexfer::memory_pipe&> client{s.end};
  CHECK_FALSE(client.features().remove);
  std::error_code ec;
  CHECK_FALSE(client.remove(id_of("x"), "a", ec));
  CHECK(ec == refusal);
  CHECK(client.usable());
  CHECK(client.list_files().size() == 1);
}

TEST_CASE("a server that does not allow it removes nothing") {
  filexfer::memory_store<> store;
  CHECK_FALSE(put(store, "a", "x"));
  check_refused(store, {}, errc::read_only);
  check_refused(store, {.upload = false}, errc::read_only);
}

TEST_CASE("a server whose store can't remove does not know the command") {
  plain_store store;
  CHECK_FALSE(put(store, "a", "x"));
  check_refused(store, {.remove = true}, errc::unknown_command);
}

TEST_CASE("removals that are sent ahead are answered in order") {
  filexfer::memory_store<> store;
  CHECK_FALSE(put(store, "a", "x"));
  served s{store};
  const std::string id = id_of("x").to_string();
  const std::string prompt = std::string{filexfer::remove_prompt} + '\n';
  const std::string command = "REMOVE\n" + id + ";";
  std::string reply;
  asio::write(s.end, asio::buffer(command + "b\n" + command + "a\n" + command + "a;b\n" +
                                  "REMOVE\nnone;a\nLIST_FILES\n"));
  asio::read_until(s.end, asio::dynamic_buffer(reply), "\n\n");
  std::string expected;
  for (const errc code : {errc::not_found, errc{}, errc::bad_request, errc::bad_id}) {
    expected += prompt;
    expected += code == errc{} ? id : filexfer::format_error(code, make_error_code(code).message());
    expected += '\n';
  }
  CHECK(reply == expected + "No files available at the moment\n\n");
}

}  // namespace
}  // namespace removals_tests
