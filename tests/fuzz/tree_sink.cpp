// Downloads into a folder, under names that a hostile server chose, among symbolic links, FIFOs and
// folders that somebody has planted: a file appears under its name in that folder, or nothing
// changes anywhere.
//
// Input: a line with `r` if files may be replaced; then operations, a line each
// (planted_folders in support/snapshot.hpp), and beside these:
//
//     w NAME TEXT   downloads a file
//     o NAME TEXT   begins to
//     k NAME TEXT   begins to, and keeps the part
//     x NAME        reads the file that exists

#include "fuzz/support/fuzzing.hpp"
#include "fuzz/support/grammar.hpp"
#include "fuzz/support/snapshot.hpp"

#include <filexfer/tree_sink.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <system_error>

namespace {

using fuzz::require;
using fuzz::require_same;

/// The name in a snapshot, in which the folder is one of two.
std::string inside(const std::string& name) { return "inside/" + name; }

class hostile_tree {
 public:
  explicit hostile_tree(filexfer::on_existing policy) : policy_{policy} {}

  void perform(const fuzz::folder_operation& operation) {
    const auto& [kind, name, text] = operation;
    const fuzz::snapshot before = folders_.all();
    switch (kind) {
      case 'w': write(name, text, before); break;
      case 'o': discard(name, text, before); break;
      case 'k': keep(name, text, before); break;
      case 'x': read(name, before); break;
      default: folders_.plant(kind, name, text);
    }
  }

 private:
  static constexpr const char* part = ".part";

  /// The entry and the folders above it are in the snapshot afterwards.
  void expect_added(fuzz::snapshot expected, const std::string& name,
                    const std::string& what) const {
    require(fuzz::grammar::is_name(name), "only valid names are written", name);
    for (auto slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
      const auto above = expected.try_emplace(inside(name.substr(0, slash)), "folder").first;
      require(above->second == "folder", "no symbolic link is followed", above->first);
    }
    expected[inside(name)] = what;
    require_same(expected, folders_.all(), "a file is written, and nothing else");
  }

  void write(const std::string& name, const std::string& text, const fuzz::snapshot& before) {
    std::error_code ec;
    {
      filexfer::tree_sink sink{folders_.inside(), policy_};
      sink.open(name, ec);
      if (!ec) sink.write(std::as_bytes(std::span{text}), ec);
      if (!ec) sink.commit(ec);
    }
    if (ec) {
      require_same(before, folders_.all(), "what fails changes nothing");
      return;
    }
    const auto existing = before.find(inside(name));
    if (existing != before.end()) {
      require(policy_ == filexfer::on_existing::replace, "nothing is replaced unless it may be",
              name);
      require(existing->second.starts_with("file ") || existing->second.starts_with("link "),
              "only a file or a link is replaced", name);
    }
    expect_added(before, name, "file " + text);
  }

  void discard(const std::string& name, const std::string& text, const fuzz::snapshot& before) {
    {
      filexfer::tree_sink sink{folders_.inside(), policy_};
      std::error_code ec;
      sink.open(name, ec);
      if (!ec) sink.write(std::as_bytes(std::span{text}), ec);
    }
    require_same(before, folders_.all(), "what is not committed leaves nothing behind");
  }

  void keep(const std::string& name, const std::string& text, const fuzz::snapshot& before) {
    const auto slash = name.rfind('/');
    const std::string folder = slash == name.npos ? "" : name.substr(0, slash + 1);
    if (folder + part == name) return;
    std::error_code ec;
    std::uint64_t held = 0;
    {
      filexfer::tree_sink sink{folders_.inside(), policy_};
      sink.open(name, part, ec);
      held = sink.held();
      if (!ec) sink.write(std::as_bytes(std::span{text}), ec);
      if (!ec) sink.keep();
    }
    if (ec) {
      require_same(before, folders_.all(), "what fails changes nothing");
      return;
    }
    const auto existing = before.find(inside(folder + part));
    std::string bytes;
    if (held > 0) {
      require(existing != before.end() && existing->second.starts_with("file "),
              "only a file is resumed", name);
      bytes = existing->second.substr(5);
      require(bytes.size() == held, "a part is resumed at its end", name);
    }
    bytes += text;
    if (!bytes.empty()) return expect_added(before, folder + part, "file " + bytes);
    fuzz::snapshot expected = before;
    expected.erase(inside(folder + part));
    require_same(expected, folders_.all(), "a part without bytes is not kept");
  }

  void read(const std::string& name, const fuzz::snapshot& before) const {
    const filexfer::tree_root root{folders_.inside()};
    std::error_code ec;
    auto source = root.existing(name, ec);
    if (!source) return;
    const auto existing = before.find(inside(name));
    require(fuzz::grammar::is_name(name) && existing != before.end(), "no link is followed", name);
    std::string bytes(static_cast<std::size_t>(source->size()), '\0');
    source->read(std::as_writable_bytes(std::span{bytes}), ec);
    require(existing->second == "file " + bytes, "only a file is read", name);
  }

  fuzz::planted_folders folders_;
  filexfer::on_existing policy_;
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr int most_operations = 16;
  fuzz::input input{data, size};
  const bool replaces = input.line() == "r";
  hostile_tree tree{replaces ? filexfer::on_existing::replace : filexfer::on_existing::keep};
  for (int i = 0; i < most_operations && !input.empty(); ++i) {
    tree.perform(fuzz::folder_operation{input.line()});
  }
  return 0;
}
