#include "client/connections.hpp"
#include "client/file_queue.hpp"
#include "client/forecast.hpp"
#include "client/jobs.hpp"
#include "client/retries.hpp"
#include "common/folder_walk.hpp"
#include "common/stdin_source.hpp"

#include <filexfer/batch.hpp>
#include <filexfer/error.hpp>
#include <filexfer/file.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/sha256.hpp>
#include <filexfer/transfer.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

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

/// Where a file's digest is from.
enum class origin { nowhere, memory, octets };

/// One that can be gone on with.
struct outgoing : sending<filexfer::file_source> {
  using sending::sending;

  template <class Hasher>
  using attempts_by = filexfer::upload_attempts<Hasher, counted_source<filexfer::file_source>>;

  std::variant<std::monostate, attempts_by<filexfer::md5>, attempts_by<filexfer::sha256>> attempts;
  origin digest_is_from = origin::nowhere;
  bool misled = false;  ///< The last attempt named a digest that was remembered wrongly.
  std::size_t place = 0;
};

/// The files of an operation, each of which is opened when it is its turn.
template <class Digest>
class outgoing_range {
 public:
  struct element {
    counted_source<filexfer::file_source>& source;
    filexfer::upload_request<Digest> request;
  };

  /// `begin_next` begins with the next file: returns its element, or nothing at the end.
  explicit outgoing_range(std::function<std::optional<element>()> begin_next)
      : begin_next_{std::move(begin_next)} {}

  class iterator {
   public:
    explicit iterator(outgoing_range& all) : all_{&all} { ++*this; }

    element& operator*() const { return *all_->now_; }
    iterator& operator++() {
      auto next = all_->begin_next_();
      all_->now_.reset();
      if (next) all_->now_.emplace(std::move(*next));
      return *this;
    }
    bool operator==(std::default_sentinel_t) const { return !all_->now_; }

   private:
    outgoing_range* all_;
  };

  iterator begin() { return iterator{*this}; }
  std::default_sentinel_t end() const { return {}; }

 private:
  std::function<std::optional<element>()> begin_next_;
  std::optional<element> now_;
};

constexpr const char* standard_input = "standard input";

class uploads {
 public:
  explicit uploads(workplace& at) : at_{at}, chosen_{at.chosen} {}

  exit_code run() {
    const display shown{at_.say, at_.moved};
    const forecast ahead{at_};
    if (chosen_.size) return send_sized_stdin(*chosen_.size);
    const failure gone = connections{at_, queue_, *this}.run();
    if (gone.code != done) fail_rest(gone);
    return queue_.code();
  }

  /// As a `Mover` of `connections` does it.
  attempt move(workplace& at, batch<outgoing>& some) {
    return at.server.with_client([&](auto& client) { return send_some(at, client, some); });
  }
  attempt move(workplace& at, outgoing& one, std::optional<attempt> made) {
    one.shown.stop();
    if (one.misled) made.reset();  // which is no reason to wait
    return with_retries(
        at, one.path, [&](auto& client) { return try_once(at, client, one); }, std::move(made));
  }

 private:
  // ------------------------------------------------------------------------------------- the files

  /// Each file that the user named, or that is below a folder; what can't be had is told.
  std::unique_ptr<outgoing> find(patience how_long) {
    for (;;) {
      if (walk_ && walk_->next()) {
        return make(std::move(walk_->file()), walk_->path().string(), walk_->name());
      }
      walk_.reset();
      if (next_word_ == chosen_.words.size()) return nullptr;
      const std::string& word = chosen_.words[next_word_];
      if (word == "-" && how_long == patience::little) return nullptr;
      ++next_word_;
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
    typename Client::upload_request wanted;
    std::error_code ec;
    if (chosen_.skip_existing) find_digest<Client>(at, one, ec);
    if (!ec) wanted = attempts_at<Client>(at, one).next(ec);
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
                     [&](auto... how) { return may_pass<Client>(at, one, how...); });
  }

  template <class Client>
  auto& attempts_at(workplace& at, outgoing& one) {
    using hasher = typename Client::hasher_type;
    using attempts = outgoing::attempts_by<hasher>;
    if (!std::holds_alternative<attempts>(one.attempts)) {
      typename Client::upload_request wanted{one.name};
      wanted.modified = one.source.modified();
      if (chosen_.skip_existing) wanted.expected = remembered<hasher>(at, one.file);
      one.digest_is_from = wanted.expected ? origin::memory : origin::nowhere;
      one.attempts.template emplace<attempts>(one.source, std::move(wanted));
    }
    return std::get<attempts>(one.attempts);
  }

  /// Hashes the file if its digest is not known.
  template <class Client>
  typename Client::digest_type find_digest(workplace& at, outgoing& one, std::error_code& ec) {
    auto& attempts = attempts_at<Client>(at, one);
    const auto hash = [&] { return attempts.hash(ec).value_or(typename Client::digest_type{}); };
    if (one.digest_is_from != origin::nowhere) return hash();
    const auto id = remember<typename Client::hasher_type>(at, one.file, ec, hash);
    if (!ec) one.digest_is_from = origin::octets;
    return id;
  }

  /// Whether another attempt can succeed. What was remembered wrongly is forgotten before it.
  template <class Client>
  bool may_pass(workplace& at, outgoing& one, std::error_code ec, filexfer::failure_origin where,
                const typename Client::upload_result& result) {
    one.misled = one.digest_is_from == origin::memory &&
                 (ec == filexfer::errc::mismatch || ec == filexfer::errc::source_changed);
    if (!one.misled) return attempts_at<Client>(at, one).may_pass(ec, where, result);
    at.known->forget(one.file, Client::hasher_type::name());
    one.attempts.template emplace<std::monostate>();
    return true;
  }

