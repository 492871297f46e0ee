// A user's program with a store in Ceph: that it compiles and links is the test.

#include <filexfer/rados_store.hpp>

#include <system_error>

int main() {
  filexfer::rados_store_options options;
  options.pool = "none";
  options.conf_file = "/nonexistent/ceph.conf";
  std::error_code ec;
  const filexfer::rados_store<> store{options, ec};
  return ec ? 0 : 1;
}
