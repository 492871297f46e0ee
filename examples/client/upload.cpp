#include "client/job_context.hpp"
#include "client/outgoing.hpp"
#include "common/stdin_source.hpp"

#include <asio/detached.hpp>

#include <array>

namespace programs {
namespace {

/// Standard input whose size is known. What can be read once only is sent once.
class sized_input {
 public:
  explicit sized_input(const client_settings& chosen)
      : name_{chosen.name.value_or("stdin")}, size_{*chosen.size} {}

  const std::string& name() const noexcept { return name_; }
  std::string label() const { return standard_input; }
  bool may_retry() const noexcept { return false; }
  bool may_block() const noexcept { return true; }

  /// That it goes on behind its end is found out where its end is read, which this one's is not.
  void prepare(std::error_code& ec) {
    if (size_ == 0) stdin_source{size_}.check_unchanged(ec);
  }
  stdin_source open(std::error_code& ec) {
    ec.clear();
    return stdin_source{size_};
  }

  failure explain_here(std::error_code ec) const { return explain_local(ec); }

 private:
  std::string name_;
  std::uint64_t size_;
};

class uploads {
 public:
  explicit uploads(job_context& at) : at_{at}, chosen_{at.chosen} {}

  exit_code run() {
    const display shown{at_.operations.context(), at_.out, at_.pool.progress()};
    const interruption::interruptible scope;
    if (chosen_.size) return send_sized_input();
    outgoing_files files{chosen_};
    if (at_.out.shows_progress()) at_.pool.async_count(outgoing_files{chosen_}, asio::detached);
    const std::error_code ec = send(files);
    for (std::size_t i = files.words_seen(); ec && i < chosen_.words.size(); ++i) {
      if (!interruption::came()) code_.note(job_code::last, at_.report_failure(chosen_.words[i]));
    }
    return code_.code();
  }

 private:
  exit_code send_sized_input() {
    std::array files{sized_input{chosen_}};
    if (at_.out.shows_progress()) at_.pool.async_count(std::array{files}, asio::detached);
    send(files);
    return code_.code();
  }

  /// Why there is no server any more, if files are left.
  template <class Files>
  std::error_code send(Files& files) {
    using element = filexfer::range_element_t<Files>;
    const auto on_result = [this](const filexfer::file_result<element>& result) { tell(result); };
    const auto start = [&](auto handler) {
      if (chosen_.skip_existing)
        at_.pool.async_upload_missing(files, on_result, std::move(handler));
      else at_.pool.async_upload(files, on_result, std::move(handler));
    };
    return std::get<0>(at_.operations.run<filexfer::transfer_totals>(start));
  }

  template <class Element>
  void tell(const filexfer::file_result<Element>& result) {
    const Element& file = result.element;
    const std::error_code ec = result.failure.error;
    const std::string here = result.computed_here.to_string();
    const std::string there = result.computed_there.to_string();
    outcome what{verdict::success, direction::up, there,      {},
                 file.name(),      file.label(),  result.size};
    if (!ec) {
      if (!result.moved) what.what = verdict::already_there;
      at_.out.tell(what);
    } else if (ec == filexfer::errc::digest_mismatch) {
      what.what = verdict::fail;
      what.id = here;
      what.id_there = there;
      at_.out.tell(what);
      fail(result.index, file.label(),
           {wrong_digest, "the server computed " + there + ", this file is " + here +
                              ": damaged on the way; upload it again"});
    } else if (result.failure.origin == filexfer::failure_origin::local && !interruption::came()) {
      const bool is_name = chosen_.name && ec == filexfer::errc::bad_name;
      fail(result.index, is_name ? file.name() : file.label(), file.explain_here(ec));
    } else {
      fail(result.index, file.label(), at_.explain(result.failure));
    }
  }

  void fail(std::size_t index, std::string_view subject, const failure& why) {
    code_.note(index, at_.out.report(subject, why));
  }

  job_context& at_;
  const client_settings& chosen_;
  job_code code_;
};

}  // namespace

exit_code upload(job_context& at) { return uploads{at}.run(); }

}  // namespace programs
