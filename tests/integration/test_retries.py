#!/usr/bin/env python3
"""filexfer-client over connections that break: it goes on where it stopped.

Between client and server stands a relay, which counts bytes and cuts connections.
"""

import os
import time

import peer
from relays import Relay
from test_programs import DONE, HELLO, PATIENCE, REFUSED, Case, make_data

BROKEN = 4
KIB = 1024
MIB = 1024 * KIB


class Retries(Case):
    patience = ()

    def relay(self, server):
        relay = Relay(server.address)
        self.addCleanup(relay.close)
        return relay

    def test_a_broken_upload_goes_on(self):
        data = make_data(8 * MIB)
        self.write("file", data)
        for digest in ("md5", "sha256"):
            server = self.serve("--digest", digest, store=digest)
            relay = self.relay(server)
            relay.cut_after = [1 * MIB, 2 * MIB, 3 * MIB]
            out = self.client(relay.address, "upload", "file").decode()
            self.assertTrue(out.startswith("Success  "), out)
            self.assertIn("trying again", self.said)
            self.assertEqual(relay.connections, 4)
            self.assertLess(relay.passed, 1.2 * len(data))
            self.assertEqual(self.read(os.path.join(digest, out.split()[1], "file")), data)
            self.assertEqual(os.listdir(self.path(digest, ".partial")), [])

    def test_a_broken_download_goes_on(self):
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
                        os.rename(self.path(target), self.path("%s %s %s" % (digest, wanted, target)))
                        # Where the name is not known before, the first attempt has nothing to go on with.
                        most = 1.4 if (wanted, target) == (id, "folder") else 1.2
                        self.assertLess(relay.passed, most * len(data))
                        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith(".filexfer")], [])

    def test_a_download_goes_on_with_what_an_earlier_one_left(self):
        data = make_data(4 * MIB)
        self.write("file", data)
        server = self.serve(store="store")
        id = self.client(server, "upload", "file").decode().split()[1]
        relay = self.relay(server)
        part = ".filexfer-%s.part" % id
        relay.cut_after = [3 * MIB]
        self.client(relay.address, "--retry-for", "0", "download", "file", "-o", "copy", expect=BROKEN)
        self.assertGreater(os.stat(self.path(part)).st_size, 2 * MIB)
        relay.passed = 0
        self.client(relay.address, "download", "file", "-o", "copy")
        self.assertLess(relay.passed, 2 * MIB)
        self.assertEqual(self.read("copy"), data)
        self.assertFalse(os.path.exists(self.path(part)))
        # One that is wrong, or too long, is dropped, and all is fetched again.
        for wrong in (b"x" * MIB, b"x" * 5 * MIB):
            self.write(part, wrong)
            self.client(server, "download", id, "-o", "another", "--force")
            self.assertEqual(self.read("another"), data)
            self.assertFalse(os.path.exists(self.path(part)))
            os.remove(self.path("another"))

    def test_a_server_that_is_killed_and_comes_back(self):
        data = make_data(64 * MIB)  # for some megabytes are in the system's buffers at each kill
        self.write("file", data)
        for job in (("upload", "file"), ("download", "file", "-o", "copy")):
            server = self.serve(store="store")
            relay = self.relay(server)
            client = self.start_client(relay, *job)
            for _ in range(3):
                before = relay.passed
                end = time.monotonic() + 10
                while relay.passed < before + MIB and client.poll() is None and time.monotonic() < end:
                    time.sleep(0.001)
                server.kill()
                server = self.serve(store="store")
                relay.to = server.address
            out, said = client.communicate(timeout=4 * PATIENCE)
            self.assertEqual(client.returncode, DONE, said.decode())
            self.assertTrue(out.startswith(b"Success"), out)
            self.assertLess(relay.passed, 1.3 * len(data))
            server.stop()
        self.assertEqual(self.read("copy"), data)

    def test_what_will_be_refused_again_is_not_tried_again(self):
        self.write("file", HELLO)
        server = self.serve("--read-only")
        begin = time.monotonic()
        for address, code in ((server, REFUSED), ("127.0.0.1:1", BROKEN)):  # nobody has ever answered there
            self.client(address, "upload", "file", expect=code)
            self.assertNotIn("trying again", self.said)
        self.assertLess(time.monotonic() - begin, 10)

    def test_patience_ends(self):
        self.write("file", make_data(MIB))
        relay = self.relay(self.serve(store="store"))
        relay.cut_after = [100 * KIB] + [0] * 1000
        self.client(relay.address, "--retry-for", "1s", "upload", "file", expect=BROKEN)
        self.assertIn("trying again", self.said)


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client")
