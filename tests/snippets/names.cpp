// Examples for the reference: patterns of names.

#include "support.hpp"

#include <filexfer/glob.hpp>
#include <filexfer/name_filter.hpp>
#include <filexfer/tree_source.hpp>

#include <doctest/doctest.h>

#include <iostream>
#include <string>

namespace name_snippets {

using snippets::captured_output;

TEST_CASE("names are matched with patterns") {
  captured_output output;
  //! [glob]
  const std::string pattern = "photos/**/*.jpg";
  if (filexfer::has_glob_characters(pattern)) {
    std::cout << "requests names with " << filexfer::glob_prefix(pattern) << '\n';
  }
  for (const char* name : {"photos/cat.jpg", "photos/2021/dog.jpg", "photos/notes.txt"}) {
    if (filexfer::glob_match(pattern, name)) std::cout << name << '\n';
  }
  //! [glob]
  CHECK(output.take() == "requests names with photos/\nphotos/cat.jpg\nphotos/2021/dog.jpg\n");
}

TEST_CASE("a filter chooses the files of a folder") {
  const snippets::current_folder folder;
  for (const char* file : {"src/a.cpp", "src/a.tmp", "src/.git/config", "src/build/a.o"}) {
    snippets::write_file(file, "text");
  }
  captured_output output;
  //! [name_filter]
  filexfer::tree_options options;
  options.filter.exclude("/build/").exclude("*.tmp").exclude(".git/");
  filexfer::tree_source files{"src", options};
  for (const filexfer::tree_file& file : files) std::cout << file.name() << '\n';
  //! [name_filter]
  CHECK(output.take() == "a.cpp\n");
}

}  // namespace name_snippets
