cmake_minimum_required(VERSION 3.22)

# Fails if one of HEADERS includes a file of Asio, by the compiler's own list of files. Asio can't
# be hidden instead: it may be installed in a default include folder.

string(REPLACE "," ";" INCLUDE_DIRS "${INCLUDE_DIRS}")
string(REPLACE "," ";" ASIO_DIRS "${ASIO_DIRS}")
string(REPLACE "," ";" HEADERS "${HEADERS}")
file(REMOVE_RECURSE "${WORK_DIR}")

# Sets `out` to the Asio files that a unit including HEADERS includes.
function(asio_files_read out)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS;INCLUDE_DIRS")
  list(TRANSFORM arg_HEADERS REPLACE "(.+)" "#include <\\1>\n" OUTPUT_VARIABLE lines)
  string(JOIN "" text ${lines})
  file(WRITE "${WORK_DIR}/unit.cpp" "${text}")
  list(TRANSFORM arg_INCLUDE_DIRS PREPEND "-I")
  execute_process(
    COMMAND "${COMPILER}" -std=c++20 ${arg_INCLUDE_DIRS} -M "${WORK_DIR}/unit.cpp"
    OUTPUT_VARIABLE files COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX REPLACE "[ \\\n]+" ";" files "${files}")
  # The library's own files don't count, whatever the name of the folder above them.
  list(FILTER files EXCLUDE REGEX "/filexfer/[a-z0-9_/]+\\.hpp$")
  list(FILTER files INCLUDE REGEX "/asio/[a-z0-9_/]+\\.[hi]pp$|/asio\\.hpp$")
  set(${out} "${files}" PARENT_SCOPE)
endfunction()

# The check must be able to fail: it must find a header of Asio, alone and after one of the library.
list(GET HEADERS 0 some_header)
foreach(bait "asio/error_code.hpp" "${some_header};asio/buffer.hpp")
  asio_files_read(files HEADERS ${bait} INCLUDE_DIRS ${INCLUDE_DIRS} ${ASIO_DIRS})
  if(NOT files)
    message(FATAL_ERROR "This test is blind: it does not see the Asio in ${bait}")
  endif()
endforeach()

asio_files_read(files HEADERS ${HEADERS} INCLUDE_DIRS ${INCLUDE_DIRS})
if(files)
  foreach(header IN LISTS HEADERS)
    asio_files_read(files HEADERS ${header} INCLUDE_DIRS ${INCLUDE_DIRS})
    if(files)
      list(LENGTH files count)
      list(GET files 0 first)
      message("${header} reads ${count} files of Asio, first ${first}")
    endif()
  endforeach()
  message(FATAL_ERROR
    "The core must build without Asio. A header of the drivers' half belongs into the list "
    "headers_with_asio of tests/CMakeLists.txt.")
endif()
list(LENGTH HEADERS count)
message("${count} headers read nothing of Asio")
