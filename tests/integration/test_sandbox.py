#!/usr/bin/env python3
"""The sandbox of filexfer-server: what it can still touch once it serves.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import shutil
import signal
import socket
import unittest

import landlock
import programs
from certificates import certificate
from contents import HELLO, HELLO_ID
from exit_codes import LOCAL_FILE, USAGE
from program_case import Case
from tls_case import TlsCase
from tracing import why_not_strace
from waiting import wait_until

WHY_NO_SANDBOX = landlock.why_no_sandbox()
WHY_NO_STRACE = why_not_strace()
DENIED = "Permission denied"


@unittest.skipIf(WHY_NO_SANDBOX, WHY_NO_SANDBOX)
class Probe(Case):
    """The probe enters the sandbox as the server does, and tries what the server never would."""

    def setUp(self):
        super().setUp()
        for folder in ("store/a", "store/b", "other", "tls", "elsewhere", "run"):
            os.makedirs(self.path(folder))
        for file in ("store/a/file", "other/file", "run/file", "run/socket", "file"):
            self.write(file, HELLO)

    def probe(self, *lines, arguments=("--store", "store")):
        """What the probe prints for each of the lines."""
        out = self.run_program("filexfer-sandbox-probe", *arguments,
                               stdin="".join(line + "\n" for line in lines).encode())
        return out.decode().splitlines()

    def check(self, expected, arguments=("--store", "store")):
        """`expected` has for each line of the probe what it prints."""
        found = self.probe(*expected, arguments=arguments)
        self.assertEqual(dict(zip(expected, found)), expected)

    def test_the_store_can_be_used_and_nothing_else(self):
        self.check({"read store/a/file": "done", "write store/a/file": "done",
                    "create store/b/new": "done", "mkdir store/c": "done", "list store/c": "done",
                    "link store/a/file store/c/link": "done", "rename store/a/file store/b/f": "done",
                    "remove store/c/link": "done", "rmdir store/c": "done",
                    "read /dev/null": "done", "read /dev/urandom": "done",
                    "read other/file": DENIED, "write other/file": DENIED, "read file": DENIED,
                    "create other/new": DENIED, "remove other/file": DENIED, "list other": DENIED,
                    "list .": DENIED, "mkdir other/new": DENIED, "rmdir elsewhere": DENIED,
                    "read store/../other/file": DENIED, "read /etc/passwd": DENIED, "list /": DENIED,
                    "read /proc/self/maps": "done" if os.environ.get("FILEXFER_SANITIZE") else DENIED,
                    "read /dev/zero": DENIED, "create /tmp/filexfer-probe": DENIED})
        # Landlock's answer for what crosses folders with different rights.
        found = self.probe("rename store/b/f other/f", "rename other/file store/b/g",
                           "link other/file store/b/g")
        self.assertTrue(set(found) <= {DENIED, "Invalid cross-device link"}, found)
        self.assertEqual(self.read("other/file"), HELLO)

    def test_the_folders_of_certificates_can_be_read_and_not_written(self):
        os.makedirs(self.path("archive"))
        for name in ("archive/good.crt", "archive/good.key", "elsewhere/ca", "tls/next",
                     "archive/next"):
            self.write(name, HELLO)
        for name in ("good.crt", "good.key"):
            os.symlink("../archive/" + name, self.path("tls", name))
        self.check({"read tls/good.crt": "done", "read archive/next": "done",
                    "read tls/next": "done", "read elsewhere/ca": "done", "list tls": DENIED,
                    "write tls/next": DENIED, "create tls/new": DENIED, "remove tls/next": DENIED,
                    "write archive/good.key": DENIED, "read other/file": DENIED},
                   ("--listen", "tls:127.0.0.1:0", "--cert", "tls/good.crt", "--key",
                    "tls/good.key", "--tls-client-ca", "elsewhere/ca", "--store", "memory"))
        self.check({"read tls/next": DENIED, "read archive/next": DENIED},
                   ("--cert", "tls/good.crt", "--key", "tls/good.key", "--store", "memory"))

    def test_a_unix_socket_can_be_removed_from_its_folder(self):
        self.check({"remove run/socket": "done", "list run": "done", "read run/file": DENIED,
                    "create run/new": DENIED, "remove other/file": DENIED},
                   ("--listen", "unix:run/socket", "--store", "memory"))

    @unittest.skipIf(landlock.version() < 4, "this kernel can't restrict TCP")
    def test_no_connection_is_made_and_no_port_opened(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.check({"connect %d" % listener.getsockname()[1]: DENIED, "listen": DENIED})


class Sandbox(TlsCase):
    def strace(self, *faults):
        """A command before that of a server, which is not its child, in which calls fail."""
        return ("strace", "-D", "-f", "-o", self.path("trace"), "-e", "trace=/landlock_.*",
                *(word for fault in faults for word in ("-e", "inject=" + fault)))

    def status(self, server, field):
        """The values of a field of /proc/PID/status, of all threads."""
        values = set()
        folder = "/proc/%d/task" % server.process.pid
        for thread in os.listdir(folder):
            with open(os.path.join(folder, thread, "status")) as file:
                values |= {line.split()[1] for line in file if line.startswith(field + ":")}
        return values

    def test_no_privileges_can_be_gained_but_without_sandbox(self):
        for mode, value in (("on", "1"), ("off", "0")):
            server = self.serve("--sandbox", mode)
            self.assertEqual(self.status(server, "NoNewPrivs"), {value})
            server.stop()
        self.run_program("filexfer-server", "--sandbox", "maybe", expect=USAGE)

    @unittest.skipIf(WHY_NO_SANDBOX, WHY_NO_SANDBOX)
    def test_a_running_server_is_confined(self):
        for folder in ("tls", "elsewhere"):
            os.mkdir(self.path(folder))
        certificate(self.path("elsewhere/good"), "DNS:localhost")
        for mode, outcome in (("on", "not reloaded"), ("off", "certificates reloaded")):
            for end in ("crt", "key"):
                shutil.copy(self.path("elsewhere/good." + end), self.path("tls"))
            server = self.serve("--cert", "tls/good.crt", "--key", "tls/good.key", "--sandbox", mode,
                                listen=("tls:127.0.0.1:0",))
            os.remove(self.path("tls/good.key"))
            os.symlink("../elsewhere/good.key", self.path("tls/good.key"))
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "SIGHUP" in server.log(), "the signal in the log")
            self.assertIn(outcome, server.log())
            self.assertEqual(DENIED in server.log(), mode == "on")
            server.stop()
            os.remove(self.path("tls/good.key"))

    def test_everything_works_inside(self):
        os.mkdir(self.path("run"))
        self.write("large", bytes(3000000))
        server = self.serve_tls("--allow-remove", store="store",
                                listen=("tls:127.0.0.1:0", "unix:run/socket"))
        self.write("a", HELLO)
        self.client(server, "upload", "a", "large")
        super().client("unix:run/socket", "upload", "a", "--name", "b/c")
        super().client("unix:run/socket", "remove", "a")
        self.assertEqual(self.read("store/%s/b/c" % HELLO_ID), HELLO)
        # A damaged file is moved aside when it comes again.
        os.chmod(self.path("store", HELLO_ID, "b/c"), 0o644)
        self.write("store/%s/b/c" % HELLO_ID, b"damag")
        self.client(server, "upload", "a")
        self.assertEqual(self.read("store/%s/a" % HELLO_ID), HELLO)
        self.assertEqual(len(os.listdir(self.path("store/.damaged"))), 1)
        server.stop()
        self.assertEqual(os.listdir(self.path("run")), [])
        self.assertNotIn("sandbox" if not WHY_NO_SANDBOX else "failed", server.log())

    @unittest.skipIf(WHY_NO_STRACE, WHY_NO_STRACE)
    def test_the_log_says_why_there_is_no_sandbox(self):
        for fault, reason in (
                ("landlock_create_ruleset:error=ENOSYS",
                 "this kernel has no Landlock (Function not implemented)"),
                ("landlock_create_ruleset:error=EOPNOTSUPP",
                 "Landlock was disabled at boot (Operation not supported)"),
                ("landlock_create_ruleset:error=EPERM",
                 "Landlock can't be used here (Operation not permitted)"),
                ("landlock_create_ruleset:retval=1",
                 "this kernel's version of Landlock can't allow what a store needs (Linux 5.19")):
            server = self.serve(wrapper=self.strace(fault), store="store")
            self.assertIn("no sandbox: " + reason, server.log())
            with server.client() as client:
                client.upload("a", HELLO)
            server.stop()
            quiet = self.serve("--quiet", wrapper=self.strace(fault))
            quiet.stop()
            self.assertEqual(quiet.log(), "")

    @unittest.skipIf(WHY_NO_STRACE or WHY_NO_SANDBOX, WHY_NO_STRACE or WHY_NO_SANDBOX)
    def test_a_server_does_not_start_if_its_sandbox_fails(self):
        for fault, subject in (("landlock_create_ruleset:error=ENOMEM:when=2", ""),
                               ("landlock_add_rule:error=ENOMEM:when=3", "store: "),
                               ("landlock_restrict_self:error=E2BIG", "")):
            command = [*self.strace(fault), programs.path_of("filexfer-server"), "--store", "store",
                       "--listen", "127.0.0.1:0"]
            process = self.start_command(command)
            out, err = process.communicate()
            self.assertEqual((process.returncode, out), (LOCAL_FILE, b""), err)
            self.assertIn("the sandbox can't be set up; use --sandbox off", err.decode())
            self.assertIn(subject, err.decode())

    @unittest.skipIf(WHY_NO_STRACE, WHY_NO_STRACE)
    def test_without_a_sandbox_nothing_is_asked_of_the_kernel(self):
        server = self.serve("--sandbox", "off", wrapper=self.strace())
        server.stop()
        wait_until(lambda: "exited" in self.read("trace").decode(), "the end of the trace")
        self.assertNotIn("landlock", self.read("trace").decode())
        self.assertNotIn("sandbox", server.log())


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client", "filexfer-sandbox-probe")
