#include "common/tls.hpp"

#include "common/tls_stream.hpp"

#include <asio/error.hpp>
#include <asio/ip/address.hpp>
#include <asio/ssl/error.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <system_error>
#include <tuple>
#include <utility>

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

namespace programs {
namespace {

using context_pointer = std::shared_ptr<asio::ssl::context>;

context_pointer make_context(asio::ssl::context::method method) {
  auto made = std::make_shared<asio::ssl::context>(method);
  SSL_CTX_set_min_proto_version(made->native_handle(), TLS1_2_VERSION);
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

/// The certificate has to be for this host, which the server is told, for it may have several.
/// False if no certificate can be for it.
bool expect_host(SSL* tls, const std::string& host) {
  std::error_code is_name;
  asio::ip::make_address(host, is_name);
  if (!is_name) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host.c_str()) == 1;
  return SSL_set1_host(tls, host.c_str()) == 1 && SSL_set_tlsext_host_name(tls, host.c_str()) == 1;
}

/// A tls_stream, and the context that it needs.
class tls_layer final : public layer_of<tls_stream<any_socket>> {
 public:
  tls_layer(any_socket socket, const context_pointer& context)
      : layer_of{tls_stream{std::move(socket), *context, asio::ssl::stream_base::client}},
        context_{context} {}

  tls_stream<any_socket>& stream() noexcept { return stream_; }

 private:
  context_pointer context_;
};

failure explain_handshake(std::error_code ec, SSL* tls, const tls_address& where) {
  const std::string name = to_string(where);
  const long verified = SSL_get_verify_result(tls);
  if (verified != X509_V_OK) {
    return {broken, "no connection to " + name + ": its certificate was refused: " +
                        X509_verify_cert_error_string(verified) +
                        "; --ca FILE says whose certificates to trust"};
  }
  const bool of_tls = ec.category() == asio::error::get_ssl_category();
  const std::string hint = of_tls ? "; it may be a server without TLS" : "";
  return {broken, "no connection to " + name + ": " + ec.message() + hint};
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

any_stream shake_hands(foreground& operations, any_socket socket, const tls_address& where,
                       const std::string& trusted, failure& why) {
  const context_pointer context = client_context(trusted, why);
  if (!context) return {};
  struct attempt {
    std::unique_ptr<tls_layer> layer;
    bool late = false;
  };
  const auto tried = std::make_shared<attempt>();
  tried->layer = std::make_unique<tls_layer>(std::move(socket), context);
  auto& stream = tried->layer->stream();
  if (!expect_host(stream.native_tls(), where.tcp.host)) {
    why = {broken, where.tcp.host + ": no certificate can be for that host"};
    return {};
  }
  asio::steady_timer deadline{operations.context(), std::chrono::seconds{30}};
  deadline.async_wait([tried](std::error_code cancelled) {
    if (cancelled || !tried->layer) return;
    tried->late = true;
    std::error_code ignored;
    tried->layer->close(ignored);
  });
  auto [ec, none] = operations.run<std::size_t>(
      [&](auto handler) { stream.async_handshake(std::move(handler)); });
  if (tried->late) ec = asio::error::timed_out;
  if (!ec) return any_stream{std::move(tried->layer)};
  why = explain_handshake(ec, stream.native_tls(), where);
  return {};
}

}  // namespace programs
