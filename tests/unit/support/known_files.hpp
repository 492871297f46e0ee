#ifndef FILEXFER_TESTS_SUPPORT_KNOWN_FILES_HPP
#define FILEXFER_TESTS_SUPPORT_KNOWN_FILES_HPP

// Files whose digests are from md5sum, not from the library.

#include "support/bytes.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/md5.hpp>
#include <filexfer/memory_store.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace test {

struct known_file {
  std::string bytes;
  std::string id;
};

inline const known_file nothing{"", "d41d8cd98f00b204e9800998ecf8427e"};
inline const known_file hello{"hello", "5d41402abc4b2a76b9719d911017c592"};
inline const known_file abc{"abc", "900150983cd24fb0d6963f7d28e17f72"};

inline constexpr std::size_t chunk_size = 4096;

// Sizes from 0, and around multiples of the chunk size.
inline std::vector<known_file> known_files() {
  return {nothing,
          {"x", "9dd4e461268c8034f5c8564e155c67a6"},
          hello,
          {"EOF\nDONE\nUPLOAD\n", "532eead0f1915d2ffdb43c3d6d1c761f"},
          {pattern(chunk_size - 1), "93e25733058beb5eb38c4f6db613da70"},
          {pattern(chunk_size), "a0c16616c91907bd14e999986cf822d5"},
          {pattern(chunk_size + 1), "e4df5b23488e51a7998f218196a6ef6d"},
          {pattern(3 * chunk_size), "b1687e0e02f8de74d1a7f1b909b6e494"},
          {pattern(3 * chunk_size + 1), "ab25117206a17330103ecaf2192363ce"}};
}

inline md5_digest id_of(const known_file& s) { return md5_digest::from_hex(s.id).value(); }

inline void put(filexfer::memory_store<>& store, const std::string& name, const known_file& s) {
  std::error_code ec;
  auto upload = store.create({name, s.bytes.size(), std::nullopt}, ec);
  REQUIRE(upload.has_value());
  upload->write(std::as_bytes(std::span{s.bytes.data(), s.bytes.size()}), ec);
  upload->commit(id_of(s), ec);
  REQUIRE_FALSE(ec);
}

}  // namespace test

#endif
