#ifndef FILEXFER_TESTS_ODR_OTHER_HPP
#define FILEXFER_TESTS_ODR_OTHER_HPP

#include <filexfer/md5.hpp>

#include <system_error>

const std::error_category* other_category();
std::error_code other_error();
filexfer::md5::digest_type other_digest();

#endif
