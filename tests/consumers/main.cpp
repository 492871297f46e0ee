// The program of every consumer project: includes everything, and has to link with Crypto++.

#include <filexfer/filexfer.hpp>

#include <cstdio>
#include <span>
#include <string_view>

#if FILEXFER_VERSION < 100
#error "the version macro is missing"
#endif

int main() {
  const std::string_view text = "abc";
  filexfer::md5 hasher;
  hasher.update(std::as_bytes(std::span{text}));
  const filexfer::md5::digest_type digest = hasher.finish();
  std::puts(digest.to_string().c_str());
  return digest.to_string() == "900150983cd24fb0d6963f7d28e17f72" ? 0 : 1;
}
