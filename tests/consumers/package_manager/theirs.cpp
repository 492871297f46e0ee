#ifndef ASIO_OF_THE_PACKAGE_MANAGER
#error "FindAsio did not take the target asio::asio"
#endif
#ifndef CRYPTOPP_OF_THE_PACKAGE_MANAGER
#error "FindCryptoPP did not take the target cryptopp::cryptopp"
#endif
