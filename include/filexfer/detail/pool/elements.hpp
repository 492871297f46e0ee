#ifndef FILEXFER_DETAIL_POOL_ELEMENTS_HPP
#define FILEXFER_DETAIL_POOL_ELEMENTS_HPP

// A job's files. The types of the caller's range, elements, sources, sinks and callback are erased
// here, so that jobs, and the client's flows under them, are compiled once per pool and not once
// per type of element.

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/error.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer_types.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

/// Constructs in place what can't be moved: `optional.emplace(made_by{[&] { return make(); }})`.
template <class Make>
struct made_by {
  Make make;
  operator std::invoke_result_t<Make&>() { return make(); }
};
template <class Make>
made_by(Make) -> made_by<Make>;

// ------------------------------------------------------------------------------ sources and sinks

/// The source of any element. For a source without them, `seek` fails, `check_unchanged` succeeds,
/// and `modified` and `native_handle` return nothing.
class any_source {
 public:
  virtual ~any_source() = default;
  virtual std::uint64_t size() const = 0;
  virtual std::size_t read(std::span<std::byte> to, std::error_code& ec) = 0;
  virtual void seek(std::uint64_t offset, std::error_code& ec) = 0;
  virtual void check_unchanged(std::error_code& ec) = 0;
  virtual bool may_block() const noexcept = 0;
  virtual std::optional<file_time> modified() const = 0;
  virtual std::optional<int> native_handle() const noexcept = 0;
};

template <class Source>
class element_source final : public any_source {
 public:
  template <class Make>
  explicit element_source(made_by<Make> make) : source_(make) {}

  std::uint64_t size() const override { return source_.size(); }
  std::size_t read(std::span<std::byte> to, std::error_code& ec) override {
    return source_.read(to, ec);
  }
  void seek([[maybe_unused]] std::uint64_t offset, std::error_code& ec) override {
    if constexpr (seekable_source<Source>) source_.seek(offset, ec);
    else ec = errc::bad_range;
  }
  void check_unchanged(std::error_code& ec) override {
    if constexpr (guarded_source<Source>) source_.check_unchanged(ec);
    else ec.clear();
  }
  bool may_block() const noexcept override { return detail::may_block(source_); }
  std::optional<file_time> modified() const override {
    if constexpr (requires { source_.modified(); }) return source_.modified();
    else return std::nullopt;
  }
  std::optional<int> native_handle() const noexcept override {
    if constexpr (requires { source_.native_handle(); }) return source_.native_handle();
    else return std::nullopt;
  }

 private:
  Source source_;
};

/// The sink of any element.
class any_sink {
 public:
  virtual ~any_sink() = default;

  virtual void announce(const listed_file& file, std::error_code& ec) = 0;
  virtual void write(std::span<const std::byte> bytes, std::error_code& ec) = 0;
  virtual void commit(std::error_code& ec) = 0;
  virtual std::uint64_t held() const = 0;
  virtual std::size_t read_held(std::span<std::byte> to, std::uint64_t offset,
                                std::error_code& ec) = 0;
  virtual void discard_held(std::error_code& ec) = 0;

  /// An attempt has failed: keeps the received bytes for the next one.
  virtual void keep() = 0;
};

/// \tparam Digests  The types of digest for which the sink may be an `announced_sink`.
template <class Sink, class... Digests>
class element_sink final : public any_sink {
 public:
  template <class Make>
  explicit element_sink(made_by<Make> make) : sink_(make) {}

  void announce(const listed_file& file, std::error_code& ec) override {
    ec.clear();
    if constexpr (announced_sink<Sink, any_digest>) {
      sink_.announce(file, ec);
    } else {
      (announce_as<Digests>(file, ec), ...);
    }
  }
  void write(std::span<const std::byte> bytes, std::error_code& ec) override {
    sink_.write(bytes, ec);
  }
  void commit(std::error_code& ec) override { sink_.commit(ec); }

  std::uint64_t held() const override {
    if constexpr (resumable_sink<Sink>) return sink_.held();
    else return 0;
  }
  std::size_t read_held([[maybe_unused]] std::span<std::byte> to,
                        [[maybe_unused]] std::uint64_t offset, std::error_code& ec) override {
    if constexpr (resumable_sink<Sink>) return sink_.read_held(to, offset, ec);
    ec = errc::bad_range;
    return 0;
  }
  void discard_held(std::error_code& ec) override {
    ec.clear();
    if constexpr (resumable_sink<Sink>) sink_.discard_held(ec);
  }
  void keep() override {
    if constexpr (requires { sink_.keep(); }) sink_.keep();
  }

