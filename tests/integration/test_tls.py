#!/usr/bin/env python3
"""TLS at both ends: tls:HOST:PORT.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import socket
import ssl
import subprocess

import programs
from addresses import connect, skip_without_ipv6
from certificates import certificate, issue
from contents import HELLO, make_data
from exit_codes import BROKEN, DONE, LOCAL_FILE, REFUSED, USAGE
from tls_case import TlsCase
from waiting import TIMEOUT, wait_until


class Tls(TlsCase):
    def test_the_commands_work_over_tls(self):
        server = self.serve_tls(store="store", listen=("tls:127.0.0.1:0", "127.0.0.1:0"))
        self.assertRegex(server.address, r"^tls:127\.0\.0\.1:\d+$")
        data = make_data(3000001)
        self.write("large", data)
        self.write("small", HELLO)
        self.write("empty", b"")
        for address in (server.address, "tls:localhost:" + self.port):
            out = self.client(address, "upload", "large", "small", "empty").decode()
            self.assertEqual(out.count("Success"), 3)
            self.assertEqual(len(self.client(address, "list").splitlines()), 3)
            self.client(address, "download", "large", "small", "empty", "-o", ".", "--force")
            self.assertEqual((self.read("large"), self.read("small"), self.read("empty")),
                             (data, HELLO, b""))
            self.assertIn(b"22  client disconnects, and the server closes",
                          self.client(address, "simulate", "large"))
        super().client(server.addresses[1], "list")
        server.terminate()
        self.assertEqual(server.wait(), DONE)
        self.assertNotIn("failed", server.log())

    def test_an_untrusted_certificate_is_refused(self):
        server = self.serve_tls()
        certificate(self.path("other"), "DNS:localhost", "IP:127.0.0.1")
        for trusted, reason in ((None, "self"), ("other.crt", "self")):
            self.client(server, "list", trusted=trusted, expect=BROKEN)
            self.assertIn("its certificate was rejected: " + reason, self.stderr)
            self.assertIn("; use --ca FILE to trust its issuer", self.stderr)
        certificate(self.path("elsewhere"), "DNS:elsewhere.example", "IP:127.0.0.9")
        named = self.serve("--cert", "elsewhere.crt", "--key", "elsewhere.key",
                           listen=("tls:127.0.0.1:0",))
        for address, reason in ((named.address, "IP address mismatch"),
                                (named.address.replace("127.0.0.1", "localhost"),
                                 "hostname mismatch")):
            self.client(address, "list", trusted="elsewhere.crt", expect=BROKEN)
            self.assertIn(reason.lower(), self.stderr.lower())
        issue(self.path("old"), self.path("good"), days=-1)
        old = self.serve("--cert", "old.crt", "--key", "old.key", listen=("tls:127.0.0.1:0",))
        self.client(old, "list", expect=BROKEN)
        self.assertIn("its certificate was rejected: certificate has expired\n", self.stderr)
        self.assertNotIn("LIST_FILES", server.log() + named.log() + old.log())

    def test_a_host_that_no_certificate_can_name_is_refused(self):
        skip_without_ipv6()
        self.serve_tls(listen=("tls:[::1]:0",))
        self.client("tls:[::1%%lo]:%s" % self.port, "list", expect=BROKEN)
        self.assertIn("not a valid host name in a certificate", self.stderr)

    def test_a_peer_without_tls_is_reported(self):
        secured, plain = self.serve_tls(), self.serve()
        for arguments in (("list",), ("upload", "good.crt"), ("download", "a"),
                          ("verify", "good.crt"), ("simulate", "good.crt")):
            self.client(secured.address[len("tls:"):], *arguments, expect=BROKEN)
            self.assertIn("the server expects TLS; use --server tls:HOST:PORT", self.stderr)
            self.client("tls:" + plain.address, *arguments, expect=BROKEN)
            self.assertIn("may not use TLS", self.stderr)
        self.client(secured, "list")

    def test_an_unusable_certificate_or_key_is_an_error(self):
        self.serve_tls()
        certificate(self.path("other"), "DNS:localhost")
        self.write("no.pem", HELLO)
        listen = ("--listen", "tls:127.0.0.1:0", "--store", "memory")
        for cert, key, file in (("missing", "good.key", "missing"),
                                ("no.pem", "good.key", "no.pem"),
                                ("good.crt", "missing", "missing"),
                                ("good.crt", "other.key", "other.key")):
            self.run_program("filexfer-server", *listen, "--cert", cert, "--key", key,
                             expect=LOCAL_FILE)
            self.assertIn(file, self.stderr)
        for arguments in ((), ("--cert", "good.crt"), ("--key", "good.key")):
            self.run_program("filexfer-server", *listen, *arguments, expect=USAGE)
        for file in ("missing", "no.pem"):
            self.client("tls:127.0.0.1:" + self.port, "list", trusted=file, expect=LOCAL_FILE)
            self.assertIn(file, self.stderr)
        for address in ("tls:", "tls:localhost", "tls:localhost:x"):
            self.client(address, "list", expect=USAGE)

    def test_a_client_needs_a_certificate_of_the_right_authority(self):
        certificate(self.path("ca"), "DNS:ca")
        certificate(self.path("stranger"), "DNS:stranger")
        issue(self.path("alice"), self.path("ca"))
        issue(self.path("expired"), self.path("ca"), days=-1)
        server = self.serve_tls("--tls-client-ca", "ca.crt")
        self.write("file", HELLO)
        alice = ("--cert", "alice.crt", "--key", "alice.key")
        self.client(server, *alice, "upload", "file")
        self.client(server, *alice, "simulate", "file")
        self.assertNotIn("failed", server.log())
        self.retry_options = ("--retry-for", "1h")  # nothing of this is retried
        for name, complaint, reason in (
                ("", "the server demands a certificate of the client; use --cert FILE and --key "
                 "FILE", "peer did not return a certificate"),
                ("stranger", "the server rejected this client's certificate: unknown issuer",
                 "its certificate was rejected: self-signed certificate"),
                ("expired", "the server rejected this client's certificate: expired",
                 "its certificate was rejected: certificate has expired")):
            presented = ("--cert", name + ".crt", "--key", name + ".key") if name else ()
            for command in (("list",), ("upload", "file"), ("verify", "file"),
                            ("simulate", "file")):
                with self.subTest(name=name, command=command):
                    self.client(server, *presented, *command, expect=BROKEN)
                    self.assertIn(complaint, self.stderr)
            wait_until(lambda: reason in server.log(), "the reason in the log")
        self.assertEqual(server.log().count("UPLOAD"), 2)

    def test_a_rejected_client_that_goes_on_sending_learns_why(self):
        certificate(self.path("ca"), "DNS:ca")
        server = self.serve_tls("--tls-client-ca", "ca.crt")
        for _ in range(20):
            secured = self.raw()  # with TLS 1.3 its handshake is complete before the server's
            with self.assertRaisesRegex(ssl.SSLError, "ALERT_CERTIFICATE_REQUIRED"):
                for _ in range(30):
                    secured.sendall(b"LIST_FILES\n" * 100)
                secured.recv(100)
        self.assertNotIn("LIST_FILES", server.log())

    def test_options_of_certificates_that_protect_nothing_are_errors(self):
        self.serve_tls()
        for words in (("--cert", "good.crt"), ("--key", "good.key")):
            self.client("tls:127.0.0.1:" + self.port, *words, "list", expect=USAGE)
        for words, file in ((("--cert", "missing", "--key", "good.key"), "missing"),
                            (("--cert", "good.crt", "--key", "missing"), "missing")):
            self.client("tls:127.0.0.1:" + self.port, *words, "list", expect=LOCAL_FILE)
            self.assertIn(file, self.stderr)
        self.run_program("filexfer-server", "--listen", "127.0.0.1:0", "--store", "memory",
                         "--tls-client-ca", "good.crt", expect=USAGE)
        self.write("no.pem", HELLO)
        for file in ("missing", "no.pem"):
            self.run_program("filexfer-server", "--listen", "tls:127.0.0.1:0", "--store", "memory",
                             "--cert", "good.crt", "--key", "good.key", "--tls-client-ca", file,
                             expect=LOCAL_FILE)
            self.assertIn(file, self.stderr)

    def test_an_encrypted_key_is_an_error_and_no_question(self):
        self.serve_tls()
        subprocess.run(["openssl", "ec", "-in", "good.key", "-aes256", "-passout", "pass:secret",
                        "-out", "secret.key"], cwd=self.folder, check=True, capture_output=True)
        # In a session of its own there is no terminal; on one OpenSSL would wait for an answer.
        self.run_program("filexfer-server", "--listen", "tls:127.0.0.1:0", "--store", "memory",
                         "--cert", "good.crt", "--key", "secret.key", expect=LOCAL_FILE,
                         start_new_session=True)
        self.assertIn("secret.key: not the key of that certificate, or encrypted", self.stderr)

    def test_a_truncated_stream_is_not_an_orderly_end(self):
        server = self.serve_tls()
        orderly = self.raw()
        orderly.sendall(b"LIST_FILES\n")
        self.assertTrue(orderly.recv(100))
        orderly.unwrap().close()
        wait_until(lambda: "LIST_FILES" in server.log(), "the command")
        self.assertNotIn("truncated", server.log())
        cut = self.raw()
        cut.sendall(b"LIST_FILES\n")
        self.assertTrue(cut.recv(100))
        socket.socket(fileno=cut.detach()).close()
        wait_until(lambda: "stream truncated" in server.log(), "the cut in the log")
        # The server ends its stream in an orderly way.
        refused = self.raw()
        refused.sendall(b"GET / HTTP/1.1\n")
        self.assertTrue(refused.makefile("rb").read().startswith(b"ERROR bad-request"))

    def test_a_truncated_download_fails(self):
        server = self.serve_tls()
        self.write("large", make_data(3000000))
        self.client(server, "upload", "large")
        relay = self.start_relay("127.0.0.1:" + self.port, 1000000)
        self.client("tls:" + relay.address, "download", "large", "-o", "copy", expect=BROKEN)
        self.assertFalse(os.path.exists(self.path("copy")))

    def test_a_silent_handshake_or_session_times_out(self):
        self.serve_tls("--idle-timeout", "300ms")
        # Nothing, and the beginning of a handshake.
        for beginning in (b"", b"\x16\x03\x01\x02\x00\x01"):
            with connect("127.0.0.1:" + self.port, TIMEOUT) as silent:
                silent.sendall(beginning)
                self.assertEqual(silent.recv(100), b"")
        self.assertTrue(self.raw().makefile("rb").read().startswith(b"ERROR timeout"))

    def test_the_connection_limit_and_signals_work_over_tls(self):
        server = self.serve_tls("--max-connections", "1", "--grace", "1h")
        idle = self.raw()
        idle.sendall(b"LIST_FILES\n")
        self.assertTrue(idle.recv(100))
        self.client(server, "list", expect=REFUSED)
        self.assertIn("busy", self.stderr)
        server.terminate()
        rest = idle.makefile("rb").read()
        self.assertIn(b"ERROR shutting-down", rest)
        self.assertEqual(server.wait(), DONE)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
