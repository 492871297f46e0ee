// A client and a hostile server: each operation ends, and never succeeds with wrong bytes.
//
// Input: a line with the operations, each a letter; a line with a byte of flags and the pace of the
// bytes (flow_driver.hpp); then all that the server sends. At a byte 0x1E it waits until the client
// has sent all that it has to send.

#include "fuzz/support/flow_driver.hpp"
#include "fuzz/support/fuzzing.hpp"
#include "fuzz/support/grammar.hpp"
#include "support/rfc1321.hpp"

#include <filexfer/detail/flow/client_operations.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <list>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

namespace detail = filexfer::detail;
using filexfer::md5;
using fuzz::require;
using id_type = md5::digest_type;

// Of the flags.
constexpr unsigned small_chunks = 1;
constexpr unsigned silent = 2;
constexpr unsigned stops_reading = 4;
constexpr unsigned fails_locally = 8;

struct known_file {
  std::string bytes;
  id_type id;
};

known_file make_file(std::string bytes) {
  const auto id = id_type::from_hex(test::rfc1321_hex(bytes));
  return {std::move(bytes), id.value()};
}

const known_file& file(std::size_t index) {
  static const std::vector<known_file> files{make_file("hello"), make_file(""),
                                             make_file(std::string(64, 'x'))};
  return files[index % files.size()];
}

/// Keeps what it gets, and checks how it is called.
struct checked_sink {
  explicit checked_sink(const id_type& wanted, std::string part = {})
      : id{wanted}, bytes{std::move(part)}, size_held{bytes.size()} {}

  void announce(const filexfer::file_info<id_type>& info, std::error_code& ec) {
    require(info.id == id, "what is announced is what was asked for");
    require(fuzz::grammar::is_name(info.name), "an announced name is valid", info.name);
    ec.clear();
  }
  void write(std::span<const std::byte> part, std::error_code& ec) {
    require(commits == 0, "nothing is written after the commit");
    ec = fails ? make_error_code(std::errc::no_space_on_device) : std::error_code{};
    if (!fails) bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
  }
  void commit(std::error_code& ec) {
    ++commits;
    require(commits == 1, "a file is committed once");
    require(test::rfc1321_hex(bytes) == id.to_string(), "what is committed hashes to its id",
            bytes);
    ec.clear();
  }

  // As a `resumable_sink`.
  std::uint64_t held() const { return size_held; }
  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    ec.clear();
    const auto part = std::string_view{bytes}.substr(static_cast<std::size_t>(offset), to.size());
    std::memcpy(to.data(), part.data(), part.size());
    return part.size();
  }
  void discard_held(std::error_code& ec) {
    ec.clear();
    bytes.clear();
    size_held = 0;
  }

  id_type id;
  std::string bytes;
  std::uint64_t size_held;
  int commits = 0;
  bool fails = false;
};

struct upload_item {
  filexfer::memory_source source;
  filexfer::upload_request<id_type> request;
};

struct download_item {
  id_type id;
  checked_sink sink;
};

class hostile_dialogue {
 public:
  hostile_dialogue(unsigned flags, const fuzz::peer_script& server)
      : fails_{(flags & fails_locally) != 0}, server_bytes_{server.bytes}, driver_{server} {
    if ((flags & small_chunks) == 0) return;
    state_.connection.chunk_size = 16;
    state_.connection.small_file_size = 8;
    state_.options.max_nowait_size = 32;
    state_.options.max_in_flight = 2;
  }

  void perform(char operation) {
    ec_.clear();
    const std::size_t index = static_cast<unsigned char>(operation) / 26U;
    const known_file& subject = file(index);
    switch (operation % 13) {
      case 0: features(); break;
      case 1: list(""); break;
      case 2: list("a/"); break;
      case 3: upload(subject, {"a", std::nullopt}); break;
      case 4:
        upload(subject, {"a", subject.id, filexfer::file_time{}, true, "0123456789abcdef"});
        break;
      case 5: have(subject); break;
      case 6: download(subject.id, {}); break;
      case 7: download(subject.id, subject.bytes.substr(0, 3)); break;
      case 8: range(subject.id); break;
      case 9: remove(subject.id); break;
      case 10: upload_all(); break;
      case 11: add_names(); break;
      default: download_all();
    }
    require(state_.running == nullptr, "an operation has ended");
    require(ec_ || state_.synchronized || ec_ == filexfer::errc::connection_unusable,
            "after a success the next command can follow");
    require(state_.last_reply.size() <= 4 * 512 + 3 && filexfer::is_clean_line(state_.last_reply),
            "the last reply can be displayed", state_.last_reply);
  }

 private:
  template <class MakeFlow>
  auto run(MakeFlow make_flow) {
    return driver_.run(std::move(make_flow), ec_);
  }

  bool server_has_sent(const std::string& id) const {
    std::string sent{server_bytes_};
    for (char& c : sent) c = static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
    return sent.find(id) != sent.npos;
  }

  void features() {
    const auto found = run([&](std::error_code& e) { return detail::get_features(state_, e); });
    require(found.max_name_length <= filexfer::max_name_length,
            "no longer names than the protocol's");
  }

  void list(const std::string& prefix) {
    filexfer::list_request wanted{prefix, !prefix.empty(), !prefix.empty()};
    state_.options.max_entries = 10;
    const auto files =
        run([&](std::error_code& e) { return detail::list_bounded<md5>(state_, wanted, e); });
    require(files.size() <= state_.options.max_entries, "a list is bounded");
    for (const auto& entry : files) {
      require(fuzz::grammar::is_name(entry.name) && entry.name.starts_with(prefix),
              "a listed name is valid, and has the prefix", entry.name);
    }
  }

