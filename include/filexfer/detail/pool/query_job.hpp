#ifndef FILEXFER_DETAIL_POOL_QUERY_JOB_HPP
#define FILEXFER_DETAIL_POOL_QUERY_JOB_HPP

// Jobs that query the server over one connection: its features, its list, whether it holds local
// files; with retries.

#include <filexfer/detail/pool/core.hpp>
#include <filexfer/detail/pool/counted.hpp>
#include <filexfer/detail/pool/digests.hpp>
#include <filexfer/detail/pool/element_queue.hpp>
#include <filexfer/detail/pool/elements.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/detail/pool/single_job.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/error.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>

#include <asio/cancellation_type.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

/// Called for each entry of a list as it arrives. An error that it sets ends the list.
using entry_function = std::function<void(const listed_file&, std::error_code&)>;

/// The callback of a list's caller, type-erased.
class entry_callback {
 public:
  virtual ~entry_callback() = default;
  virtual void call(const listed_file& file, std::error_code& ec) = 0;
};

template <class OnEntry>
class entry_callback_of final : public entry_callback {
 public:
  explicit entry_callback_of(OnEntry on_entry) : on_entry_{std::move(on_entry)} {}

  void call(const listed_file& file, std::error_code& ec) override {
    if constexpr (std::is_invocable_v<OnEntry&, const listed_file&, std::error_code&>) {
      on_entry_(file, ec);
    } else {
      on_entry_(file);
    }
  }

 private:
  OnEntry on_entry_;
};

template <class Core>
class features_job : public single_job<Core, server_features> {
  using base = single_job<Core, server_features>;

 public:
  using base::base;

 protected:
  ~features_job() = default;

  flow<void> run() override {
    const typename base::attempt_function keep = [this](auto&) { return this->keep_features(); };
    co_await this->perform(keep);
  }

 private:
  /// They were learned with the connection.
  flow<void> keep_features() {
    this->result_ = this->core().features;
    co_return;
  }
};

/// A job that may list the server's files.
template <class Core, class Result>
class listing_job : public single_job<Core, Result> {
  using base = single_job<Core, Result>;

 public:
  using base::base;

 protected:
  using typename base::connection;
  ~listing_job() = default;

  /// Lists the server's files, as an attempt.
  flow<void> list_over(connection& connected, const list_request& wanted,
                       const entry_function& on_entry) {
    std::error_code ec;
    co_await connected.visit(
        [&](auto& client) { return this->list_with(client, wanted, on_entry, ec); });
    this->failure_ = failure_of(connected, ec);
  }

 private:
  template <class Client>
  flow<void> list_with(Client& client, const list_request& wanted, const entry_function& on_entry,
                       std::error_code& ec) {
    const std::function<void(const typename Client::file_info&, std::error_code&)> forward =
        [&](const typename Client::file_info& file, std::error_code& failed) {
          this->has_received_ = true;
          on_entry({file.id, file.name, file.size, file.modified, file.executable}, failed);
        };
    auto listing = make_call<>(
        [&](auto handler) { client.async_list_files(wanted, forward, std::move(handler)); });
    co_await listing;
    ec = listing.error();
  }
};

/// Its result is the number of entries. Once one was passed on, nothing is retried.
template <class Core>
class list_job : public listing_job<Core, std::uint64_t> {
  using base = listing_job<Core, std::uint64_t>;

 public:
  list_job(std::shared_ptr<Core> core, list_request wanted,
           std::unique_ptr<entry_callback> on_entry)
      : base{std::move(core)}, wanted_{std::move(wanted)}, on_entry_{std::move(on_entry)} {}

 protected:
  ~list_job() = default;

  flow<void> run() override {
    const entry_function on_entry = [this](const listed_file& file, std::error_code& ec) {
      ++this->result_;
      on_entry_->call(file, ec);
    };
    const typename base::attempt_function list = [&](auto& over) {
      return this->list_over(over, wanted_, on_entry);
    };
    co_await this->perform(list);
  }

  bool may_repeat() const override { return this->result_ == 0; }

 private:
  list_request wanted_;
  std::unique_ptr<entry_callback> on_entry_;
};

/// A `local_files_job`'s state of a file.
struct local_file_record : any_upload {
  std::size_t index = 0;  ///< Position in the range.
};

/// A job that reads local files but does not transfer them.
template <class Core, class Result>
class local_files_job : public listing_job<Core, Result> {
  using base = listing_job<Core, Result>;

