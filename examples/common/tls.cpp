#include "common/tls.hpp"

#include <system_error>

#include <openssl/ssl.h>

namespace programs {
namespace {

using context_pointer = std::shared_ptr<asio::ssl::context>;

context_pointer make_context(asio::ssl::context::method method) {
  auto made = std::make_shared<asio::ssl::context>(method);
  SSL_CTX_set_min_proto_version(made->native_handle(), TLS1_2_VERSION);
  return made;
}

}  // namespace

context_pointer server_context(const std::string& certificate, const std::string& key,
                               failure& why) {
  auto made = make_context(asio::ssl::context::tls_server);
  std::error_code ec;
  made->use_certificate_chain_file(certificate, ec);
  if (ec) {
    why = {local_file, certificate + ": no certificate can be read there: " + ec.message()};
    return nullptr;
  }
  made->use_private_key_file(key, asio::ssl::context::pem, ec);
  if (ec) {
    why = {local_file, key + ": not the key of that certificate: " + ec.message()};
    return nullptr;
  }
  return made;
}

context_pointer client_context(const std::string& trusted, failure& why) {
  auto made = make_context(asio::ssl::context::tls_client);
  made->set_verify_mode(asio::ssl::verify_peer);
  std::error_code ec;
  if (trusted.empty()) made->set_default_verify_paths(ec);
  else made->load_verify_file(trusted, ec);
  if (!ec) return made;
  const std::string where = trusted.empty() ? "the system's store" : trusted;
  why = {local_file, where + ": no certificates can be read there: " + ec.message()};
  return nullptr;
}

}  // namespace programs
