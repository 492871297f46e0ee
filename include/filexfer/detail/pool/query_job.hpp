#ifndef FILEXFER_DETAIL_POOL_QUERY_JOB_HPP
#define FILEXFER_DETAIL_POOL_QUERY_JOB_HPP

// Jobs that ask the server something, over one connection: which features it has, what it lists,
// and whether it holds files of this side.

#include <filexfer/detail/pool/core.hpp>
#include <filexfer/detail/pool/counted.hpp>
#include <filexfer/detail/pool/digests.hpp>
#include <filexfer/detail/pool/elements.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/error.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>

#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>

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

/// The entries of a list, as they come.
using entry_taker = std::function<void(const listed_file&, std::error_code&)>;

/// Whom a list's caller wants to be told of entries.
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

/// A job that is one routine.
template <class Core, class Result>
class single_job : public job_base, public std::enable_shared_from_this<single_job<Core, Result>> {
 public:
  using result_type = Result;

  explicit single_job(std::shared_ptr<Core> core) : core_{std::move(core)} {}

  void start() override {
    core_->start_job(this->weak_from_this());
    running_ = routine::start(
        core_->strand, this->shared_from_this(), [this] { return this->run(); },
        [this](std::error_code thrown) { this->end(thrown); });
    if (cancelled_) cancel(asio::cancellation_type::terminal);
  }

  /// Whatever the type, it breaks off.
  void cancel(asio::cancellation_type type) override {
    if (type == asio::cancellation_type::none) return;
    cancelled_ = true;
    if (const auto running = running_.lock()) running->terminate();
  }

 protected:
  ~single_job() = default;

  virtual flow<void> run() = 0;
  virtual void complete(std::error_code ec, Result result) = 0;

  Core& core() noexcept { return *core_; }
  const std::atomic<bool>& cancelled() const noexcept { return cancelled_; }

  /// Lists the server's files, over a connection that may have been idle: one that has broken
  /// meanwhile is replaced.
  flow<void> list_entries(const list_request& wanted, const entry_taker& on_entry) {
    bool has_come = false;
    std::unique_ptr<typename Core::connection> connected;
    for (;;) {
      failure_ = {};
      co_await core_->take_connection(connected, failure_);
      if (!connected) co_return;
      std::error_code ec;
      co_await connected->visit(
          [&](auto& client) { return this->list_with(client, wanted, on_entry, has_come, ec); });
      failure_ = failure_of(*connected, ec);
      const bool was_used = connected->was_used;
      if (connected->usable()) {
        core_->put_idle(std::move(connected));
        co_return;
      }
      connected.reset();
      if (!was_used || has_come || failure_.origin == failure_origin::local) co_return;
      if (cancelled_) co_return;
    }
  }

  Result result_{};
  transfer_failure failure_{};

 private:
  template <class Client>
  flow<void> list_with(Client& client, const list_request& wanted, const entry_taker& on_entry,
                       bool& has_come, std::error_code& ec) {
    const std::function<void(const typename Client::file_info&, std::error_code&)> take =
        [&](const typename Client::file_info& file, std::error_code& failed) {
          has_come = true;
          on_entry({file.id, file.name, file.size, file.modified}, failed);
        };
    auto listing = make_call<>(
        [&](auto handler) { client.async_list_files(wanted, take, std::move(handler)); });
    co_await listing;
    ec = listing.error();
  }

  void end(std::error_code thrown) {
    if (thrown) failure_ = {thrown, failure_origin::local};
    if (cancelled_ && !failure_)
      failure_ = {asio::error::operation_aborted, failure_origin::stream};
    core_->last_failure = failure_;
    complete(failure_.error, std::move(result_));
    core_->end_job();
  }

  std::shared_ptr<Core> core_;
  std::weak_ptr<routine> running_;
  std::atomic<bool> cancelled_{false};
};

template <class Core>
class features_job : public single_job<Core, server_features> {
 public:
  using single_job<Core, server_features>::single_job;

 protected:
  ~features_job() = default;

  flow<void> run() override {
    std::unique_ptr<typename Core::connection> connected;
    co_await this->core().take_connection(connected, this->failure_);
    if (!connected) co_return;
    this->result_ = this->core().features;
    this->core().put_idle(std::move(connected));
  }
};

