#include "client/forecast.hpp"
#include "client/jobs.hpp"
#include "client/retries.hpp"
#include "common/folder_walk.hpp"
#include "common/stdin_source.hpp"

#include <filexfer/error.hpp>
#include <filexfer/file.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/sha256.hpp>
#include <filexfer/transfer.hpp>

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace programs {
namespace {

class uploads {
 public:
  explicit uploads(workplace& at) : at_{at}, chosen_{at.chosen} {}

  exit_code run() {
    const display shown{at_.say, at_.moved};
    const forecast ahead{at_};
    return for_each_word(at_, [this](const std::string& word) {
      if (word == "-") return send_stdin();
      return is_folder(chosen_, word) ? send_folder(word) : send_file(word);
    });
  }

 private:
  exit_code send_file(const std::string& path) {
    std::error_code ec;
    filexfer::file_source source{path, ec};
    if (ec) return at_.say.report(path, explain_local(ec));
    return send(source, source.size(), path, std::filesystem::path{path}.filename());
  }

  /// Each file below it, for as long as there is a server.
  exit_code send_folder(const std::string& path) {
    if (const failure none = at_.server.connect(); none.code != done)
      return at_.say.report(path, none);
    first_failure all;
    folder_walk files{path, chosen_.links, [&](const auto& file, const failure& why) {
                        all.note(at_.say.report(file, why));
                      }};
    while (connected_ && !interruption::came() && files.next()) {
      all.note(send(files.file(), files.file().size(), files.path().string(), files.name()));
    }
    return all.code();
  }

  exit_code send_stdin() {
    std::error_code ec;
    if (chosen_.size) {
      stdin_source source{*chosen_.size};
      source.check_empty(ec);
      if (ec) return at_.say.report("standard input", explain_here(ec));
      return send(source, chosen_.size, "standard input", "stdin");
    }
    auto source = spooled_stdin(ec);
    if (ec) return at_.say.report("standard input", explain_here(ec));
    return send(*source, chosen_.size, "standard input", "stdin");
  }

  template <class Source>
  exit_code send(Source& file, std::optional<std::uint64_t> expected, const std::string& path,
                 std::string name) {
    if (chosen_.name) name = *chosen_.name;
    const interruption::interruptible scope;
    using kind =
        std::conditional_t<filexfer::seekable_source<Source>, resumable<Source>, sending<Source>>;
    kind one{file, at_.moved, expected, path, std::move(name)};
    const attempt last =
        with_retries(at_, path, [&](auto& client) { return try_once(client, one); });
    connected_ = last.was_connected;
    if (last.why.code == done) return done;
    return at_.say.report(last.subject.value_or(path), last.why);
  }

  template <class Source>
  struct sending {
    sending(Source& file, progress& job, std::optional<std::uint64_t> expected,
            std::string its_path, std::string its_name)
        : shown{job, expected},
          source{file, shown},
          path{std::move(its_path)},
          name{std::move(its_name)} {}

    file_progress shown;
    counted_source<Source> source;
    std::string path;
    std::string name;
  };

  /// A file on its way, by however many attempts.
  template <class Source>
  struct resumable : sending<Source> {
    using sending<Source>::sending;

    std::variant<std::monostate, filexfer::upload_attempts<filexfer::md5, counted_source<Source>>,
                 filexfer::upload_attempts<filexfer::sha256, counted_source<Source>>>
        attempts{};

    template <class Hasher, class Request>
    auto& attempts_with(Request wanted) {
      using type = filexfer::upload_attempts<Hasher, counted_source<Source>>;
      if (!std::holds_alternative<type>(attempts)) {
        attempts.template emplace<type>(this->source, std::move(wanted));
      }
      return std::get<type>(attempts);
    }
  };

  /// What can be read once only is sent once.
  template <class Client>
  attempt try_once(Client& client, sending<stdin_source>& one) {
    return send_with(client, one, {one.name}, [](auto...) { return false; });
  }

  template <class Client, class Source>
  attempt try_once(Client& client, resumable<Source>& one) {
    typename Client::upload_request wanted{one.name};
    wanted.modified = one.source.modified();
    auto& attempts = one.template attempts_with<typename Client::hasher_type>(wanted);
    std::error_code ec;
    if (chosen_.skip_existing) attempts.hash(ec);
    if (!ec) wanted = attempts.next(ec);
    if (ec) return {explain_local(ec)};
    if (chosen_.skip_existing) {
      bool held = false;
      std::tie(ec, held) = at_.operations.run<bool>([&](auto handler) {
        client.async_add_name(*wanted.expected, one.source.size(), one.name, wanted.modified,
                              std::move(handler));
      });
      if (held) tell(one, verdict::already_there, wanted.expected->to_string());
      if (held || ec) return {ec ? at_.server.explain(ec) : failure{}};
    }
    return send_with(client, one, std::move(wanted),
                     [&](auto... how) { return attempts.may_pass(how...); });
  }

  template <class Client, class Source, class MayPass>
  attempt send_with(Client& client, sending<Source>& one, typename Client::upload_request wanted,
                    MayPass may_pass) {
    std::error_code ec;
    typename Client::upload_result result;
    one.shown.begin(one.source.size());
    std::tie(ec, result) = at_.operations.run<decltype(result)>([&](auto handler) {
      client.async_upload(one.source, std::move(wanted), std::move(handler));
    });
    one.shown.end();
    if (ec == filexfer::errc::digest_mismatch) {
      tell(one, verdict::fail, result.computed_here.to_string(), result.computed_there.to_string());
      return {{wrong_digest, "the server computed " + result.computed_there.to_string() +
                                 ", this file is " + result.computed_here.to_string() +
                                 ": damaged on the way; upload it again"}};
    }
    attempt made{{}, result.octets};
    if (ec) made.why = at_.server.explain(ec);
    made.why.may_pass = ec && may_pass(ec, client.last_failure(), result);
    if (chosen_.name && ec == filexfer::errc::bad_name) made.subject = one.name;
    if (!ec) {
      tell(one, result.sent ? verdict::success : verdict::already_there,
           result.computed_there.to_string());
    }
    return made;
  }

  template <class Source>
  void tell(const sending<Source>& one, verdict what, std::string id, std::string id_there = {}) {
    at_.say.tell({what, direction::up, std::move(id), std::move(id_there), one.name, one.path,
                  one.source.size()});
  }

  workplace& at_;
  const client_settings& chosen_;
  bool connected_ = true;
};

}  // namespace

exit_code upload(workplace& at) { return uploads{at}.run(); }

}  // namespace programs
