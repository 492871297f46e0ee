#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/pipe_stream.hpp>

#include <doctest/doctest.h>

#include <system_error>

#include <fcntl.h>

namespace standard_streams_tests {

using filexfer::detail::descriptor;

descriptor null_device(int mode) { return descriptor{::open("/dev/null", mode)}; }

TEST_CASE("a standard stream that is closed, or open in the other direction, is not taken") {
  for (const int mode : {O_RDONLY, O_WRONLY, O_RDWR}) {
    const auto device = null_device(mode);
    using filexfer::detail::duplicate_above_stderr;
    const descriptor input = duplicate_above_stderr(device.get(), O_WRONLY);
    const descriptor output = duplicate_above_stderr(device.get(), O_RDONLY);
    CHECK(static_cast<bool>(input) == (mode != O_WRONLY));
    CHECK(static_cast<bool>(output) == (mode != O_RDONLY));
    CHECK(!duplicate_above_stderr(-1, O_WRONLY));
  }
}

TEST_CASE("a standard stream that can't be replaced is an error") {
  const auto device = null_device(O_RDONLY);
  filexfer::detail::replace_by_null_device(device.get(), O_WRONLY);
  CHECK((::fcntl(device.get(), F_GETFL) & O_ACCMODE) == O_WRONLY);
  CHECK_THROWS_AS(filexfer::detail::replace_by_null_device(-1, O_RDONLY), std::system_error);
}

}  // namespace standard_streams_tests
