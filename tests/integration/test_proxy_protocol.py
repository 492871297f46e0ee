#!/usr/bin/env python3
"""filexfer-server behind load balancers that send the header of the PROXY protocol.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent. What needs a real
HAProxy is skipped where there is none.
"""

import json
import os
import socket
import ssl
import struct

import programs
from addresses import unused_address
from contents import HELLO, HELLO_ID, make_data
from exit_codes import BROKEN, DONE, USAGE
from haproxy import SOURCE, Haproxy
from program_case import Case
from tls_case import TlsCase
from waiting import TIMEOUT, wait_until

EMPTY_LIST = b"No files available at the moment\n\n"

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"


def version_1(address, port=4711):
    family, own = ("TCP6", "2001:db8::1") if ":" in address else ("TCP4", "192.0.2.1")
    return ("PROXY %s %s %s %d 9999\r\n" % (family, address, own, port)).encode()


def version_2(address, port=4711, extensions=b""):
    version, family, own = ((socket.AF_INET6, 0x21, "2001:db8::1") if ":" in address
                            else (socket.AF_INET, 0x11, "192.0.2.1"))
    behind = (socket.inet_pton(version, address) + socket.inet_pton(version, own)
              + struct.pack("!HH", port, 9999) + extensions)
    return SIGNATURE + struct.pack("!BBH", 0x21, family, len(behind)) + behind


class Proxied:
    """Servers behind proxies, and connections of these."""

    def lines(self, server):
        """Stops the server; its log as objects, without what it says of its end."""
        server.stop()
        lines = [json.loads(line) for line in server.log().splitlines()]
        return [line for line in lines if line["event"] != "message"]

    def addresses(self, server):
        """Stops the server; the addresses whose commands it has logged."""
        return [line["address"] for line in self.lines(server) if line["event"] == "command"]

    def open(self, server, header, source="127.0.0.1"):
        """A connection of a proxy that has sent this."""
        port = int(server.address.rsplit(":", 1)[1])
        end = socket.create_connection(("127.0.0.1", port), TIMEOUT, source_address=(source, 0))
        self.addCleanup(end.close)
        end.sendall(header)
        return end

    def read_list(self, end):
        reply = b""
        while not reply.endswith(b"\n\n"):
            part = end.recv(1000)
            if not part:
                break
            reply += part
        return reply

    def list_files(self, server, header, source="127.0.0.1"):
        """The reply to LIST_FILES behind the header; after that the client disconnects."""
        with self.open(server, header + b"LIST_FILES\n", source) as end:
            return self.read_list(end)

    def assert_closed(self, end):
        """Checks that the connection ends without an answer."""
        try:
            self.assertEqual(end.recv(1000), b"")
        except ConnectionResetError:
            pass


