#ifndef FILEXFER_DETAIL_POOL_UPLOAD_JOB_HPP
#define FILEXFER_DETAIL_POOL_UPLOAD_JOB_HPP

// A job that uploads. Files are pipelined; one that was interrupted is uploaded by itself, with a
// token by which the next attempt resumes where this one stops.

#include <filexfer/detail/pool/counted.hpp>
#include <filexfer/detail/pool/digests.hpp>
#include <filexfer/detail/pool/element_queue.hpp>
#include <filexfer/detail/pool/elements.hpp>
#include <filexfer/detail/pool/job.hpp>
#include <filexfer/detail/pool/result_taker.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/detail/pool/upload_record.hpp>
#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/batch.hpp>
#include <filexfer/error.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

/// Which files of its range an upload job sends.
enum class upload_scope {
  all,
  missing  ///< Those that the server does not hold; for the others it adds the name.
};

/// Bytes of the files that one operation asks for, unless it asks for a single one: while they are
/// hashed the server may have to wait.
inline constexpr std::uint64_t max_hashed_size = std::uint64_t{64} * 1024 * 1024;

/// Windows of files that one operation uploads: they are opened when it is their turn.
inline constexpr std::size_t upload_windows = 8;

template <class Core>
class upload_job : public transfer_job<Core, upload_record<typename Core::clock>> {
  using base = transfer_job<Core, upload_record<typename Core::clock>>;

 public:
  using typename base::files_type;
  using typename base::record;
  using typename base::worker;

  upload_job(std::shared_ptr<Core> core, upload_scope scope, std::unique_ptr<files_type> files)
      : base{std::move(core), std::move(files)}, scope_{scope} {}

 protected:
  using typename base::pointer;
  ~upload_job() = default;

  flow<void> transfer(worker& w, pointer first, transfer_failure& lost) override {
    return w.connected->visit([&](auto& client) {
      if (!first->is_seekable()) {
        return this->template upload_alone<streamed_source>(w, client, std::move(first), lost);
      }
      if (first->alone) {
        return this->template upload_alone<counted_source>(w, client, std::move(first), lost);
      }
      return scope_ == upload_scope::missing && w.connected->answers_queries()
                 ? this->upload_missing(w, client, std::move(first), lost)
                 : this->upload_batch(w, client, std::move(first), lost);
    });
  }

 private:
  template <class Result>
  friend class result_taker;

  struct open_file {
    std::unique_ptr<any_source> source;
    std::optional<counted_source> counted{};  ///< Wraps `source`.
  };

  static void open(record& file, std::optional<open_file>& opened, std::error_code& ec) try {
    auto source = file.open(ec);
    if (!ec) opened.emplace(open_file{std::move(source)});
  } catch (...) {
    opened.reset();
    ec = error_of(std::current_exception());
  }

  /// Opens the file for an attempt, and fills `request`.
  template <class Digest>
  void begin(record& file, std::optional<open_file>& opened, upload_request<Digest>& request,
             std::error_code& ec) try {
    ec.clear();
    open(file, opened, ec);
    if (ec) return;
    any_source& source = *opened->source;
    file.size = source.size();
    if (!file.progress) {
      // A file that has to be prepared is announced without a size.
      const auto expected = file.is_prepared ? std::nullopt : std::optional{file.size};
      file.progress.emplace(this->core().progress, expected);
    }
    file.progress->stop();
    opened->counted.emplace(source, *file.progress, this->cancelled());
    request = {};
    request.name = file.name();
    request.modified = source.modified();
    request.executable = source.executable();
    if (const auto id = file.id(); !id.empty()) file.digest = id;
    if (std::exchange(file.digest_was_wrong, false)) forget_digest(source);
    request.expected = file.digest.template as<Digest>();
    if (file.is_seekable()) {
      if (file.token.empty()) file.token = file.resume_token();
      if (file.token.empty()) file.token = random_name();
      request.resume = file.token;
    }
  } catch (...) {
    opened.reset();
    ec = error_of(std::current_exception());
  }

  // ------------------------------------------------------------------------------------- digests

  any_digest_cache* cache() noexcept { return this->core().digests.get(); }

  /// Sets the digest of an open file, unless it is known.
  template <class Hasher>
  void find_digest(record& file, open_file& opened, std::error_code& ec) try {
    if (file.digest.template as<typename Hasher::digest_type>()) return;
    file.digest_was_read = true;
    file.digest = digest_of<Hasher>(cache(), *opened.source, *opened.counted, ec);
  } catch (...) {
    ec = error_of(std::current_exception());
  }

  bool needs_read_ahead(record& file) override {
    return file.hash_first && file.is_seekable() && file.digest.empty();
  }

