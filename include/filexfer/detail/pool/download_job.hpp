#ifndef FILEXFER_DETAIL_POOL_DOWNLOAD_JOB_HPP
#define FILEXFER_DETAIL_POOL_DOWNLOAD_JOB_HPP

// A job that downloads. Small files are asked for one behind the other; a large one, or one that
// broke, comes by itself, and goes on with the part that its sink has kept.

#include <filexfer/detail/pool/counted.hpp>
#include <filexfer/detail/pool/elements.hpp>
#include <filexfer/detail/pool/job.hpp>
#include <filexfer/detail/pool/result_taker.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// What a download job keeps of a file.
template <class Clock>
struct download_state : retry_state<Clock> {
  std::optional<file_progress> progress{};
  bool part_was_wrong = false;

  template <class Result>
  void finish(Result&) {
    progress.reset();
  }
};

/// The sink of any element: so the client's flows are the same for all of them.
template <class Digest>
class any_sink {
 public:
  virtual ~any_sink() = default;

  /// Opens it before its file is announced: then what it holds is gone on with.
  virtual void open(std::error_code& ec) = 0;

  virtual void announce(const file_info<Digest>& file, std::error_code& ec) = 0;
  virtual void write(std::span<const std::byte> bytes, std::error_code& ec) = 0;
  virtual void commit(std::error_code& ec) = 0;
  virtual std::uint64_t held() const = 0;
  virtual std::size_t read_held(std::span<std::byte> to, std::uint64_t offset,
                                std::error_code& ec) = 0;
  virtual void drop_held(std::error_code& ec) = 0;

  /// An attempt has failed: what came is for the next one.
  virtual void keep() = 0;

  virtual void close() = 0;
};

template <class Element, class Digest>
class element_sink final : public any_sink<Digest> {
  using sink_type = std::remove_cvref_t<decltype(std::declval<Element&>().open(
      std::declval<std::error_code&>()))>;

 public:
  element_sink(Element& element, file_progress& progress)
      : element_{element}, progress_{progress} {}

  void open(std::error_code& ec) override {
    ec.clear();
    sink_.emplace(made_by{[&] { return element_.open(ec); }});
  }

  void announce(const file_info<Digest>& file, std::error_code& ec) override {
    ec.clear();
    if (!sink_) {  // the whole file comes
      open(ec);
      if (!ec && held() > 0) drop_held(ec);
    }
    if constexpr (announced_sink<sink_type, Digest>) {
      if (!ec) sink_->announce(file, ec);
    }
    if (ec) return;
    progress_.start(file.size);
    progress_.seek(held());
  }

  void write(std::span<const std::byte> bytes, std::error_code& ec) override {
    sink_->write(bytes, ec);
    progress_.moved(bytes.size());
  }

  void commit(std::error_code& ec) override { sink_->commit(ec); }

  std::uint64_t held() const override {
    if constexpr (resumable_sink<sink_type>) return sink_ ? sink_->held() : 0;
    else return 0;
  }

  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset,
                        std::error_code& ec) override {
    if constexpr (resumable_sink<sink_type>) return sink_->read_held(to, offset, ec);
    ec = errc::bad_range;
    return 0;
  }

  void drop_held(std::error_code& ec) override {
    ec.clear();
    if constexpr (resumable_sink<sink_type>) sink_->drop_held(ec);
  }

  void keep() override {
    if constexpr (requires(sink_type& s) { s.keep(); }) {
      if (sink_) sink_->keep();
    }
    close();
  }

  void close() override { sink_.reset(); }

 private:
  Element& element_;
  file_progress& progress_;
  std::optional<sink_type> sink_;
};

/// An element of one operation for many files.
template <class Digest>
struct download_to_come {
  Digest id;
  std::unique_ptr<any_sink<Digest>> place;
  any_sink<Digest>& sink = *place;
};

