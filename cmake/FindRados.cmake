# Finds librados, Ceph's client library, and gives it as the target Rados::rados, with
# <rados/librados.h> to include. Hint: Rados_ROOT, a prefix with include/rados/librados.h.

include(FindPackageHandleStandardArgs)

find_path(Rados_INCLUDE_DIR rados/librados.h DOC "Folder of librados's folder rados")
find_library(Rados_LIBRARY NAMES rados DOC "librados")
mark_as_advanced(Rados_INCLUDE_DIR Rados_LIBRARY)
find_package_handle_standard_args(Rados
  REQUIRED_VARS Rados_LIBRARY Rados_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "librados is needed (Debian: librados-dev)")

if(Rados_FOUND AND NOT TARGET Rados::rados)
  add_library(Rados::rados UNKNOWN IMPORTED)
  set_target_properties(Rados::rados PROPERTIES
    IMPORTED_LOCATION "${Rados_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${Rados_INCLUDE_DIR}")
endif()
