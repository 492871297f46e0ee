#!/usr/bin/env python3
"""Which versions, ciphers and features of TLS both ends take, whatever the system would allow.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import contextlib
import os
import socket
import ssl
import subprocess
import threading
import warnings

import programs
from addresses import connect
from certificates import RSA, certificate
from exit_codes import BROKEN
from tls_case import TlsCase
from waiting import TIMEOUT, wait_until

# A system that allows whatever OpenSSL can: what is refused is refused by the programs.
LAX = b"""openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = lax
[lax]
MinProtocol = TLSv1
CipherString = ALL:@SECLEVEL=0
"""
V1, V1_1, V1_2, V1_3 = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2,
                        ssl.TLSVersion.TLSv1_3)
OPTIONS = {V1: "-tls1", V1_1: "-tls1_1", V1_2: "-tls1_2", V1_3: "-tls1_3"}
# Versions and ciphers.
OLD = ((V1, "ALL"), (V1_1, "ALL"), (V1_2, "AES128-SHA"), (V1_2, "AES256-GCM-SHA384"),
       (V1_2, "ECDHE-RSA-AES128-SHA"))
GOOD = ((V1_2, "ECDHE-RSA-AES128-GCM-SHA256"), (V1_2, "ECDHE-RSA-CHACHA20-POLY1305"),
        (V1_3, "ALL"))


class Versions(TlsCase):
    def setUp(self):
        super().setUp()
        self.environment["OPENSSL_CONF"] = self.write("lax.cnf", LAX)
        certificate(self.path("good"), "DNS:localhost", "IP:127.0.0.1", key=RSA)

    def serve_lax(self):
        os.environ["OPENSSL_CONF"] = self.environment["OPENSSL_CONF"]
        self.addCleanup(os.environ.pop, "OPENSSL_CONF")
        return self.serve_tls()

    def s_client(self, *options, stdin=b""):
        """What `openssl s_client` prints; it ends with its standard input."""
        result = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:" + self.port,
                                 "-CAfile", "good.crt", *options], cwd=self.folder,
                                env=self.environment, input=stdin, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=TIMEOUT)
        return result.stdout.decode("utf-8", "replace")

    def context(self, kind, version, ciphers):
        context = ssl.SSLContext(kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # these versions are the point
            context.minimum_version = context.maximum_version = version
        context.set_ciphers(ciphers + ":@SECLEVEL=0")
        return context

    @contextlib.contextmanager
    def old_server(self, version, ciphers):
        """The address of a server that speaks nothing else, and ends each connection."""
        context = self.context(ssl.PROTOCOL_TLS_SERVER, version, ciphers)
        context.load_cert_chain(self.path("good.crt"), self.path("good.key"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                for _ in range(2):
                    peer, _ = listener.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(peer, True) as secured:
                        secured.recv(100)
                        secured.sendall(b"no\n")

            thread = threading.Thread(target=serve)
            thread.start()
            yield "127.0.0.1:%d" % listener.getsockname()[1]
            thread.join()

    def test_a_server_refuses_old_versions_and_ciphers(self):
        server = self.serve_lax()
        for version, ciphers in OLD:
            with self.subTest(version=version, ciphers=ciphers):
                out = self.s_client(OPTIONS[version], "-cipher", ciphers + ":@SECLEVEL=0")
                self.assertIn("Cipher is (NONE)", out)
                self.assertRegex(out, "alert (protocol version|handshake failure)")
        for version, ciphers in GOOD:
            with self.subTest(version=version, ciphers=ciphers):
                out = self.s_client(OPTIONS[version], "-cipher", ciphers)
                self.assertIn("Verify return code: 0 (ok)", out)
                self.assertNotIn("Cipher is (NONE)", out)
        self.assertIn("New, TLSv1.3,", self.s_client())
        self.assertEqual(server.log().count("failed"), len(OLD))

    def test_a_client_refuses_old_versions_and_ciphers(self):
        for version, ciphers in OLD + GOOD:
            with self.subTest(version=version, ciphers=ciphers), \
                    self.old_server(version, ciphers) as address:
                self.client("tls:" + address, "list", expect=BROKEN)
                (self.assertIn if (version, ciphers) in OLD else self.assertNotIn)(
                    "can't connect to", self.stderr)
                # Another client takes what this one refuses.
                other = self.context(ssl.PROTOCOL_TLS_CLIENT, version, ciphers)
                other.load_verify_locations(self.path("good.crt"))
                with other.wrap_socket(connect(address, TIMEOUT),
                                       server_hostname="localhost") as secured:
                    secured.sendall(b"hello")
                    self.assertEqual(secured.recv(100), b"no\n")

    def test_no_session_is_resumed_and_nothing_is_renegotiated(self):
        server = self.serve_lax()
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version=version):
                out = self.s_client(version, "-reconnect")
                self.assertEqual(out.count("New, TLSv1."), 6)
                self.assertNotIn("Reused, ", out)
                self.assertNotIn("session ticket:", out)
        self.assertIn("no renegotiation", self.s_client("-tls1_2", stdin=b"R\n"))
        wait_until(lambda: "failed" in server.log(), "the end of the connection")
        self.client(server, "list")


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
