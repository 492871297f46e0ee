#ifndef FILEXFER_TESTS_SUPPORT_DRIVERS_HPP
#define FILEXFER_TESTS_SUPPORT_DRIVERS_HPP

// The library's drivers on a scripted stream, behind the interface of `hand_driver`.

#include "support/manual_clock.hpp"
#include "support/once_handler.hpp"
#include "support/scripted_stream.hpp"

#include <filexfer/detail/driver/async_run.hpp>
#include <filexfer/detail/driver/run.hpp>

#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace test {

enum class driver_kind {
  blocking,
  asynchronous,
  overlapping,  // asynchronous, with a work executor: the stream's own, to stay on one thread
};

inline constexpr driver_kind all_drivers[] = {driver_kind::blocking, driver_kind::asynchronous,
                                              driver_kind::overlapping};

inline std::string to_string(driver_kind kind) {
  switch (kind) {
    case driver_kind::blocking: return "blocking";
    case driver_kind::asynchronous: return "asynchronous";
    case driver_kind::overlapping: return "overlapping";
  }
  return {};
}

class stream_driver {
 public:
  stream_driver(driver_kind kind, scripted_peer p)
      : kind_{kind}, stream{context_.get_executor(), std::move(p)} {
    if (kind == driver_kind::overlapping) settings_.work_executor = context_.get_executor();
  }

 private:
  driver_kind kind_;
  asio::io_context context_;
  filexfer::detail::driver_settings settings_;

 public:
  scripted_stream stream;

  template <class MakeFlow>
  auto run(MakeFlow make_flow, std::error_code& ec) {
    if (kind_ == driver_kind::blocking) {
      return filexfer::detail::run(stream, std::move(make_flow), ec);
    }
    return run_asynchronous(std::move(make_flow), ec);
  }

 private:
  template <class MakeFlow>
  auto run_asynchronous(MakeFlow make_flow, std::error_code& ec) {
    namespace detail = filexfer::detail;
    using flow_type = std::invoke_result_t<MakeFlow&, std::error_code&>;
    using value = typename detail::flow_value<flow_type>::type;
    expected_call<typename detail::completion_signature<value>::type> call;
    call.start([&](auto handler) {
      detail::async_run<manual_timer>(stream, settings_, std::move(make_flow), std::move(handler));
    });
    run_until_idle(context_);
    while (!call.called()) {  // nothing is ready: only an expiring timer can make progress
      stream.stalled = true;
      advance_clock(context_, std::chrono::minutes{10});
    }
    ec = std::get<0>(call.result());
    if constexpr (!std::is_void_v<value>) return std::move(std::get<1>(call.result()));
  }
};

}  // namespace test

#endif
