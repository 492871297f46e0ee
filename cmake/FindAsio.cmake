# Finds standalone Asio (not Boost's) and gives it as the target Asio::asio.
#
# Taken in this order: a target asio::asio that is there already, a package manager's CMake package,
# a plain header. Hint: Asio_ROOT, a prefix with include/asio.hpp.

include(FindPackageHandleStandardArgs)

if(NOT TARGET Asio::asio AND NOT TARGET asio::asio)
  find_package(asio CONFIG QUIET)
endif()

if(TARGET Asio::asio)
  set(Asio_TARGET Asio::asio)
elseif(TARGET asio::asio)
  set(Asio_TARGET asio::asio)
  if(DEFINED asio_VERSION)
    set(Asio_VERSION "${asio_VERSION}")
  endif()
else()
  set(Asio_TARGET)
endif()

if(Asio_TARGET)
  find_package_handle_standard_args(Asio REQUIRED_VARS Asio_TARGET VERSION_VAR Asio_VERSION)
else()
  find_path(Asio_INCLUDE_DIR asio.hpp DOC "Folder of standalone Asio's asio.hpp")
  mark_as_advanced(Asio_INCLUDE_DIR)
  if(Asio_INCLUDE_DIR AND EXISTS "${Asio_INCLUDE_DIR}/asio/version.hpp")
    # "#define ASIO_VERSION 102201 // 1.22.1"
    file(STRINGS "${Asio_INCLUDE_DIR}/asio/version.hpp" Asio_VERSION
         REGEX "^#define ASIO_VERSION [0-9]+ // [0-9.]+")
    string(REGEX REPLACE ".*// ([0-9.]+).*" "\\1" Asio_VERSION "${Asio_VERSION}")
  endif()
  find_package_handle_standard_args(Asio
    REQUIRED_VARS Asio_INCLUDE_DIR
    VERSION_VAR Asio_VERSION
    REASON_FAILURE_MESSAGE "standalone Asio is needed (Debian: libasio-dev)")
endif()

if(Asio_FOUND AND NOT TARGET Asio::asio)
  include(CMakeFindDependencyMacro)
  find_dependency(Threads)
  add_library(Asio::asio INTERFACE IMPORTED)
  target_compile_definitions(Asio::asio INTERFACE ASIO_STANDALONE)
  if(Asio_TARGET)
    target_link_libraries(Asio::asio INTERFACE ${Asio_TARGET})
  else()
    target_include_directories(Asio::asio INTERFACE "${Asio_INCLUDE_DIR}")
  endif()
  target_link_libraries(Asio::asio INTERFACE Threads::Threads)
endif()
