#include "client/connections.hpp"
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

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <variant>

namespace programs {
namespace {

/// A file on its way, by however many attempts.
template <class Source>
struct sending {
  sending(Source opened, progress& job, std::optional<std::uint64_t> expected, std::string its_path,
          std::string its_name)
      : file{std::move(opened)},
        path{std::move(its_path)},
        name{std::move(its_name)},
        shown{job, expected} {}

  const std::string& subject() const noexcept { return path; }

  Source file;
  std::string path;
  std::string name;
  file_progress shown;
  counted_source<Source> source{file, shown};
};

/// One that can be gone on with.
struct outgoing : sending<filexfer::file_source> {
  using sending::sending;

  template <class Hasher>
  using attempts_by = filexfer::upload_attempts<Hasher, counted_source<filexfer::file_source>>;

  template <class Hasher, class Request>
  attempts_by<Hasher>& attempts_with(Request wanted) {
    using type = attempts_by<Hasher>;
    if (!std::holds_alternative<type>(attempts)) {
      attempts.template emplace<type>(source, std::move(wanted));
    }
    return std::get<type>(attempts);
  }

  std::variant<std::monostate, attempts_by<filexfer::md5>, attempts_by<filexfer::sha256>> attempts;
  std::size_t place = 0;
};

constexpr const char* standard_input = "standard input";

class uploads {
 public:
  explicit uploads(workplace& at) : at_{at}, chosen_{at.chosen} {}

  exit_code run() {
    const display shown{at_.say, at_.moved};
    const forecast ahead{at_};
    if (chosen_.size) return send_sized_stdin(*chosen_.size);
    const auto transfer = [this](workplace& at, outgoing& one) {
      return with_retries(at, one.path, [&](auto& client) { return try_once(at, client, one); });
    };
    const failure gone = connections{at_, queue_, transfer}.run();
    if (gone.code != done) fail_rest(gone);
    return queue_.code();
  }

 private:
  // ------------------------------------------------------------------------------------- the files

  /// Each file that the user named, or that is below a folder; what can't be had is told.
  std::unique_ptr<outgoing> find() {
    for (;;) {
      if (walk_ && walk_->next()) {
        return make(std::move(walk_->file()), walk_->path().string(), walk_->name());
      }
      walk_.reset();
      if (next_word_ == chosen_.words.size()) return nullptr;
      const std::string& word = chosen_.words[next_word_++];
      if (word != "-" && is_folder(chosen_, word)) {
        walk_.emplace(word, chosen_.links, [this](const auto& path, const failure& why) {
          queue_.note(at_.say.report(path, why));
        });
      } else if (auto file = word == "-" ? find_stdin() : find_file(word)) {
        return file;
      }
    }
  }

  std::unique_ptr<outgoing> find_file(const std::string& path) {
    std::error_code ec;
    filexfer::file_source file{path, ec};
    if (!ec) return make(std::move(file), path, std::filesystem::path{path}.filename());
    queue_.note(at_.say.report(path, explain_local(ec)));
    return nullptr;
  }

  std::unique_ptr<outgoing> find_stdin() {
    std::error_code ec;
    auto file = spooled_stdin(ec);
    if (!ec) return make(std::move(*file), standard_input, "stdin");
    queue_.note(at_.say.report(standard_input, explain_here(ec)));
    return nullptr;
  }

  std::unique_ptr<outgoing> make(filexfer::file_source file, const std::string& path,
                                 const std::string& name) {
    std::optional<std::uint64_t> expected;
    if (path != standard_input) expected = file.size();
    return std::make_unique<outgoing>(std::move(file), at_.moved, expected, path,
                                      chosen_.name.value_or(name));
  }

  /// The server is gone: what was named and not tried has failed.
  void fail_rest(const failure& gone) {
    for (; next_word_ < chosen_.words.size() && !interruption::came(); ++next_word_) {
      queue_.note(at_.say.report(chosen_.words[next_word_], gone));
    }
  }

  // -------------------------------------------------------------------------------------- one file

  /// What can be read once only is sent once.
  exit_code send_sized_stdin(std::uint64_t size) {
    std::error_code ec;
    stdin_source input{size};
    input.check_empty(ec);
    if (ec) return at_.say.report(standard_input, explain_here(ec));
    const interruption::interruptible scope;
    sending<stdin_source> one{input, at_.moved, size, standard_input,
                              chosen_.name.value_or("stdin")};
    const attempt only = with_retries(at_, one.path, [&](auto& client) {
      return send_with(at_, client, one, {one.name}, [](auto...) { return false; });
    });
    if (only.why.code == done) return done;
    return at_.say.report(only.subject.value_or(one.path), only.why);
  }

  template <class Client>
  attempt try_once(workplace& at, Client& client, outgoing& one) {
    typename Client::upload_request wanted{one.name};
    wanted.modified = one.source.modified();
    auto& attempts = one.attempts_with<typename Client::hasher_type>(wanted);
    std::error_code ec;
    if (chosen_.skip_existing) attempts.hash(ec);
    if (!ec) wanted = attempts.next(ec);
    if (ec) return {explain_local(ec)};
    if (chosen_.skip_existing) {
      bool held = false;
      std::tie(ec, held) = at.operations.run<bool>([&](auto handler) {
        client.async_add_name(*wanted.expected, one.source.size(), one.name, wanted.modified,
                              std::move(handler));
      });
      if (held) tell(one, verdict::already_there, wanted.expected->to_string());
      if (held || ec) return {ec ? at.server.explain(ec) : failure{}};
    }
    return send_with(at, client, one, std::move(wanted),
                     [&](auto... how) { return attempts.may_pass(how...); });
  }

  template <class Client, class Source, class MayPass>
  attempt send_with(workplace& at, Client& client, sending<Source>& one,
                    typename Client::upload_request wanted, MayPass may_pass) {
    std::error_code ec;
    typename Client::upload_result result;
    one.shown.begin(one.source.size());
    std::tie(ec, result) = at.operations.run<decltype(result)>([&](auto handler) {
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
    if (ec) made.why = at.server.explain(ec);
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

  workplace& at_;  ///< The first of them.
  const client_settings& chosen_;
  file_queue<outgoing> queue_{[this] { return find(); }};
  std::size_t next_word_ = 0;
  std::optional<folder_walk> walk_;
};

}  // namespace

exit_code upload(workplace& at) { return uploads{at}.run(); }

}  // namespace programs
