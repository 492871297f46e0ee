#!/usr/bin/env python3
"""What filexfer-client says is left behind when a signal interrupts it.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import signal

import programs
from contents import MIB, make_data
from exit_codes import INTERRUPTED
from peer import md5
from program_case import Case
from relays import HoldingRelay
from waiting import TIMEOUT, wait_until


class Interruptions(Case):
    def test_an_interrupted_upload_says_what_the_server_may_keep(self):
        self.write("large", bytes(64 * MIB))
        server = self.start_peer(features=True, stall_upload_after=200000)
        _, err = self.interrupt(server, self.start_client(server, "upload", "large"))
        self.assertEqual(err.decode(), "large: interrupted; the server may keep the bytes that "
                         "arrived for its --partial-age; the same command goes on\n")

    def test_an_interrupted_upload_is_kept_by_a_store(self):
        data = make_data(16 * MIB)
        self.write("large", data)
        server = self.serve(store="store")
        relay = self.start_relay(server, 12 * MIB)
        self.retry_options = ("--retry-for", "1h")
        client = self.start_client(relay, "upload", "large")
        self.assertIn(b"retrying", client.stderr.readline())
        relay.cut_after = [0] * 1000
        client.send_signal(signal.SIGINT)
        _, err = client.communicate(timeout=TIMEOUT)
        self.assertEqual(client.returncode, INTERRUPTED)
        self.assertIn(b"may keep the bytes that arrived", err)
        # It may have been sent again before the signal.
        wait_until(lambda: self.files_below("store/.partial")
                   or self.files_below("store/" + md5(data)), "the server to keep the bytes")

    def begin_download(self, relay, *arguments):
        """Starts a download of `large`, half of which passes the relay; returns it and its part."""
        held = relay.hold("down", 4 * MIB)
        client = self.start_client(relay, "download", *arguments)
        self.assertTrue(held.settled.wait(TIMEOUT))
        # Of what has passed, the client may have up to a few chunks in memory.
        wait_until(lambda: any(os.stat(self.path(name)).st_size > 2 * MIB
                               for name in self.files_below() if name.endswith(".part")),
                   "the client to write a part")
        return client, held

    def test_an_interrupted_download_goes_on_in_the_next_run(self):
        data = make_data(8 * MIB)
        source = self.write("large", data)
        server = self.serve()
        self.client(server, "upload", source)
        os.unlink(source)
        part = ".filexfer-%s.part" % md5(data)
        for number, arguments in ((signal.SIGINT, ("large",)), (signal.SIGTERM, ("lar*",)),
                                  (signal.SIGHUP, (md5(data), "-o", "large")),
                                  (signal.SIGINT, ("--all",))):
            with self.subTest(arguments=arguments):
                relay = HoldingRelay(server.address)
                self.addCleanup(relay.close)
                client, held = self.begin_download(relay, *arguments)
                client.send_signal(number)
                _, err = client.communicate(timeout=TIMEOUT)
                self.assertEqual(client.returncode, INTERRUPTED)
                self.assertRegex(err.decode(), r"^\S+: interrupted; \d\.\d MiB are kept in "
                                 r"(\./)?%s; the same command goes on\n$" % part)
                self.assertEqual(self.files_below(), [part])
                kept = os.stat(self.path(part)).st_size
                held.cut()
                relay.bytes_by_direction["down"] = 0
                self.client(relay, "download", *arguments)
                self.assertLess(relay.bytes_by_direction["down"], len(data) - kept + 4096)
                self.assertEqual(self.read("large"), data)
                self.assertEqual(self.files_below(), ["large"])
                os.unlink(source)

    def test_without_partial_a_stopped_download_keeps_nothing(self):
        data = make_data(8 * MIB)
        server = self.start_peer(features=True)
        server.store.add("large", data)
        relay = HoldingRelay(server.address)
        self.addCleanup(relay.close)
        client, held = self.begin_download(relay, "large", "--no-partial")
        client.send_signal(signal.SIGINT)
        _, err = client.communicate(timeout=TIMEOUT)
        held.cut()
        self.assertEqual(err.decode(), "large: interrupted; nothing was kept\n")
        self.assertEqual(self.files_below(), [])

    def test_an_interrupted_download_of_an_unknown_name_keeps_nothing(self):
        data = make_data(8 * MIB)
        server = self.start_peer(features=True, stall_download_after=6 * MIB)
        server.store.add("large", data)
        for arguments in ((md5(data),), (md5(data), "-o", ".")):
            server.stalled.clear()
            _, err = self.interrupt(server, self.start_client(server, "download", *arguments))
            self.assertEqual(err.decode(), md5(data) + ": interrupted; nothing was kept\n")
            self.assertEqual(self.files_below(), [])

    def test_an_interruption_between_attempts_says_which_part_is_kept(self):
        data = make_data(300000)
        server = self.start_peer(features=True, truncate_download=200000)
        server.store.add("large", data)
        self.retry_options = ("--retry-for", "1h")
        client = self.start_client(server, "download", md5(data), "-o", "x\x01")
        self.assertIn(b"retrying", client.stderr.readline())
        server.stop()
        while b"can't connect" not in client.stderr.readline():
            pass
        client.send_signal(signal.SIGINT)
        _, err = client.communicate(timeout=TIMEOUT)
        self.assertEqual(client.returncode, INTERRUPTED)
        part = ".filexfer-%s.part" % md5(data)
        self.assertIn("%s: interrupted; 195 KiB are kept in %s; the same command goes on\n"
                      % (md5(data), part), err.decode())
        self.assertEqual(self.files_below(), [part])


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
