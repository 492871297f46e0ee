#!/bin/sh
# install.sh [all]: makes sure that what the build needs is there.
#
# Looks first; on Debian and Ubuntu it installs what is missing with apt (as root, or with sudo),
# elsewhere it says what to install. With `all`, also what only continuous integration needs.
# Exits 1 when something is lacking that the build can't do without.

set -u

# What is missing, as Debian's package names: needed to build; wanted by some tests only.
needed=
wanted=

have_program() { command -v "$1" >/dev/null 2>&1; }

# A program for root, whose folder need not be in PATH.
have_tool() { have_program "$1" || [ -x "/usr/sbin/$1" ]; }

have_compiler() {
  for compiler in ${CXX:-c++ g++ clang++}; do
    if have_program "$compiler"; then return 0; fi
  done
  return 1
}

# CMake finds headers in more places than these; who keeps them elsewhere sets CMAKE_PREFIX_PATH.
have_header() {
  for prefix in $(echo "${CMAKE_PREFIX_PATH:-}" | tr ':;' '  ') \
                /usr /usr/local /opt/homebrew /opt/local; do
    if [ -e "$prefix/include/$1" ]; then return 0; fi
  done
  return 1
}

# Sanitizers and libFuzzer are in a package of their own.
have_fuzzer() {
  have_program clang++ &&
    ls "$(clang++ -print-resource-dir)"/lib/*/libclang_rt.fuzzer*.a >/dev/null 2>&1
}

find_missing() {
  needed=
  wanted=
  have_compiler || needed="$needed g++"
  have_program cmake || needed="$needed cmake"
  have_program ninja || needed="$needed ninja-build"
  have_header asio.hpp || needed="$needed libasio-dev"
  have_header cryptopp/md5.h || needed="$needed libcrypto++-dev"
  have_header doctest/doctest.h || needed="$needed doctest-dev"
  have_header CLI/CLI.hpp || needed="$needed libcli11-dev"
  have_header nlohmann/json.hpp || needed="$needed nlohmann-json3-dev"
  have_header rados/librados.h || wanted="$wanted librados-dev"
  have_header openssl/ssl.h || wanted="$wanted libssl-dev"
  have_program openssl || wanted="$wanted openssl"
  have_program pkg-config || wanted="$wanted pkg-config"
  have_program python3 || wanted="$wanted python3"
  have_program nc || wanted="$wanted netcat-openbsd"
  have_program strace || wanted="$wanted strace"
  have_tool mkfs.ext4 || wanted="$wanted e2fsprogs"
  have_tool mkfs.xfs || wanted="$wanted xfsprogs"
  have_tool mkfs.btrfs || wanted="$wanted btrfs-progs"
  if [ "$1" = all ]; then
    have_program clang++ || wanted="$wanted clang"
    have_program ceph-osd || wanted="$wanted ceph-mon ceph-mgr ceph-osd ceph-common"
    have_fuzzer || wanted="$wanted libclang-rt-dev"
    have_program clang-format-16 || wanted="$wanted clang-format-16"
    have_program clang-tidy || wanted="$wanted clang-tidy"
    have_program doxygen || wanted="$wanted doxygen"
    have_header benchmark/benchmark.h || wanted="$wanted libbenchmark-dev"
    have_program ssh || wanted="$wanted openssh-client"
    have_tool sshd || wanted="$wanted openssh-server"
    have_tool haproxy || wanted="$wanted haproxy"
  fi
}

# as_root COMMAND...: quiet; shows what COMMAND said only if it fails.
as_root() {
  log=$(mktemp) || return 1
  if [ "$(id -u)" -eq 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 </dev/null
  else
    # sudo asks for the password on the terminal. The log is ours, so it need not be root's.
    # shellcheck disable=SC2024
    sudo env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1
  fi
  status=$?
  if [ "$status" -ne 0 ]; then
    echo "install.sh: failed: $*" >&2
    cat "$log" >&2
  fi
  rm -f "$log"
  return "$status"
}

install_with_apt() {
  if [ "$(id -u)" -ne 0 ] && ! have_program sudo; then
    echo "install.sh: neither root nor sudo; ask for: apt-get install$needed$wanted" >&2
    return 1
  fi
  echo "Installing with apt:$needed$wanted"
  # A stale list of packages may still do.
  as_root apt-get -o DPkg::Lock::Timeout=120 update || true
  # What is only wanted must not stop what is needed. Both are lists of words.
  # shellcheck disable=SC2086
  apt_install $needed $wanted || { [ -n "$needed" ] && [ -n "$wanted" ] && apt_install $needed; }
}

apt_install() {
  as_root apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"
}

find_missing "${1:-}"
if [ -n "$needed$wanted" ] && have_program apt-get; then
  install_with_apt
  find_missing "${1:-}"
fi

if [ -n "$wanted" ]; then
  echo "install.sh: missing, so some tests, or TLS, will lack (Debian's names):$wanted" >&2
fi
if [ -n "$needed" ]; then
  cat >&2 <<END
install.sh: still missing (Debian's names):$needed
  Needed are: a C++20 compiler (g++ 12 or clang 14, or newer), CMake 3.22 or newer, Ninja,
  standalone Asio 1.22 or newer, Crypto++, doctest, CLI11, JSON for Modern C++. Install them with
  your system's package manager; if they lie in a place of their own, set CMAKE_PREFIX_PATH.
END
  exit 1
fi
