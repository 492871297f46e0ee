#!/usr/bin/env python3
"""filexfer-client over connections that break: it resumes where it stopped.

A relay between client and server counts bytes and cuts connections.
"""

import json
import os
import time

import programs
from addresses import connect
from contents import HELLO, HELLO_ID, KIB, MIB, make_data
from exit_codes import BROKEN, DONE, REFUSED
from program_case import Case
from waiting import TIMEOUT


class Retries(Case):
    retry_options = ()

    def test_a_broken_upload_is_resumed(self):
        data = make_data(8 * MIB)
        self.write("file", data)
        for digest in ("md5", "sha256"):
            server = self.serve("--digest", digest, store=digest)
            relay = self.start_relay(server, 1 * MIB, 2 * MIB, 3 * MIB)
            out = self.client(relay, "upload", "file").decode()
            self.assertTrue(out.startswith("Success  "), out)
            self.assertIn("retrying", self.stderr)
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
            relay = self.start_relay(server)
            for wanted in ("file", id):
                for target in ("copy", "folder"):
                    with self.subTest(digest=digest, wanted=wanted, target=target):
                        copy = target
                        if target == "folder":
                            os.mkdir(self.path(target))
                            copy = "folder/file"
                        relay.cut_after = [1 * MIB, 2 * MIB, 3 * MIB]
                        relay.passed = 0
                        self.client(relay, "download", wanted, "-o", target)
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
        relay = self.start_relay(server)
        part = ".filexfer-%s.part" % id
        relay.cut_after = [3 * MIB]
        self.client(relay, "--retry-for", "0", "download", "file", "-o", "copy",
                    expect=BROKEN)
        self.assertGreater(os.stat(self.path(part)).st_size, 2 * MIB)
        relay.passed = 0
        self.client(relay, "download", "file", "-o", "copy")
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
            relay = self.start_relay(server)
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
        # A server that never answered is not retried.
        for address, code in ((server, REFUSED), ("127.0.0.1:1", BROKEN)):
            self.client(address, "upload", "file", expect=code)
            self.assertNotIn("retrying", self.stderr)

    def occupy(self, server):
        """Takes the only connection of the server, once it is free."""
        while True:
            connection = connect(server.address, TIMEOUT)
            connection.sendall(b"LIST_FILES\n")
            if not connection.makefile("rb").readline().startswith(b"ERROR busy"):
                return connection
            connection.close()

    def test_every_command_waits_for_a_busy_server(self):
        self.write("file", HELLO)
        server = self.serve("--max-connections", "1", "--allow-remove", store="store")
        self.client(server, "upload", "file")
        for command in (("list",), ("verify", "file"), ("upload", "--skip-existing", "file"),
                        ("download", "file", "-o", "copy"), ("remove", "file")):
            with self.subTest(command=command):
                with self.occupy(server):
                    client = self.start_client(server, "--json", *command)
                    event = json.loads(client.stdout.readline())
                    self.assertEqual(event["event"], "retry", event)
                    self.assertIn("busy", event["text"])
                out, err = client.communicate(timeout=TIMEOUT)
                self.assertEqual(client.returncode, DONE, out + err)
                self.assertIn(HELLO_ID.encode(), out)
        self.assertEqual(self.read("copy"), HELLO)

    def test_a_list_is_retried_for_the_given_time(self):
        server = self.serve("--max-connections", "1")
        with self.occupy(server):
            for limit, retries in (("0", False), ("500ms", True)):
                self.client(server, "--retry-for", limit, "list", expect=REFUSED)
                self.assertIn("busy", self.stderr)
                self.assertEqual("retrying" in self.stderr, retries, self.stderr)

    def test_retries_end_after_the_given_time(self):
        self.write("file", make_data(MIB))
        relay = self.start_relay(self.serve(store="store"), 100 * KIB, *[0] * 1000)
        self.client(relay, "--retry-for", "1s", "upload", "file", expect=BROKEN)
        self.assertIn("retrying", self.stderr)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
