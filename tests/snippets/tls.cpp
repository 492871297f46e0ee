// Examples for the reference: TLS.

#include "support.hpp"

#include <filexfer/any_stream.hpp>
#include <filexfer/client.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/peer_identity.hpp>
#include <filexfer/server.hpp>
#include <filexfer/session.hpp>
#include <filexfer/tls.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/signal_set.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/stream_base.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <openssl/ssl.h>

namespace tls_snippets {

using asio::ip::tcp;
using snippets::captured_output;

namespace {

/// Makes `certificate.pem`, for the loopback address, and `key.pem`. False without openssl.
bool make_certificate() {
  constexpr const char* command =
      "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 2 "
      "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>openssl.log";
  return std::system(command) == 0;
}

}  // namespace

TEST_CASE("a server and a client speak TLS") {
  const snippets::current_folder folder;
  if (!make_certificate()) {
    MESSAGE("not tested, for there is no openssl command");
    return;
  }
  filexfer::memory_store<> store;
  snippets::put(store, "note.txt", "hello");
  const tcp::endpoint endpoint{asio::ip::address_v4::loopback(), 0};
  asio::io_context serving;
  const auto executor = serving.get_executor();
  //! [tls_server]
  asio::ssl::context tls = filexfer::make_server_context("certificate.pem", "key.pem");
  using stream_type = filexfer::tls_stream<tcp::socket>;
  using store_type = filexfer::memory_store<>;
  filexfer::server<tcp, store_type, filexfer::md5, asio::steady_timer, stream_type> server{
      executor, endpoint, store};
  server.wrap([&tls](tcp::socket socket) {
    return stream_type{std::move(socket), tls, asio::ssl::stream_base::server};
  });
  server.start();
  //! [tls_server]
  std::thread thread{[&] { serving.run(); }};
  const std::string port = std::to_string(server.local_endpoint().port());
  captured_output output;
  {
    //! [tls_connector]
    asio::io_context context;
    // Without a context of its own it trusts the system's certificates.
    filexfer::tls_connector connector{context.get_executor(), "127.0.0.1", port,
                                      filexfer::make_client_context("certificate.pem")};
    filexfer::transfer_pool pool{std::move(connector)};
    const auto on_entry = [](const filexfer::listed_file& file) { std::cout << file.id << '\n'; };
    auto listed = pool.async_list_files({}, on_entry, asio::use_future);
    context.run();
    std::cout << listed.get() << " files\n";
    //! [tls_connector]
  }
  {
    asio::io_context context;
    tcp::socket socket{context};
    socket.connect(server.local_endpoint());
    //! [tls_stream]
    asio::ssl::context trust = filexfer::make_client_context("certificate.pem");
    filexfer::tls_stream<tcp::socket> stream{std::move(socket), trust,
                                             asio::ssl::stream_base::client};
    SSL_set1_host(stream.native_ssl_handle(), "localhost");
    filexfer::client<filexfer::tls_stream<tcp::socket>&> client{stream};
    auto listed = client.async_list_files(asio::use_future);  // the first write does the handshake
    context.run();
    std::cout << listed.get().size() << " files\n";
    //! [tls_stream]
  }
  {
    asio::io_context context;
    tcp::socket socket{context};
    socket.connect(server.local_endpoint());
    auto trust = filexfer::make_client_context("certificate.pem");
    filexfer::tls_stream<tcp::socket> stream{std::move(socket), trust,
                                             asio::ssl::stream_base::client};
    //! [async_handshake]
    SSL_set1_host(stream.native_ssl_handle(), "elsewhere.example");
    stream.async_handshake([](std::error_code ec, std::size_t) {
      if (ec) std::cout << "not a server to talk to\n";
    });
    context.run();
    //! [async_handshake]
  }
  server.async_stop([](std::error_code) {});
  thread.join();
  CHECK(output.take() ==
        snippets::id_of("hello").to_string() + "\n1 files\n1 files\nnot a server to talk to\n");
}

TEST_CASE("a server demands certificates of its clients, and knows their subjects") {
  const snippets::current_folder folder;
  if (!make_certificate()) {
    MESSAGE("not tested, for there is no openssl command");
    return;
  }
  using stream_type = filexfer::tls_stream<tcp::socket>;
  asio::ssl::context demanding =
      filexfer::make_server_context("certificate.pem", "key.pem", "certificate.pem");
  for (const bool presents : {true, false}) {
    captured_output output;
    asio::io_context context;
    tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
    tcp::socket socket{context};
    socket.connect(acceptor.local_endpoint());
    const std::string address = "127.0.0.1:" + std::to_string(socket.local_endpoint().port());
    filexfer::memory_store<> store;
    filexfer::session session{filexfer::any_stream{stream_type{acceptor.accept(), demanding,
                                                               asio::ssl::stream_base::server}},
                              store};
    CHECK(session.next_layer().peer_subject().empty());  // no handshake yet
    filexfer::peer_identity peer;
    session.observe([&](const filexfer::session_event&) {
      peer = filexfer::identify_peer(session.next_layer());
    });
    session.async_run([](std::error_code) {});
    asio::ssl::context own =
        presents ? filexfer::make_client_context("certificate.pem", "certificate.pem", "key.pem")
                 : filexfer::make_client_context("certificate.pem");
    stream_type stream{std::move(socket), own, asio::ssl::stream_base::client};
    filexfer::client<stream_type&> client{stream};
    //! [certificate_alert]
    client.async_list_files([&](std::error_code ec, const auto&) {
      const std::string_view objection = filexfer::certificate_alert(ec);
      if (!objection.empty()) std::cout << "our certificate: " << objection << '\n';
      stream.close(ec);
    });
    //! [certificate_alert]
    context.run();
    CHECK(output.take() == (presents ? "" : "our certificate: required\n"));
    CHECK(peer.certificate_subject == (presents ? "CN=localhost" : ""));
    if (presents) CHECK(peer.address == address);
  }
}

TEST_CASE("a server's context is replaced while streams use it, and stays if the new one is bad") {
  const snippets::current_folder folder;
  if (!make_certificate()) {
    MESSAGE("not tested, for there is no openssl command");
    return;
  }
  captured_output output{std::cerr};
  using stream_type = filexfer::tls_stream<tcp::socket>;
  asio::io_context context;
  filexfer::memory_store<> store;
  filexfer::server<tcp, filexfer::memory_store<>, filexfer::md5, asio::steady_timer, stream_type>
      server{context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  //! [reloadable_context]
  filexfer::reloadable_context tls{
      [] { return filexfer::make_server_context("certificate.pem", "key.pem"); }};
  server.wrap([&tls](tcp::socket socket) {
    return stream_type{std::move(socket), tls.current(), asio::ssl::stream_base::server};
  });
  asio::signal_set hangups{context, SIGHUP};
  hangups.async_wait([&](std::error_code, int) {
    try {
      tls.reload();  // for connections to come; those that there are go on
    } catch (const std::system_error& e) {
      std::cerr << e.what() << '\n';
    }
  });
  //! [reloadable_context]
  const auto first = tls.current();
  std::ofstream{"key.pem"} << "no key";
  std::raise(SIGHUP);
  context.run();
  CHECK(output.take().starts_with("key.pem: "));
  CHECK(tls.current() == first);
  REQUIRE(make_certificate());
  tls.reload();
  CHECK(tls.current() != first);
}

TEST_CASE("a client's context trusts the system's certificates, or those of a file") {
  const snippets::current_folder folder;
  captured_output output{std::cerr};
  //! [make_client_context]
  asio::ssl::context system_wide = filexfer::make_client_context();
  try {
    asio::ssl::context own = filexfer::make_client_context("certificate.pem");
  } catch (const std::system_error& e) {
    std::cerr << e.what() << '\n';  // names the file
  }
  //! [make_client_context]
  CHECK(output.take().starts_with("certificate.pem: no certificates can be read there"));
}

}  // namespace tls_snippets
