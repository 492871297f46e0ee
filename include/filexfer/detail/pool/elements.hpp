#ifndef FILEXFER_DETAIL_POOL_ELEMENTS_HPP
#define FILEXFER_DETAIL_POOL_ELEMENTS_HPP

// A job's files: the elements of a range, in the order of which they are handed out, and those that
// were given back.

#include <filexfer/any_digest.hpp>
#include <filexfer/transfer_types.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

/// A place for what can't be moved: `optional.emplace(made_by{[&] { return make(); }})`.
template <class Make>
struct made_by {
  Make make;
  operator std::invoke_result_t<Make&>() { return make(); }
};
template <class Make>
made_by(Make) -> made_by<Make>;

template <class Element>
std::error_code error_of_element(const Element& e) {
  if constexpr (requires { e.error(); }) return e.error();
  else return {};
}

template <class Element>
any_digest known_id(const Element& e) {
  if constexpr (requires { e.id(); }) return e.id();
  else return {};
}

template <class Element>
bool may_block(const Element& e) {
  if constexpr (requires { e.blocks(); }) return e.blocks();
  else return false;
}

template <class Element>
std::optional<std::uint64_t> size_of(const Element& e) {
  if constexpr (requires { e.size(); }) return e.size();
  else return std::nullopt;
}

/// What a job keeps of a file, `State` beside the element, from its turn until its result.
template <class Range, class State>
struct file_record : State {
  using element_type = range_element_t<Range>;
  using holder = std::conditional_t<refers_to_elements<Range>,
                                    std::remove_reference_t<std::ranges::range_reference_t<Range>>*,
                                    element_type>;

  file_record(holder h, std::size_t place) : held{std::move(h)}, index{place} {}

  element_type& element() noexcept {
    if constexpr (refers_to_elements<Range>) return *held;
    else return held;
  }

  holder held;
  std::size_t index;
};

/// Hands out a range's elements, one after the other. Any thread may call it; one at a time is in
/// the range.
template <class Range, class State>
class element_queue {
 public:
  using record = file_record<Range, State>;
  using pointer = std::unique_ptr<record>;

  /// An lvalue is referred to, and must outlive this; anything else is owned.
  explicit element_queue(Range&& range) : range_{std::forward<Range>(range)} {}

  /// The next file: one that was given back, else the range's next; null at the end, or once
  /// `stop` was called.
  pointer next() {
    if (stopped_) return nullptr;
    if (auto file = take_back()) return file;
    const std::lock_guard lock{range_mutex_};
    if (ended_) return nullptr;
    if (!position_) position_.emplace(std::ranges::begin(range_));
    else ++*position_;
    if (*position_ == std::ranges::end(range_)) {
      ended_ = true;
      return nullptr;
    }
    if constexpr (refers_to_elements<Range>) {
      return std::make_unique<record>(&**position_, count_++);
    } else {
      return std::make_unique<record>(typename record::holder(std::move(**position_)), count_++);
    }
  }

  /// It is the next one to be handed out.
  void give_back(pointer file) {
    const std::lock_guard lock{mutex_};
    given_back_.push_front(std::move(file));
  }

  /// One that was given back; null if there is none.
  pointer take_back() {
    const std::lock_guard lock{mutex_};
    if (given_back_.empty()) return nullptr;
    auto file = std::move(given_back_.front());
    given_back_.pop_front();
    return file;
  }

  /// No further file is handed out.
  void stop() noexcept { stopped_ = true; }

 private:
  std::atomic<bool> stopped_{false};
  std::mutex range_mutex_;
  Range range_;
  std::optional<std::ranges::iterator_t<std::remove_reference_t<Range>>> position_;
  bool ended_ = false;
  std::size_t count_ = 0;

  std::mutex mutex_;
  std::deque<pointer> given_back_;
};

}  // namespace filexfer::detail

#endif
