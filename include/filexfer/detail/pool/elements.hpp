#ifndef FILEXFER_DETAIL_POOL_ELEMENTS_HPP
#define FILEXFER_DETAIL_POOL_ELEMENTS_HPP

// A job's files. The types of the caller's elements, sources and sinks are erased here, so that
// jobs, and the client's flows under them, are compiled once per pool and not once per type of
// element.

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/pool/opened.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/error.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer_types.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

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
  virtual std::string resume_token() = 0;
  /// Null if `ec` is set.
  virtual std::unique_ptr<any_source> open(std::error_code& ec) = 0;
};

class any_download : public any_element {
 public:
  virtual std::optional<std::uint64_t> size() = 0;
  /// Null if there is none.
  virtual std::unique_ptr<any_source> existing(std::error_code& ec) = 0;
  virtual void accept_existing(std::error_code& ec) = 0;
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
  upload_element_record(Holder held, std::size_t position)
      : element_record<Record, Element, Holder>{std::move(held), position} {
    if constexpr (requires {
                    this->element().was_interrupted();
                    this->resume_alone();
                  }) {
      if (!this->error() && this->element().was_interrupted()) this->resume_alone();
    }
  }

  bool is_seekable() const noexcept override { return seekable_source<source_type>; }
  std::string resume_token() override {
    if constexpr (requires { this->element().resume_token(); }) {
      return std::string{this->element().resume_token()};
    } else {
      return {};
    }
  }

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

  void accept_existing(std::error_code& ec) override {
    ec.clear();
    if constexpr (requires { this->element().accept_existing(ec); })
      this->element().accept_existing(ec);
  }

  std::unique_ptr<any_sink> open(std::error_code& ec) override {
    return make_opened<element_sink<opened_by<Element>, Digests...>>(
        [this](std::error_code& failed) -> decltype(auto) { return this->element().open(failed); },
        ec);
  }
};

}  // namespace filexfer::detail

#endif
