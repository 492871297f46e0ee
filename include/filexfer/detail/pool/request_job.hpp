#ifndef FILEXFER_DETAIL_POOL_REQUEST_JOB_HPP
#define FILEXFER_DETAIL_POOL_REQUEST_JOB_HPP

// Jobs that are one operation on a file at the server, with retries: reading a range of it into
// memory, removing a name.

#include <filexfer/detail/pool/core.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/detail/pool/single_job.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/results.hpp>
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

/// \tparam Derived  Has a flow `request(client, id, ec)`, which sets `result_`, a `Result` that is
///   false or empty as long as nothing has arrived.
template <class Core, class Result, class Derived>
class request_job : public single_job<Core, Result> {
  using base = single_job<Core, Result>;

 protected:
  using typename base::connection;

  /// \param name  For events; empty if it is unknown.
  request_job(std::shared_ptr<Core> core, const any_digest& id, std::string name)
      : base{std::move(core)}, id_{id}, name_{std::move(name)} {}
  ~request_job() = default;

  const std::string& name() const noexcept { return name_; }

  flow<void> run() override {
    const typename base::attempt_function request = [this](auto& connected) {
      return this->request_over(connected);
    };
    co_await this->perform(request, name_);
  }

  bool has_progressed() const override { return this->has_received_; }

 private:
  flow<void> request_over(connection& connected) {
    this->result_ = Result{};
    if (!connected.visit([&](auto& client) { return id_of(client).has_value(); })) {
      this->failure_ = {errc::digest_changed, failure_origin::peer};
      co_return;
    }
    std::error_code ec;
    co_await connected.visit([&](auto& client) {
      return static_cast<Derived*>(this)->request(client, *id_of(client), ec);
    });
    this->failure_ = failure_of(connected, ec);
    this->has_received_ = this->result_ != Result{};
  }

  /// The id as the client's kind of digest; nothing if it is of another kind.
  template <class Client>
  auto id_of(const Client&) const {
    return id_.template as<typename Client::digest_type>();
  }

  any_digest id_;
  std::string name_;
};

/// Appends to a vector, as a `byte_sink`.
struct part_sink {
  std::vector<std::byte>& bytes;

  void write(std::span<const std::byte> more, std::error_code& ec) const {
    ec.clear();
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
  static void commit(std::error_code& ec) { ec.clear(); }
};

/// Its result is the bytes.
template <class Core>
class read_job : public request_job<Core, std::vector<std::byte>, read_job<Core>> {
  using base = request_job<Core, std::vector<std::byte>, read_job>;
  friend base;

 public:
  read_job(std::shared_ptr<Core> core, const any_digest& id, std::uint64_t offset,
           std::size_t length)
      : base{std::move(core), id, {}}, offset_{offset}, length_{length} {}

 protected:
  ~read_job() = default;

 private:
  template <class Client>
  flow<void> request(Client& client, typename Client::digest_type id, std::error_code& ec) {
    const typename Client::download_request wanted{id, offset_, length_};
    part_sink sink{this->result_};
    auto reading = make_call<typename Client::download_entry>(
        [&](auto handler) { client.async_download_range(wanted, sink, std::move(handler)); });
    co_await reading;
    ec = reading.error();
  }

  std::uint64_t offset_;
  std::size_t length_;
};

/// Its result is whether the file had the name, at the first attempt that was answered.
template <class Core>
class remove_job : public request_job<Core, bool, remove_job<Core>> {
  using base = request_job<Core, bool, remove_job>;
  friend base;

 public:
  remove_job(std::shared_ptr<Core> core, const any_digest& id, std::string name)
      : base{std::move(core), id, std::move(name)} {}

 protected:
  ~remove_job() = default;

 private:
  template <class Client>
  flow<void> request(Client& client, typename Client::digest_type id, std::error_code& ec) {
    auto removing = make_call<bool>(
        [&](auto handler) { client.async_remove(id, this->name(), std::move(handler)); });
    co_await removing;
    ec = removing.error();
    if (!ec) this->result_ = removing.value();
  }
};

}  // namespace filexfer::detail

#endif
