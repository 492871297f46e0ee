# What the consumer projects share: the program, with a careful user's warnings.
add_executable(consumer "${CMAKE_CURRENT_LIST_DIR}/main.cpp")
target_link_libraries(consumer PRIVATE filexfer::filexfer)
target_compile_options(consumer PRIVATE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)

# Our tests, programs and flags are none of the user's business.
foreach(ours filexfer-tests filexfer-server filexfer-odr filexfer-developer)
  if(TARGET ${ours})
    message(FATAL_ERROR "the target ${ours} leaked into a user's build")
  endif()
endforeach()