class ByHand(Proxied, Case):
    def serve_proxied(self, *arguments, proxies=("127.0.0.1",), listen=("proxy+tcp:127.0.0.1:0",)):
        options = [word for proxy in proxies for word in ("--proxy-from", proxy)]
        return self.serve("--log", "json", *options, *arguments, listen=listen)

    def test_the_log_has_the_addresses_in_the_headers(self):
        server = self.serve_proxied()
        self.assertRegex(server.address, r"^proxy\+tcp:127\.0\.0\.1:\d+$")
        headers = (version_1("192.0.2.7"), version_1("2001:db8::7", 0), version_2("192.0.2.8", 1),
                   version_2("2001:db8::8", 65535),
                   version_2("192.0.2.9", 2, b"\x04\x0f\xfd" + bytes(4081)))
        for header in headers:
            self.assertEqual(self.list_files(server, header), EMPTY_LIST)
        for header in (LOCAL, b"PROXY UNKNOWN\r\n"):
            self.assertEqual(self.list_files(server, header), EMPTY_LIST)
        addresses = self.addresses(server)
        self.assertEqual(addresses[:5], ["192.0.2.7:4711", "[2001:db8::7]:0", "192.0.2.8:1",
                                         "[2001:db8::8]:65535", "192.0.2.9:2"])
        for own in addresses[5:]:
            self.assertRegex(own, r"^127\.0\.0\.1:\d+$")
        self.assertEqual(len(addresses), 7)

    def test_a_header_may_arrive_byte_by_byte(self):
        server = self.serve_proxied()
        for header in (version_1("192.0.2.7"), version_2("192.0.2.7")):
            end = self.open(server, b"")
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in header + b"LIST_FILES\n":
                end.sendall(bytes((byte,)))
            self.assertEqual(self.read_list(end), EMPTY_LIST)
        self.assertEqual(self.addresses(server), ["192.0.2.7:4711"] * 2)

    def test_the_limit_per_address_is_one_of_clients(self):
        server = self.serve_proxied("--max-connections-per-address", "1")
        first = self.open(server, version_1("192.0.2.7") + b"LIST_FILES\n")
        self.assertEqual(self.read_list(first), EMPTY_LIST)
        second = self.open(server, version_2("192.0.2.7", 4712))
        self.assertRegex(second.recv(1000), rb"\AERROR busy ")
        self.assertEqual(self.list_files(server, version_2("192.0.2.8")), EMPTY_LIST)

    def test_only_the_addresses_of_proxies_are_served(self):
        server = self.serve_proxied(proxies=("127.0.0.2", "127.1.0.0/16", "::1"))
        for source in ("127.0.0.2", "127.1.2.3"):
            self.assertEqual(self.list_files(server, version_1("192.0.2.7"), source), EMPTY_LIST)
        for source in ("127.0.0.1", "127.0.0.3", "127.2.0.0"):
            self.assert_closed(self.open(server, version_1("192.0.2.7"), source))
        lines = self.lines(server)
        for line in lines[2:]:
            self.assertEqual((line["event"], line["error_text"]),
                             ("connection", "not the address of a trusted proxy"))
        self.assertEqual([line["address"].rsplit(":", 1)[0] for line in lines],
                         ["192.0.2.7", "192.0.2.7", "127.0.0.1", "127.0.0.3", "127.2.0.0"])

    def test_a_client_that_sends_no_header_is_not_served(self):
        server = self.serve_proxied()
        self.client(server.address[len("proxy+tcp:"):], "list", expect=BROKEN)
        (line,) = self.lines(server)
        self.assertEqual(line["error_text"], "no valid PROXY protocol header")

    def test_a_connection_without_a_header_ends_in_time(self):
        server = self.serve_proxied("--idle-timeout", "300ms")
        for start in (b"", b"PROXY TCP4 192.0.2.7 "):
            self.assert_closed(self.open(server, start))
        cut = self.open(server, version_2("192.0.2.7")[:20])
        cut.shutdown(socket.SHUT_WR)
        self.assert_closed(cut)
        self.assertEqual([line["error_text"] for line in self.lines(server)],
                         ["the peer was silent or too slow"] * 2 + ["the stream ended too early"])

    def test_health_checks_leave_no_line(self):
        server = self.serve_proxied()
        for header in (b"", LOCAL):
            self.open(server, header).close()
            end = self.open(server, header)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
        self.assertEqual(self.list_files(server, LOCAL), EMPTY_LIST)
        self.assertEqual(len(self.lines(server)), 1)

    def test_connections_without_a_header_do_not_keep_the_server_from_stopping(self):
        server = self.serve_proxied("--grace", "1h")
        waiting = [self.open(server, start) for start in (b"", b"PROXY TCP4 ")]
        self.assertEqual(self.list_files(server, LOCAL), EMPTY_LIST)  # those were accepted before
        server.terminate()
        self.assertEqual(server.wait(), DONE)
        for end in waiting:
            self.assert_closed(end)

    def test_other_addresses_are_served_without_a_header(self):
        server = self.serve_proxied(listen=("proxy+tcp:127.0.0.1:0", "127.0.0.1:0"))
        self.client(server.addresses[1], "list")
        self.assertEqual(self.list_files(server, version_1("192.0.2.7")), EMPTY_LIST)

    def test_wrong_arguments_are_usage_errors(self):
        proxied = ("--listen", "proxy+tcp:127.0.0.1:0")
        trusted = ("--proxy-from", "127.0.0.1")
        for arguments, message in (
                (proxied, "With proxy+, --proxy-from is required"),
                (trusted, "--proxy-from: is for proxy+ addresses only"),
                ((*proxied, "--proxy-from"), "--proxy-from"),
                (("--listen", "proxy+127.0.0.1:0", *trusted), "expected proxy+tcp:HOST:PORT"),
                (("--listen", "proxy+unix:socket", *trusted), "expected proxy+tcp:HOST:PORT"),
                (("--listen", "proxy+proxy+tcp:127.0.0.1:0", *trusted), "expected proxy+tcp:"),
                (("--listen", "proxy+tcp:127.0.0.1", *trusted), "not an address"),
                *(((*proxied, "--proxy-from", network), network + ": not a network")
                  for network in ("localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "::1%lo",
                                  "127.0.0.1:80", "10.0.0.0/8,127.0.0.1"))):
            with self.subTest(arguments=arguments):
                self.run_program("filexfer-server", "--store", "memory", *arguments, expect=USAGE)
                self.assertIn(message, self.stderr)

    def test_a_client_connects_to_no_such_address(self):
        for address in ("proxy+tcp:127.0.0.1:9999", "proxy+tls:localhost:9999"):
            self.client(address, "list", expect=USAGE)
            self.assertIn("connect to the address of the proxy", self.stderr)