 private:
  template <class Digest>
  void announce_as([[maybe_unused]] const listed_file& file, [[maybe_unused]] std::error_code& ec) {
    if constexpr (announced_sink<Sink, Digest>) {
      if (const auto id = file.id.template as<Digest>()) {
        sink_.announce(file_info<Digest>{*id, file.name, file.size, file.modified}, ec);
      }
    }
  }

  Sink sink_;
};

/// The type that an element's `open` returns.
template <class Element>
using opened_by =
    std::remove_cvref_t<decltype(std::declval<Element&>().open(std::declval<std::error_code&>()))>;

// --------------------------------------------------------------------------------------- elements

/// A file to transfer, independent of its element's type. For optional members see `upload_element`
/// and `download_element`.
class any_element {
 public:
  virtual ~any_element() = default;
  virtual std::error_code error() = 0;
  virtual any_digest id() = 0;
  virtual std::string name() = 0;
  virtual std::string label() = 0;
  virtual bool may_block() = 0;
  virtual void prepare(std::error_code& ec) = 0;
  virtual bool may_retry() = 0;
};

class any_upload : public any_element {
 public:
  /// Whether its sources are `seekable_source`s.
  virtual bool is_seekable() const noexcept = 0;
  /// Null if `ec` is set.
  virtual std::unique_ptr<any_source> open(std::error_code& ec) = 0;
};

class any_download : public any_element {
 public:
  virtual std::optional<std::uint64_t> size() = 0;
  /// Null if there is none.
  virtual std::unique_ptr<any_source> existing(std::error_code& ec) = 0;
  virtual void settle(std::error_code& ec) = 0;
  /// Null if `ec` is set.
  virtual std::unique_ptr<any_sink> open(std::error_code& ec) = 0;
};

/// \tparam Record  A job's state of a file besides its element, derived from `any_element`.
/// \tparam Holder  `Element`, or a pointer to it.
template <class Record, class Element, class Holder>
class element_record : public Record {
 public:
  element_record(Holder held, std::size_t position) : held_{std::move(held)} {
    this->index = position;
  }

  Element& element() noexcept {
    if constexpr (std::is_pointer_v<Holder>) return *held_;
    else return held_;
  }

  std::error_code error() override {
    if constexpr (requires { element().error(); }) return element().error();
    else return {};
  }
  any_digest id() override {
    if constexpr (requires { element().id(); }) return element().id();
    else return {};
  }
  std::string name() override {
    if constexpr (requires { element().name(); }) return std::string{element().name()};
    else return {};
  }
  std::string label() override {
    if constexpr (requires { element().label(); }) return std::string{element().label()};
    else return name();
  }
  bool may_block() override {
    if constexpr (requires { element().may_block(); }) return element().may_block();
    else return false;
  }
  void prepare(std::error_code& ec) override {
    if constexpr (requires { element().prepare(ec); }) element().prepare(ec);
    else ec.clear();
  }
  bool may_retry() override {
    if constexpr (requires { element().may_retry(); }) return element().may_retry();
    else return true;
  }

 private:
  Holder held_;
};

/// Makes an `Opened` from what `open(ec)` returns, in place. Null if `ec` is set.
template <class Opened, class Open>
std::unique_ptr<Opened> make_opened(Open open, std::error_code& ec) {
  ec.clear();
  auto opened = std::make_unique<Opened>(made_by{[&] { return open(ec); }});
  if (ec) opened.reset();
  return opened;
}

template <class Record, class Element, class Holder>
class upload_element_record final : public element_record<Record, Element, Holder> {
  using source_type = opened_by<Element>;

 public:
  using element_record<Record, Element, Holder>::element_record;

  bool is_seekable() const noexcept override { return seekable_source<source_type>; }

  std::unique_ptr<any_source> open(std::error_code& ec) override {
    return make_opened<element_source<source_type>>(
        [this](std::error_code& failed) -> decltype(auto) { return this->element().open(failed); },
        ec);
  }
};

template <class Record, class Element, class Holder, class... Digests>
class download_element_record final : public element_record<Record, Element, Holder> {
 public:
  using element_record<Record, Element, Holder>::element_record;

  std::optional<std::uint64_t> size() override {
    if constexpr (requires { this->element().size(); }) return this->element().size();
    else return std::nullopt;
  }

  std::unique_ptr<any_source> existing([[maybe_unused]] std::error_code& ec) override {
    if constexpr (requires { this->element().existing(ec); }) {
      auto found = this->element().existing(ec);
      if (!found) return nullptr;
      using source_type = std::remove_cvref_t<decltype(*found)>;
      return std::make_unique<element_source<source_type>>(
          made_by{[&]() -> source_type { return std::move(*found); }});
    } else {
      return nullptr;
    }
  }

  void settle(std::error_code& ec) override {
    ec.clear();
    if constexpr (requires { this->element().settle(ec); }) this->element().settle(ec);
  }

