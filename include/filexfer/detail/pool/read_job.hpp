#ifndef FILEXFER_DETAIL_POOL_READ_JOB_HPP
#define FILEXFER_DETAIL_POOL_READ_JOB_HPP

// A job that reads a range of a file at the server into memory.

#include <filexfer/detail/pool/core.hpp>
#include <filexfer/detail/pool/query_job.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/results.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_types.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// Appends to a vector, as a `byte_sink`.
struct part_sink {
  std::vector<std::byte>& bytes;

  void write(std::span<const std::byte> more, std::error_code& ec) const {
    ec.clear();
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
  static void commit(std::error_code& ec) { ec.clear(); }
};

template <class Core>
class read_job : public single_job<Core, std::vector<std::byte>> {
  using base = single_job<Core, std::vector<std::byte>>;
  using connection = typename Core::connection;

 public:
  read_job(std::shared_ptr<Core> core, const any_digest& id, std::uint64_t offset,
           std::size_t length)
      : base{std::move(core)}, id_{id}, offset_{offset}, length_{length} {}

 protected:
  ~read_job() = default;

  flow<void> run() override {
    const auto& options = this->core().options;
    retry_schedule<typename Core::clock> schedule{retry_policy{.patience = options.retry_for}};
    for (;;) {
      const bool was_idle = co_await read_once();
      const transfer_failure& failure = this->failure_;
      if (!failure || this->cancelled() || !this->core().may_pass(failure)) co_return;
      if (was_idle) continue;
      if (!this->result_.empty()) schedule.progress();
      const auto pause = schedule.next();
      if (!pause) co_return;
      typename Core::timer_type timer{this->core().strand};
      timer.expires_after(*pause);
      auto waiting = make_call<>([&](auto handler) { timer.async_wait(std::move(handler)); });
      co_await waiting;
    }
  }

 private:
  /// Makes one attempt. True if it failed on a connection that may have broken while idle.
  flow<bool> read_once() {
    this->failure_ = {};
    this->result_.clear();
    std::unique_ptr<connection> connected;
    co_await this->core().take_connection(connected, this->failure_);
    if (!connected) co_return false;
    if (!connected->visit([&](auto& client) { return is_id_of(client); })) {
      this->failure_ = {errc::digest_changed, failure_origin::peer};
      this->core().put_idle(std::move(connected));
      co_return false;
    }
    std::error_code ec;
    co_await connected->visit([&](auto& client) { return this->read_with(client, ec); });
    this->failure_ = failure_of(*connected, ec);
    if (!connected->usable()) {
      const bool was_idle = connected->was_used && this->result_.empty();
      co_return was_idle;
    }
    this->core().put_idle(std::move(connected));
    co_return false;
  }

  /// Whether the id is of the client's kind of digest.
  template <class Client>
  bool is_id_of(const Client&) const {
    return id_.template as<typename Client::digest_type>().has_value();
  }

  template <class Client>
  flow<void> read_with(Client& client, std::error_code& ec) {
    const auto id = id_.template as<typename Client::digest_type>();
    const typename Client::download_request wanted{*id, offset_, length_};
    part_sink sink{this->result_};
    auto reading = make_call<typename Client::download_entry>(
        [&](auto handler) { client.async_download_range(wanted, sink, std::move(handler)); });
    co_await reading;
    ec = reading.error();
  }

  any_digest id_;
  std::uint64_t offset_;
  std::size_t length_;
};

}  // namespace filexfer::detail

#endif