  /// Hashes the file: the server resumes an upload only if it is given the digest.
  flow<bool> read_ahead(record& file) override {
    file.hash_first = false;
    if (!file.is_seekable() || !file.digest.empty()) co_return false;
    work_call hashing{this->core().work_executor, [&](std::error_code&) {
                        this->core().with_hasher([&]<class Hasher>(std::type_identity<Hasher>) {
                          std::error_code ec;  // the attempt will fail with it again
                          std::optional<open_file> opened;
                          upload_request<typename Hasher::digest_type> request;
                          begin(file, opened, request, ec);
                          if (!ec) this->template find_digest<Hasher>(file, *opened, ec);
                        });
                      }};
    co_await hashing;
    co_return !file.digest.empty();
  }

  void forget_digest(const any_source& source) {
    const auto handle = source.native_handle();
    if (handle && cache()) cache()->forget(*handle, this->core().digest);
  }

  // ----------------------------------------------------------------------------- a single file

  /// \tparam Source  `counted_source`, or `streamed_source` if the file's source is not seekable.
  template <class Source, class Client>
  flow<void> upload_alone(worker& w, Client& client, pointer file, transfer_failure& lost) {
    using hasher = typename Client::hasher_type;
    std::optional<open_file> opened;
    typename Client::upload_request request;
    work_call opening{this->core().work_executor, [&](std::error_code& ec) {
                        begin(*file, opened, request, ec);
                        // The server resumes an upload only if it is given the digest.
                        if (!ec && file->alone && file->is_seekable()) {
                          find_digest<hasher>(*file, *opened, ec);
                          request.expected =
                              file->digest.template as<typename Client::digest_type>();
                        }
                      }};
    co_await opening;
    if (opening.error()) {
      this->report_local(*file, opening.error());
      co_return;
    }
    file->progress->start(file->size);
    Source source{*opened->counted};
    auto uploading = make_call<typename Client::upload_result>(
        [&](auto handler) { client.async_upload(source, std::move(request), std::move(handler)); });
    co_await uploading;
    const auto result = uploading.value();
    w.bytes_moved += result.bytes;
    work_call closing{this->core().work_executor, [&](std::error_code&) { opened.reset(); }};
    co_await closing;
    const std::error_code ec = uploading.error();
    const bool synchronized = client.usable();
    if (ec && !synchronized && client.last_failure() != failure_origin::local &&
        file->is_seekable() && ec != errc::digest_mismatch) {
      lost = failure_of(*w.connected, ec);
      w.add(std::move(file));
      co_return;
    }
    conclude(w, std::move(file), ec, result);
  }

  // ----------------------------------------------------------------------------------- batches

  template <class Client>
  flow<void> upload_batch(worker& w, Client& client, pointer first, transfer_failure& lost) {
    const auto next = [&] { return first ? std::move(first) : this->queue().next(); };
    co_await upload_each(w, client, next, this->limit_for(w, upload_windows), lost);
    if (first) this->queue().put_back(std::move(first));
  }

  /// Uploads up to `room` of the files that `next` returns.
  template <class Client>
  flow<void> upload_each(worker& w, Client& client, std::function<pointer()> next, std::size_t room,
                         transfer_failure& lost) {
    using digest_type = typename Client::digest_type;
    using item = batched_upload<counted_source, digest_type>;
    std::optional<open_file> opened;
    std::optional<item> current;
    const auto open_next = [&]() -> item* {
      current.reset();
      opened.reset();
      while (room > 0) {
        pointer file = batchable(next());
        if (!file) return nullptr;
        --room;
        std::error_code ec = file->error();
        upload_request<digest_type> request;
        if (!ec) begin(*file, opened, request, ec);
        if (ec) {
          w.add(std::move(file), ec);
          continue;
        }
        file->progress->start(file->size);
        current.emplace(item{*opened->counted, std::move(request)});
        w.add(std::move(file));
        return &*current;
      }
      return nullptr;
    };
    opened_files<item> files{open_next};
    const result_taker<typename Client::upload_result> on_result{*this, w};
    auto uploading = make_call<>(
        [&](auto handler) { client.async_upload_all(files, on_result, std::move(handler)); });
    co_await uploading;
    work_call closing{this->core().work_executor, [&](std::error_code&) {
                        current.reset();
                        opened.reset();
                      }};
    co_await closing;
    if (uploading.error()) lost = failure_of(*w.connected, uploading.error());
  }

  /// `file`, which may be null; if it can't be in a batch with others, puts it back and returns
  /// null.
  pointer batchable(pointer file) {
    if (file && !is_batchable(*file)) this->queue().put_back(std::move(file));
    return file;
  }

  static bool is_batchable(record& file) {
    return !file.alone && file.is_seekable() && (file.is_prepared || !file.may_block());
  }

  // ----------------------------------------------------------------------------- missing files

