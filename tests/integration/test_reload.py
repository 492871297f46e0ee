#!/usr/bin/env python3
"""SIGHUP: a server reads its certificates again.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import signal

import programs
from addresses import connect
from certificates import certificate, issue
from contents import HELLO
from exit_codes import BROKEN
from program_case import Case
from tls_case import TlsCase
from waiting import TIMEOUT, wait_until


def hang_up(server, outcome):
    """Sends SIGHUP, and waits for the server to log what became of it."""
    def outcomes():
        return [line for line in server.log().splitlines() if "SIGHUP: " in line]

    before = len(outcomes())
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(outcomes()) > before, "the signal in the log")
    if outcome not in outcomes()[-1]:
        raise AssertionError("%r is not in %r" % (outcome, outcomes()[-1]))


def ask(connection):
    """Part of a connection's reply to a command."""
    connection.sendall(b"LIST_FILES\n")
    return connection.recv(100)


class Reload(TlsCase):
    def replace(self, name, by):
        """Replaces files as a tool that renews certificates should: at once."""
        for end in ("crt", "key"):
            os.rename(self.path(by + "." + end), self.path(name + "." + end))

    def test_new_connections_use_the_new_certificate_and_old_ones_go_on(self):
        server = self.serve_tls()
        running = self.raw()
        reply = ask(running)
        certificate(self.path("next"), "DNS:localhost", "IP:127.0.0.1")
        os.link(self.path("good.crt"), self.path("old.crt"))
        self.replace("good", by="next")
        self.client(server, "list", trusted="old.crt")  # not before the signal
        hang_up(server, "certificates reloaded")
        self.client(server, "list")
        self.client(server, "list", trusted="old.crt", expect=BROKEN)
        self.assertEqual(ask(running), reply)
        running.close()
        server.stop()

    def test_bad_new_files_leave_the_old_certificate_in_force(self):
        certificate(self.path("ca"), "DNS:ca")
        issue(self.path("alice"), self.path("ca"))
        server = self.serve_tls("--tls-client-ca", "ca.crt")
        alice = ("--cert", "alice.crt", "--key", "alice.key", "list")
        certificate(self.path("other"), "DNS:localhost")
        for name, data in (("good.crt", b"no certificate"), ("good.crt", b""),
                           ("good.key", self.read("other.key")), ("good.key", None),
                           ("ca.crt", b"none"), ("ca.crt", None)):
            with self.subTest(name=name, data=data):
                before = self.read(name)
                os.remove(self.path(name)) if data is None else self.write(name, data)
                hang_up(server, "certificates not reloaded, the old ones stay in force: " + name)
                self.write(name, before)
                self.client(server, *alice)
                self.client(server, "list", expect=BROKEN)
        hang_up(server, "certificates reloaded")
        self.client(server, *alice)

    def test_a_withdrawn_authority_lets_nobody_in_any_more(self):
        for name in ("ca", "next"):
            certificate(self.path(name), "DNS:" + name)
        issue(self.path("alice"), self.path("ca"))
        issue(self.path("bob"), self.path("next"))
        server = self.serve_tls("--tls-client-ca", "ca.crt")
        for inside, outside in (("alice", "bob"), ("bob", "alice")):
            self.client(server, "--cert", inside + ".crt", "--key", inside + ".key", "list")
            self.client(server, "--cert", outside + ".crt", "--key", outside + ".key", "list",
                        expect=BROKEN)
            self.assertIn("rejected this client's certificate: unknown issuer", self.stderr)
            if inside == "alice":
                self.replace("ca", by="next")
                hang_up(server, "certificates reloaded")

    def test_renewed_links_are_followed(self):
        """As certbot leaves them: links from live/ to archive/, where the next files appear."""
        for folder in ("live/host", "archive/host"):
            os.makedirs(self.path(folder))
        for number in (1, 2):
            certificate(self.path("archive/host", "cert%d" % number), "IP:127.0.0.1")

        def link_to(number):
            for end in ("crt", "key"):
                link = self.path("live/host/cert." + end)
                os.symlink("../../archive/host/cert%d.%s" % (number, end), link + ".new")
                os.rename(link + ".new", link)

        link_to(1)
        server = self.serve("--cert", "live/host/cert.crt", "--key", "live/host/cert.key",
                            listen=("tls:127.0.0.1:0",))
        link_to(2)
        self.client(server, "list", trusted="archive/host/cert1.crt")
        hang_up(server, "certificates reloaded")
        self.client(server, "list", trusted="archive/host/cert2.crt")

    def test_many_signals_while_clients_come_do_no_harm(self):
        server = self.serve_tls("--threads", "4")
        self.write("file", HELLO)
        for _ in range(10):
            for _ in range(20):
                server.process.send_signal(signal.SIGHUP)
            self.client(server, "upload", "file")
        hang_up(server, "certificates reloaded")
        server.stop()
        self.assertNotIn("not reloaded", server.log())


class WithoutCertificates(Case):
    def test_a_server_without_tls_survives(self):
        server = self.serve()
        with connect(server.address, TIMEOUT) as running:
            for _ in range(3):
                hang_up(server, "there are no certificates to reload")
            self.assertTrue(ask(running))
        quiet = self.serve("--quiet")
        quiet.process.send_signal(signal.SIGHUP)
        self.client(quiet, "list")
        quiet.stop()
        self.assertEqual(quiet.log(), "")


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
