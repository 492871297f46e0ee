# The reference, from the comments of the public headers, into build/<preset>/docs/html:
#
#     cmake --build --preset release --target docs
#
# A public name, parameter or result without a comment is an error, and so is a \snippet that does not
# exist. The examples are parts of tests/snippets/, which the test `snippets` runs.

if(NOT PROJECT_IS_TOP_LEVEL)
  return()  # the project that includes this one may have a target of that name
endif()

find_package(Doxygen QUIET)
if(NOT DOXYGEN_FOUND)
  message(STATUS "filexfer: no target docs, for Doxygen was not found (Debian: doxygen)")
  return()
endif()

set(DOXYGEN_PROJECT_NAME filexfer)
set(DOXYGEN_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/docs")
set(DOXYGEN_STRIP_FROM_INC_PATH "${PROJECT_SOURCE_DIR}/include")
set(DOXYGEN_EXAMPLE_PATH "${PROJECT_SOURCE_DIR}/tests/snippets")
set(DOXYGEN_EXCLUDE_SYMBOLS "filexfer::detail*" "asio")
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_RECURSIVE NO)  # detail/ is not for users
set(DOXYGEN_GENERATE_LATEX NO)
set(DOXYGEN_INPUT_FILTER "${PROJECT_SOURCE_DIR}/cmake/group_by_floor.py")
set(DOXYGEN_FILTER_SOURCE_FILES NO)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_QUIET YES)
set(DOXYGEN_WARN_NO_PARAMDOC YES)
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)

doxygen_add_docs(docs
  "${PROJECT_SOURCE_DIR}/include/filexfer" "${PROJECT_SOURCE_DIR}/cmake/reference.dox"
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}/include")
