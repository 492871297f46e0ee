#ifndef FILEXFER_TESTS_FUZZ_SUPPORT_FUZZING_HPP
#define FILEXFER_TESTS_FUZZ_SUPPORT_FUZZING_HPP

// The entry point of a fuzz target, and what all targets share.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

/// Defined by each target. Called by libFuzzer with inputs that it makes, and by replay.cpp with
/// the files of the corpus.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace fuzz {

/// Ends the process unless `holds`, so that the input is reported.
///
/// \param claim    What was to hold, as a sentence.
/// \param details  Text that shows why it does not.
inline void require(bool holds, std::string_view claim, std::string_view details = {}) {
  if (holds) return;
  std::fprintf(stderr, "\nnot true: %.*s\n%.*s\n", static_cast<int>(claim.size()), claim.data(),
               static_cast<int>(details.size()), details.data());
  std::abort();
}

/// An input, from which a target takes its parts.
class input {
 public:
  input(const std::uint8_t* data, std::size_t size)
      : rest_{reinterpret_cast<const char*>(data), size} {}
  explicit input(std::string_view bytes) : rest_{bytes} {}

  /// Takes a byte; 0 at the end.
  unsigned byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }

  /// Takes up to `size` bytes.
  std::string_view bytes(std::size_t size) {
    const auto taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
  }

  /// Takes a line, without its LF.
  std::string_view line() {
    const auto taken = rest_.substr(0, rest_.find('\n'));
    rest_.remove_prefix(std::min(rest_.size(), taken.size() + 1));
    return taken;
  }

  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

inline std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

}  // namespace fuzz

#endif
