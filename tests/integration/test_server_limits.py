#!/usr/bin/env python3
"""filexfer-server's limits on the connections of one address, over all addresses it listens on.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import contextlib
import socket
import time

import programs
from contents import HELLO
from exit_codes import DONE, REFUSED
from program_case import Case
from waiting import TIMEOUT, wait_until

BUSY = b"ERROR busy"
OTHER = "127.0.0.2"  # another address of this host


class Limits(Case):
    def connect(self, address, source="127.0.0.1"):
        """A connection and the first bytes of its reply to LIST_FILES."""
        if address.startswith("unix:"):
            end = socket.socket(socket.AF_UNIX)
            end.settimeout(TIMEOUT)
            end.connect(self.path(address[len("unix:"):]))
        else:
            host, port = address.rsplit(":", 1)
            end = socket.create_connection((host, int(port)), TIMEOUT, (source, 0))
        self.addCleanup(end.close)
        with contextlib.suppress(ConnectionError):  # it may have been rejected already
            end.sendall(b"LIST_FILES\n")
        return end, end.recv(1000)

    def check_served(self, *arguments):
        end, reply = self.connect(*arguments)
        self.assertTrue(reply.startswith(b"No files"), reply)
        return end

    def check_rejected(self, *arguments):
        _, reply = self.connect(*arguments)
        self.assertTrue(reply.startswith(BUSY), reply)

    def test_connections_are_limited_over_all_endpoints(self):
        server = self.serve("--max-connections", "2",
                            listen=("127.0.0.1:0", "unix:socket", "127.0.0.1:0"))
        first, local, other = server.addresses
        kept = self.check_served(first)
        self.check_served(local)
        for address in server.addresses:
            self.check_rejected(address)
        kept.close()
        wait_until(lambda: self.start_client(other, "list").wait() == DONE, "a place is free")

    def test_connections_of_one_address_are_limited_over_all_endpoints(self):
        server = self.serve("--max-connections-per-address", "2",
                            listen=("127.0.0.1:0", "127.0.0.1:0", "unix:socket"))
        first, second, local = server.addresses
        kept = self.check_served(first)
        self.check_served(second)
        self.check_rejected(first)
        self.check_rejected(second)
        self.client(second, "list", expect=REFUSED)
        self.assertIn("busy", self.stderr)
        self.check_served(second, OTHER)
        for _ in range(3):
            self.check_served(local)
        kept.close()
        wait_until(lambda: self.start_client(second, "list").wait() == DONE, "a place is free")

    def test_the_rate_of_new_connections_of_one_address_is_limited(self):
        server = self.serve("--max-connection-rate", "1", listen=("127.0.0.1:0", "127.0.0.1:0"))
        start = time.monotonic()
        served = 0
        while True:
            end, reply = self.connect(server.addresses[served % 2])
            end.close()
            if reply.startswith(BUSY):
                break
            served += 1
            self.assertLessEqual(served, 10 + time.monotonic() - start)
        self.assertGreaterEqual(served, 10)
        self.check_served(server.address, OTHER)
        self.retry_options = ("--retry-for", "30s")  # a client retries until it is served
        self.write("a", HELLO)
        self.client(server, "upload", "a")

    def test_the_defaults_do_not_limit_this_host(self):
        server = self.serve("--threads", "2")
        for _ in range(200):
            self.check_served(server.address)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
