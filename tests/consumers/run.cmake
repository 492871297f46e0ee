cmake_minimum_required(VERSION 3.22)

# Builds and runs one consumer project from nothing. KIND is `install`, `pkg_config` or the name of
# a folder beside this file.

set(installed "${WORK_DIR}/installed")
set(work "${WORK_DIR}/${KIND}")
file(REMOVE_RECURSE "${work}")
file(MAKE_DIRECTORY "${work}")

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

if(KIND STREQUAL "install")
  # Moved after the installation: nothing may depend on where it was installed.
  run("${CMAKE_COMMAND}" --install "${BUILD_ROOT}" --prefix "${work}")
  file(REMOVE_RECURSE "${installed}")
  file(RENAME "${work}" "${installed}")

elseif(KIND STREQUAL "pkg_config")
  find_program(pkg_config NAMES pkg-config pkgconf)
  if(NOT pkg_config)
    message("skipped: no pkg-config")
    return()
  endif()
  set(ENV{PKG_CONFIG_PATH} "${installed}/share/pkgconfig:$ENV{PKG_CONFIG_PATH}")
  run("${pkg_config}" --print-errors --exists "filexfer >= 0.1")
  execute_process(COMMAND "${pkg_config}" --cflags --libs filexfer
    OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  run("${COMPILER}" -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
      "${CMAKE_CURRENT_LIST_DIR}/main.cpp" -o "${work}/consumer" ${flags})
  run("${work}/consumer")

else()
  run("${CMAKE_COMMAND}" -G "${GENERATOR}"
      -S "${CMAKE_CURRENT_LIST_DIR}/${KIND}" -B "${work}"
      "-DCMAKE_CXX_COMPILER=${COMPILER}"
      "-DCMAKE_PREFIX_PATH=${installed}"
      "-DFILEXFER_SOURCE_DIR=${SOURCE_ROOT}"
      --no-warn-unused-cli)
  run("${CMAKE_COMMAND}" --build "${work}")
  run("${work}/consumer")
endif()
