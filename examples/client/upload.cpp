#include "client/jobs.hpp"
#include "common/folder_walk.hpp"
#include "common/stdin_source.hpp"

#include <filexfer/error.hpp>
#include <filexfer/file.hpp>
#include <filexfer/printable.hpp>

#include <concepts>
#include <filesystem>
#include <iostream>
#include <optional>

namespace programs {
namespace {

class uploads {
 public:
  explicit uploads(workplace& at) : at_{at}, chosen_{at.chosen} {}

  exit_code run() {
    return for_each_word(at_, [this](const std::string& word) {
      std::error_code no_folder;
      if (word == "-") return send_stdin();
      if (!chosen_.name && std::filesystem::is_directory(word, no_folder)) return send_folder(word);
      return send_file(word);
    });
  }

 private:
  exit_code send_file(const std::string& path) {
    std::error_code ec;
    filexfer::file_source source{path, ec};
    if (ec) return report(path, explain_local(ec));
    return send(source, path, std::filesystem::path{path}.filename());
  }

  /// Each file below it, for as long as there is a server.
  exit_code send_folder(const std::string& path) {
    if (const failure none = at_.server.connect(); none.code != done) return report(path, none);
    first_failure all;
    folder_walk files{path, chosen_.links, all};
    while (connected_ && !interruption::came() && files.next()) {
      all.note(send(files.file(), files.path().string(), files.name()));
    }
    return all.code();
  }

  exit_code send_stdin() {
    std::error_code ec;
    if (chosen_.size) {
      stdin_source source{*chosen_.size};
      source.check_empty(ec);
      if (ec) return report("standard input", explain_local(ec));
      return send(source, "standard input", "stdin");
    }
    auto source = spooled_stdin(ec);
    if (ec) return report("standard input", explain_local(ec));
    return send(*source, "standard input", "stdin");
  }

  template <class Source>
  exit_code send(Source& file, const std::string& path, std::string name) {
    if (chosen_.name) name = *chosen_.name;
    if (const exit_code none = connect(path); none != done) return none;
    std::string id;
    if constexpr (std::same_as<Source, filexfer::file_source>) {
      std::error_code ec;
      if (chosen_.skip_existing) id = id_of(at_, file, ec);
      if (ec) return report(path, explain_local(ec));
      // Reading the file may have taken longer than the server waits.
      if (const exit_code none = connect(path); none != done) return none;
    }
    std::optional<interruption::interruptible> scope;
    if (!std::same_as<Source, stdin_source>) scope.emplace();  // that would wait for the input
    counted_source source{file, at_.shown};
    return at_.server.with_client(
        [&](auto& client) { return send_with(client, source, path, name, id); });
  }

  exit_code connect(const std::string& path) {
    const failure none = at_.server.connect();
    connected_ = none.code == done;
    return connected_ ? done : report(path, none);
  }

  /// `id`: the file's, if what the server has is not to be sent; else it is empty.
  template <class Client, class Source>
  exit_code send_with(Client& client, Source& source, const std::string& path,
                      const std::string& name, const std::string& id) {
    typename Client::upload_request wanted{name, Client::digest_type::from_hex(id)};
    if constexpr (requires { source.modified(); }) wanted.modified = source.modified();
    std::error_code ec;
    typename Client::upload_result result;
    if (wanted.expected) {
      bool held = false;
      std::tie(ec, held) = at_.operations.run<bool>([&](auto handler) {
        client.async_add_name(*wanted.expected, source.size(), name, wanted.modified,
                              std::move(handler));
      });
      if (held) return tell("Already there", id, name);
    }
    if (!ec) {
      at_.shown.begin(name, source.size());
      std::tie(ec, result) = at_.operations.run<decltype(result)>(
          [&](auto handler) { client.async_upload(source, wanted, std::move(handler)); });
      at_.shown.end();
    }
    if (ec == filexfer::errc::digest_mismatch) {
      tell("Fail", result.computed_here.to_string(),
           result.computed_there.to_string() + "  " + name);
      return report(path,
                    {wrong_digest, "the server computed " + result.computed_there.to_string() +
                                       ", this file is " + result.computed_here.to_string() +
                                       ": damaged on the way; upload it again"});
    }
    const bool by_name = chosen_.name && ec == filexfer::errc::bad_name;
    if (ec) return report(by_name ? name : path, at_.server.explain(ec));
    return tell(result.sent ? "Success" : "Already there", result.computed_there.to_string(), name);
  }

  static exit_code tell(const char* outcome, const std::string& id, const std::string& name) {
    std::cout << outcome << "  " << id << "  " << filexfer::printable(name) << std::endl;
    return done;
  }

  workplace& at_;
  const client_settings& chosen_;
  bool connected_ = true;
};

}  // namespace

exit_code upload(workplace& at) { return uploads{at}.run(); }

}  // namespace programs
