// Enters the sandbox of filexfer-server, with its options, then does what standard input says, a
// line at a time and on a thread of its own, and prints for each line the error that it gets, or
// `done`:
//
//     read PATH, write PATH, create PATH, list PATH, remove PATH, mkdir PATH, rmdir PATH,
//     link PATH PATH, rename PATH PATH, connect PORT, listen

#include "common/failure.hpp"
#include "common/process.hpp"
#include "common/sandbox.hpp"
#include "common/server_settings.hpp"

#include <filexfer/detail/posix/descriptor.hpp>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using filexfer::detail::descriptor;

bool can_open(const std::string& path, int flags) {
  return static_cast<bool>(descriptor{::open(path.c_str(), flags | O_CLOEXEC, 0600)});
}

bool can_use_port(std::uint16_t port, int (*use)(int, const sockaddr*, socklen_t)) {
  const descriptor socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return use(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

using action = std::function<bool(const std::string&, const std::string&)>;

const std::map<std::string, action> actions{
    {"read", [](auto& a, auto&) { return can_open(a, O_RDONLY); }},
    {"write", [](auto& a, auto&) { return can_open(a, O_WRONLY | O_TRUNC); }},
    {"create", [](auto& a, auto&) { return can_open(a, O_WRONLY | O_CREAT | O_EXCL); }},
    {"list", [](auto& a, auto&) { return can_open(a, O_RDONLY | O_DIRECTORY); }},
    {"remove", [](auto& a, auto&) { return ::unlink(a.c_str()) == 0; }},
    {"mkdir", [](auto& a, auto&) { return ::mkdir(a.c_str(), 0700) == 0; }},
    {"rmdir", [](auto& a, auto&) { return ::rmdir(a.c_str()) == 0; }},
    {"link", [](auto& a, auto& b) { return ::link(a.c_str(), b.c_str()) == 0; }},
    {"rename", [](auto& a, auto& b) { return std::rename(a.c_str(), b.c_str()) == 0; }},
    {"connect",
     [](auto& a, auto&) {
       return can_use_port(static_cast<std::uint16_t>(std::stoi(a)), ::connect);
     }},
    {"listen", [](auto&, auto&) { return can_use_port(0, ::bind); }},
};

int run(int argc, char** argv) {
  programs::server_settings settings;
  if (const auto ended = programs::parse(settings, argc, argv)) return *ended;
  const std::string missing = programs::enter_sandbox(settings);
  if (!missing.empty()) return programs::report("no sandbox", {programs::local_error, missing});
  std::thread thread{[] {
    for (std::string line, verb, a, b; std::getline(std::cin, line);) {
      std::istringstream{line} >> verb >> a >> b;
      const bool is_done = actions.at(verb)(a, b);
      std::cout << (is_done ? "done" : std::generic_category().message(errno)) << std::endl;
    }
  }};
  thread.join();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return programs::run_guarded("probe", [&] { return run(argc, argv); });
}
