#!/usr/bin/env python3
"""The options of filexfer-server: where it listens and stores, and its limits.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import resource
import socket
import subprocess

import programs
from addresses import connect, skip_without_ipv6
from contents import HELLO, HELLO_ID
from exit_codes import BROKEN, DONE, LOCAL_FILE, REFUSED, USAGE
from peer import Refused, md5
from program_case import Case
from waiting import TIMEOUT, wait_until


class Listening(Case):
    def test_the_server_prints_a_line_for_each_endpoint(self):
        server = self.serve(listen=("127.0.0.1:0", "unix:socket", "127.0.0.1:0"))
        self.assertRegex(server.lines[0], r"^listening on 127\.0\.0\.1:[1-9]\d*\n$")
        self.assertEqual(server.lines[1], "listening on unix:socket\n")
        self.assertNotEqual(server.lines[0], server.lines[2])
        self.write("a", HELLO)
        for address in server.addresses:
            self.client(address, "upload", "a", "--name", address.replace("/", "_"))
        self.assertEqual(len(self.client(server, "list").splitlines()), 3)
        server.terminate()
        self.assertEqual(server.wait(), DONE)
        self.assertFalse(os.path.exists(self.path("socket")))

    def test_the_server_listens_on_ipv6(self):
        skip_without_ipv6()
        server = self.serve(listen=("[::1]:0",))
        self.assertRegex(server.address, r"^\[::1\]:\d+$")
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        self.assertIn(server.address.rsplit(":", 1)[0], server.log())

    def test_a_host_can_be_given_by_name(self):
        server = self.serve(listen=("localhost:0",))
        self.client("localhost:" + server.address.rsplit(":", 1)[1], "list")
        self.client("no.such.host.invalid:1", "list", expect=BROKEN)
        self.run_program("filexfer-server", "--listen", "no.such.host.invalid:0",
                         "--store", "memory", expect=BROKEN)

    def test_a_port_in_use_is_an_error(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
            self.run_program("filexfer-server", "--listen", address, "--store", "memory",
                             expect=BROKEN)
            self.assertIn(address, self.stderr)
        self.run_program("filexfer-server", "--listen", "192.0.2.1:1", "--store", "memory",
                         expect=BROKEN)

    def test_only_a_stale_unix_socket_is_replaced(self):
        first = self.serve(listen=("unix:socket",))
        self.run_program("filexfer-server", "--listen", "unix:socket", "--store", "memory",
                         expect=BROKEN)
        self.client(first, "list")
        first.kill()
        self.assertTrue(os.path.exists(self.path("socket")))
        second = self.serve(listen=("unix:socket",))
        self.client(second, "list")
        self.write("file", HELLO)
        self.run_program("filexfer-server", "--listen", "unix:file", "--store", "memory",
                         expect=BROKEN)
        self.assertEqual(self.read("file"), HELLO)
        self.run_program("filexfer-server", "--listen", "unix:no/folder", "--store", "memory",
                         expect=BROKEN)

    def test_a_store_is_in_memory_or_in_the_given_folder(self):
        self.write("a", HELLO)
        self.write("file", HELLO)
        memory = self.serve(store="memory")
        self.client(memory, "upload", "a")
        self.assertEqual(sorted(os.listdir(self.folder)), ["a", "file"])
        folder = self.serve(store="./memory")
        self.client(folder, "upload", "a")
        self.assertEqual(self.read("memory/%s/a" % HELLO_ID), HELLO)
        default = self.serve(store=None)
        self.client(default, "upload", "a")
        self.assertEqual(self.read("filexfer-store/%s/a" % HELLO_ID), HELLO)
        for store in ("file", "file/store", "/proc/store", ""):
            self.run_program("filexfer-server", "--listen", "127.0.0.1:0", "--store", store,
                             expect=LOCAL_FILE)

    def test_files_survive_a_restart(self):
        server = self.serve(store="store")
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        server.stop()
        server = self.serve("--read-only", store="store")
        self.client(server, "download", "a", "-o", "b")
        self.assertEqual(self.read("b"), HELLO)


class Limits(Case):
    def test_a_read_only_server_refuses_uploads(self):
        self.write("a", HELLO)
        self.client(self.serve(store="store"), "upload", "a")
        server = self.serve("--read-only", store="store")
        self.client(server, "upload", "a", expect=REFUSED)
        self.assertIn("read-only", self.stderr)
        self.client(server, "simulate", "a", expect=REFUSED)
        self.client(server, "download", "a", "-o", "b")

    def test_a_server_permits_what_allow_says_and_nothing_else(self):
        self.write("a", HELLO)
        store = self.path("store")
        self.client(self.serve(store=store), "upload", "a")
        jobs = {"list": ("list",), "upload": ("upload", "a", "--name", "b"),
                "download": ("download", HELLO_ID, "-o", "copy"),
                "remove": ("remove", HELLO_ID)}
        for allowed in ("upload", "list", "download", "list,download", "list,upload,remove"):
            server = self.serve("--allow", allowed, store=store)
            for name, job in jobs.items():
                if os.path.exists(self.path("copy")):
                    os.remove(self.path("copy"))
                with self.subTest(allowed=allowed, job=name):
                    if name in allowed.split(","):
                        self.client(server, *job)
                    else:
                        self.client(server, *job, expect=REFUSED)
                        self.assertRegex(self.stderr, "denied|read-only")
        for wrong in ("", "everything", "list,,upload", "list upload"):
            self.run_program("filexfer-server", "--allow", wrong, expect=USAGE)
        self.run_program("filexfer-server", "--allow", "list", "--read-only", expect=USAGE)

    def test_without_shortcuts_no_upload_tells_what_the_server_holds(self):
        self.write("a", HELLO)
        server = self.serve("--no-shortcuts", store="store")
        self.client(server, "upload", "a")
        for options in ((), ("--skip-existing",)):
            self.client(server, "upload", *options, "a", "--name", "b")
        self.assertEqual(self.client(server, "list").count(HELLO_ID.encode()), 2)
        with server.client() as client:
            self.assertNotIn(b"have", client.features())
            with self.assertRaises(Refused) as refused:
                client.upload("c", HELLO, id=HELLO_ID, extra=b";have")
            self.assertEqual(refused.exception.code, "not-found")
            uploaded = client.upload("d", HELLO, id=HELLO_ID)
            self.assertEqual((uploaded.sent, uploaded.offset), (len(HELLO), None))

    def test_a_file_over_max_size_is_refused(self):
        server = self.serve("--max-size", "1K")
        self.write("fits", bytes(1024))
        self.write("too large", bytes(1025))
        self.client(server, "upload", "fits")
        self.client(server, "upload", "too large", expect=REFUSED)
        self.assertIn("too-large", self.stderr)
        self.assertIn("1024", self.stderr)
        out = self.client(server, "upload", "too large", "fits", expect=REFUSED)
        self.assertIn(b"Success", out)

    def test_a_store_is_limited_in_bytes_and_names(self):
        for store in ("store", "memory"):
            with self.subTest(store=store):
                server = self.serve("--quota", "1K", "--max-files", "3", store=store)
                for name, size in (("a", 1000), ("b", 24), ("more", 1), ("empty", 0)):
                    self.write(name, bytes(size))
                self.client(server, "upload", "a", "b")
                self.client(server, "upload", "more", expect=REFUSED)
                self.assertIn("no-space", self.stderr)
                # A second name takes no bytes, but is a name.
                self.client(server, "upload", "--skip-existing", "a", "--name", "c")
                for arguments in (("empty",), ("--skip-existing", "b", "--name", "d")):
                    self.client(server, "upload", *arguments, expect=REFUSED)
                    self.assertIn("no-space", self.stderr)
                self.client(server, "upload", "--skip-existing", "b")
                self.assertEqual(len(self.client(server, "list").splitlines()), 3)

    def test_an_upload_that_runs_counts_in_the_limits(self):
        server = self.serve("--quota", "1K", "--max-files", "2", store="store")
        first, second = server.client(), server.client()
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        first.send_line(b"UPLOAD")
        first.words()
        first.send_line(b"large;1000")
        first.words()
        with self.assertRaisesRegex(Refused, "no-space"):
            second.upload("b", bytes(25))
        second.upload("b", bytes(24))
        with self.assertRaisesRegex(Refused, "no-space"):
            second.upload("c", b"")
        first.close()  # Nothing of it was kept.
        wait_until(lambda: self.start_client(server, "upload", self.write("d", bytes(1000)),
                                             "--name", "d").wait() == DONE, "the space")

    def test_a_connection_over_the_limit_is_refused_as_busy(self):
        server = self.serve("--max-connections", "1")
        with connect(server.address) as idle:
            idle.sendall(b"LIST_FILES\n")
            idle.recv(1)
            self.client(server, "list", expect=REFUSED)
            self.assertIn("busy", self.stderr)
        wait_until(lambda: self.start_client(server, "list").wait() == DONE,
                   "a place for a connection")

    def test_an_idle_connection_times_out_and_the_client_reconnects(self):
        server = self.serve("--idle-timeout", "200ms")
        with connect(server.address, TIMEOUT) as idle:
            self.assertTrue(idle.makefile("rb").read().startswith(b"ERROR timeout"))
        # A client whose connection timed out while it waited for its input reconnects.
        self.write("a", HELLO)
        process = self.start_client(server, "upload", "a", "-", stdin=subprocess.PIPE)
        wait_until(lambda: server.log().count("timeout") + server.log().count("silent") >= 2,
                   "the second timeout")
        _, err = process.communicate(b"more")
        self.assertEqual(process.returncode, DONE, err)
        self.assertIn(md5(b"more"), self.client(server, "list").decode())

    def test_the_log_has_a_line_for_each_transfer_unless_quiet(self):
        name = 'a "b\x1b[31m'
        self.write(name, HELLO)
        server = self.serve()
        self.client(server, "upload", name)
        self.client(server, "download", "0" * 32, expect=REFUSED)
        wait_until(lambda: server.log().count("\n") >= 2, "two lines in the log")
        first, second = server.log().splitlines()[:2]
        self.assertRegex(first, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ 127\.0\.0\.1:\d+ UPLOAD "
                         r'"a \\"b\\x1b\[31m" 5 bytes %s [0-9.]+ s [0-9.]+ MB/s$' % HELLO_ID)
        self.assertRegex(second, r"DOWNLOAD 0{32} failed: .*id")
        quiet = self.serve("--quiet", store="store")
        self.client(quiet, "upload", name)
        quiet.stop()
        self.assertEqual(quiet.log(), "")

    def limit_file_size(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

    def test_a_file_size_limit_does_not_end_the_server(self):
        server = self.serve(store="store", prepare=self.limit_file_size)
        self.write("large", bytes(300000))
        self.write("small", HELLO)
        out = self.client(server, "upload", "large", "small", expect=REFUSED)
        self.assertIn("no-space", self.stderr)
        self.assertIn(b"Success", out)
        self.check_no_temporaries()

    def test_a_file_size_limit_of_the_client_is_an_error(self):
        server = self.serve()
        self.write("large", bytes(300000))
        self.client(server, "upload", "large")
        before = os.listdir(self.folder)
        result = subprocess.run([programs.path_of("filexfer-client"), "--server", server.address,
                                 "download", "large",
                                 "-o", "copy"], cwd=self.folder, capture_output=True,
                                preexec_fn=self.limit_file_size)
        self.assertEqual(result.returncode, LOCAL_FILE, result.stderr)
        self.assertEqual(os.listdir(self.folder), before)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
