#include "client/jobs.hpp"
#include "common/download_sink.hpp"
#include "common/name_lookup.hpp"

#include <filexfer/error.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/results.hpp>

#include <iostream>
#include <optional>

namespace programs {
namespace {

class downloads {
 public:
  explicit downloads(workplace& at) : at_{at}, chosen_{at.chosen} {}

  exit_code run() {
    std::error_code ec;
    if (!to_stdout()) destination_ = choose_destination(chosen_.output, chosen_.words.size(), ec);
    if (ec) return report(chosen_.output, explain_local(ec));
    const failure none = at_.server.connect();
    if (none.code != done) {
      return for_each_word(at_, [&](const std::string& word) { return report(word, none); });
    }
    name_lookup names{chosen_.words, at_.server.digits()};
    failure unlisted;
    const auto see = [&](const auto& file) { names.see(listed{file}); };
    if (names.needed()) unlisted = list_into(at_, {.mtime = true}, see);
    return for_each_word(at_, [&](const std::string& word) {
      if (names.is_id(word)) return fetch(names.lower_case(word), word, std::nullopt);
      failure why = unlisted;
      if (unlisted.code != done) return report(word, why);
      const auto file = names.find(word, why);
      if (!file) return report(word, why);
      return fetch(file->id, word, named_file{word, file->modified});
    });
  }

 private:
  bool to_stdout() const { return chosen_.output == "-"; }

  exit_code fetch(const std::string& id, const std::string& word, std::optional<named_file> file) {
    std::error_code ec;
    if (!to_stdout() && (file || destination_.file)) {  // What is known before is checked before.
      const auto target = destination_.file_for(file ? file->name : "");
      check_target(target, chosen_.policy, ec);
      if (ec) return report(target.string(), explain_local(ec));
    }
    if (const failure none = at_.server.connect(); none.code != done) return report(word, none);
    if (to_stdout()) {  // which may wait for its reader: an interruption ends the process at once
      stdout_sink sink{at_.shown};
      return at_.server.with_client(
          [&](auto& client) { return fetch_with(client, sink, id, word); });
    }
    const interruption::interruptible scope;
    download_sink sink{destination_, chosen_.policy, std::move(file), at_.shown};
    const exit_code code =
        at_.server.with_client([&](auto& client) { return fetch_with(client, sink, id, word); });
    if (code == done) {
      std::cout << "Success  " << id << "  " << filexfer::printable(sink.target().string())
                << std::endl;
    }
    return code;
  }

  template <class Client, class Sink>
  exit_code fetch_with(Client& client, Sink& sink, const std::string& id, const std::string& word) {
    using digest = typename Client::digest_type;
    const auto wanted = digest::from_hex(id);
    if (!wanted) return report(word, {refused, "the server's ids are other digests now"});
    std::error_code ec;
    typename Client::download_result result;
    std::tie(ec, result) = at_.operations.run<decltype(result)>(
        [&](auto handler) { client.async_download(*wanted, sink, std::move(handler)); });
    at_.shown.end();
    if (ec == filexfer::errc::digest_mismatch) {
      const std::string kept = to_stdout() ? "; what was written is wrong" : "; nothing was kept";
      return report(word, {wrong_digest, "what arrived is " + result.computed_here.to_string() +
                                             ", not " + wanted->to_string() + kept});
    }
    if (!ec) return done;
    const bool here = client.last_failure() == filexfer::failure_origin::local;
    const std::string target = sink.target().string();
    return report(here && !target.empty() ? target : word, at_.server.explain(ec));
  }

  workplace& at_;
  const client_settings& chosen_;
  destination destination_;
};

}  // namespace

exit_code download(workplace& at) { return downloads{at}.run(); }

}  // namespace programs
