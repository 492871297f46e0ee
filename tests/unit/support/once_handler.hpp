#ifndef FILEXFER_TESTS_SUPPORT_ONCE_HANDLER_HPP
#define FILEXFER_TESTS_SUPPORT_ONCE_HANDLER_HPP

// A completion handler that fails the test when an asynchronous operation breaks its contract.
//
//   asio::io_context context;
//   test::expected_call<void(std::error_code, std::size_t)> read;
//   read.start([&](auto handler) { stream.async_read_some(buffer, std::move(handler)); });
//   CHECK_FALSE(read.called());          // still waiting
//   context.run();
//   const auto [ec, bytes] = read.result();
//
// An `expected_call` expects one call, and must outlive the operation. In `result()`, or in its
// destructor if `result()` was not called, it fails the test if its handler
//   - was destroyed without a call (unless `may_be_dropped()` was called), or was never called;
//   - was called a second time (it is move-only, so that a copy does not compile);
//   - was called inside the initiating function, on the thread that ran `start`;
//   - was called before the operation had freed all memory from the handler's allocator;
//   - was bound to an executor with `running_in_this_thread()` (a strand's, an io_context's), and
//     was called outside it.
//
// Each handler has an allocator of its own (see `allocations()`). Other associations are set with
// `start`, or before it:
//
//   read.cancelled_by(signal.slot());          // then signal.emit(...) cancels the operation
//   read.start_on(strand, [&](auto handler) { ... });   // bound to that executor
//
// All assertions run on the thread of the test; the handler may be called on any thread.

#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

namespace test {
namespace detail {

struct call_counts {
  std::atomic<int> calls = 0;
  std::atomic<bool> dropped = false;
  std::atomic<bool> called_inside_the_initiating_function = false;
  std::atomic<bool> called_outside_its_executor = false;
  std::atomic<int> allocations = 0;
  std::atomic<int> outstanding = 0;
  std::atomic<int> outstanding_when_called = 0;
  std::atomic<std::thread::id> initiating = std::thread::id{};
};

template <class... Args>
struct call_record : call_counts {
  std::optional<std::tuple<Args...>> arguments;  // written before `calls`
};

// Allocates from the heap, and counts in the handler's record.
template <class T>
class counting_allocator {
 public:
  using value_type = T;
  explicit counting_allocator(std::shared_ptr<call_counts> record) noexcept
      : record_{std::move(record)} {}

  // No move operations: an allocator must be unchanged when moved from.
  counting_allocator(const counting_allocator&) noexcept = default;
  counting_allocator& operator=(const counting_allocator&) noexcept = default;

  template <class U>
  counting_allocator(const counting_allocator<U>& other) noexcept : record_{other.record()} {}

  T* allocate(std::size_t n) {
    ++record_->allocations;
    ++record_->outstanding;
    return std::allocator<T>{}.allocate(n);
  }

  void deallocate(T* p, std::size_t n) noexcept {
    --record_->outstanding;
    std::allocator<T>{}.deallocate(p, n);
  }

  const std::shared_ptr<call_counts>& record() const noexcept { return record_; }

  template <class U>
  bool operator==(const counting_allocator<U>& other) const noexcept {
    return record_ == other.record();
  }

 private:
  std::shared_ptr<call_counts> record_;
};

}  // namespace detail

template <class Signature>
class expected_call;

template <class... Args>
class expected_call<void(Args...)> {
  using record = detail::call_record<Args...>;

 public:
  class handler {
   public:
    using allocator_type = detail::counting_allocator<std::byte>;
    using cancellation_slot_type = asio::cancellation_slot;

    handler(std::shared_ptr<record> r, asio::cancellation_slot slot)
        : allocator_{r}, record_{std::move(r)}, slot_{slot} {}

    handler(handler&& other) noexcept = default;
    handler& operator=(handler&&) = delete;

    ~handler() {
      if (record_ && !called_) record_->dropped = true;
    }

    void operator()(Args... args) {
      called_ = true;
      const auto r = record_;
      if (r->initiating.load() == std::this_thread::get_id()) {
        r->called_inside_the_initiating_function = true;
      }
      r->outstanding_when_called = r->outstanding.load();
      if (r->calls == 0) r->arguments.emplace(std::move(args)...);
      ++r->calls;
    }

    allocator_type get_allocator() const noexcept { return allocator_; }
    cancellation_slot_type get_cancellation_slot() const noexcept { return slot_; }

    // For the wrapper of `start_on`, which checks the executor.
    record& call() const noexcept { return *record_; }

   private:
    allocator_type allocator_;        // kept when moved from: Asio 1.22 may get it even then
    std::shared_ptr<record> record_;  // null once moved from
    asio::cancellation_slot slot_;
    bool called_ = false;
  };

  expected_call() = default;
  expected_call(const expected_call&) = delete;
  expected_call& operator=(const expected_call&) = delete;

  ~expected_call() {
    if (started_ && !checked_) check();
  }

  expected_call& cancelled_by(asio::cancellation_slot slot) {
    slot_ = slot;
    return *this;
  }

  // For tests that destroy an execution context while the operation is pending.
  expected_call& may_be_dropped() {
    may_be_dropped_ = true;
    return *this;
  }

  template <class Initiate>
  void start(Initiate initiate) {
    begin();
    initiate(handler{record_, slot_});
    record_->initiating = std::thread::id{};
  }

  template <class Executor, class Initiate>
  void start_on(const Executor& executor, Initiate initiate) {
    begin();
    initiate(asio::bind_executor(executor, on_executor<Executor>{{record_, slot_}, executor}));
    record_->initiating = std::thread::id{};
  }

  bool called() const { return record_->calls > 0; }
  bool dropped() const { return record_->dropped; }

  // How many times the operation allocated from the handler's allocator.
  int allocations() const { return record_->allocations; }

  // The handler's arguments. Checks the calls; ends the test case if there was none.
  std::tuple<Args...>& result() {
    check();
    REQUIRE(called());
    return *record_->arguments;
  }

 private:
  template <class Executor>
  struct on_executor : handler {
    on_executor(handler&& h, const Executor& e) : handler{std::move(h)}, executor{e} {}

    void operator()(Args... args) {
      if constexpr (requires { executor.running_in_this_thread(); }) {
        if (!executor.running_in_this_thread()) this->call().called_outside_its_executor = true;
      }
      handler::operator()(std::move(args)...);
    }

    Executor executor;
  };

  void begin() {
    REQUIRE_FALSE(started_);
    started_ = true;
    record_->initiating = std::this_thread::get_id();
  }

  void check() {
    checked_ = true;
    if (!may_be_dropped_) {
      CHECK_MESSAGE(!record_->dropped.load(), "a completion handler was dropped");
      CHECK_MESSAGE(record_->calls.load() > 0, "a completion handler was not called");
    }
    CHECK_MESSAGE(record_->calls.load() <= 1, "a completion handler was called twice");
    CHECK_MESSAGE(!record_->called_inside_the_initiating_function,
                  "a completion handler was called inside the initiating function");
    CHECK_MESSAGE(!record_->called_outside_its_executor,
                  "a completion handler was called outside its executor");
    CHECK_MESSAGE(record_->outstanding_when_called.load() == 0,
                  "memory was not returned before the completion handler was called");
  }

  std::shared_ptr<record> record_ = std::make_shared<record>();
  asio::cancellation_slot slot_;
  bool started_ = false;
  bool checked_ = false;
  bool may_be_dropped_ = false;
};

// The signature of reads and writes.
using expected_transfer = expected_call<void(std::error_code, std::size_t)>;

}  // namespace test

#endif
