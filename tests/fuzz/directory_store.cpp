// A store in a directory in which somebody has planted files, folders, symbolic links and FIFOs:
// what is listed is what a walk finds that follows no link; a file that is stored is there
// afterwards; and nothing else has changed, inside or outside.
//
// Input: operations, a line each (planted_folders in support/snapshot.hpp), and beside these:
//
//     s             opens the store again, as at the start
//     u NAME TEXT   uploads a file
//     t NAME TEXT   begins to, with a token, and is broken off
//     c NAME TEXT   goes on with that
//     a NAME TEXT   adds a name
//     r NAME TEXT   removes a name
//
// `$h` in a name is the id of `hello`, `$H` the same in upper case, `$e` that of the empty file.

#include "fuzz/support/fuzzing.hpp"
#include "fuzz/support/grammar.hpp"
#include "fuzz/support/snapshot.hpp"
#include "support/rfc1321.hpp"

#include <filexfer/directory_store.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using fuzz::require;
using fuzz::require_same;
using store_type = filexfer::directory_store<>;
using id_type = store_type::digest_type;
using details_type = filexfer::upload_details<id_type>;

/// The bytes of the files that a store should list, by id and name.
using listing = std::map<std::string, std::map<std::string, std::string>>;

constexpr std::string_view inside = "inside/";

listing listing_of(const fuzz::snapshot& all) {
  listing files;
  for (const auto& [path, what] : all) {
    if (!path.starts_with(inside) || !what.starts_with("file ")) continue;
    const std::string stored = path.substr(inside.size());
    const std::string id = stored.substr(0, stored.find('/'));
    const std::string name = stored.substr(std::min(id.size() + 1, stored.size()));
    const bool is_id = id.size() == 32 && id.find_first_not_of("0123456789abcdef") == id.npos;
    const bool is_deep = std::count(name.begin(), name.end(), '/') >= 128;
    if (is_id && fuzz::grammar::is_name(name) && !is_deep) files[id][name] = what.substr(5);
  }
  return files;
}

std::string id_of(const std::string& bytes) { return test::rfc1321_hex(bytes); }

/// What nothing may change that is done to files of this id.
fuzz::snapshot others(fuzz::snapshot all, const std::string& id) {
  std::erase_if(all, [&](const auto& entry) {
    const std::string_view path{entry.first};
    for (const std::string_view own :
         {std::string_view{id}, std::string_view{".damaged"}, std::string_view{".partial"}}) {
      if (!path.starts_with(inside)) continue;
      const auto rest = path.substr(inside.size());
      if (rest.starts_with(own) && (rest.size() == own.size() || rest[own.size()] == '/'))
        return true;
    }
    return false;
  });
  return all;
}

class hostile_store {
 public:
  hostile_store() { open(); }

  void perform(fuzz::folder_operation operation) {
    operation.name = expanded(operation.name);
    operation.text = expanded(operation.text);
    const auto& [kind, name, text] = operation;
    const fuzz::snapshot before = folders_.all();
    const auto id = id_type::from_hex(id_of(text)).value();
    if (kind == 's') open();
    if (store_) {
      switch (kind) {
        case 'u': upload(name, text, id); break;
        case 't': interrupt(name, text, id); break;
        case 'c': resume(name, text, id); break;
        case 'a': add_name(name, text, id, before); break;
        case 'r': remove(name, id, before); break;
        default: break;
      }
    }
    if (std::string_view{"dfplh"}.find(kind) != std::string_view::npos) {
      folders_.plant(kind, name, text);
    } else if (kind != 's') {
      require_same(others(before, id.to_string()), others(folders_.all(), id.to_string()),
                   "only files of the id are changed");
    }
    if (store_) check_list();
  }

 private:
  static std::string expanded(std::string text) {
    std::string hello = id_of("hello");
    std::string upper = hello;
    for (char& c : upper) c = static_cast<char>(c >= 'a' ? c - 'a' + 'A' : c);
    for (const auto& [macro, id] : {std::pair{"$h", hello}, {"$H", upper}, {"$e", id_of("")}}) {
      if (const auto at = text.find(macro); at != text.npos) text.replace(at, 2, id);
    }
    return text;
  }

  void open() {
    store_.reset();
    std::error_code ec;
    store_.emplace(folders_.inside(), filexfer::directory_store_options{}, ec);
    if (ec) store_.reset();
  }

