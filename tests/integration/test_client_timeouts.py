#!/usr/bin/env python3
"""How long filexfer-client waits: --connect-timeout and --idle-timeout.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import socket
import unittest

import programs
from contents import make_data
from exit_codes import BROKEN, USAGE
from program_case import Case


class Timeouts(Case):
    def full_listener(self):
        """The address of a TCP socket that answers no more attempts to connect."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listener.close)
        for _ in range(4):
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        probe = socket.socket()
        self.addCleanup(probe.close)
        probe.settimeout(0.1)
        try:
            probe.connect(listener.getsockname())
        except socket.timeout:
            return "127.0.0.1:%d" % listener.getsockname()[1]
        raise unittest.SkipTest("the system accepts connections beyond the backlog")

    def test_an_attempt_to_connect_ends_after_the_connect_timeout(self):
        server = self.full_listener()
        self.write("hello.txt", b"hello")
        for command in (("list",), ("simulate", "hello.txt")):
            self.client(server, "--connect-timeout", "50ms", *command, expect=BROKEN)
            self.assertIn("can't connect to %s: " % server, self.stderr)
            self.assertIn("timed out", self.stderr)

    def test_a_server_that_falls_silent_is_given_up_after_the_idle_timeout(self):
        for features in (False, True):
            server = self.start_peer(features, stall_download_after=1000)
            server.store.add("large", make_data(300000))
            self.client(server, "--idle-timeout", "50ms", "download", "large", expect=BROKEN)
            self.assertIn("the peer was silent", self.stderr)
            self.assertNotIn("large", self.files_below())

    def test_a_timeout_of_zero_is_a_usage_error(self):
        for option in ("--connect-timeout", "--idle-timeout"):
            for value in ("0", "soon"):
                self.client("127.0.0.1:1", option, value, "list", expect=USAGE)
                self.assertIn(option, self.stderr)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
