# Installing: the headers, and what lets CMake and pkg-config find them. Nothing here depends on the
# machine's architecture, and everything finds its prefix by itself, so that it can be moved.

include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/filexfer")
set(pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")

install(DIRECTORY include/filexfer DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp")
install(TARGETS filexfer EXPORT filexferTargets)
install(EXPORT filexferTargets NAMESPACE filexfer:: DESTINATION "${package_dir}")

configure_package_config_file(cmake/filexferConfig.cmake.in filexferConfig.cmake
  INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO)
# While the major version is 0, a new minor version may break users.
write_basic_package_version_file(filexferConfigVersion.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
  "${PROJECT_BINARY_DIR}/filexferConfig.cmake"
  "${PROJECT_BINARY_DIR}/filexferConfigVersion.cmake"
  cmake/FindAsio.cmake
  cmake/FindCryptoPP.cmake
  cmake/FindRados.cmake
  DESTINATION "${package_dir}")

# pkg-config: name Crypto++ by its own .pc file where it has one, else by what CMake found.
set(pc_requires)
set(pc_extra_cflags)
set(pc_extra_libs)
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  foreach(name libcrypto++ libcryptopp cryptopp)
    pkg_check_modules(filexfer_pc_cryptopp QUIET ${name})
    if(filexfer_pc_cryptopp_FOUND)
      set(pc_requires ${name})
      break()
    endif()
  endforeach()
endif()
if(NOT pc_requires)
  set(pc_extra_libs "-lcryptopp")
  if(CryptoPP_LIBRARY)
    get_filename_component(library_dir "${CryptoPP_LIBRARY}" DIRECTORY)
    get_filename_component(library_name "${CryptoPP_LIBRARY}" NAME_WE)
    string(REGEX REPLACE "^lib" "" library_name "${library_name}")
    set(pc_extra_libs "-L${library_dir} -l${library_name}")
  endif()
endif()
foreach(dir IN LISTS Asio_INCLUDE_DIR CryptoPP_INCLUDE_DIR)
  if(dir AND NOT dir IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
    string(APPEND pc_extra_cflags " -I${dir}")
  endif()
endforeach()

if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
else()
  set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
file(RELATIVE_PATH pc_path_to_prefix
  "${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" pc_path_to_prefix "${pc_path_to_prefix}")
configure_file(cmake/filexfer.pc.in filexfer.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/filexfer.pc" DESTINATION "${pkgconfig_dir}")