  void check_list() {
    const listing expected = listing_of(folders_.all());
    std::set<std::pair<std::string, std::string>> listed;
    std::error_code ec;
    auto cursor = store_->list(ec);
    while (!ec) {
      const auto entry = cursor.next(ec);
      if (!entry) break;
      const std::string id = entry->id.to_string();
      const auto found = expected.find(id);
      require(found != expected.end() && found->second.contains(entry->name),
              "only files under an id are listed, and no link is followed", id + '/' + entry->name);
      require(entry->size == found->second.at(entry->name).size(), "the size is the file's", id);
      require(listed.emplace(id, entry->name).second, "a file is listed once", entry->name);
    }
    require(!ec, "a store can be listed, whatever is in it", ec.message());
    for (const auto& [id, files] : expected) {
      for (const auto& [name, bytes] : files) {
        require(listed.contains({id, name}), "every file is listed", name);
      }
      check_open(id, files);
    }
  }

  void check_open(const std::string& id, const std::map<std::string, std::string>& files) {
    std::error_code ec;
    auto opened = store_->open(id_type::from_hex(id).value(), ec);
    require(opened.has_value(), "what is listed can be opened", id + ' ' + ec.message());
    const auto found = files.find(opened->info.name);
    require(found != files.end(), "a file is opened by one of its names", opened->info.name);
    std::string bytes(found->second.size() + 1, '\0');
    bytes.resize(opened->reader.read(std::as_writable_bytes(std::span{bytes}), ec));
    require(!ec && bytes == found->second, "a file is read, and nothing else", id);
  }

  void require_stored(const std::string& name, const std::string& text, const id_type& id) {
    const listing now = listing_of(folders_.all());
    const auto found = now.find(id.to_string());
    require(found != now.end() && found->second.contains(name) && found->second.at(name) == text,
            "what was acknowledged is stored under its name", name);
  }

  void finish(store_type::upload& upload, const std::string& name, std::string_view rest,
              const std::string& text, const id_type& id) {
    std::error_code ec;
    upload.write(std::as_bytes(std::span{rest}), ec);
    if (!ec) upload.commit(id, ec);
    if (!ec) require_stored(name, text, id);
  }

  void upload(const std::string& name, const std::string& text, const id_type& id) {
    std::error_code ec;
    auto upload = store_->create(details_type{name, text.size(), {}}, ec);
    if (upload) finish(*upload, name, text, text, id);
  }

  static details_type resumable(const std::string& name, const std::string& text,
                                const id_type& id) {
    details_type details{name, text.size(), id};
    details.resume = "0123456789abcdef";
    return details;
  }

  void interrupt(const std::string& name, const std::string& text, const id_type& id) {
    std::error_code ec;
    auto upload = store_->resume(resumable(name, text, id), ec);
    if (!upload) return;
    const auto half =
        text.substr(static_cast<std::size_t>(upload->held())).substr(0, text.size() / 2);
    upload->write(std::as_bytes(std::span{half}), ec);
    upload->keep();
  }

  /// As a session does it: the bytes that are held are hashed, too.
  void resume(const std::string& name, const std::string& text, const id_type& id) {
    std::error_code ec;
    auto upload = store_->resume(resumable(name, text, id), ec);
    if (!upload) return;
    std::string bytes(static_cast<std::size_t>(upload->held()), '\0');
    require(bytes.size() <= text.size(), "no more is held than the file has", name);
    bytes.resize(upload->read_held(std::as_writable_bytes(std::span{bytes}), 0, ec));
    const std::string rest = text.substr(bytes.size());
    if (id_of(bytes + rest) == id.to_string()) finish(*upload, name, rest, text, id);
  }

  void add_name(const std::string& name, const std::string& text, const id_type& id,
                const fuzz::snapshot& before) {
    std::error_code ec;
    if (!store_->add_name(id, text.size(), name, {}, ec)) return;
    const listing then = listing_of(before);
    const auto found = then.find(id.to_string());
    require(found != then.end(), "a name is added to a file that is there", name);
    const auto has_size = [&](const auto& file) { return file.second.size() == text.size(); };
    require(std::any_of(found->second.begin(), found->second.end(), has_size),
            "a name is added to a file of that size", name);
    const listing now = listing_of(folders_.all());
    require(now.at(id.to_string()).contains(name), "a name that was added is there", name);
  }

  void remove(const std::string& name, const id_type& id, const fuzz::snapshot& before) {
    listing expected = listing_of(before);
    std::error_code ec;
    const bool removed = store_->remove(id, name, ec);
    if (removed) {
      require(expected[id.to_string()].erase(name) == 1, "only a file is removed", name);
    }
    std::erase_if(expected, [](const auto& files) { return files.second.empty(); });
    require(expected == listing_of(folders_.all()), "a name is removed, and nothing else", name);
  }

  fuzz::planted_folders folders_;
  std::optional<store_type> store_;
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr int most_operations = 16;
  fuzz::input input{data, size};
  hostile_store store;
  for (int i = 0; i < most_operations && !input.empty(); ++i) {
    store.perform(fuzz::folder_operation{input.line()});
  }
  return 0;
}
