// Makes whole commands for session_model.cpp, most of them valid, with the digests of their bytes;
// breaks connections off, and connects again. Linked with the fuzzer only.

#include <filexfer/md5.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

class command_maker {
 public:
  explicit command_maker(unsigned seed) : random_{seed} {}

  std::size_t below(std::size_t bound) { return random_() % bound; }
  bool one_in(std::size_t count) { return below(count) == 0; }

  std::string command() {
    switch (below(8)) {
      case 0: return list();
      case 1: return one_in(3) ? "FEATURES\n" : list();
      case 2:
      case 3: return download();
      case 4: return "REMOVE\n" + id_of(contents()) + ';' + name() + '\n';
      default: return upload();
    }
  }

 private:
  static std::string id_of(std::string_view bytes) {
    filexfer::md5 hash;
    hash.update(std::as_bytes(std::span{bytes}));
    return hash.finish().to_string();
  }

  /// Few, so that many commands are about the same file.
  std::string contents() {
    switch (below(6)) {
      case 0: return "";
      case 1: return "hello";
      case 2: return std::string(64, 'x');
      case 3: return collision(0);
      case 4: return collision(0x80);
      default: return std::string(below(40), static_cast<char>('a' + below(2)));
    }
  }

  /// Two files with the same MD5.
  static std::string collision(unsigned flip) {
    constexpr std::array<unsigned char, 128> first{
        0xd1, 0x31, 0xdd, 0x02, 0xc5, 0xe6, 0xee, 0xc4, 0x69, 0x3d, 0x9a, 0x06, 0x98, 0xaf, 0xf9,
        0x5c, 0x2f, 0xca, 0xb5, 0x87, 0x12, 0x46, 0x7e, 0xab, 0x40, 0x04, 0x58, 0x3e, 0xb8, 0xfb,
        0x7f, 0x89, 0x55, 0xad, 0x34, 0x06, 0x09, 0xf4, 0xb3, 0x02, 0x83, 0xe4, 0x88, 0x83, 0x25,
        0x71, 0x41, 0x5a, 0x08, 0x51, 0x25, 0xe8, 0xf7, 0xcd, 0xc9, 0x9f, 0xd9, 0x1d, 0xbd, 0xf2,
        0x80, 0x37, 0x3c, 0x5b, 0xd8, 0x82, 0x3e, 0x31, 0x56, 0x34, 0x8f, 0x5b, 0xae, 0x6d, 0xac,
        0xd4, 0x36, 0xc9, 0x19, 0xc6, 0xdd, 0x53, 0xe2, 0xb4, 0x87, 0xda, 0x03, 0xfd, 0x02, 0x39,
        0x63, 0x06, 0xd2, 0x48, 0xcd, 0xa0, 0xe9, 0x9f, 0x33, 0x42, 0x0f, 0x57, 0x7e, 0xe8, 0xce,
        0x54, 0xb6, 0x70, 0x80, 0xa8, 0x0d, 0x1e, 0xc6, 0x98, 0x21, 0xbc, 0xb6, 0xa8, 0x83, 0x93,
        0x96, 0xf9, 0x65, 0x2b, 0x6f, 0xf7, 0x2a, 0x70};
    std::string bytes(first.begin(), first.end());
    for (const std::size_t i : {19u, 45u, 59u, 83u, 109u, 123u}) {
      bytes[i] = static_cast<char>(first[i] ^ flip);
    }
    return bytes;
  }

  std::string name() {
    constexpr std::array names{"a",    "b",           "a/b",        "a/b/c", "folder/x",
                               "a%3B", "caf\xC3\xA9", "%25%0a%7F ", "..",    "%00"};
    return names[below(one_in(4) ? names.size() : 5)];
  }

  std::string number() {
    constexpr std::array numbers{"0", "1", "5", "63", "64", "65", "9223372036854775807"};
    return numbers[below(numbers.size())];
  }

  std::string time() {
    constexpr std::array times{"0", "1", "1700000000.5", "-1.000000001", "4000000000"};
    return times[below(times.size())];
  }

  std::string list() {
    std::string line = "LIST_FILES";
    if (one_in(3)) line += ";prefix=" + name();
    if (one_in(2)) line += ";mtime";
    if (one_in(2)) line += ";exec";
    return line + '\n';
  }

  std::string download() {
    std::string line = "DOWNLOAD\n" + id_of(contents());
    if (one_in(2)) line += ";offset=" + number();
    if (one_in(2)) line += ";length=" + number();
    if (one_in(3)) line += ";mtime";
    if (one_in(3)) line += ";exec";
    return line + '\n';
  }

  std::string upload() {
    const std::string bytes = contents();
    std::string details = name() + ';' + (one_in(20) ? number() : std::to_string(bytes.size()));
    const bool has_id = !one_in(3);
    const bool is_have = one_in(5);
    if (has_id) details += ";id=" + id_of(one_in(10) ? contents() : bytes);
    if (is_have) details += ";have";
    if (one_in(4)) details += ";nowait";
    if (one_in(3)) details += one_in(2) ? ";resume=0123456789abcdef" : ";resume=----------------";
    if (one_in(4)) details += ";mtime=" + time();
    if (one_in(4)) details += one_in(2) ? ";exec=1" : ";exec=0";
    // A client sends nothing for a file that the server has: half of them guess that it has not.
    const bool sends = !is_have && (!has_id || one_in(2));
    return "UPLOAD\n" + details + '\n' + (sends ? bytes : "");
  }

  std::minstd_rand random_;
};

/// Where commands begin in what the clients send, and its end.
std::vector<std::size_t> boundaries_of(std::string_view text) {
  std::vector<std::size_t> found;
  for (const std::string_view word : {"LIST_FILES", "UPLOAD", "DOWNLOAD", "FEATURES", "REMOVE"}) {
    for (auto at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
      found.push_back(at);
    }
  }
  found.push_back(text.size());
  std::sort(found.begin(), found.end());
  return found;
}

std::string mutate(std::string text, command_maker& make) {
  const auto end_of_head = std::min(text.find('\n'), text.size());
  std::string head = text.substr(0, end_of_head);
  std::string sessions = text.substr(std::min(end_of_head + 1, text.size()));
  const auto boundaries = boundaries_of(sessions);
  const std::size_t place = make.below(boundaries.size());
  const std::size_t at = boundaries[place];
  const std::size_t next = boundaries[std::min(place + 1, boundaries.size() - 1)];
  switch (make.below(8)) {
    case 0:
      head = static_cast<char>('@' + make.below(64)) +
             head.substr(std::min<std::size_t>(head.size(), 1));
      break;
    case 1: head += static_cast<char>(' ' + make.below(95)); break;
    case 2: sessions.erase(at, next - at); break;
    case 3: sessions.insert(at, sessions.substr(at, next - at)); break;
    case 4: sessions.insert(at + make.below(next - at + 1), 1, '\x1E'); break;
    default: sessions.insert(at, make.command());
  }
  return head + '\n' + sessions;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  command_maker make{seed};
  if (make.one_in(3)) return LLVMFuzzerMutate(data, size, max_size);
  std::string text{reinterpret_cast<const char*>(data), size};
  do {
    text = mutate(std::move(text), make);
  } while (make.one_in(2));
  size = std::min(text.size(), max_size);
  std::memcpy(data, text.data(), size);
  return size;
}