  /// Asks for a batch of files whether the server holds them, and uploads those that it lacks.
  /// While it answers, the next files are hashed.
  template <class Client>
  flow<void> upload_missing(worker& w, Client& client, pointer first, transfer_failure& lost) {
    using digest_type = typename Client::digest_type;
    using hasher = typename Client::hasher_type;
    using query = name_request<digest_type>;
    std::size_t room = this->limit_for(w, upload_windows);
    std::uint64_t hashed = 0;
    std::optional<query> current;
    const auto hash_next = [&]() -> query* {
      current.reset();
      while (room > 0) {
        pointer file = batchable(first ? std::move(first) : this->queue().next());
        if (!file) return nullptr;
        std::error_code ec = file->error();
        std::optional<open_file> opened;
        upload_request<digest_type> request;
        if (!ec) begin(*file, opened, request, ec);
        if (!ec && hashed > 0 && hashed + file->size > max_hashed_size) {
          this->queue().put_back(std::move(file));
          return nullptr;
        }
        if (!ec) find_digest<hasher>(*file, *opened, ec);
        if (!ec) {
          current =
              query{std::move(request.name), file->size, *file->digest.template as<digest_type>(),
                    request.modified, request.executable};
          hashed += file->size;
        }
        --room;
        w.add(std::move(file), ec);
        if (!ec) return &*current;
      }
      return nullptr;
    };
    opened_files<query> files{hash_next};
    std::deque<pointer> missing;
    std::deque<pointer> duplicates;  // of files in `missing`: asked for again after these are sent
    std::set<digest_type> missing_digests;
    const std::function<void(const query&, std::error_code, bool)> on_answer =
        [&](const query& asked, std::error_code ec, bool held) {
          pointer file = this->take_answered(w);
          if (!file) return;
          if (ec || held) conclude_held(w, std::move(file), ec, asked.id);
          else if (missing_digests.insert(asked.id).second) missing.push_back(std::move(file));
          else duplicates.push_back(std::move(file));
        };
    auto asking = make_call<>(
        [&](auto handler) { client.async_add_names(files, on_answer, std::move(handler)); });
    co_await asking;
    if (asking.error()) {
      lost = failure_of(*w.connected, asking.error());
    } else {
      w.answered = false;
      const auto next = [&] { return this->queue().stopped() ? nullptr : take_front(missing); };
      co_await upload_each(w, client, next, missing.size(), lost);
    }
    if (first) this->queue().put_back(std::move(first));
    while (!duplicates.empty()) this->queue().put_back(take_back(duplicates));
    while (!missing.empty()) this->queue().put_back(take_back(missing));
  }

  static pointer take_front(std::deque<pointer>& files) {
    if (files.empty()) return nullptr;
    pointer file = std::move(files.front());
    files.pop_front();
    return file;
  }
  static pointer take_back(std::deque<pointer>& files) {
    pointer file = std::move(files.back());
    files.pop_back();
    return file;
  }

  /// The server holds a file, or has refused its name.
  void conclude_held(worker& w, pointer file, std::error_code ec, const any_digest& id) {
    transfer_outcome outcome{file->index, failure_of(*w.connected, ec)};
    outcome.local_digest = id;
    if (!ec) outcome.remote_digest = id;
    outcome.size = file->size;
    outcome.name = file->name();
    if (ec) this->retry_or_report(std::move(file), std::move(outcome), 0);
    else this->report(*file, std::move(outcome));
  }

  // ------------------------------------------------------------------------------------- results

  template <class Result>
  void conclude(worker& w, pointer file, std::error_code ec, const Result& result) {
    file->progress->stop();
    transfer_outcome outcome{file->index, failure_of(*w.connected, ec)};
    outcome.transferred = result.sent;
    outcome.local_digest = result.local_digest;
    outcome.remote_digest = result.remote_digest;
    outcome.size = file->size;
    outcome.name = file->name();
    if (!ec || ec == errc::digest_mismatch) return this->report(*file, std::move(outcome));
    // The server held bytes of another file from an earlier attempt, and has dropped them; or the
    // file has changed since it was read; or the cache was wrong.
    const bool was_stale = ec == errc::mismatch && result.offset > 0;
    const bool has_changed = ec == errc::mismatch || ec == errc::source_changed;
    const bool was_read = has_changed && std::exchange(file->digest_was_read, false);
    if (was_read) {
      file->digest = {};
      file->digest_was_wrong = true;
    }
    if ((was_stale || was_read) && !std::exchange(file->restarted, true)) {
      return this->retry_now(std::move(file));
    }
    if (was_read) outcome.failure = {errc::source_changed, failure_origin::local};
    if (!file->is_seekable()) return this->report(*file, std::move(outcome));
    this->retry_or_report(std::move(file), std::move(outcome), result.bytes);
  }

  upload_scope scope_;
};

}  // namespace filexfer::detail

#endif
