# What only our own tests, examples and programs are built with. A user's build never gets here.

option(FILEXFER_WARNINGS_AS_ERRORS "A warning in our own sources stops the build" OFF)
set(FILEXFER_SANITIZE "" CACHE STRING "Sanitizers for our own targets, as in -fsanitize=")
option(FILEXFER_FUZZ "Build tests/fuzz as fuzzers, which needs clang; else it replays its corpus" OFF)

add_library(filexfer-developer INTERFACE)
target_compile_options(filexfer-developer INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # At -O3 it sees an overlap in every "literal" + std::string (GCC's bug 105651).
  target_compile_options(filexfer-developer INTERFACE -Wno-restrict)
endif()
target_compile_definitions(filexfer-developer INTERFACE ASIO_NO_DEPRECATED)
if(FILEXFER_WARNINGS_AS_ERRORS)
  target_compile_options(filexfer-developer INTERFACE -Werror)
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ collects its garbage less often: a tenth of its time, for 300 MB more.
  target_compile_options(filexfer-developer INTERFACE "SHELL:--param ggc-min-heapsize=1000000")
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # Asio 1.22 takes the experimental coroutines of clang for all that it has.
  target_compile_definitions(filexfer-developer INTERFACE
    ASIO_HAS_CO_AWAIT=1 ASIO_HAS_STD_COROUTINE=1)
endif()

if(FILEXFER_SANITIZE)
  set(flags "-fsanitize=${FILEXFER_SANITIZE}" -fno-sanitize-recover=all -fno-omit-frame-pointer)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND FILEXFER_SANITIZE MATCHES "undefined")
    list(APPEND flags -fno-sanitize=function)  # clang 14 can't build coroutines with it
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # With sanitizers it sees such a use in Asio's use_future; the release preset keeps the check.
    target_compile_options(filexfer-developer INTERFACE -Wno-maybe-uninitialized)
    if(FILEXFER_SANITIZE MATCHES "thread")
      target_compile_options(filexfer-developer INTERFACE -Wno-tsan)  # warns of fences, in Asio
    endif()
  endif()
  target_compile_options(filexfer-developer INTERFACE ${flags})
  target_link_options(filexfer-developer INTERFACE ${flags})
endif()

if(FILEXFER_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "FILEXFER_FUZZ needs clang++, for libFuzzer is its own")
  endif()
  target_compile_options(filexfer-developer INTERFACE -fsanitize=fuzzer-no-link)
endif()

if(PROJECT_IS_TOP_LEVEL)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
  find_program(CCACHE_PROGRAM ccache)
  mark_as_advanced(CCACHE_PROGRAM)
  if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    # The sloppiness is what ccache asks for before it caches what uses a precompiled header.
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
        CCACHE_SLOPPINESS=pch_defines,time_macros "${CCACHE_PROGRAM}")
  endif()
endif()

# filexfer_program(<name> <source>...): a program of ours, with all of the above.
function(filexfer_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE filexfer::filexfer filexfer-developer)
  set_target_properties(${name} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()

# Compiles a target's sources BATCH at a time, or all at once if that is 0: what they instantiate is
# compiled once for all of them.
function(filexfer_unity target batch)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${batch})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # An unnamed namespace in a file that is included is the file's own here.
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()
