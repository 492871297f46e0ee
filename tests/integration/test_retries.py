#!/usr/bin/env python3
"""filexfer-client over connections that break: it resumes where it stopped.

A relay between client and server counts bytes and cuts connections.
"""

import os
import time

import peer
from relays import Relay
from test_programs import DONE, HELLO, REFUSED, TIMEOUT, Case, make_data

BROKEN = 4
KIB = 1024
MIB = 1024 * KIB


class Retries(Case):
    retry_options = ()

    def relay(self, server):
        relay = Relay(server.address)
        self.addCleanup(relay.close)
        return relay

    def test_a_broken_upload_is_resumed(self):
        data = make_data(8 * MIB)
        self.write("file", data)
        for digest in ("md5", "sha256"):
            server = self.serve("--digest", digest, store=digest)
            relay = self.relay(server)
            relay.cut_after = [1 * MIB, 2 * MIB, 3 * MIB]
            out = self.client(relay.address, "upload", "file").decode()
            self.assertTrue(out.startswith("Success  "), out)
            self.assertIn("trying again", self.stderr)
            self.assertEqual(relay.connections, 4)
            self.assertLess(relay.passed, 1.2 * len(data))
            self.assertEqual(self.read(os.path.join(digest, out.split()[1], "file")), data)
            self.assertEqual(os.listdir(self.path(digest, ".partial")), [])

    def test_a_broken_download_is_resumed(self):
        data = make_data(8 * MIB)
        self.write("file", data)
        for digest in ("md5", "sha256"):
            server = self.serve("--digest", digest, store=digest)
            id = self.client(server, "upload", "file").decode().split()[1]
            relay = self.relay(server)
            for wanted in ("file", id):
                for target in ("copy", "folder"):
                    with self.subTest(digest=digest, wanted=wanted, target=target):
                        copy = target
                        if target == "folder":
                            os.mkdir(self.path(target))
                            copy = "folder/file"
                        relay.cut_after = [1 * MIB, 2 * MIB, 3 * MIB]
                        relay.passed = 0
                        self.client(relay.address, "download", wanted, "-o", target)
                        self.assertEqual(self.read(copy), data)
                        os.rename(self.path(target),
                                  self.path("%s %s %s" % (digest, wanted, target)))
                        # If the name is unknown at first, the first attempt leaves no part.
                        factor = 1.4 if (wanted, target) == (id, "folder") else 1.2
                        self.assertLess(relay.passed, factor * len(data))
                        self.assertEqual([name for name in os.listdir(self.folder)
                                          if name.startswith(".filexfer")], [])

    def test_a_download_resumes_from_the_part_file_of_an_earlier_run(self):
        data = make_data(4 * MIB)
        self.write("file", data)
        server = self.serve(store="store")
        id = self.client(server, "upload", "file").decode().split()[1]
        relay = self.relay(server)
        part = ".filexfer-%s.part" % id
        relay.cut_after = [3 * MIB]
        self.client(relay.address, "--retry-for", "0", "download", "file", "-o", "copy",
                    expect=BROKEN)
        self.assertGreater(os.stat(self.path(part)).st_size, 2 * MIB)
        relay.passed = 0
        self.client(relay.address, "download", "file", "-o", "copy")
        self.assertLess(relay.passed, 2 * MIB)
        self.assertEqual(self.read("copy"), data)
        self.assertFalse(os.path.exists(self.path(part)))
        # A wrong or too long part file is removed, and the whole file is fetched again.
        for wrong in (b"x" * MIB, b"x" * 5 * MIB):
            self.write(part, wrong)
            self.client(server, "download", id, "-o", "another", "--force")
            self.assertEqual(self.read("another"), data)
            self.assertFalse(os.path.exists(self.path(part)))
            os.remove(self.path("another"))

    def test_transfers_continue_after_the_server_is_killed_and_restarted(self):
        data = make_data(64 * MIB)  # as some megabytes are in the system's buffers at each kill
        self.write("file", data)
        for job in (("upload", "file"), ("download", "file", "-o", "copy")):
            server = self.serve(store="store")
            relay = self.relay(server)
            client = self.start_client(relay, *job)
            for _ in range(3):
                before = relay.passed
                end = time.monotonic() + 10
                while (relay.passed < before + MIB and client.poll() is None
                       and time.monotonic() < end):
                    time.sleep(0.001)
                server.kill()
                server = self.serve(store="store")
                relay.server_address = server.address
            out, err = client.communicate(timeout=4 * TIMEOUT)
            self.assertEqual(client.returncode, DONE, err.decode())
            self.assertTrue(out.startswith(b"Success"), out)
            self.assertLess(relay.passed, 1.3 * len(data))
            server.stop()
        self.assertEqual(self.read("copy"), data)

    def test_a_permanent_failure_is_not_retried(self):
        self.write("file", HELLO)
        server = self.serve("--read-only")
        begin = time.monotonic()
        # A server that never answered is not retried.
        for address, code in ((server, REFUSED), ("127.0.0.1:1", BROKEN)):
            self.client(address, "upload", "file", expect=code)
            self.assertNotIn("trying again", self.stderr)
        self.assertLess(time.monotonic() - begin, 10)

    def test_retries_end_after_the_given_time(self):
        self.write("file", make_data(MIB))
        relay = self.relay(self.serve(store="store"))
        relay.cut_after = [100 * KIB] + [0] * 1000
        self.client(relay.address, "--retry-for", "1s", "upload", "file", expect=BROKEN)
        self.assertIn("trying again", self.stderr)


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client")