 public:
  using record = local_file_record;
  using files_type = job_files<record>;

  local_files_job(std::shared_ptr<Core> core, std::unique_ptr<files_type> files)
      : base{std::move(core)}, files_{std::move(files)} {}

  void cancel(asio::cancellation_type type) override {
    base::cancel(type);
    queue_.stop();
  }

 protected:
  ~local_files_job() = default;

  std::unique_ptr<files_type> files_;
  element_queue<record> queue_{*files_};
};

template <class Core>
class verify_job : public local_files_job<Core, transfer_totals> {
  using base = local_files_job<Core, transfer_totals>;

 public:
  using base::base;
  using typename base::record;

 protected:
  ~verify_job() = default;

  flow<void> run() override {
    std::size_t count = 0;
    const entry_function keep = [&](const listed_file& file, std::error_code& ec) {
      if (++count > this->core().options.client.max_entries) ec = errc::too_many_entries;
      else listed_.emplace(file.name, file.id);
    };
    const list_request all;
    const typename base::attempt_function list = [&](auto& over) {
      count = 0;
      listed_.clear();
      return this->list_over(over, all, keep);
    };
    co_await this->perform(list);
    if (this->failure_) co_return;
    for (;;) {
      std::unique_ptr<record> file;
      transfer_outcome outcome;
      work_call checking{this->core().work_executor, [&](std::error_code& ec) {
                           file = this->queue_.next();
                           ec = this->queue_.error();
                           if (file) outcome = check(*file);
                         }};
      co_await checking;
      if (checking.error()) this->failure_ = {checking.error(), failure_origin::local};
      if (!file || this->failure_) co_return;
      ++(outcome.failure ? this->result_.failed : this->result_.already_present);
      this->files_->report(*file, std::move(outcome));
    }
  }

 private:
  transfer_outcome check(record& file) {
    transfer_outcome outcome{file.index};
    std::error_code ec = file.error();
    if (!ec && file.may_block()) file.prepare(ec);
    if (!ec) hash(file, outcome, ec);
    if (ec) {
      outcome.failure = {ec, failure_origin::local};
    } else if (!listed_.contains({outcome.name, outcome.local_digest})) {
      outcome.failure = {errc::not_found, failure_origin::peer};
    } else {
      outcome.remote_digest = outcome.local_digest;
    }
    return outcome;
  }

  void hash(record& file, transfer_outcome& outcome, std::error_code& ec) {
    const auto source = file.open(ec);
    if (ec) return;
    outcome.name = file.name();
    outcome.size = source->size();
    file_progress progress{this->core().progress, outcome.size};
    progress.start(outcome.size);
    counted_source counted{*source, progress, this->cancelled()};
    any_digest_cache* const cache = this->core().digests.get();
    this->core().with_hasher([&]<class Hasher>(std::type_identity<Hasher>) {
      outcome.local_digest = digest_of<Hasher>(cache, *source, counted, ec);
    });
  }

  std::set<std::pair<std::string, any_digest>> listed_;  ///< Names and ids.
};

/// Announces files to the pool's progress. Its result is their number.
template <class Core>
class count_job : public local_files_job<Core, std::uint64_t> {
 public:
  using local_files_job<Core, std::uint64_t>::local_files_job;
  using typename local_files_job<Core, std::uint64_t>::record;

 protected:
  ~count_job() = default;

  flow<void> run() override {
    constexpr int batch_size = 100;  // small, so that the work executor can serve other jobs
    bool more = true;
    work_call counting{this->core().work_executor, [&](std::error_code& ec) {
                         for (int i = 0; more && i < batch_size; ++i) {
                           const auto file = this->queue_.next();
                           more = file != nullptr;
                           if (file) count(*file);
                         }
                         ec = this->queue_.error();
                       }};
    while (more) {
      co_await counting;
      if (counting.error()) {
        this->failure_ = {counting.error(), failure_origin::local};
        co_return;
      }
    }
    if (!this->cancelled()) this->core().progress.expect_no_more();
  }

 private:
  void count(record& file) {
    if (file.error()) return;
    std::optional<std::uint64_t> size;
    if (!file.may_block()) {
      std::error_code ec;
      const auto source = file.open(ec);
      if (ec) return;
      size = source->size();
    }
    ++this->result_;
    this->core().progress.expect(size);
  }
};

}  // namespace filexfer::detail

#endif
