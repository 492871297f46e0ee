#!/usr/bin/env python3
"""What filexfer-server writes to its log, as text and as JSON, and what it leaves out.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import json
import re
import shutil
import socket
import struct

import programs
from addresses import connect
from certificates import WITHOUT_TLS, certificate
from contents import HELLO, HELLO_ID
from exit_codes import REFUSED
from program_case import Case
from waiting import TIMEOUT, wait_until

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def reset(end):
    """Closes a TCP connection as a crashed peer does, and many load balancers."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def read_reply(end):
    """Reads all of it, as a connection that is closed before that is reset."""
    reply = b""
    while not reply.endswith(b"\n\n"):
        reply += end.recv(1000)


class Log(Case):
    def lines(self, server):
        """Stops the server; its log as objects, without their times and what it says of its end."""
        server.stop()
        log = server.log()
        self.assertTrue(log.isascii())
        lines = [json.loads(line) for line in log.splitlines()]
        for line in lines:
            self.assertRegex(line.pop("time"), "^%s$" % TIME)
        lines.remove({"event": "message", "text": "stopping: running transfers may finish"})
        return lines

    def test_each_command_is_a_json_object(self):
        name = 'a "b\\c\x1b[31m\n\x7f\u0085\u202e\u00e9'
        self.write(name, HELLO)
        server = self.serve("--log", "json", "--max-size", "5")
        self.write("large", HELLO * 2)
        self.client(server, "upload", name)
        self.client(server, "download", HELLO_ID, "-o", "copy")
        self.client(server, "list")
        self.client(server, "upload", "large", expect=REFUSED)
        self.client(server, "download", "0" * 32, "-o", "none", expect=REFUSED)
        with connect(server.address, TIMEOUT) as end:
            end.sendall(b"GET / HTTP/1.1\n")
            self.assertTrue(end.makefile("rb").read().startswith(b"ERROR bad-request"))
        lines = self.lines(server)
        for line in lines:
            self.assertRegex(line.pop("address"), r"^127\.0\.0\.1:\d+$")
            if line["event"] == "command":
                self.assertGreaterEqual(line.pop("duration"), 0)
        transferred = {"name": name, "id": HELLO_ID, "size": 5, "bytes": 5}
        self.assertEqual(
            [line for line in lines if "error" not in line],
            [{"event": "command", "command": "UPLOAD", **transferred},
             {"event": "command", "command": "DOWNLOAD", **transferred},
             {"event": "command", "command": "LIST_FILES", "entries": 1}])
        large, missing, http = (line for line in lines if "error" in line)
        self.assertEqual((large["command"], large["error"], large["name"]),
                         ("UPLOAD", "too-large", "large"))
        self.assertEqual((missing["command"], missing["error"], missing["id"]),
                         ("DOWNLOAD", "not-found", "0" * 32))
        self.assertEqual((http["event"], http["error"]), ("connection", "bad-request"))
        for line in (large, missing, http):
            self.assertNotEqual(line["error_text"], "")

    def test_the_cause_of_a_failure_is_in_the_json(self):
        server = self.serve("--log", "json", store="store")
        with connect(server.address, TIMEOUT) as end:
            end.sendall(b"UPLOAD\nname;100\nhalf of it")
            wait_until(lambda: b"Ready" in end.recv(1000), "the server to be ready")
            reset(end)
        wait_until(lambda: "error" in server.log(), "the failure in the log")
        shutil.rmtree(self.path("store"))
        self.client(server, "list", expect=REFUSED)
        lost, removed = self.lines(server)
        self.assertEqual((lost["command"], lost["name"], lost["size"], lost["bytes"]),
                         ("UPLOAD", "name", 100, 10))
        self.assertRegex(lost["error"], r"^[a-z.]+:\d+$")
        self.assertEqual((removed["error"], removed["cause"]), ("io", "filexfer.store:1"))
        self.assertIn("removed", removed["cause_text"])

    def test_a_health_check_leaves_no_line(self):
        listen = ["127.0.0.1:0", "unix:socket"]
        options = []
        if not WITHOUT_TLS:
            certificate(self.path("good"), "DNS:localhost")
            options = ["--cert", "good.crt", "--key", "good.key"]
            listen.append("tls:127.0.0.1:0")
        server = self.serve(*options, listen=listen)
        for address in server.addresses:
            for end_connection in (socket.socket.close, reset):
                for _ in range(3):
                    if address.startswith("unix:"):
                        address = "unix:" + self.path("socket")
                    end_connection(connect(address[len("tls:"):] if address.startswith("tls:")
                                           else address, TIMEOUT))
        self.client(server, "list")
        with connect(server.address, TIMEOUT) as end:  # not one: it has sent something
            end.sendall(b"FEATURES\n")
            read_reply(end)
            reset(end)
        wait_until(lambda: "failed" in server.log(), "the lost connection in the log")
        server.stop()
        lines = server.log().splitlines()
        self.assertEqual(len(lines), 3, lines)
        self.assertIn("LIST_FILES", lines[0])
        self.assertIn("failed", lines[1])

    def reject(self, server, count):
        """Rejects `count` connections of a server that allows one."""
        with connect(server.address, TIMEOUT) as kept:
            kept.sendall(b"LIST_FILES\n")
            read_reply(kept)
            for _ in range(count):
                with connect(server.address, TIMEOUT) as end:
                    while end.recv(1000):
                        pass

    def test_what_a_peer_does_too_often_is_counted(self):
        server = self.serve("--max-connections", "1")
        self.reject(server, 500)
        wait_until(lambda: "suppressed" in server.log(), "a line about what was suppressed")
        server.stop()
        log = server.log()
        written = log.count(" failed: the server has too many connections")
        suppressed = re.findall(r"^%s 127\.0\.0\.1 suppressed (\d+) lines$" % TIME, log,
                                re.MULTILINE)
        self.assertEqual(written + sum(map(int, suppressed)), 500)
        self.assertGreaterEqual(written, 100)
        self.assertLess(written, 450)
        self.assertIn(" LIST_FILES 0 entries", log)

    def test_the_rate_of_lines_is_an_option(self):
        server = self.serve("--log", "json", "--log-rate", "1",
                            "--max-connections-per-address", "1")
        self.reject(server, 100)
        for _ in range(8):
            with socket.create_connection(server.address.rsplit(":", 1), TIMEOUT,
                                          ("127.0.0.2", 0)) as end:
                end.sendall(b"GET / HTTP/1.1\n")
                while end.recv(1000):  # it is rejected if the one before it has not ended yet
                    pass
        wait_until(lambda: server.log().count("127.0.0.2:") == 8, "the other address's lines")
        lines = self.lines(server)
        written = sum(line.get("error") == "busy" and line["address"].startswith("127.0.0.1:")
                      for line in lines)
        suppressed = [line for line in lines if line["event"] == "suppressed"]
        self.assertGreaterEqual(written, 10)
        self.assertEqual({line["address"] for line in suppressed}, {"127.0.0.1"})
        self.assertEqual(written + sum(line["lines"] for line in suppressed), 100)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