  template <class Client, class Source, class MayPass>
  attempt send_with(workplace& at, Client& client, sending<Source>& one,
                    typename Client::upload_request wanted, MayPass may_pass) {
    std::error_code ec;
    typename Client::upload_result result;
    one.shown.start(one.source.size());
    std::tie(ec, result) = at.operations.run<decltype(result)>([&](auto handler) {
      client.async_upload(one.source, std::move(wanted), std::move(handler));
    });
    attempt made = judge(at, one, ec, result);
    made.why.may_pass = ec && may_pass(ec, client.last_failure(), result);
    return made;
  }

  /// What an attempt came to; tells the outcome, if it is one.
  template <class Source, class Result>
  attempt judge(workplace& at, sending<Source>& one, std::error_code ec, const Result& result) {
    one.shown.stop();
    if (ec == filexfer::errc::digest_mismatch) {
      tell(one, verdict::fail, result.computed_here.to_string(), result.computed_there.to_string());
      return {{wrong_digest, "the server computed " + result.computed_there.to_string() +
                                 ", this file is " + result.computed_here.to_string() +
                                 ": damaged on the way; upload it again"}};
    }
    attempt made{{}, result.octets};
    if (ec) made.why = at.server.explain(ec);
    if (chosen_.name && ec == filexfer::errc::bad_name) made.subject = one.name;
    if (!ec) {
      tell(one, result.sent ? verdict::success : verdict::already_there,
           result.computed_there.to_string());
    }
    return made;
  }

  // ------------------------------------------------------------------------------------ some at once

  template <class Client>
  attempt send_some(workplace& at, Client& client, batch<outgoing>& some) {
    if (chosen_.skip_existing) {
      const attempt asked = ask_for_some(at, client, some);
      if (asked.why.code != done) return asked;
    }
    using range = outgoing_range<typename Client::digest_type>;
    range files{
        [&] { return this->template begin_next<Client, typename range::element>(at, some); }};
    const auto [ec] = at.operations.run([&](auto handler) {
      client.async_upload_all(
          files,
          [&](const typename Client::upload_request&, std::error_code failed,
              const typename Client::upload_result& result) {
            auto one = some.answered();
            attempt made = judge(at, *one, failed, result);
            made.why.may_pass =
                failed && may_pass<Client>(at, *one, failed, client.last_failure(), result);
            if (failed) some.failed(std::move(one), std::move(made));
          },
          std::move(handler));
    });
    return how_it_ended(at, client, ec, some);
  }

  template <class Client, class Element>
  std::optional<Element> begin_next(workplace& at, batch<outgoing>& some) {
    while (auto one = some.next()) {
      std::error_code ec;
      one->shown.stop();
      auto wanted = attempts_at<Client>(at, *one).next(ec);
      if (ec) {
        some.failed(std::move(one), {explain_local(ec)});
        continue;
      }
      one->shown.start(one->source.size());
      std::optional<Element> begun{Element{one->source, std::move(wanted)}};
      some.sent(std::move(one));
      return begun;
    }
    return std::nullopt;
  }

  /// Asks whether the server holds them. Those that it lacks are the next operation's.
  template <class Client>
  attempt ask_for_some(workplace& at, Client& client, batch<outgoing>& some) {
    constexpr std::uint64_t enough = 64 * 1024 * 1024;  // the server waits while they are hashed
    std::vector<filexfer::name_request<typename Client::digest_type>> names;
    std::uint64_t octets = 0;
    while (octets < enough) {
      auto one = some.next();
      if (!one) break;
      std::error_code ec;
      one->shown.stop();
      const auto id = find_digest<Client>(at, *one, ec);
      if (ec) {
        some.failed(std::move(one), {explain_local(ec)});
        continue;
      }
      if (one->digest_is_from == origin::octets) octets += one->source.size();
      names.push_back({one->name, one->source.size(), id, one->source.modified()});
      some.sent(std::move(one));
    }
    std::deque<std::unique_ptr<outgoing>> lacking;
    std::deque<std::unique_ptr<outgoing>>
        twins;  // of some of those: asked for again once it is sent
    std::set<typename Client::digest_type> lacks;
    const auto [ec] = at.operations.run([&](auto handler) {
      client.async_add_names(
          names,
          [&](const filexfer::name_request<typename Client::digest_type>& asked,
              std::error_code failed, bool held) {
            auto one = some.answered();
            if (held) tell(*one, verdict::already_there, asked.id.to_string());
            else if (failed) some.failed(std::move(one), {at.server.explain(failed)});
            else (lacks.insert(asked.id).second ? lacking : twins).push_back(std::move(one));
          },
          std::move(handler));
    });
    const attempt ended = how_it_ended(at, client, ec, some);
    some.begin(lacking.size());
    for (; !twins.empty(); twins.pop_back()) some.wait(std::move(twins.back()));
    for (; !lacking.empty(); lacking.pop_back()) some.wait(std::move(lacking.back()));
    return ended;
  }

  template <class Source>
  void tell(const sending<Source>& one, verdict what, std::string id, std::string id_there = {}) {
    at_.say.tell({what, direction::up, std::move(id), std::move(id_there), one.name, one.path,
                  one.source.size()});
  }

  workplace& at_;  ///< The first of them.
  const client_settings& chosen_;
  file_queue<outgoing> queue_{[this](patience how_long) { return find(how_long); }};
  std::size_t next_word_ = 0;
  std::optional<folder_walk> walk_;
};

}  // namespace

exit_code upload(workplace& at) { return uploads{at}.run(); }

}  // namespace programs
