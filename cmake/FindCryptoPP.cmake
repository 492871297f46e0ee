# Finds Crypto++ and gives it as the target CryptoPP::CryptoPP, with <cryptopp/md5.h> to include.
#
# Taken in this order: a target of one of the usual names that is there already, a package manager's
# CMake package, a plain header and library (Debian names the library crypto++ and cryptopp, others
# only one of them). Hints: CryptoPP_ROOT, a prefix with include/cryptopp/md5.h;
# CryptoPP_USE_STATIC_LIBS, to take an archive rather than a shared library, if there is one.

include(FindPackageHandleStandardArgs)

# Sets CryptoPP_TARGET to the first name that is a target, or to nothing.
macro(_CryptoPP_pick_target)
  set(CryptoPP_TARGET)
  foreach(_CryptoPP_name CryptoPP::CryptoPP cryptopp::cryptopp cryptopp::cryptopp-shared
                         cryptopp::cryptopp-static cryptopp-shared cryptopp-static)
    if(TARGET ${_CryptoPP_name})
      set(CryptoPP_TARGET ${_CryptoPP_name})
      break()
    endif()
  endforeach()
  unset(_CryptoPP_name)
endmacro()

_CryptoPP_pick_target()
if(NOT CryptoPP_TARGET)
  find_package(cryptopp CONFIG QUIET NAMES cryptopp CryptoPP)
  _CryptoPP_pick_target()
endif()

if(CryptoPP_TARGET)
  find_package_handle_standard_args(CryptoPP REQUIRED_VARS CryptoPP_TARGET)
else()
  find_path(CryptoPP_INCLUDE_DIR cryptopp/md5.h DOC "Folder of Crypto++'s folder cryptopp")
  set(_CryptoPP_suffixes ${CMAKE_FIND_LIBRARY_SUFFIXES})
  if(CryptoPP_USE_STATIC_LIBS)
    list(PREPEND CMAKE_FIND_LIBRARY_SUFFIXES ${CMAKE_STATIC_LIBRARY_SUFFIX})
  endif()
  find_library(CryptoPP_LIBRARY NAMES cryptopp crypto++ cryptlib DOC "Crypto++'s library")
  set(CMAKE_FIND_LIBRARY_SUFFIXES ${_CryptoPP_suffixes})
  unset(_CryptoPP_suffixes)
  mark_as_advanced(CryptoPP_INCLUDE_DIR CryptoPP_LIBRARY)
  find_package_handle_standard_args(CryptoPP
    REQUIRED_VARS CryptoPP_LIBRARY CryptoPP_INCLUDE_DIR
    REASON_FAILURE_MESSAGE "Crypto++ is needed (Debian: libcrypto++-dev)")
endif()

if(CryptoPP_FOUND AND NOT TARGET CryptoPP::CryptoPP)
  if(CryptoPP_TARGET)
    add_library(CryptoPP::CryptoPP INTERFACE IMPORTED)
    target_link_libraries(CryptoPP::CryptoPP INTERFACE ${CryptoPP_TARGET})
  else()
    add_library(CryptoPP::CryptoPP UNKNOWN IMPORTED)
    set_target_properties(CryptoPP::CryptoPP PROPERTIES
      IMPORTED_LOCATION "${CryptoPP_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${CryptoPP_INCLUDE_DIR}")
  endif()
endif()