class WithTls(Proxied, TlsCase):
    def serve_proxied(self, *arguments):
        return self.serve_tls("--log", "json", "--proxy-from", "127.0.0.0/8", *arguments,
                              listen=("proxy+tls:127.0.0.1:0",))

    def secured(self, plain):
        context = ssl.create_default_context(cafile=self.path("good.crt"))
        end = context.wrap_socket(plain, server_hostname="localhost")
        self.addCleanup(end.close)
        return end

    def test_tls_begins_behind_the_header(self):
        server = self.serve_proxied()
        self.assertRegex(server.address, r"^proxy\+tls:127\.0\.0\.1:\d+$")
        for header in (version_1("192.0.2.7"), version_2("2001:db8::7")):
            end = self.secured(self.open(server, header))
            end.sendall(b"LIST_FILES\n")
            self.assertEqual(self.read_list(end), EMPTY_LIST)
        self.assertEqual(self.addresses(server), ["192.0.2.7:4711", "[2001:db8::7]:4711"])

    def test_without_a_header_there_is_no_tls(self):
        server = self.serve_proxied()
        self.client(server.address[len("proxy+"):], "list", expect=BROKEN)
        (line,) = self.lines(server)
        self.assertEqual(line["error_text"], "no valid PROXY protocol header")

    def test_a_rejected_client_gets_the_reason_over_tls(self):
        server = self.serve_proxied("--max-connections-per-address", "1")
        first = self.secured(self.open(server, version_2("192.0.2.7")))
        first.sendall(b"LIST_FILES\n")
        self.assertEqual(self.read_list(first), EMPTY_LIST)
        second = self.secured(self.open(server, version_2("192.0.2.7")))
        self.assertRegex(second.recv(1000), rb"\AERROR busy ")


class BehindHaproxy(Proxied, TlsCase):
    def start_haproxy(self, server, *options):
        haproxy = Haproxy(self.folder, server.rpartition("+")[2].split(":", 1)[1]
                          if server.startswith("proxy+") else server, *options)
        self.addCleanup(haproxy.stop)
        return haproxy

    def serve_behind(self, scheme, *arguments, host="127.0.0.1:0", **keywords):
        return self.serve_tls("--log", "json", "--proxy-from", SOURCE, *arguments,
                              listen=("proxy+%s:%s" % (scheme, host),), **keywords)

    def check_transfers(self, scheme, option):
        server = self.serve_behind(scheme)
        haproxy = self.start_haproxy(server.address, option)
        through = ("tls:" if scheme == "tls" else "") + haproxy.address
        data = make_data(300000)
        self.write("large", data)
        self.write("small", HELLO)
        self.client(through, "upload", "large", "small")
        self.client(through, "download", HELLO_ID, "-o", "copy")
        self.assertEqual(self.read("copy"), HELLO)
        host, port = haproxy.address.split(":")
        elsewhere = socket.create_connection((host, int(port)), TIMEOUT,
                                             source_address=("127.0.0.2", 0))
        own = "127.0.0.2:%d" % elsewhere.getsockname()[1]
        with self.secured(elsewhere) if scheme == "tls" else elsewhere as end:
            end.sendall(b"LIST_FILES\n")
            self.assertIn(b";large;300000\n", self.read_list(end))
        addresses = self.addresses(server)
        self.assertEqual(addresses[-1], own)
        for address in addresses[:-1]:
            self.assertRegex(address, r"^127\.0\.0\.1:\d+$")
        self.assertGreater(len(addresses), 3)

    secured = WithTls.secured

    def test_version_1(self):
        self.check_transfers("tcp", "send-proxy")

    def test_version_2(self):
        self.check_transfers("tcp", "send-proxy-v2")

    def test_version_2_and_tls(self):
        self.check_transfers("tls", "send-proxy-v2")

    def test_version_2_with_extensions(self):
        self.check_transfers("tcp", "send-proxy-v2 proxy-v2-options crc32c,unique-id")

    def test_health_checks_succeed_and_leave_no_line(self):
        for scheme, option in (("tcp", "send-proxy"), ("tcp", "send-proxy-v2"),
                               ("tls", "send-proxy-v2")):
            with self.subTest(scheme=scheme, option=option):
                address = unused_address()
                haproxy = self.start_haproxy(address, option, "check", "check-send-proxy",
                                             "inter 50ms", "rise 5", "fall 1")
                haproxy.wait_for_status("DOWN")
                server = self.serve_behind(scheme, host=address)
                haproxy.wait_for_status("UP")  # after five checks
                self.assertEqual(self.lines(server), [])
                haproxy.stop()

    def test_health_checks_without_a_header_succeed_and_leave_no_line(self):
        address = unused_address()
        haproxy = self.start_haproxy(address, "check", "inter 50ms", "rise 5", "fall 1")
        haproxy.wait_for_status("DOWN")
        server = self.serve_behind("tcp", host=address)
        haproxy.wait_for_status("UP")
        self.assertEqual(self.lines(server), [])

    def test_a_haproxy_that_sends_no_header_is_reported(self):
        server = self.serve_behind("tcp")
        haproxy = self.start_haproxy(server.address)
        self.client(haproxy.address, "list", expect=BROKEN)
        (line,) = self.lines(server)
        self.assertEqual(line["error_text"], "no valid PROXY protocol header")
        self.assertRegex(line["address"], r"^127\.0\.0\.3:\d+$")


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