  std::unique_ptr<any_sink> open(std::error_code& ec) override {
    return make_opened<element_sink<opened_by<Element>, Digests...>>(
        [this](std::error_code& failed) -> decltype(auto) { return this->element().open(failed); },
        ec);
  }
};

// ------------------------------------------------------------------------------------------ ranges

/// The caller's range of files and result callback.
template <class Record>
class job_files {
 public:
  virtual ~job_files() = default;
  /// The next file; null at the end. Throws what the range throws.
  virtual std::unique_ptr<Record> next() = 0;
  /// Calls the callback. Throws what it throws.
  virtual void report(Record& file, transfer_outcome outcome) = 0;
};

/// How a record holds its element: a pointer to an element of a container, any other by value.
template <class Range>
using element_holder_t =
    std::conditional_t<refers_to_elements<Range>,
                       std::remove_reference_t<std::ranges::range_reference_t<Range>>*,
                       range_element_t<Range>>;

/// \tparam Range  An lvalue reference, to what must outlive this; any other type is owned.
template <class Record, class ElementRecord, class Range, class OnResult>
class files_of_range final : public job_files<Record> {
  using element_type = range_element_t<Range>;
  using holder = element_holder_t<Range>;

 public:
  files_of_range(Range&& range, OnResult on_result)
      : range_{std::forward<Range>(range)}, on_result_{std::move(on_result)} {}

  std::unique_ptr<Record> next() override {
    if (!position_) position_.emplace(std::ranges::begin(range_));
    else ++*position_;
    if (*position_ == std::ranges::end(range_)) return nullptr;
    if constexpr (refers_to_elements<Range>) {
      return std::make_unique<ElementRecord>(&**position_, count_++);
    } else {
      return std::make_unique<ElementRecord>(holder(std::move(**position_)), count_++);
    }
  }

  void report(Record& file, transfer_outcome outcome) override {
    const file_result<element_type> result{std::move(outcome),
                                           static_cast<ElementRecord&>(file).element()};
    on_result_(result);
  }

 private:
  Range range_;
  std::optional<std::ranges::iterator_t<std::remove_reference_t<Range>>> position_;
  std::size_t count_ = 0;
  OnResult on_result_;
};

template <class Record, class Range, class OnResult>
std::unique_ptr<job_files<Record>> files_to_upload(Range&& range, OnResult on_result) {
  using element_record_type =
      upload_element_record<Record, range_element_t<Range>, element_holder_t<Range>>;
  return std::make_unique<files_of_range<Record, element_record_type, Range, OnResult>>(
      std::forward<Range>(range), std::move(on_result));
}

template <class Record, class... Digests, class Range, class OnResult>
std::unique_ptr<job_files<Record>> files_to_download(Range&& range, OnResult on_result) {
  using element_record_type =
      download_element_record<Record, range_element_t<Range>, element_holder_t<Range>, Digests...>;
  return std::make_unique<files_of_range<Record, element_record_type, Range, OnResult>>(
      std::forward<Range>(range), std::move(on_result));
}

/// A queue of a job's files. Thread-safe; only one thread at a time uses the range.
template <class Record>
class element_queue {
 public:
  using pointer = std::unique_ptr<Record>;

  explicit element_queue(job_files<Record>& files) : files_{files} {}

  /// The next file: one that was put back, else the range's next. Null at the end, after the
  /// range's first exception, and after `stop`.
  pointer next() {
    if (stopped_) return nullptr;
    if (auto file = take_returned()) return file;
    const std::lock_guard lock{range_mutex_};
    if (ended_) return nullptr;
    pointer file;
    try {
      file = files_.next();
    } catch (...) {
      error_ = error_of(std::current_exception());
    }
    ended_ = !file;
    return file;
  }

  /// The exception that has ended the range, if any.
  std::error_code error() {
    const std::lock_guard lock{range_mutex_};
    return error_;
  }

  /// Puts a file in front of all others.
  void put_back(pointer file) {
    const std::lock_guard lock{mutex_};
    returned_.push_front(std::move(file));
  }

  bool has_returned() {
    const std::lock_guard lock{mutex_};
    return !returned_.empty();
  }

  /// Takes the first file that was put back; null if there is none.
  pointer take_returned() {
    const std::lock_guard lock{mutex_};
    if (returned_.empty()) return nullptr;
    auto file = std::move(returned_.front());
    returned_.pop_front();
    return file;
  }

  /// From now on `next` returns null.
  void stop() noexcept { stopped_ = true; }

 private:
  job_files<Record>& files_;
  std::atomic<bool> stopped_{false};
  std::mutex range_mutex_;
  bool ended_ = false;
  std::error_code error_;

  std::mutex mutex_;
  std::deque<pointer> returned_;
};

}  // namespace filexfer::detail

#endif
