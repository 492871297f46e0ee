find_path(PACKAGED_ASIO asio.hpp REQUIRED)
add_library(asio::asio INTERFACE IMPORTED)
target_include_directories(asio::asio INTERFACE "${PACKAGED_ASIO}")
target_compile_definitions(asio::asio INTERFACE ASIO_STANDALONE ASIO_OF_THE_PACKAGE_MANAGER)
