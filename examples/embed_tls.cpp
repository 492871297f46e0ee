// Over TLS: the library takes any of Asio's TLS streams after its handshake.
//
//     embed_tls CERTIFICATE KEY    two PEM files; the certificate is for localhost

#include <filexfer/client.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/session.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ssl.hpp>

#include <exception>
#include <iostream>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace {

namespace ssl = asio::ssl;
using asio::ip::tcp;
using tls_stream = ssl::stream<tcp::socket>;

/// Serves one client. If it closes without TLS's close_notify, that is an error.
void serve(tcp::acceptor& acceptor, const std::string& certificate, const std::string& key) try {
  ssl::context context{ssl::context::tls_server};
  context.use_certificate_chain_file(certificate);
  context.use_private_key_file(key, ssl::context::pem);
  tls_stream stream{acceptor.accept(), context};
  stream.handshake(ssl::stream_base::server);
  filexfer::memory_store<> store;
  filexfer::session session{std::move(stream), store};
  session.run();
} catch (const std::exception& e) {
  std::cerr << "server: " << e.what() << '\n';
}

/// Uploads a text, downloads it again, and returns what arrived.
std::string round_trip(tls_stream stream) {
  filexfer::client client{std::move(stream)};
  const std::string text = "the content of a file";
  filexfer::memory_source source{std::as_bytes(std::span{text})};
  const auto uploaded = client.upload(source, "text.txt");
  filexfer::memory_sink sink{1024};
  client.download(uploaded.remote_digest, sink);
  std::error_code ignored;  // the server closes without answering close_notify
  client.next_layer().shutdown(ignored);
  return std::string{sink.text()};
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) return 2;
  asio::io_context context;
  tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
  ssl::context trust{ssl::context::tls_client};
  trust.set_verify_mode(ssl::verify_peer);  // without this, Asio accepts any certificate
  trust.load_verify_file(argv[1]);          // or set_default_verify_paths(), for the system's store
  std::jthread server{[&] { serve(acceptor, argv[1], argv[2]); }};
  tls_stream stream{context, trust};
  stream.set_verify_callback(ssl::host_name_verification{"localhost"});
  stream.next_layer().connect(acceptor.local_endpoint());
  stream.handshake(ssl::stream_base::client);
  std::cout << round_trip(std::move(stream)) << '\n';
  return 0;
} catch (const std::exception& e) {
  std::cerr << "embed_tls: " << e.what() << '\n';
  return 1;
}