template <class Core, class Range, class OnResult>
class download_job
    : public transfer_job<Core, Range, download_state<typename Core::clock>, OnResult> {
  using base = transfer_job<Core, Range, download_state<typename Core::clock>, OnResult>;
  using typename base::record;
  using element_type = range_element_t<Range>;

 public:
  using base::base;
  using typename base::worker;

 protected:
  using typename base::pointer;
  using typename base::result_type;
  ~download_job() = default;

  flow<void> transfer(worker& w, pointer first, transfer_failure& lost) override {
    return w.connected->visit([&](auto& client) {
      return is_batched(*first) ? this->fetch_some(w, client, std::move(first), lost)
                                : this->fetch_alone(w, client, std::move(first), lost);
    });
  }

 private:
  template <class Result>
  friend class result_taker;

  template <class Digest>
  using sink_type = element_sink<element_type, Digest>;

  /// A file of which nothing is to come.
  struct found_here {
    pointer file;
    std::error_code error;
    bool foreign = false;
  };

  bool is_batched(record& file) {
    const auto size = size_of(file.element());
    return !file.alone && size && *size <= this->core().options.max_batched_size;
  }

  /// Whether the file that is to come is where it is to come to. On the work executor.
  template <class Hasher>
  bool is_there(record& file, std::error_code& ec) {
    auto& element = file.element();
    if (!file.progress) file.progress.emplace(this->core().progress, size_of(element));
    file.progress->stop();
    if constexpr (requires { element.existing(ec); }) {
      auto found = element.existing(ec);
      ec.clear();
      const auto size = size_of(element);
      if (!found || (size && *size != found->size())) return false;
      counted_source source{*found, *file.progress, this->cancelled()};
      const auto digest = hash_of<Hasher>(source, ec);
      const bool same = !ec && any_digest{digest} == any_digest{element.id()};
      ec.clear();
      if (!same) return false;
      if constexpr (requires { element.settle(ec); }) element.settle(ec);
      return true;
    }
    return false;
  }

  void report_there(record& file, std::error_code ec) {
    if (ec) return this->report_local(file, ec);
    result_type told{file.element(), file.index};
    told.computed_here = told.computed_there = file.element().id();
    told.size = size_of(file.element()).value_or(0);
    told.name = base::name_of(file);
    this->report(file, told);
  }

  void report_foreign(record& file) {
    this->report_failure(file, {errc::digest_changed, failure_origin::peer});
  }

  // ------------------------------------------------------------------------------- one by itself

  template <class Client>
  flow<void> fetch_alone(worker& w, Client& client, pointer file, transfer_failure& lost) {
    using digest_type = typename Client::digest_type;
    using hasher = typename Client::hasher_type;
    const any_digest wanted = file->element().id();
    const auto id = wanted.template as<digest_type>();
    if (!id) {
      report_foreign(*file);
      co_return;
    }
    bool there = false;
    std::unique_ptr<any_sink<digest_type>> place;
    work_call opening{this->core().work_executor, [&](std::error_code& ec) {
                        there = is_there<hasher>(*file, ec);
                        if (there || ec) return;
                        place = std::make_unique<sink_type<digest_type>>(file->element(),
                                                                         *file->progress);
                        place->open(ec);
                        if (ec == errc::file_exists) {  // it has come since
                          std::error_code unsettled;
                          there = is_there<hasher>(*file, unsettled);
                          if (there) ec = unsettled;
                        }
                      }};
    co_await opening;
    if (there || opening.error()) {
      place.reset();
      if (there) report_there(*file, opening.error());
      else this->report_local(*file, opening.error());
      co_return;
    }
    const bool had_part = place->held() > 0;
    any_sink<digest_type>& sink = *place;
    auto fetching = make_call<typename Client::download_result>(
        [&](auto handler) { client.async_download(*id, sink, std::move(handler)); });
    co_await fetching;
    const auto result = fetching.value();
    w.bytes_moved += result.octets;
    const std::error_code ec = fetching.error();
    const auto origin = client.last_failure();
    const bool wrong_part = had_part && (ec == errc::digest_mismatch || ec == condition::refused) &&
                            !std::exchange(file->part_was_wrong, true);
    const bool keeps =
        ec && !wrong_part && origin != failure_origin::local && ec != errc::digest_mismatch;
    bool came = false;
    work_call closing{this->core().work_executor, [&](std::error_code& unsettled) {
                        if (keeps) place->keep();
                        place.reset();
                        if (ec == errc::file_exists && origin == failure_origin::local) {
                          came = is_there<hasher>(*file, unsettled);
                        }
                      }};
    co_await closing;
    file->progress->stop();
    if (came) {
      report_there(*file, closing.error());
    } else if (wrong_part) {
      this->retry_now(std::move(file));
    } else if (ec && !client.usable() && origin != failure_origin::local) {
      lost = failure_of(*w.connected, ec);
      w.add(std::move(file));
    } else {
      judge(w, std::move(file), ec, result);
    }
  }

  // ------------------------------------------------------------------------------------- results

  template <class Result>
  void judge(worker& w, pointer file, std::error_code ec, const Result& result) {
    file->progress->stop();
    result_type told{file->element(), file->index, failure_of(*w.connected, ec)};
    told.moved = true;
    told.computed_here = result.computed_here;
    told.computed_there = file->element().id();
    told.size = result.file.size;
    told.name = result.file.name;
    if (!ec || ec == errc::digest_mismatch) return this->report(*file, told);
    if (ec == errc::file_exists && !file->alone) return this->retry_now(std::move(file));
    this->retry_or_report(std::move(file), told, result.octets);
  }

  // ---------------------------------------------------------------------- one behind the other

  template <class Client>
  flow<void> fetch_some(worker& w, Client& client, pointer first, transfer_failure& lost) {
    using digest_type = typename Client::digest_type;
    using hasher = typename Client::hasher_type;
    using item = download_to_come<digest_type>;
    std::deque<item> files;
    std::vector<found_here> found;
    std::size_t room = this->limit_for(w);
    work_call gathering{this->core().work_executor, [&](std::error_code&) {
                          while (room > 0) {
                            pointer file = first ? std::move(first) : this->queue().next();
                            if (!file) return;
                            auto& element = file->element();
                            if (const auto error = error_of_element(element)) {
                              found.push_back({std::move(file), error});
                              continue;
                            }
                            if (may_block(element) || !is_batched(*file)) {
                              this->queue().give_back(std::move(file));
                              return;
                            }
                            --room;
                            const any_digest wanted = element.id();
                            const auto id = wanted.template as<digest_type>();
                            std::error_code ec;
                            if (!id) {
                              found.push_back({std::move(file), {}, true});
                            } else if (is_there<hasher>(*file, ec) || ec) {
                              found.push_back({std::move(file), ec});
                            } else {
                              files.push_back({*id, std::make_unique<sink_type<digest_type>>(
                                                        element, *file->progress)});
                              w.add(std::move(file));
                            }
                          }
                        }};
    co_await gathering;
    for (auto& one : found) {
      if (one.foreign) report_foreign(*one.file);
      else report_there(*one.file, one.error);
    }
    if (files.empty()) co_return;
    const result_taker<typename Client::download_result> on_result{*this, w};
    auto fetching = make_call<>(
        [&](auto handler) { client.async_download_all(files, on_result, std::move(handler)); });
    co_await fetching;
    const std::error_code ec = fetching.error();
    work_call closing{this->core().work_executor, [&](std::error_code&) {
                        for (item& one : files) {
                          if (ec) one.sink.keep();
                          else one.sink.close();
                        }
                      }};
    co_await closing;
    if (ec) lost = failure_of(*w.connected, ec);
  }
};

}  // namespace filexfer::detail

#endif