  void upload(const known_file& subject, filexfer::upload_request<id_type> wanted) {
    filexfer::memory_source source{subject.bytes};
    const auto result =
        run([&](std::error_code& e) { return detail::upload<md5>(state_, source, wanted, e); });
    if (ec_) return;
    require(result.remote_digest == subject.id && result.local_digest == subject.id,
            "an upload succeeds only with the right digest");
    require(server_has_sent(subject.id.to_string()), "the digest is the server's");
    require(result.sent || wanted.expected, "without an id the bytes are sent");
  }

  void have(const known_file& subject) {
    const bool held = run([&](std::error_code& e) {
      return detail::add_name<md5>(state_, {"a", subject.bytes.size(), subject.id}, e);
    });
    if (held)
      require(server_has_sent(subject.id.to_string()), "the server has said that it has it");
  }

  void download(const id_type& id, std::string part) {
    checked_sink sink{id, std::move(part)};
    sink.fails = fails_;
    const auto result =
        run([&](std::error_code& e) { return detail::download<md5>(state_, id, sink, e); });
    require((sink.commits == 1) == !ec_, "a file is committed if, and only if, it is whole");
    if (!ec_) require(result.local_digest == id, "a download succeeds only with the right digest");
  }

  void range(const id_type& id) {
    checked_sink sink{id};
    const auto entry = run([&](std::error_code& e) {
      return detail::download_range<md5>(state_, {id, 1, 3}, sink, e);
    });
    require(sink.commits == 0, "a part of a file is not committed");
    if (!ec_)
      require(sink.bytes.size() == entry.bytes() && sink.bytes.size() <= 3, "a part is whole");
  }

  void remove(const id_type& id) {
    const bool removed = run([&](std::error_code& e) {
      return detail::remove<md5>(state_, {id, "a"}, e);
    });
    if (removed) require(server_has_sent(id.to_string()), "the server has said that it is removed");
  }

  /// Each of `count` files is reported at most once, and all of them if the job succeeds.
  void check_reported(const std::multiset<std::string>& reported, std::size_t count) const {
    for (const auto& name : reported)
      require(reported.count(name) == 1, "a file is reported once", name);
    if (!ec_) require(reported.size() == count, "every file is reported");
  }

  void upload_all() {
    std::list<upload_item> files;
    for (std::size_t i = 0; i < 6; ++i) {
      const std::string name = i == 4 ? ".." : std::to_string(i);
      files.push_back({filexfer::memory_source{file(i).bytes}, {name, std::nullopt}});
      if (i % 2 == 0) files.back().request.expected = file(i).id;
    }
    std::multiset<std::string> reported;
    const auto on_result = [&](const auto& request, std::error_code failed, const auto& result) {
      reported.insert(request.name);
      if (failed) return;
      require(request.name != "..", "an invalid name is not sent");
      const id_type id = file(static_cast<std::size_t>(std::stoi(request.name))).id;
      require(result.local_digest == id && result.remote_digest == id,
              "an upload succeeds only with the right digest");
      require(server_has_sent(id.to_string()), "the digest is the server's");
    };
    run([&](std::error_code& e) { return detail::upload_all<md5>(state_, files, on_result, e); });
    check_reported(reported, files.size());
  }

  void add_names() {
    std::list<filexfer::name_request<id_type>> files;
    for (std::size_t i = 0; i < 5; ++i) {
      files.push_back({i == 3 ? ".." : std::to_string(i), file(i).bytes.size(), file(i).id});
    }
    std::multiset<std::string> reported;
    const auto on_result = [&](const auto& request, std::error_code failed, bool held) {
      reported.insert(request.name);
      if (failed || !held) return;
      require(server_has_sent(request.id.to_string()), "the server has said that it has it");
    };
    run([&](std::error_code& e) { return detail::add_names<md5>(state_, files, on_result, e); });
    check_reported(reported, files.size());
  }

  void download_all() {
    std::list<download_item> files;
    for (std::size_t i = 0; i < 5; ++i) files.push_back({file(i).id, checked_sink{file(i).id}});
    if (fails_) std::next(files.begin())->sink.fails = true;
    std::multiset<std::string> reported;
    const auto on_result = [&](const download_item& item, std::error_code failed,
                               const auto& result) {
      reported.insert(std::to_string(reinterpret_cast<std::uintptr_t>(&item)));
      require((item.sink.commits == 1) == !failed,
              "a file is committed if, and only if, it is whole");
      if (!failed) require(result.local_digest == item.id, "a download has the right digest");
    };
    run([&](std::error_code& e) { return detail::download_all<md5>(state_, files, on_result, e); });
    check_reported(reported, files.size());
  }

  bool fails_;
  std::string_view server_bytes_;
  std::error_code ec_;
  detail::client_state state_;
  fuzz::flow_driver driver_;
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input input{data, size};
  const auto operations = input.line().substr(0, 8);
  fuzz::input head{input.line()};
  const unsigned flags = head.byte();
  fuzz::peer_script server{input.rest(), '\x1E', head.rest(), (flags & silent) != 0};
  if ((flags & stops_reading) != 0) server.takes = 4 * head.rest().size();
  hostile_dialogue dialogue{flags, server};
  for (const char operation : operations) dialogue.perform(operation);
  return 0;
}