/// Tells how many entries there were.
template <class Core>
class list_job : public single_job<Core, std::uint64_t> {
 public:
  list_job(std::shared_ptr<Core> core, list_request wanted,
           std::unique_ptr<entry_callback> on_entry)
      : single_job<Core, std::uint64_t>{std::move(core)},
        wanted_{std::move(wanted)},
        on_entry_{std::move(on_entry)} {}

 protected:
  ~list_job() = default;

  flow<void> run() override {
    const entry_taker take = [this](const listed_file& file, std::error_code& ec) {
      ++this->result_;
      on_entry_->call(file, ec);
    };
    co_await this->list_entries(wanted_, take);
  }

 private:
  list_request wanted_;
  std::unique_ptr<entry_callback> on_entry_;
};

/// What a job of files that don't move keeps of each.
struct unmoved_record : any_upload {
  std::size_t index = 0;  ///< Place in the range.
};

/// A job of files that don't move.
template <class Core, class Result>
class unmoved_job : public single_job<Core, Result> {
 public:
  using record = unmoved_record;
  using files_type = job_files<record>;

  unmoved_job(std::shared_ptr<Core> core, std::unique_ptr<files_type> files)
      : single_job<Core, Result>{std::move(core)}, files_{std::move(files)} {}

  void cancel(asio::cancellation_type type) override {
    single_job<Core, Result>::cancel(type);
    queue_.stop();
  }

 protected:
  ~unmoved_job() = default;

  std::unique_ptr<files_type> files_;
  element_queue<record> queue_{*files_};
};

template <class Core>
class verify_job : public unmoved_job<Core, transfer_totals> {
 public:
  using unmoved_job<Core, transfer_totals>::unmoved_job;
  using typename unmoved_job<Core, transfer_totals>::record;

 protected:
  ~verify_job() = default;

  flow<void> run() override {
    std::size_t count = 0;
    const entry_taker keep = [&](const listed_file& file, std::error_code& ec) {
      if (++count > this->core().options.client.max_entries) ec = errc::too_many_entries;
      else held_.emplace(file.name, file.id);
    };
    const list_request all;
    co_await this->list_entries(all, keep);
    if (this->failure_) co_return;
    for (;;) {
      std::unique_ptr<record> file;
      transfer_outcome told;
      work_call checking{this->core().work_executor, [&](std::error_code& ec) {
                           file = this->queue_.next();
                           ec = this->queue_.error();
                           if (file) told = check(*file);
                         }};
      co_await checking;
      if (checking.error()) this->failure_ = {checking.error(), failure_origin::local};
      if (!file || this->failure_) co_return;
      ++(told.failure ? this->result_.failed : this->result_.already_there);
      this->files_->tell(*file, std::move(told));
    }
  }

 private:
  transfer_outcome check(record& file) {
    transfer_outcome told{file.index};
    std::error_code ec = file.error();
    if (!ec && file.blocks()) file.prepare(ec);
    if (!ec) hash(file, told, ec);
    if (ec) {
      told.failure = {ec, failure_origin::local};
    } else if (!held_.contains({told.name, told.computed_here})) {
      told.failure = {errc::not_found, failure_origin::peer};
    } else {
      told.computed_there = told.computed_here;
    }
    return told;
  }

  void hash(record& file, transfer_outcome& told, std::error_code& ec) {
    const auto source = file.open(ec);
    if (ec) return;
    told.name = file.name();
    told.size = source->size();
    file_progress progress{this->core().progress, told.size};
    progress.start(told.size);
    counted_source counted{*source, progress, this->cancelled()};
    any_digest_cache* const cache = this->core().digests.get();
    this->core().with_hasher([&]<class Hasher>(std::type_identity<Hasher>) {
      told.computed_here = digest_of<Hasher>(cache, *source, counted, ec);
    });
  }

  std::set<std::pair<std::string, any_digest>> held_;  ///< Names and ids.
};

/// Tells how many files there are, and their sizes to the pool's progress.
template <class Core>
class count_job : public unmoved_job<Core, std::uint64_t> {
 public:
  using unmoved_job<Core, std::uint64_t>::unmoved_job;
  using typename unmoved_job<Core, std::uint64_t>::record;

 protected:
  ~count_job() = default;

  flow<void> run() override {
    constexpr int at_once = 100;  // others have work, too
    bool more = true;
    work_call counting{this->core().work_executor, [&](std::error_code& ec) {
                         for (int i = 0; more && i < at_once; ++i) {
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
    if (!file.blocks()) {
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
