#ifndef FILEXFER_DETAIL_POOL_OPENED_HPP
#define FILEXFER_DETAIL_POOL_OPENED_HPP

// The source or sink of a job's file, independent of its type.

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/error.hpp>
#include <filexfer/publication.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer_types.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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

/// The source of any element. For a source without them, `seek` fails, `check_unchanged` succeeds,
/// and `modified`, `executable` and `native_handle` return nothing.
class any_source {
 public:
  virtual ~any_source() = default;
  virtual std::uint64_t size() const = 0;
  virtual std::size_t read(std::span<std::byte> to, std::error_code& ec) = 0;
  virtual void seek(std::uint64_t offset, std::error_code& ec) = 0;
  virtual void check_unchanged(std::error_code& ec) = 0;
  virtual bool may_block() const noexcept = 0;
  virtual std::optional<file_time> modified() const = 0;
  virtual std::optional<bool> executable() const = 0;
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
  std::optional<bool> executable() const override {
    if constexpr (requires { source_.executable(); }) return source_.executable();
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
  virtual publication* begin_commit(std::error_code& ec) = 0;
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
  publication* begin_commit(std::error_code& ec) override {
    if constexpr (group_commit_sink<Sink>) return sink_.begin_commit(ec);
    sink_.commit(ec);
    return nullptr;
  }

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
        sink_.announce(file_info<Digest>{*id, file.name, file.size, file.modified, file.executable},
                       ec);
      }
    }
  }

  Sink sink_;
};

/// The type that an element's `open` returns.
template <class Element>
using opened_by =
    std::remove_cvref_t<decltype(std::declval<Element&>().open(std::declval<std::error_code&>()))>;

}  // namespace filexfer::detail

#endif
